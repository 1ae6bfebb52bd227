"""Fine-tuning from cases to predictions: what it looks at, what it keeps, and that it ends where it would have."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from dermis.cases.synthetic import make_cases
from dermis.evaluation import finetune_run
from dermis.evaluation.best_epoch import BestEpoch
from dermis.evaluation.config import EvaluationConfig
from dermis.evaluation.each_label import macro_aurocs
from dermis.evaluation.evaluate import evaluate
from dermis.evaluation.finetune import finetune
from dermis.evaluation.finetune_batches import Features, batches_of
from dermis.evaluation.finetune_config import FineTuneConfig, FineTuneTraining
from dermis.evaluation.finetune_method import FineTuneMethod
from dermis.evaluation.label_predictions import predicted
from dermis.model import embed as embed_module
from dermis.model import load
from dermis.model.embed import embed_cases
from dermis.towers.build import (
    BranchesConfig,
    ImageTowerConfig,
    TextTowerConfig,
    TwoTowerConfig,
    build_branches,
    build_image_tower,
    build_two_tower,
)
from dermis.training import loop

TARGETS = ["finding.pigment_network", "finding.blue_whitish_veil"]
HEADS_ONLY = {"freeze": ["picture_towers.*"], "augmentation": "none"}


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    return make_cases(tmp_path_factory.mktemp("cases"), patients=40, size=48, seed=0)


def small(name="test_vit", paired=False):
    return build_branches(BranchesConfig(image=ImageTowerConfig(name=name, size=32), paired=paired), 3)


def settings(epochs=2, targets=TARGETS, **changes):
    loop_settings = {"batch_size": 16, "workers": 0, "lr": 1e-3, "log_steps": 1} | changes.pop("training", {})
    return FineTuneConfig(targets=targets, training=FineTuneTraining(epochs=epochs, **loop_settings), **changes)


def weights(found):
    return [load_file(folder / "model.safetensors") for folder in found.models]


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def predictions(folder, manifest):
    model = load(folder)
    return predicted(model, embed_cases(model, manifest)[0])


def test_parts_that_are_not_fine_tuned_are_named_and_left_out(cases, tmp_path):
    model = small(paired=True)
    model.add("fusion", classes={TARGETS[0]: ["absent", "atypical", "typical"]}, hidden=8, width=4)
    model.add("pair", width=8, shared=False)
    model.add("labels", classes=[3, 2], relation="proj", width=8, bias=False)
    given = sum(p.numel() for p in model.parts["labels"].parameters())
    found = finetune(model, cases, settings(epochs=1, relation="no_proj"), tmp_path / "run")
    assert found.notes == [
        "The model's fusion and pair heads are left out: fine-tuned are its towers and label heads.",
        f"Of the {given:,} weights of the model's label heads 0 are gone on from.",
    ]
    assert list(model.parts) == ["fusion", "pair", "labels"]
    assert list(load(found.models[0]).parts) == ["labels"]
    kept = finetune(small(paired=True), cases, settings(epochs=1), tmp_path / "plain")
    assert kept.notes == []
    assert kept.about == found.about  # they count for nothing


def test_a_saved_model_predicts_what_was_scored(cases, tmp_path):
    model = small("test_resnet", paired=True)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    found = finetune(model, cases, settings(freeze=["picture_towers.dermoscopy.*"]), tmp_path)
    assert same(model.state_dict(), before)
    assert found.protocol == "fine-tuning"
    assert found.cases.table["case_id"].tolist() == cases.split("test").table["case_id"].tolist()
    assert list(found.classes) == TARGETS
    assert found.bad == {}
    for name, score_NC in predictions(found.models[0], found.cases).items():
        assert np.array_equal(found.scores[name][0], score_NC)
        np.testing.assert_allclose(score_NC.sum(axis=1), 1, atol=1e-6)
    after = weights(found)[0]
    frozen = [name for name in before if ".dermoscopy." in name]
    assert any("running_mean" in name for name in frozen)
    assert all(torch.equal(after[name], before[name]) for name in frozen)
    assert not any(torch.equal(after[name], before[name]) for name in before if ".image." in name)


def test_adapters_are_in_the_saved_weights_which_need_no_peft(cases, tmp_path):
    found = finetune(small(), cases, settings(lora=2), tmp_path)
    after, before = weights(found)[0], small().state_dict()
    moved = {name for name in before if not torch.equal(after[name], before[name])}
    assert moved == {n for n in before if (".blocks." in n and n.endswith(("qkv.weight", "fc1.weight", "fc2.weight")))
                     or n.endswith("attn.proj.weight")}  # fmt: skip
    assert not [name for name in after if "lora" in name]
    for name, score_NC in predictions(found.models[0], found.cases).items():
        assert np.array_equal(found.scores[name][0], score_NC)
    kept = load_file(tmp_path / "seed-0" / "best.safetensors")
    assert all("lora_" in name or "parts.labels" in name for name in kept)
    assert "adapters of rank 2 on 24 linear layers" in found.about


@pytest.fixture
def scripted(monkeypatch):
    """Make the epochs' figures what a test wants."""

    def script(*figures):
        left = iter(figures)
        monkeypatch.setattr(finetune_run, "macro_aurocs", lambda *_: {"label": [next(left)]})

    return script


