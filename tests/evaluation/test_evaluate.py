"""From a model and a manifest to a report: the numbers are those of the parts, and the words are true."""

import io
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from dermis.cases.manifest import Manifest
from dermis.evaluation.config import LABELLING, PROTOCOLS, EvaluationConfig
from dermis.evaluation.evaluate import evaluate
from dermis.evaluation.few_shot import few_shot_scores
from dermis.evaluation.knn import knn_scores
from dermis.evaluation.linear_probe import linear_probe, panderm_probe
from dermis.evaluation.measure import measure
from dermis.evaluation.metrics import classification_metrics
from dermis.evaluation.prompt_classification import prompt_scores
from dermis.evaluation.scored import Scored
from dermis.evaluation.setting import Cases

CLASSES = ["melanoma", "nevus", "wart"]
D = 6


class Words(torch.nn.Module):
    """Two towers over the same directions: a text is the mean of its known words, a picture is stored."""

    def __init__(self):
        super().__init__()
        self.vocabulary = {name: i + 1 for i, name in enumerate([*CLASSES, "mole", "arm", "leg"])}
        self.text = SimpleNamespace(tokenizer=self.tokenizer)
        self.table = torch.nn.Embedding(len(self.vocabulary) + 1, D)
        torch.nn.init.normal_(self.table.weight, generator=torch.Generator().manual_seed(1))
        self.logit_scale = torch.nn.Parameter(torch.tensor(2.0))
        self.asked = []

    def tokenizer(self, texts):
        self.asked += texts
        words = [text.lower().replace(".", "").replace(",", "").split() for text in texts]
        return [[self.vocabulary[w] for w in line if w in self.vocabulary] or [0] for line in words]

    def encode_text(self, tokens, offsets_S1, normalize=False):
        rows = torch.stack([part.mean(0) for part in self.table(tokens).split(offsets_S1.diff().tolist())])
        return F.normalize(rows, dim=-1) if normalize else rows

    def project_image(self, pooled_ND, normalize=False):
        return 2 * pooled_ND


@pytest.fixture(scope="module")
def model():
    return Words()


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    """180 cases of 90 patients with small pictures; the third picture of the test split is broken."""
    root = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    n = 180
    diagnosis = np.array(CLASSES, dtype=object)[rng.integers(3, size=n)]
    for i in range(n):
        Image.fromarray(rng.integers(0, 255, size=(40, 40, 3), dtype=np.uint8)).save(root / f"{i}.jpg")
    site = rng.choice(["arm", "leg"], size=n)
    table = pd.DataFrame(
        {
            "case_id": [f"case-{i}" for i in range(n)],
            "patient_id": [f"p{i // 2}" for i in range(n)],
            "image": [f"{i}.jpg" for i in range(n)],
            "diagnosis": diagnosis,
            "caption": [f"{d} on the {s}" for d, s in zip(diagnosis, site, strict=True)],
            "split": np.repeat(["train", "valid", "test"], 60),
            "patient.sex": rng.choice(["female", "male"], size=n),
            "concept.scale": rng.integers(2, size=n).astype(float),
            "source": "a skin clinic",
        }
    )
    return Manifest.build(table, root)


@pytest.fixture(scope="module")
def embed(model):
    def from_table(manifest):
        rows = manifest.table["case_id"].str.removeprefix("case-").astype(int).to_numpy()
        noise = np.random.default_rng(5).normal(size=(180, D))[rows]
        words = manifest.table["diagnosis"].fillna("nevus").map(model.vocabulary).to_numpy(dtype=int)
        vectors = model.table.weight.detach().numpy()[words] + 0.8 * noise
        return vectors.astype(np.float32), rows != 122

    return from_table


def config(*protocols, **changes):
    few = {"shots": [2], "shot_seeds": 3} if "few_shot" in protocols else {}
    few |= {"low_shot_fractions": [0.5]} if "low_shot" in protocols else {}
    return EvaluationConfig(**{"protocols": list(protocols), "n_boot": 20} | few | changes)


