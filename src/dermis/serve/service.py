"""What a served model can do for one case, as plain functions: no HTTP, no threads, nothing kept of a case.

``see`` takes many cases at once, for the model's thread calls it with all that waits; the others answer from what was
seen. Shapes: D features of a case, E width of the space that pictures and texts share, K cases found.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import torch

from dermis.cases.seven_point import POINTS
from dermis.decision.decider import Decider, Verdict
from dermis.decision.stored import FOLDER as DECISION
from dermis.decision.stored import read
from dermis.evaluation.checklist import Checklist, read_checklist
from dermis.evaluation.concept_annotation import concept_scores, concept_vectors
from dermis.evaluation.config import EvaluationConfig
from dermis.evaluation.prompt_classification import unit_length
from dermis.explain import Map, explain, kinds_of
from dermis.language.concept_terms import concept_terms
from dermis.model import load
from dermis.model.folder import name_of
from dermis.model.look import evaluating, evaluation_view, one_of_each, picture_towers
from dermis.model.use import encode_texts, generate, label_probabilities, name_probabilities, prompts
from dermis.pictures import PictureError
from dermis.pictures.decode import size
from dermis.pictures.dicom import is_dicom
from dermis.pictures.header import FORMATS, UnknownFormatError
from dermis.search.folder import Embeddings
from dermis.search.nearest import encoder_of, found_rows, showing
from dermis.serve.settings import Settings
from dermis.serve.thumbnail import jpeg, shrunk
from dermis.towers.two_tower import TwoTower
from dermis.towers.weights import fetch_folder

CONCEPT_TEMPLATES = EvaluationConfig().concept_templates
TAKEN = f"send {', '.join(name for name in FORMATS if name != 'DICOM')}."
SHOWN = 1024
"""pixels, the longer side of a picture that a map is drawn on"""


class CannotError(ValueError):
    """Something that this model, or this service of it, does not offer."""


class AskedError(ValueError):
    """A request that makes no sense, in a sentence for who sent it; any other ValueError is our own mistake."""


@contextmanager
def asked() -> Iterator[None]:
    """What is refused inside is the request's fault."""
    try:
        yield
    except PictureError:
        raise
    except ValueError as error:
        raise AskedError(str(error)) from error