def test_it_stops_without_a_better_epoch_and_the_best_one_is_kept(cases, tmp_path, scripted):
    constant = {"schedule": "constant"}
    scripted(0.5, 0.9, 0.9, 0.6, 0.95)
    stopped = finetune(small(), cases, settings(epochs=5, patience=2, training=constant), tmp_path / "stopped")
    lines = [json.loads(line) for line in (tmp_path / "stopped/seed-0/log.jsonl").read_text().splitlines()]
    assert [line["mean macro AUROC"] for line in lines if line["kind"] == "evaluate"] == [0.5, 0.9, 0.9, 0.6]
    scripted(0.5, 0.9)
    short = finetune(small(), cases, settings(epochs=2, training=constant), tmp_path / "short")
    assert same(weights(stopped)[0], weights(short)[0])
    assert "of at most 5 epochs the one with the best mean macro AUROC on valid was kept: 2 (seed 0)" in stopped.about
    scripted(0.5, 0.9, 0.4, 0.4, 0.4)
    patient = finetune(small(), cases, settings(epochs=5, training=constant), tmp_path / "patient")
    assert same(weights(patient)[0], weights(short)[0])


def with_changed_labels(manifest, split):
    """The manifest with the labels of one split in another order."""
    table = manifest.table.copy()
    rows = np.flatnonzero(table["split"] == split)
    for column in TARGETS:
        table.loc[rows, column] = np.roll(table.loc[rows, column].to_numpy(), 3)
    assert not table.equals(manifest.table)
    return replace(manifest, table=table)


def test_clean_never_looks_at_test_labels_and_paper_chooses_by_them_alone(cases, tmp_path):
    def run(manifest, name, protocol):
        found = finetune(small(), manifest, settings(protocol=protocol), tmp_path / name)
        return found, json.loads((tmp_path / name / "seed-0" / "best.json").read_text())["figures"]

    clean, figures = run(cases, "clean", "clean")
    blind, blind_figures = run(with_changed_labels(cases, "test"), "blind", "clean")
    assert same(weights(clean)[0], weights(blind)[0])
    assert figures == blind_figures
    paper, figures = run(cases, "paper", "paper")
    assert paper.protocol == "fine-tuning, epoch chosen on the scored split (paper)"
    assert "on the scored split itself was kept" in paper.about
    score = {name: score_SNC[0] for name, score_SNC in paper.scores.items()}
    aurocs = macro_aurocs(score, paper.labels)
    assert max(figures.values()) == pytest.approx(np.mean(list(aurocs.values())), abs=1e-12)
    _, changed = run(with_changed_labels(cases, "test"), "paper-test", "paper")
    _, valid = run(with_changed_labels(cases, "valid"), "paper-valid", "paper")
    assert valid == figures != changed