def split(manifest, embed, name):
    part = manifest.split(name)
    vectors, ok = embed(part)
    return 2 * vectors[ok], part.table["diagnosis"][ok].map(CLASSES.index).to_numpy()


@pytest.mark.parametrize(
    "protocol", [p for p in PROTOCOLS if p not in (*LABELLING, "pairs", "table_retrieval", "generation")]
)
def test_every_protocol_gives_numbers_with_intervals(protocol, model, manifest, embed):
    found = evaluate(model, manifest, config(protocol), embed=embed)
    overall = [e for e in found.entries if not e.class_name and not e.subgroup]
    assert overall
    for entry in overall:
        assert (entry.n, entry.patients) == (59, 30)
        assert entry.low <= entry.high
        if entry.metric in ("accuracy", "macro AUROC", "recall@5") and protocol != "concepts":
            assert entry.low < entry.value < entry.high or entry.value == entry.high == 1
            assert entry.value > 0.35


def test_numbers_are_those_of_the_parts(model, manifest, embed):
    (train, train_label), (valid, valid_label), (test, label) = (
        split(manifest, embed, name) for name in ("train", "valid", "test")
    )
    class_CD = F.normalize(model.table(torch.tensor([model.vocabulary[c] for c in CLASSES])), dim=-1).detach().numpy()
    scores = {
        "prompt classification": prompt_scores(test, class_CD, np.exp(2.0)),
        "prompt classification, as in MAKE": prompt_scores(test, class_CD, 100.0),
        "kNN": knn_scores(train, train_label, test, 3, k=7),
        "linear probe": linear_probe(train, train_label, 3, valid=(valid, valid_label)).scores(test),
        "linear probe, PanDerm solver, 100% of training": panderm_probe(train, train_label, 3).scores(test),
    }
    settings = config("prompts", "make", "knn", "linear_probe", "panderm", neighbours=7, fractions=[1.0], top=[2])
    found = evaluate(model, manifest, settings, embed=embed)
    for protocol, score_NC in scores.items():
        for metric, value in classification_metrics(score_NC, label, top=(2,)).items():
            assert found.value(protocol, metric).value == pytest.approx(value[0], abs=1e-5), (protocol, metric)
    confusion = {s.protocol: np.array(s.confusion) for s in found.sections}
    assert confusion["kNN"].sum() == 59
    assert confusion["kNN"].trace() / 59 == pytest.approx(found.value("kNN", "accuracy").value)


def test_few_shot_is_the_mean_over_draws(model, manifest, embed):
    (train, train_label), (test, label) = (split(manifest, embed, name) for name in ("train", "test"))
    found = evaluate(model, manifest, config("few_shot"), embed=embed)
    draws = few_shot_scores(train, train_label, test, 3, shots=2, seeds=(0, 1, 2))
    areas = [classification_metrics(s, label)["macro AUROC"][0] for s in draws]
    assert found.value("few-shot, 2 per class", "macro AUROC").value == pytest.approx(np.mean(areas))


def test_the_same_seed_gives_the_same_report(model, manifest, embed):
    settings = config("prompts", "retrieval", "knn", "linear_probe", "few_shot", "panderm", pictures=4)
    first, again = (evaluate(model, manifest, settings, embed=embed) for _ in range(2))
    assert first.json() == again.json()
    assert first.sections == again.sections


def test_a_bad_picture_is_counted_and_in_no_number(model, manifest, embed):
    found = evaluate(model, manifest, config("prompts"), embed=embed)
    assert found.bad_pictures == ["case-122"]
    assert (found.cases, found.value("prompt classification", "accuracy").n) == (60, 59)


