"""Protocol `generation`: the texts that a model writes about pictures, beside the chief complaints of their cases.

Twice where it can be: from picture and consultation, and from the picture alone. Nearness to the complaint by
``text_metrics`` and ``text_concepts``; and faithfulness: of the concepts that a text mentions, the share that the model
itself does not see in the picture (its score by prompts, ``concept_annotation``, is below one half). That is no truth
about the picture: it says whether the two halves of the model agree.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from dermis.cases.manifest import Manifest
from dermis.evaluation.bootstrap import intervals
from dermis.evaluation.concept_annotation import PRESENT_ABOVE, concept_scores, concept_vectors
from dermis.evaluation.report import Entry, Section, entries
from dermis.evaluation.setting import Cases, Setting
from dermis.evaluation.text_concepts import concept_statistics, unsupported_concepts
from dermis.evaluation.text_metrics import text_statistics
from dermis.language.concept_terms import concept_terms
from dermis.language.lexicon import default_lexicon

UNSUPPORTED = "unsupported concepts"


def generation(setting: Setting, shared: dict[str, Any]) -> tuple[list[Entry], list[Section]]:
    """Entries of the scored cases that have a complaint, by beam search of 4.

    Raises ValueError for a model that says no texts, and for a manifest without complaints.
    """
    from dermis.model.generate import generate_texts  # torch, which this room's import leaves out

    model, config = setting.model, setting.config
    if getattr(model, "generator", None) is None:
        raise ValueError("protocol 'generation' needs a model that says texts, taught by a method with a generator.")
    setting.manifest.require(["complaint"], "protocol generation")
    cases = setting.cases(config.split)
    cases = cases.select(np.flatnonzero(cases.manifest.table["complaint"].notna()))
    if not len(cases.manifest):
        raise ValueError(f"no case of split {config.split!r} has a complaint to compare with.")
    score_NC = own_concept_scores(setting, cases)
    ways = {"generation, picture only": False}
    if "dialogue" in cases.manifest and model.generator.text_visible:
        ways = {"generation, picture and consultation": True, **ways}
    found, sections = [], []
    for name, dialogues in ways.items():
        said = [text or "" for text in generate_texts(model, cases.manifest, dialogues=dialogues)]
        found += measure_texts(said, cases.manifest, shared | {"protocol": name}, score_NC, config.n_boot, config.seed)
        table = cases.manifest.table[["case_id", "complaint"]].assign(said=said)
        about = f"Beam search of 4 against the complaint; concepts count as seen from {PRESENT_ABOVE} on."
        sections.append(Section(shared["model"], name, about, table=table))
    return found, sections


def measure_texts(
    texts: Sequence[str],
    cases: Manifest,
    shared: dict[str, Any],
    score_NC: pd.DataFrame | None = None,
    n_boot: int = 1000,
    seed: int = 0,
) -> list[Entry]:
    """BLEU-4, ROUGE-L, CIDEr-D and concept F1 of the texts against the cases' complaints, over patients.

    ``score_NC``: what the model sees of each concept in the pictures; then also the share of unsupported concepts.
    """
    references, groups = cases.table["complaint"].tolist(), cases.groups()
    near, concepts = text_statistics(texts, references), concept_statistics(texts, references)
    unsupported = None if score_NC is None else unsupported_concepts(texts, score_NC, PRESENT_ABOVE)

    def statistics(weight_RN: np.ndarray) -> dict[str, np.ndarray]:
        more = {} if unsupported is None else {UNSUPPORTED: unsupported.share(weight_RN)}
        return near(weight_RN) | concepts(weight_RN) | more

    numbers = intervals(statistics, groups, n_boot=n_boot, seed=seed)
    return entries(numbers, n=len(texts), patients=groups.nunique(), **shared)


def own_concept_scores(setting: Setting, cases: Cases) -> pd.DataFrame:
    """What the model itself sees in the pictures: a score from 0 to 1 for each concept of the lexicon with terms."""
    from dermis.model.use import encode_texts  # torch

    assert cases.projected is not None
    lexicon, found = default_lexicon(), dict[str, list[str]]()
    for name, terms in concept_terms().items():
        concept = lexicon.find(name)
        if concept is not None:
            found.setdefault(concept, terms)
    vectors = concept_vectors(lambda texts: encode_texts(setting.model, texts), found, setting.config.concept_templates)
    scale = float(np.exp(setting.model.logit_scale.item()))
    return pd.DataFrame(concept_scores(cases.projected, *vectors, scale), columns=pd.Index(found))