def test_each_fold_is_predicted_by_a_model_that_has_not_seen_it(cases, tmp_path):
    found = finetune(small(), cases, settings(epochs=1, folds=3), tmp_path, split="all")
    assert found.protocol == "fine-tuning, 3 folds"
    assert found.cases.table["case_id"].tolist() == cases.table["case_id"].tolist()
    assert [str(folder.relative_to(tmp_path)) for folder in found.models] == [f"seed-0/fold-{i}/model" for i in "012"]
    by_model = [predictions(folder, cases) for folder in found.models]
    for name, score_SNC in found.scores.items():
        which_N = np.argmax([(score_SNC[0] == by[name]).all(axis=1) for by in by_model], axis=0)
        assert np.array_equal(score_SNC[0], np.choose(which_N[:, None], [by[name] for by in by_model]))
        assert np.bincount(which_N).min() > 20


def kill(monkeypatch, target, name, at):
    """Let the ``at``-th call of a function end the run."""
    real, calls = getattr(target, name), []

    def dies(*arguments, **settings):
        calls.append(1)
        if len(calls) == at:
            raise KeyboardInterrupt
        return real(*arguments, **settings)

    monkeypatch.setattr(target, name, dies)


@pytest.mark.parametrize(
    "target, name, at",
    [
        (FineTuneMethod, "loss", 2),  # in the first epoch, before any checkpoint
        (FineTuneMethod, "loss", 6),  # in the second
        (BestEpoch, "_remember", 1),  # the first epoch's weights are written and its figure is not
        (loop, "save", 2),  # both are written and the checkpoint is not
        (BestEpoch, "close", 1),  # training is over and nobody knows
        (finetune_run, "save", 1),  # the model is not written
    ],
)
def test_cut_and_started_again_it_ends_with_the_same_bits(cases, tmp_path, monkeypatch, target, name, at):
    config = settings(epochs=3, relation="mlp", width=16, dropout=0.5, patience=2, training={"ema": 0.5})
    whole = finetune(small(), cases, config, tmp_path / "whole")
    with monkeypatch.context() as patch:
        kill(patch, target, name, at)
        with pytest.raises(KeyboardInterrupt):
            finetune(small(), cases, config, tmp_path / "cut")
    torch.manual_seed(99)
    resumed = finetune(small(), cases, config, tmp_path / "cut")
    assert same(weights(whole)[0], weights(resumed)[0])
    assert all(np.array_equal(whole.scores[k], resumed.scores[k]) for k in whole.scores)
    assert resumed.about == whole.about
    figures = [(tmp_path / which / "seed-0" / "best.json").read_text() for which in ("whole", "cut")]
    assert figures[0] == figures[1]


def test_what_is_done_is_not_trained_again_and_another_seed_joins_it(cases, tmp_path, monkeypatch):
    torch.manual_seed(4)
    expected = torch.randn(3)
    torch.manual_seed(4)
    first = finetune(small(), cases, settings(), tmp_path)
    assert torch.equal(torch.randn(3), expected)
    assert not (tmp_path / "seed-0" / "checkpoints").exists()
    trained = []
    monkeypatch.setattr(finetune_run, "train", lambda *a, real=loop.train: (trained.append(a[3].name), real(*a)))
    both = finetune(small(), cases, settings(seeds=[0, 1]), tmp_path)
    assert trained == ["seed-1"]
    for name, score_SNC in both.scores.items():
        assert score_SNC.shape[0] == 2
        assert np.array_equal(score_SNC[0], first.scores[name][0])
        assert not np.array_equal(score_SNC[0], score_SNC[1])


def test_a_folder_with_another_run_is_refused(cases, tmp_path):
    finetune(small(), cases, settings(epochs=1), tmp_path)
    with pytest.raises(ValueError, match=r"other training\.epochs \(1 there, 2 here\): choose another folder \(--eval"):
        finetune(small(), cases, settings(epochs=2), tmp_path)
    with pytest.raises(ValueError, match="with other model: "):
        finetune(small("test_vit2"), cases, settings(epochs=1), tmp_path)
    with pytest.raises(ValueError, match="with other cases: "):
        finetune(small(), with_changed_labels(cases, "train"), settings(epochs=1), tmp_path)
    finetune(small(), cases, settings(epochs=1, training={"keep": 1}), tmp_path)