def test_zero_shot_is_said_only_of_classes_that_no_training_text_names(model, manifest, embed):
    def protocol(texts):
        return evaluate(model, manifest, config("prompts"), embed=embed, training_texts=texts)

    assert {e.protocol for e in protocol(["an arm", "a leg"]).entries} == {"zero-shot"}
    assert {e.protocol for e in protocol(None).entries} == {"prompt classification"}
    held_out = protocol(["a melanoma", "a nevus"])
    assert {e.protocol for e in held_out.entries} == {"prompt classification"}
    assert {e.class_name for e in held_out.entries if "zero-shot" in e.notes} == {"wart"}


def test_synonyms_are_a_second_protocol_with_the_other_names(model, manifest, embed):
    settings = config("prompts", synonyms={"nevus": ["mole"]})
    model.asked.clear()
    found = evaluate(model, manifest, settings, embed=embed, training_texts=["a nevus", "melanoma"])
    protocols = {e.protocol for e in found.entries}
    assert protocols == {"prompt classification", "prompt classification, unseen synonyms"}
    assert "This is a skin image of mole" in model.asked
    seen = evaluate(model, manifest, settings, embed=embed, training_texts=["a nevus, or mole"])
    assert "prompt classification, synonyms" in {e.protocol for e in seen.entries}


def test_templates_and_names_reach_the_text_tower(model, manifest, embed):
    model.asked.clear()
    evaluate(model, manifest, config("prompts", templates=["<{}>"], prompt_names={"wart": ["verruca"]}), embed=embed)
    assert sorted(model.asked) == ["<melanoma>", "<nevus>", "<verruca>"]


def test_subgroups_and_classes_have_their_own_entries(model, manifest, embed):
    found = evaluate(model, manifest, config("knn"), embed=embed)
    assert {e.class_name for e in found.entries if e.class_name} == set(CLASSES)
    groups = {e.subgroup for e in found.entries if e.subgroup}
    assert {"patient.sex = female", "patient.sex = male"} < groups
    assert any(" minus " in g for g in groups)
    assert not any("source" in g for g in groups)  # one source is no comparison


def test_absent_classes_are_named(model, manifest, embed):
    classes = [*CLASSES, "keloid"]
    found = evaluate(model, manifest, config("prompts", classes=classes), embed=embed)
    assert found.value("prompt classification", "macro AUROC").notes == "1 classes without cases left out: keloid"
    as_zero = evaluate(model, manifest, config("prompts", classes=classes, undefined="zero"), embed=embed)
    value = found.value("prompt classification", "macro AUROC").value
    assert as_zero.value("prompt classification", "macro AUROC").value == pytest.approx(value * 3 / 4)


def test_a_class_without_cases_that_was_said_has_an_f1_of_0_and_is_not_called_left_out():
    score_NC = np.eye(4)[[0, 0, 1, 3]]  # nobody has class c or d, nobody is called c
    four = Manifest.build(pd.DataFrame({"case_id": list("wxyz"), "image": list("wxyz")}), ".")
    cases = Cases(four, score_NC, None, np.array([0, 0, 1, 1]))
    shared = {"model": "m", "dataset": "d", "split": "test", "seed": 0}
    found = {e.metric: e for e in measure(Scored("p", "", score_NC), cases, list("abcd"), config("prompts"), shared)}
    assert found["macro F1"].value == pytest.approx((1 + 2 / 3 + 0) / 3)
    assert found["macro F1"].notes == "1 classes without cases left out: c"
    assert found["balanced accuracy"].notes == "2 classes without cases left out: c, d"
    assert found["macro precision"].notes == "1 classes never predicted left out: c"


def test_retrieval_knows_equal_captions(model, manifest, embed):
    equal = evaluate(model, manifest, config("retrieval"), embed=embed)
    literal = evaluate(model, manifest, config("retrieval", diagonal=True), embed=embed)
    for direction in ("image-to-text retrieval", "text-to-image retrieval"):
        assert equal.value(direction, "recall@1").value > literal.value(direction, "recall@1").value
    assert {e.metric for e in equal.entries if "recall@" in e.metric and "50" in e.metric} == {
        "recall@50",
        "true recall@50",
    }


