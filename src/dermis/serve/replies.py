"""What the service found, in the shapes of the API."""

import base64
from io import BytesIO

import numpy as np
import pandas as pd
from PIL import Image

import dermis
from dermis.explain import Map, overlay
from dermis.serve import answers
from dermis.serve.service import Service

NOTICE = (
    "Research software, not a medical device: it must not be used to diagnose, to triage or to choose a treatment. "
    "What is sent is not kept."
)


def description(service: Service) -> answers.Model:
    """What ``/v1/model`` answers."""
    settings, decision = service.settings, service.decider.decision if service.decider else None
    card = service.folder / "README.md"
    return answers.Model(
        name=service.name,
        version=dermis.__version__,
        pictures=list(service.columns),
        can=answers.Can(**service.can),
        classes=list(decision.classes) if decision else None,
        promise=service.promise,
        calibration_patients=decision.patients if decision else None,
        limits=answers.Limits(max_bytes=settings.max_bytes, max_pixels=settings.max_pixels, seconds=settings.seconds),
        token=settings.token_file is not None,
        searched_cases=len(service.embeddings) if service.embeddings else 0,
        thumbnails=settings.thumbnails,
        card=card.read_text(encoding="utf-8") if card.is_file() else "",
        notice=NOTICE,
    )


def named(found: dict[str, float]) -> list[answers.Named]:
    """In the order given."""
    return [answers.Named(name=name, probability=probability) for name, probability in found.items()]


def hits(service: Service, row_K: np.ndarray, cosine_K: np.ndarray) -> list[answers.Hit]:
    """Found cases with the columns that the service tells."""
    assert service.embeddings is not None
    table, found = service.embeddings.cases.table, []
    for rank, (row, cosine) in enumerate(zip(row_K.tolist(), cosine_K.tolist(), strict=True), start=1):
        case = table.iloc[row]
        told = {name: None if pd.isna(case[name]) else case[name] for name in service.settings.show}
        columns = {n: float(v) if isinstance(v, np.number) else v if v is None else str(v) for n, v in told.items()}
        small = {name: f"/v1/cases/{row}/{name}" for name in service.embeddings.facts["columns"]}
        found.append(
            answers.Hit(
                rank=rank,
                case_id=str(case["case_id"]),
                cosine=cosine,
                columns=columns,
                thumbnails=small if service.settings.thumbnails else {},
            )
        )
    return found


def data_url(picture_HWC: np.ndarray) -> str:
    """A PNG that needs no second request."""
    out = BytesIO()
    Image.fromarray(picture_HWC).save(out, "PNG")
    return "data:image/png;base64," + base64.b64encode(out.getvalue()).decode()


def map_of(found: Map, picture_HWC: np.ndarray, drawn: bool) -> answers.Where:
    """A map and, where asked for, the picture with the map on it."""
    return answers.Where(
        column=found.column,
        kind=found.kind,
        about=found.about,
        values=found.values.round(6).tolist(),
        low=float(found.values.min()),
        high=float(found.values.max()),
        box=found.box,
        overlay=data_url(overlay(picture_HWC, found)) if drawn else None,
    )