def test_heads_on_frozen_towers_learn_from_features_that_are_made_once(cases, tmp_path, monkeypatch):
    opened = []
    real = embed_module.read_bytes
    monkeypatch.setattr(embed_module, "read_bytes", lambda root, path: (opened.append(path), real(root, path))[1])
    found = finetune(small(), cases, settings(seeds=[0, 1], **HEADS_ONLY), tmp_path, cache=tmp_path / "cache")
    assert sorted(opened) == sorted(cases.table["image"])
    finetune(small(), cases, settings(seeds=[2], **HEADS_ONLY), tmp_path, cache=tmp_path / "cache")
    assert len(opened) == len(cases)
    assert found.about.startswith("325 of ")
    monkeypatch.setattr(FineTuneMethod, "towers_learn", True)
    seen = finetune(small(), cases, settings(**HEADS_ONLY), tmp_path / "pictures")
    for name, score_SNC in seen.scores.items():
        np.testing.assert_allclose(score_SNC[0], found.scores[name][0], atol=1e-5)


@pytest.mark.parametrize("resize_mode", ["shortest", "squash"])
def test_without_augmentation_training_sees_the_evaluation_view(cases, resize_mode):
    model = small(paired=True)
    for tower in model.picture_towers.values():
        tower.transform = replace(tower.transform, resize_mode=resize_mode)
    config = settings(augmentation="none")
    method = FineTuneMethod(model, config, {TARGETS[0]: ["absent", "atypical", "typical"]}).eval()
    label_NL = np.zeros((len(cases), 1), dtype=int)
    batch = next(iter(batches_of(method, Features(cases, None), np.arange(20), label_NL, config, 0)))
    with torch.no_grad():
        found = method.embed(batch)["features"].numpy()
    expected, _ = embed_cases(model, cases.select(batch["row_B"].numpy()))
    np.testing.assert_allclose(found, expected, atol=1e-5)


def two_tower():
    image = ImageTowerConfig(name="test_vit", size=32, freeze=True)
    return build_two_tower(TwoTowerConfig(image=image, text=TextTowerConfig(width=32, layers=1, heads=2)))


@pytest.mark.parametrize("build", [two_tower, lambda: build_image_tower(ImageTowerConfig(name="test_vit", size=32))])
def test_a_model_of_pictures_and_texts_or_a_tower_is_fine_tuned_too(cases, tmp_path, build):
    model = build()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    frozen = [p.requires_grad for p in model.parameters()]
    found = finetune(model, cases, settings(epochs=1), tmp_path)
    assert same(model.state_dict(), before)
    assert [p.requires_grad for p in model.parameters()] == frozen
    after = weights(found)[0]
    prefix = "image.trunk." if any(name.startswith("image.") for name in before) else "trunk."
    trunk = {name: tensor for name, tensor in before.items() if name.startswith(prefix)}
    assert len(trunk) > 50
    for name, tensor in trunk.items():
        assert not torch.equal(after[f"picture_towers.image.trunk.{name.removeprefix(prefix)}"], tensor), name
    for name, score_NC in predictions(found.models[0], found.cases).items():
        assert np.array_equal(found.scores[name][0], score_NC)
    assert not load(found.models[0]).config.image.freeze


def test_the_protocol_keeps_each_models_runs_in_a_folder_of_its_own(cases, tmp_path):
    chosen = settings(epochs=1, out=tmp_path, **HEADS_ONLY)
    config = EvaluationConfig(protocols=["finetune"], finetune=chosen, n_boot=10, subgroups=[], pictures=0)
    for number, model in enumerate((two_tower(), small()), start=1):
        report = evaluate(model, cases, config)
        assert {e.protocol for e in report.entries if e.metric == "macro AUROC"} == {"fine-tuning"}
        assert len(list(tmp_path.iterdir())) == number


def test_towers_that_cannot_be_built_again_are_scored_without_a_folder(cases, tmp_path):
    tower = build_image_tower(ImageTowerConfig(name="test_vit", size=32))
    tower.config = None
    found = finetune(tower, cases, settings(epochs=1), tmp_path)
    assert found.models == []
    assert found.notes == ["No folder of the fine-tuned model: its towers cannot say how to build them again."]