def test_cases_without_diagnosis_take_part_in_retrieval_only(model, manifest, embed):
    table = manifest.table.copy()
    table.loc[table.index[-5:], "diagnosis"] = None
    found = evaluate(model, Manifest.build(table, manifest.root), config("knn", "retrieval"), embed=embed)
    assert found.value("kNN", "accuracy").n == 54
    assert found.value("image-to-text retrieval", "recall@1").n == 59
    assert found.notes[0] == "5 cases without a diagnosis take no part in `knn`."
    assert evaluate(model, Manifest.build(table, manifest.root), config("retrieval"), embed=embed).notes == []


def test_an_image_tower_alone_can_be_probed_on_its_trunk(manifest, embed):
    tower = torch.nn.Linear(1, 1)
    found = evaluate(tower, manifest, config("linear_probe", probe_features="trunk"), embed=embed)
    assert found.value("linear probe", "accuracy").value > 0.5
    unsaid = evaluate(tower, manifest, config("linear_probe"), embed=embed)
    assert unsaid.value("linear probe", "accuracy") == found.value("linear probe", "accuracy")
    with pytest.raises(ValueError, match="set probe_features to trunk"):
        evaluate(tower, manifest, config("knn", probe_features="projected"), embed=embed)


def test_examples_are_confident_mistakes_and_right_answers(model, manifest, embed):
    found = evaluate(model, manifest, config("prompts", "knn", pictures=6), embed=embed)
    shown = found.sections[0].examples
    assert [e.truth != e.called for e in shown] == [True] * 3 + [False] * 3
    assert shown[0].score == max(e.score for e in shown[:3])
    assert all(Image.open(io.BytesIO(e.jpeg)).size == (40, 40) for e in shown)
    assert found.sections[1].examples == []
    assert not evaluate(model, manifest, config("prompts", pictures=0), embed=embed).sections[0].examples


def test_the_source_decides_whether_data_are_called_synthetic(model, manifest, embed):
    table = manifest.table.assign(source="synthetic skin 1")
    assert evaluate(model, Manifest.build(table, manifest.root), config("knn"), embed=embed).synthetic
    assert not evaluate(model, manifest, config("knn"), embed=embed).synthetic