@dataclass(frozen=True, eq=False)
class Case:
    """The encoded picture of each column, and what its tower looks at, float32 (3, H, W)."""

    data: Mapping[str, bytes]
    views: Mapping[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class Seen:
    """What the towers made of a case: the features of all its pictures and, of two towers, the vector beside texts'."""

    feature: np.ndarray
    """(D,)"""
    projected: np.ndarray | None
    """(E,), not of unit length"""


class Service:
    """A model, its calibrated decision and the cases to search in, as far as there are any."""

    def __init__(self, settings: Settings) -> None:
        """Raises ValueError for a model, decision or embeddings that cannot be read or do not belong together."""
        self.settings = settings
        self.folder = fetch_folder(settings.model)
        self.model: Any = load(settings.model, settings.device)
        self.towers = picture_towers(self.model)
        self.decider = Decider(self.model, read(self.folder)) if (self.folder / DECISION).is_dir() else None
        self.embeddings = None if settings.embeddings is None else Embeddings.open(settings.embeddings)
        self.encoder = None if self.embeddings is None else encoder_of(self.embeddings, self.model)
        if self.embeddings is not None:
            self.embeddings.cases.require(settings.show, "what a search shows")
        self._prompt_vectors = lru_cache(maxsize=32)(lambda texts: encode_texts(self.model, texts))

    @property
    def name(self) -> str:
        """The model's, for people."""
        return name_of(self.settings.model)

    @property
    def promise(self) -> float | None:
        """The share of new patients whose set of possible classes holds the truth."""
        return None if self.decider is None else 1 - self.decider.decision.rules.alpha

    @property
    def columns(self) -> tuple[str, ...]:
        """The picture columns that the model looks at."""
        return tuple(self.towers)

    @cached_property
    def can(self) -> dict[str, Any]:
        """What may be asked of it, by the names of ``/v1/model``."""
        generator, two = getattr(self.model, "generator", None), isinstance(self.model, TwoTower)
        predicting = getattr(self.model, "predicting", None)
        labels = {name.removeprefix("finding.") for name in predicting.classes} if predicting else set()
        return {
            "embed": True,
            "embed_text": two,
            "classify_names": two,
            "decide": self.decider is not None,
            "labels": bool(labels),
            "concepts": two,
            "checklist": labels >= set(POINTS),
            "search": self.encoder is not None,
            "search_text": self.encoder is not None and self.encoder.stage == "projected",
            "explain": list(kinds_of(self.model)),
            "generate": generator is not None,
            "dialogue": generator is not None and generator.text_visible,
        }

    def need(self, ability: str, why_not: str) -> None:
        """Raises CannotError, with ``why_not``, unless ``can`` has it."""
        if not self.can[ability]:
            raise CannotError(why_not)

    def open(self, data: Mapping[str, bytes]) -> Case:
        """Decode the pictures as the towers want them; raises as ``show``."""
        return Case(data, self._decoded(data, lambda name, one: evaluation_view(one, self.towers[name].transform)))

    def show(self, data: Mapping[str, bytes]) -> dict[str, np.ndarray]:
        """Each column's upright picture, uint8 (H, W, 3), its longer side at most 1,024 pixels.

        Raises AskedError for a column too few or too many, and PictureError for a picture that cannot be read or has
        too many pixels.
        """
        return self._decoded(data, lambda _, one: shrunk(one, SHOWN))

    def _decoded(self, data: Mapping[str, bytes], decode: Callable[[str, bytes], np.ndarray]) -> dict[str, np.ndarray]:
        try:
            data = one_of_each(self.columns, data)
        except ValueError as error:
            raise AskedError(str(error)) from None
        pictures = {}
        for name in self.columns:
            try:
                if is_dicom(data[name]):  # a picture is asked for; who it is of has no business here
                    raise PictureError("it is DICOM, which names the patient; send its picture as PNG or JPEG.")
                size(data[name], max_pixels=self.settings.max_pixels)
                pictures[name] = decode(name, data[name])
            except UnknownFormatError as error:
                raise PictureError(f"the picture {name!r} cannot be used: {error.args[0]}; {TAKEN}") from error
            except PictureError as error:
                raise PictureError(f"the picture {name!r} cannot be used: {error}") from error
        return pictures

    @torch.inference_mode()
    def see(self, cases: Sequence[Case]) -> list[Seen]:
        """All cases through the towers together."""
        device, pooled = next(self.model.parameters()).device, []
        with evaluating(self.model):
            for name, tower in self.towers.items():
                view_BCHW = torch.from_numpy(np.stack([case.views[name] for case in cases])).to(device)
                pooled.append(tower.features(view_BCHW).pooled_BD)
            projected = self.model.project_image(pooled[0]) if isinstance(self.model, TwoTower) else None
        feature_BD = torch.cat(pooled, dim=1).float().cpu().numpy()
        if projected is None:
            return [Seen(feature_D, None) for feature_D in feature_BD]
        return [Seen(*both) for both in zip(feature_BD, projected.float().cpu().numpy(), strict=True)]

    def decide(self, seen: Seen) -> Verdict:
        """The calibrated decision."""
        assert self.decider is not None
        return self.decider.verdict(seen.feature)

    def classify(self, seen: Seen, names: Sequence[str], template: str) -> dict[str, float]:
        """Zero-shot among the caller's names; raises AskedError for a template without {}."""
        assert seen.projected is not None
        with asked():
            sentences = tuple(prompts(names, template))
        image_1E = unit_length(seen.projected[None])
        return name_probabilities(self.model, image_1E[0], self._prompt_vectors(sentences), names)

    @cached_property
    def _concepts(self) -> tuple[list[str], np.ndarray, np.ndarray]:
        terms = concept_terms()
        vectors = concept_vectors(lambda texts: encode_texts(self.model, texts), terms, CONCEPT_TEMPLATES)
        return list(terms), *vectors

    def concepts(self, seen: Seen) -> dict[str, float]:
        """Every concept that we have terms for with its score, 0 to 1, the highest first."""
        assert seen.projected is not None
        names, target_CTE, reference_TE = self._concepts
        scale = float(self.model.logit_scale.exp().item())
        score_1C = concept_scores(seen.projected[None], target_CTE, reference_TE, scale)
        scored = zip(names, score_1C[0].tolist(), strict=True)
        return dict(sorted(scored, key=lambda pair: -pair[1]))

    def labels(self, seen: Seen) -> dict[str, dict[str, float]]:
        """Label -> class -> probability, of a model that was taught labels."""
        device = next(self.model.parameters()).device
        return label_probabilities(self.model, torch.from_numpy(seen.feature)[None].to(device))

    def checklist(self, seen: Seen, rule: str) -> Checklist:
        """The seven-point checklist of what ``labels`` says."""
        return read_checklist(self.labels(seen), rule)

    def search(
        self, case: Case | None, seen: Seen | None, text: str | None, where: Sequence[str], k: int, weight: float | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Rows and cosines (K,) of the nearest cases; a case with the very same pictures is left out."""
        assert self.embeddings is not None
        assert self.encoder is not None
        by_text = self.encoder.stage == "projected"
        picture_D = None if seen is None else seen.projected if by_text else seen.feature
        own_N = None
        if case is not None:
            sent = (case.data[column] for column in self.columns)  # the embeddings' columns may have other names
            own_N = showing(self.embeddings, dict(zip(self.encoder.columns, sent, strict=True)))
        if picture_D is None and text is None:
            raise AskedError("nothing to search for: send pictures, a text, or both.")
        with asked():
            text_D = None if text is None else self.encoder.of_text(text)
            return found_rows(self.embeddings, picture_D, text_D, own_N, where=where, k=k, text_weight=weight)

    def thumbnail(self, row: int, column: str) -> bytes:
        """A found case's picture, a small JPEG; raises CannotError where there is none or none is given out."""
        if not self.settings.thumbnails or self.embeddings is None:
            raise CannotError("this service gives out no pictures of the cases that it searches (--thumbnails).")
        cases = self.embeddings.cases
        if row >= len(cases) or column not in self.embeddings.facts["columns"]:
            raise CannotError(f"no picture {column} of a case {row}.")
        return jpeg(cases.root, cases.table[column].iloc[row])

    def explain(self, shown: Mapping[str, np.ndarray], texts: Sequence[str], kind: str | None) -> list[Map]:
        """Maps of a case from its pictures (``show``)."""
        with asked():
            return explain(self.model, shown, texts, kind)

    def embed_text(self, text: str) -> np.ndarray:
        """The vector (E,) of a text, not of unit length."""
        return encode_texts(self.model, [text], normalize=False)[0]

    def generate(self, case: Case, dialogue: str | None) -> str:
        """A text about the case by beam search."""
        return generate(self.model, torch.from_numpy(case.views["image"]), dialogue)