def test_bad_pictures_and_missing_labels_are_named_and_left_out(cases, tmp_path):
    folder = tmp_path / "cases"
    shutil.copytree(cases.root, folder)
    table = cases.table.copy()
    rows = {name: np.flatnonzero(table["split"] == name) for name in ("train", "valid", "test")}
    for name in rows:
        (folder / table["image"][rows[name][0]]).write_bytes(b"no picture")
    table.loc[rows["train"][1], "dermoscopy"] = None
    table.loc[rows["train"][2], TARGETS] = None
    broken = replace(cases, table=table, root=folder)
    found = finetune(small(paired=True), broken, settings(epochs=2), tmp_path / "run")
    bad = table["case_id"][rows["test"][0]]
    assert list(found.bad) == [bad]
    assert found.bad[bad].startswith("it is text")
    assert found.cases.table["case_id"].tolist() == table["case_id"][rows["test"][1:]].tolist()
    assert len(found.scores[TARGETS[0]][0]) == len(rows["test"]) - 1
    train = len(rows["train"])
    assert found.notes == [
        f"2 of {train} training cases lack labels or pictures and are left out.",
        "1 training pictures could not be opened and were replaced (quarantine.jsonl).",
    ]
    heads = finetune(small(), broken, settings(**HEADS_ONLY), tmp_path / "heads")
    assert heads.notes == [f"2 of {train} training cases lack labels or pictures and are left out."]


@pytest.mark.parametrize(
    "changes, split, sentence",
    [
        ({}, "valid", "unknown split to score a fine-tuned model on 'valid'"),
        ({"targets": ["finding.nothing"]}, "test", r"learning labels needs the column\(s\) finding.nothing"),
        ({"training": {"batch_size": 99}}, "test", "do not fill one batch of 99"),
    ],
)
def test_what_does_not_fit_the_cases_is_one_sentence(cases, tmp_path, changes, split, sentence):
    with pytest.raises(ValueError, match=sentence) as caught:
        finetune(small(), cases, settings(**changes), tmp_path, split=split)
    assert str(caught.value).count("\n") == 0


def test_a_choice_by_one_class_and_a_model_without_pictures_are_refused(cases, tmp_path):
    table = cases.table.copy()
    table.loc[table["split"] == "valid", TARGETS] = "absent"
    with pytest.raises(ValueError, match="no label has two classes among the 9 cases that choose it"):
        finetune(small(), replace(cases, table=table), settings(), tmp_path)
    table.loc[np.flatnonzero(table["split"] == "valid")[0], TARGETS[1]] = "present"
    table.loc[np.flatnonzero(table["split"] == "valid")[0], "image"] = "nowhere.jpg"
    with pytest.raises(ValueError, match="no label has two classes among the 8 readable cases that choose it"):
        finetune(small(), replace(cases, table=table), settings(), tmp_path)
    with pytest.raises(ValueError, match="needs a model with an image tower; Linear has none"):
        finetune(torch.nn.Linear(2, 2), cases, settings(), tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dermis.evaluation.finetune.world_size", lambda: 2)
        with pytest.raises(ValueError, match="runs in one process"):
            finetune(small(), cases, settings(), tmp_path)


def test_the_figure_is_the_mean_of_one_vs_rest_areas_without_undefined_classes():
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(0)
    score = {"a": rng.dirichlet(np.ones(3), 40), "b": rng.dirichlet(np.ones(2), 40), "c": rng.dirichlet(np.ones(2), 40)}
    label_NL = np.stack([rng.integers(2, size=40), rng.integers(2, size=40), np.zeros(40, int)], axis=1)
    label_NL[:5, 0] = -1
    found = macro_aurocs(score, dict(zip(score, label_NL.T, strict=True)))
    known = label_NL[5:, 0]
    areas = [roc_auc_score(known == k, score["a"][5:, k]) for k in (0, 1)]  # class 2 has no case
    assert found["a"] == pytest.approx(np.mean(areas))
    assert found["b"] == pytest.approx(roc_auc_score(label_NL[:, 1], score["b"][:, 1]))
    assert np.isnan(found["c"])