def test_the_written_report_is_complete(model, manifest, embed, tmp_path):
    found = evaluate(model, manifest, config("prompts", "retrieval"), embed=embed, command="dermis evaluate x")
    page = found.write(tmp_path / "report").read_text()
    assert {p.name for p in (tmp_path / "report").iterdir()} == {"report.json", "report.md", "report.html"}
    assert "dermis evaluate x" in page
    assert "case-122" in page


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"classes": ["melanoma", "naevus", "wart"]}, "value of diagnosis .* 'nevus'. Did you mean 'naevus'"),
        ({"classes": ["melanoma", "nevus", "wart", "nevus"]}, "class 'nevus' is named twice"),
        ({"classes": "ham1000"}, "Did you mean 'ham10000'"),
        ({"positive": "melanom"}, "Did you mean 'melanoma'"),
        ({"synonyms": {"naevus": ["mole"]}}, "Did you mean 'nevus'"),
        ({"split": "tset"}, "Did you mean 'test'"),
        ({"templates": "sngle"}, "Did you mean 'single'"),
    ],
)
def test_wrong_settings_are_answered_with_a_sentence(settings, sentence, model, manifest, embed):
    with pytest.raises(ValueError, match=sentence):
        evaluate(model, manifest, config("prompts", **settings), embed=embed)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"protocols": ["prompt"]}, "Did you mean 'prompts'"),
        ({"protocols": []}, "no protocol is given"),
        ({"protocols": ["knn"], "scale": 100.0}, "scale has no effect: it belongs to `prompts` and `concepts`"),
        ({"protocols": ["knn"], "prompt_names": {}}, "belongs to `prompts` and `make`"),
        ({"protocols": ["prompts"], "neighbours": 5}, "neighbours has no effect: it belongs to `knn`"),
        ({"protocols": ["concepts"], "classes": "ham10000"}, "classes has no effect"),
        ({"protocols": ["retrieval"], "concepts": ["scale"]}, "concepts has no effect"),
        ({"protocols": ["retrieval", "pairs"], "subgroups": ["source"]}, "subgroups has no effect.* `derm7pt`"),
        ({"protocols": ["labels"], "pictures": 3}, "pictures has no effect: it belongs to `prompts` and `make`"),
        ({"protocols": ["prompts", "knn"], "split": "all"}, "knn learns from the split `train`"),
        ({"protocols": ["few_shot"], "shot_seeds": 1}, "at least 2"),
        ({"probe_features": "trunc"}, "Did you mean 'trunk'"),
        ({"undefined": "none"}, "handling of undefined metrics"),
        ({"n_boot": 0}, "n_boot must be at least 1"),
        ({"protocols": ["knn", "prompts", "knn"]}, "protocols names 'knn' twice"),
        ({"protocols": ["prompts"], "scale": 0.0}, r"scale must be positive; it is 0\.0"),
        ({"protocols": ["knn"], "neighbours": 0}, "neighbours must be at least 1; it is 0"),
        ({"protocols": ["knn"], "top": [0]}, r"top lists numbers of 1 or more; it is \[0\]"),
        ({"protocols": ["retrieval"], "recall_at": [5, 0]}, r"recall_at lists numbers of 1 or more; it is \[5, 0\]"),
        ({"protocols": ["few_shot"], "shots": []}, "shots is empty, so few_shot would measure nothing"),
        ({"protocols": ["panderm"], "fractions": []}, "fractions is empty, so panderm would measure nothing"),
        ({"protocols": ["panderm"], "fractions": [2.0]}, r"fractions lists shares above 0 and at most 1; one is 2\.0"),
    ],
)
def test_a_wrong_recipe_stops_before_any_picture_is_opened(settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        EvaluationConfig(**settings)


def test_what_is_switched_off_is_no_error_with_protocols_that_lack_it():
    off = EvaluationConfig(protocols=["retrieval"], subgroups=[], pictures=0)
    assert (off.subgroups, off.pictures) == ([], 0)
    assert EvaluationConfig(protocols=["labels"], subgroups=["source"]).subgroups == ["source"]


def test_generation_may_have_other_concept_templates_for_its_own_concepts():
    assert EvaluationConfig(protocols=["generation"], concept_templates="monet").concept_templates == "monet"


def test_a_missing_text_column_is_named(model, manifest, embed):
    with pytest.raises(ValueError, match=r"retrieval needs the column\(s\) complaint"):
        evaluate(model, manifest, config("retrieval", text="complaint"), embed=embed)


def test_importing_the_room_loads_nothing_heavy():
    code = (
        "import sys, dermis.evaluation.evaluate, dermis.evaluation.report; "
        "print([m for m in ('torch', 'sklearn', 'matplotlib', 'PIL') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"
    code = "import sys, dermis.evaluation.config; print([m for m in ('numpy', 'pandas') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_an_ontology_adds_accuracy_at_each_level(manifest, model, embed):
    found = evaluate(
        model, manifest, EvaluationConfig(protocols=["prompts"], ontology="default", n_boot=5), embed=embed
    )
    values = {e.metric: e.value for e in found.entries if not (e.class_name or e.subgroup)}
    levels = [values[f"accuracy at level {level}"] for level in (1, 2, 3)]
    assert levels == sorted(levels, reverse=True)
    assert levels[-1] >= values["accuracy"]
    assert values["distance of errors"] >= 1
    assert not any("ontology" in note for note in found.notes)
    strange = [*CLASSES, "my finding"]
    found = evaluate(model, manifest, config("prompts", classes=strange, ontology="default", n_boot=5), embed=embed)
    note = "1 of 4 classes are not in the ontology, each is a topmost node of its own: my finding."
    assert note in found.notes
