"""The cases nearest to a picture, a text, both, or another case, among those that meet some conditions."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from torch import nn

from dermis.evaluation.prompt_classification import unit_length
from dermis.model import load
from dermis.model.use import Picture
from dermis.pictures.store import read_bytes
from dermis.registry import unknown
from dermis.search.encoder import Encoder
from dermis.search.exact import nearest
from dermis.search.filters import chosen
from dermis.search.folder import Embeddings
from dermis.search.index import PROBES, index_of, nearest_by_index
from dermis.search.parts import content_of

LEFT_OUT = ("nothing", "case", "patient")
SHOWN = ("diagnosis", "patient_id")


def nearest_cases(
    embeddings: Embeddings | Path | str,
    *,
    picture: Picture | Mapping[str, Picture] | None = None,
    text: str | None = None,
    case: str | None = None,
    model: Encoder | nn.Module | str | Path | None = None,
    where: Iterable[str] = (),
    k: int = 10,
    text_weight: float | None = None,
    leave_out: Literal["nothing", "case", "patient"] = "case",
    index_above: int | None = None,
    probes: int = PROBES,
) -> pd.DataFrame:
    """The ``k`` nearest cases by cosine: rank, case_id, cosine, diagnosis, patient_id (if known), image (its path).

    ``picture``: a file, or one for each column of a model that looks at several; or ``case``, a case_id of the
    embeddings. With a ``text`` too, the query is (1 - w) · picture + w · text of their unit vectors, w =
    ``text_weight`` (0.5). ``where``: conditions such as ``diagnosis=melanoma`` and ``patient.age>=60`` (``filters``).
    ``leave_out``: of a query that is among the cases (by its id or the bytes of its pictures) itself, or its patient's
    cases too (``Manifest.groups``). ``model``: what made the embeddings, if not where they say; for many queries an
    ``encoder_of(embeddings)``, which reads and checks it once. Exact, unless more than ``index_above`` cases are left
    to choose from: then an index is built once, kept and used (``index``). Raises ValueError, with a sentence, for all
    that does not fit together.
    """
    if leave_out not in LEFT_OUT:
        raise unknown("choice of what to leave out", leave_out, LEFT_OUT)
    if picture is not None and case is not None:
        raise ValueError("give a picture or a case, not both.")
    looks = picture is not None or case is not None
    if not looks and text is None:
        raise ValueError("nothing to search for: give a picture, a text, or both.")
    found = embeddings if isinstance(embeddings, Embeddings) else Embeddings.open(embeddings)
    encoder = model if isinstance(model, Encoder) else None
    if encoder is None and not (picture is None and text is None):
        encoder = encoder_of(found, model)
    own_N, picture_D, text_D = None, None, None
    if case is not None:
        own_N, row = _of_case(found, case)
        picture_D = found.vectors[row]
    elif picture is not None and encoder is not None:
        picture_D, own_N = encoder.of_pictures(picture), showing(found, _bytes_of(found, picture))
    if text is not None and encoder is not None:
        text_D = encoder.of_text(text)
    row_K, cosine_K = found_rows(
        found,
        picture_D,
        text_D,
        own_N,
        where=where,
        k=k,
        text_weight=text_weight,
        leave_out=leave_out,
        index_above=index_above,
        probes=probes,
    )
    return _table(found, row_K, cosine_K)


def found_rows(
    found: Embeddings,
    picture_D: np.ndarray | None,
    text_D: np.ndarray | None,
    own_N: np.ndarray | None = None,
    *,
    where: Iterable[str] = (),
    k: int = 10,
    text_weight: float | None = None,
    leave_out: Literal["nothing", "case", "patient"] = "case",
    index_above: int | None = None,
    probes: int = PROBES,
) -> tuple[np.ndarray, np.ndarray]:
    """``nearest_cases`` from the vectors of the query: rows and cosines (K,), the nearest first.

    ``own_N``: which of the cases are the query itself.
    """
    if text_weight is not None and (picture_D is None or text_D is None):
        raise ValueError("text_weight has no effect without both a picture and a text.")
    if text_weight is not None and not 0 <= text_weight <= 1:
        raise ValueError(f"text_weight must lie in 0 to 1; it is {text_weight}.")
    if k < 1:
        raise ValueError(f"k must be at least 1; it is {k}.")
    allowed_N, parts = chosen(found.cases, where), [part_D for part_D in (picture_D, text_D) if part_D is not None]
    weights = [1.0] if len(parts) == 1 else [1 - (w := 0.5 if text_weight is None else text_weight), w]
    query_D = np.array(weights) @ unit_length(np.array(parts, np.float64))
    if own_N is not None and leave_out == "patient" and own_N.any():
        groups = found.cases.groups()
        own_N = groups.isin(groups[own_N]).to_numpy(dtype=bool)
    if own_N is not None and leave_out != "nothing":
        allowed_N &= ~own_N
    rows = np.flatnonzero(allowed_N)
    if not len(rows):
        raise ValueError("no case is left to choose from: all that meet the conditions are the query's own.")
    some = None if len(rows) == len(found) else rows
    if index_above is not None and len(rows) > index_above:
        hit_1K = nearest_by_index(index_of(found), query_D[None], found.vectors, k, rows=some, probes=probes)
    else:
        hit_1K = nearest(query_D[None], found.vectors, k, length_N=found.lengths, rows=some)
    row_K, cosine_K = hit_1K[0][0], hit_1K[1][0]
    return row_K[row_K >= 0], cosine_K[row_K >= 0]


def encoder_of(embeddings: Embeddings, model: nn.Module | str | Path | None = None) -> Encoder:
    """What made the embeddings: the model that they record, or ``model``. For many queries make it once.

    Raises ValueError if that is no model, or another one.
    """
    found, source = embeddings, embeddings.model if model is None else model
    loaded = source if isinstance(source, nn.Module) else load(source)
    columns, stage = found.facts["columns"], found.facts["stage"]
    try:
        encoder = Encoder.of(loaded, stage, columns[0] if len(columns) == 1 else None)
        same = encoder.key == found.facts["key"]
    except ValueError:
        same = False
    if not same:
        named = "this model" if isinstance(source, nn.Module) else str(source)
        raise ValueError(
            f"{found.folder} was not made by {named}: other weights, stage, transform or version of timm. Name the "
            "model that made them, or embed again."
        )
    return encoder


def _of_case(found: Embeddings, case: str) -> tuple[np.ndarray, int]:
    """Which cases are this one or show the same pictures, and its row."""
    ids = found.cases.table["case_id"]
    rows = np.flatnonzero(ids == case)
    if not len(rows):
        raise unknown("case", case, ids) if len(ids) <= 100 else ValueError(f"no case {case!r} in {found.folder}.")
    same_N = (found.pictures[:, :, 1] == found.pictures[rows[0], :, 1]).all(axis=(1, 2))
    return same_N, int(rows[0])


def showing(found: Embeddings, data: Mapping[str, bytes]) -> np.ndarray:
    """Which cases show exactly these encoded pictures (N,); ``data`` has one for each column, or none at all."""
    same_N = np.full(len(found), bool(data))
    for c, column in enumerate(found.facts["columns"] if data else ()):
        content = np.frombuffer(content_of(data[column]), np.uint8)
        same_N &= (found.pictures[:, c, 1] == content).all(axis=1)
    return same_N


def _bytes_of(found: Embeddings, picture: Picture | Mapping[str, Picture]) -> dict[str, bytes]:
    """The files of the query by their columns; none if one of its pictures is no file."""
    given = picture if isinstance(picture, Mapping) else {found.facts["columns"][0]: picture}
    data = {}
    for column, one in given.items():
        if not isinstance(one, str | Path):
            return {}
        path = Path(one).expanduser()
        data[column] = read_bytes(path.parent, path.name)
    return data


def _table(found: Embeddings, row_K: np.ndarray, cosine_K: np.ndarray) -> pd.DataFrame:
    table = found.cases.table.iloc[row_K].reset_index(drop=True)
    columns = {"rank": np.arange(1, len(row_K) + 1), "case_id": table["case_id"], "cosine": cosine_K}
    columns |= {name: table[name] for name in SHOWN if name in found.cases}
    for name in found.facts["columns"]:
        columns[name] = [str(found.cases.root / path) for path in table[name]]
    return pd.DataFrame(columns)
