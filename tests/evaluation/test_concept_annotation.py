"""Concept annotation against the published formula as loops, areas against scikit-learn, and names before positions."""

import math
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import roc_auc_score

from dermis.cases.manifest import Manifest
from dermis.evaluation.concept_annotation import (
    concept_metrics,
    concept_scores,
    concept_truth,
    concept_vectors,
    single_class,
)
from dermis.evaluation.config import EvaluationConfig
from dermis.evaluation.evaluate import evaluate
from dermis.language.prompts import reference_sets, references, templates

TERMS = {"scale": ["scaly", "flaking"], "blue": ["blue"], "streaks": ["streaks", "lines", "lines"]}


def embed(texts):
    """Each sentence has a direction of its own, not of unit length."""
    return np.stack([np.random.default_rng(list(text.encode())).normal(size=6) * 3 for text in texts])


def test_scores_are_the_published_formula():
    image_ND = np.random.default_rng(0).normal(size=(7, 6))
    for template_set in reference_sets():
        tau = 1 / math.exp(4.5944)
        found = concept_scores(image_ND, *concept_vectors(embed, TERMS, template_set), 1 / tau)
        for n, image in enumerate(image_ND):
            for c, terms in enumerate(TERMS.values()):
                p = []
                for template, reference in zip(templates(template_set), references(template_set), strict=True):
                    a = np.mean([cosine(image, embed([template.format(term)])[0]) for term in terms])
                    r = cosine(image, embed([reference])[0])
                    p.append(torch.softmax(torch.tensor([a, r]) / tau, 0)[0].item())
                assert found[n, c] == pytest.approx(np.mean(p), abs=1e-9)


def cosine(a, b):
    return a @ b / np.linalg.norm(a) / np.linalg.norm(b)


def test_references_are_the_templates_without_a_concept():
    for name in reference_sets():
        assert len(references(name)) == len(templates(name))
        for template, reference in zip(templates(name), references(name), strict=True):
            words = [w for w in template.replace("{}", "").replace(",", "").split() if w not in ("of", ".")]
            assert set(words) <= {w.replace(",", "") for w in reference.split()}


def cases(**columns):
    n = len(next(iter(columns.values())))
    table = pd.DataFrame({"case_id": [f"c{i}" for i in range(n)], "image": "x.jpg"} | columns)
    return Manifest.build(table, ".")


def test_truth_is_read_from_concepts_and_findings():
    manifest = cases(
        **{
            "concept.scale": [0.0, 0.5, 0.51, None],
            "finding.streaks": ["absent", "regular", None, "irregular"],
            "finding.nine_partition": ["malignant", "benign", "benign", None],  # never absent: no concept
            "concept.empty": [None] * 4,
        }
    )
    truth = concept_truth(manifest)
    assert list(truth) == ["scale", "streaks"]
    np.testing.assert_array_equal(truth, [[0, 0], [0, 1], [1, np.nan], [np.nan, 1]])
    assert list(concept_truth(manifest, ["Streaks", "scale"])) == ["streaks", "scale"]
    with pytest.raises(ValueError, match=r"unknown concept of the manifest 'streak'. Did you mean 'streaks'"):
        concept_truth(manifest, ["streak"])
    with pytest.raises(ValueError, match=r"needs columns concept\.NAME"):
        concept_truth(cases(diagnosis=["a", "b"]))


def test_areas_are_scikit_learns_over_the_annotated_cases():
    rng = np.random.default_rng(1)
    score_NC = rng.random((60, 3))
    truth = pd.DataFrame({"a": rng.integers(2, size=60), "b": rng.integers(2, size=60), "c": 1.0}).astype(float)
    truth.loc[:20, "b"] = np.nan
    weight_RN = np.stack([np.ones(60), rng.integers(3, size=60)]).astype(float)
    found = concept_metrics(score_NC, truth, weight_RN)
    for r, weight_N in enumerate(weight_RN):
        areas = []
        for c, name in enumerate("ab"):
            told = truth[name].notna().to_numpy()
            areas.append(roc_auc_score(truth[name][told], score_NC[told, c], sample_weight=weight_N[told]))
            assert found[f"AUROC: {name}"][r] == pytest.approx(areas[-1])
        assert found["macro AUROC"][r] == pytest.approx(np.mean(areas))
    assert np.isnan(found["AUROC: c"]).all()
    assert single_class(truth) == ["c"]


class Directions(torch.nn.Module):
    """A picture is a direction; a sentence points along the concept that it names, in a space of four."""

    names = ("scale", "streaks", "hair")

    def __init__(self):
        super().__init__()
        self.logit_scale = torch.nn.Parameter(torch.tensor(3.0))
        self.text = SimpleNamespace(tokenizer=self.tokenizer)

    def tokenizer(self, texts):
        return [[next((i for i, name in enumerate(self.names) if name in text), 3)] for text in texts]

    def encode_text(self, tokens, offsets_S1, normalize=False):
        return torch.eye(4)[tokens]

    def project_image(self, pooled_ND, normalize=False):
        return pooled_ND


@pytest.fixture(scope="module")
def annotated():
    """60 cases of 30 patients; a picture points along its concepts; `hair` is in all of them, 9 lack `streaks`."""
    rng = np.random.default_rng(2)
    present = rng.integers(2, size=(60, 2)).astype(float)
    streaks = np.where(present[:, 1] == 1, "irregular", "absent").astype(object)
    streaks[:9] = None
    manifest = cases(
        **{
            "patient_id": [f"p{i // 2}" for i in range(60)],
            "concept.hair": [1.0] * 60,
            "concept.scale": present[:, 0],
            "finding.streaks": streaks,
        }
    )
    vectors = np.concatenate([present, np.ones((60, 2))], axis=1).astype(np.float32)
    return manifest, lambda part: (vectors[part.table["case_id"].str[1:].astype(int)], np.ones(len(part), dtype=bool))


def test_concepts_are_matched_by_name_and_a_single_class_is_named(annotated):
    manifest, embedded = annotated
    settings = EvaluationConfig(protocols=["concepts"], split="all", n_boot=20)
    report = evaluate(Directions(), manifest, settings, embed=embedded)
    by_concept = {e.class_name: e for e in report.entries if e.class_name}
    assert {name: (e.value, e.n, e.patients) for name, e in by_concept.items() if name != "hair"} == {
        "scale": (1.0, 60, 30),
        "streaks": (1.0, 51, 26),
    }
    assert math.isnan(by_concept["hair"].value)
    macro = report.value("concept annotation", "macro AUROC")
    assert (macro.value, macro.n) == (1.0, 60)
    assert "1 concepts with a single class left out: hair" in macro.notes
    assert "logit scale 20.1" in report.sections[0].about  # exp(3), the learned one


def test_an_unknown_concept_stops_before_any_picture_is_opened(annotated):
    manifest, _ = annotated
    table = manifest.table.rename(columns={"concept.scale": "concept.scael"})
    settings = EvaluationConfig(protocols=["concepts"], split="all")
    with pytest.raises(ValueError, match=r"unknown concept 'scael'. Did you mean 'scale'"):
        evaluate(Directions(), Manifest.build(table, "."), settings, embed=lambda part: 1 / 0)
    settings = EvaluationConfig(protocols=["concepts"], split="all", concept_templates="make8")
    with pytest.raises(ValueError, match="template set of concept annotation 'make8'"):
        evaluate(Directions(), manifest, settings, embed=lambda part: 1 / 0)
