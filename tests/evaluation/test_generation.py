"""Texts about pictures: the command, the protocol, one case in Python; figures as the metrics' own functions say."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch

import dermis
from dermis.cases.manifest import Manifest
from dermis.cases.synthetic import make_cases
from dermis.cli import main
from dermis.evaluation.config import EvaluationConfig
from dermis.evaluation.evaluate import evaluate
from dermis.evaluation.text_concepts import concept_statistics, mentioned_concepts
from dermis.evaluation.text_metrics import text_statistics
from dermis.methods.m2cg import M2CG, M2CGConfig
from dermis.model import load, save
from dermis.model.generate import generate_texts
from dermis.towers.build import ImageTowerConfig, TextTowerConfig, TwoTowerConfig, build_two_tower
from dermis.towers.trained_tokenizer import train_tokenizer


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cases")
    make_cases(folder, cases=40, size=48, seed=5)
    return Manifest.read(folder / "cases.parquet")


@pytest.fixture(scope="module")
def model(cases, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    texts = [text for column in ("dialogue", "complaint") for text in cases.table[column].dropna()]
    (folder / "tokenizer.json").write_text(train_tokenizer([*texts, "bleeding ulcer"], vocabulary=400))
    text = TextTowerConfig(name="trained", width=16, layers=1, heads=2, tokenizer=str(folder / "tokenizer.json"))
    image = ImageTowerConfig(name="resnet10t", size=48)
    torch.manual_seed(0)
    two = build_two_tower(TwoTowerConfig(image=image, text=text, embed_dim=8, head="convirt"))
    M2CG(two, M2CGConfig(fusion_layers=1, decoder_layers=1, heads=2))
    for parameter in two.generator.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    return save(folder / "model", two)


def command(*arguments):
    with pytest.raises(SystemExit) as done:
        main(["generate", *map(str, arguments)])
    return done.value.code


def test_the_command_writes_a_text_a_case_and_what_the_metrics_say(cases, model, tmp_path, capsys):
    out = tmp_path / "texts.csv"
    manifest = cases.root / "cases.parquet"
    assert command(model, manifest, "--out", out, "--strategy", "greedy", "--max-tokens", 9) == 0
    written, said = pd.read_csv(out), capsys.readouterr().out
    test = cases.split("test")
    assert written["case_id"].tolist() == test.table["case_id"].tolist()
    ours = generate_texts(load(model), test, strategy="greedy", max_tokens=9)
    assert written["text"].fillna("").tolist() == ours
    assert len(set(ours)) > 1
    told = written.dropna(subset=["complaint"])
    texts, references = told["text"].fillna("").tolist(), told["complaint"].tolist()
    weight = np.ones((1, len(texts)))
    expected = text_statistics(texts, references)(weight) | concept_statistics(texts, references)(weight)
    for name, value in expected.items():
        line = next(line for line in said.splitlines() if line.startswith(name))
        assert np.isnan(value[0]) or float(line.removeprefix(name).split()[0]) == pytest.approx(value[0], abs=0.06)


def test_the_same_seed_draws_the_same_texts_and_another_one_others(cases, model, tmp_path, capsys):
    found = []
    for number, seed in enumerate((0, 0, 1)):
        out = tmp_path / f"{number}.csv"
        flags = ["--strategy", "nucleus", "--temperature", 2, "--seed", seed, "--max-tokens", 8, "--split", "all"]
        assert command(model, cases.root / "cases.parquet", "--out", out, *flags) == 0
        found.append(pd.read_csv(out)["text"].tolist())
    assert found[0] == found[1] != found[2]
    assert len(found[0]) == 40


def test_one_case_in_python_reads_its_dialogue(cases, model):
    two, row = load(model), int(np.flatnonzero(cases.table["dialogue"].notna())[0])
    picture, dialogue = cases.root / cases.table["image"][row], cases.table["dialogue"][row]
    search = {"strategy": "greedy", "max_tokens": 9}
    assert dermis.generate(two, picture, dialogue, **search) == generate_texts(two, cases, **search)[row]
    assert dermis.generate(two, picture, **search) == generate_texts(two, cases, dialogues=False, **search)[row]


def test_a_bad_picture_has_no_text_and_the_others_keep_theirs(cases, model, tmp_path):
    table = cases.table.assign(image=["gone.jpg", *cases.table["image"][1:]])
    search = {"strategy": "greedy", "max_tokens": 6}
    with_bad = generate_texts(load(model), Manifest.build(table, cases.root), **search)
    assert with_bad[0] is None
    assert with_bad[1:] == generate_texts(load(model), cases, **search)[1:]


def test_the_protocol_measures_both_ways_and_whether_the_model_agrees_with_itself(cases, model):
    config = EvaluationConfig(protocols=["generation"], n_boot=20, subgroups=[], pictures=0)
    report = evaluate(load(model), cases, config)
    complaints = cases.split("test").table["complaint"].notna().sum()
    protocols = ["generation, picture and consultation", "generation, picture only"]
    assert list(dict.fromkeys(e.protocol for e in report.entries)) == protocols
    for protocol in protocols:
        found = {e.metric: e for e in report.entries if e.protocol == protocol}
        assert set(found) == {
            "BLEU-4", "ROUGE-L", "CIDEr-D", "concept F1 (micro)", "concept F1 (macro)", "unsupported concepts",
        }  # fmt: skip
        assert {e.n for e in found.values()} == {complaints}
    for section in report.sections:
        said = section.table["said"].tolist()
        assert len(said) == complaints
        unsupported = [e.value for e in report.entries if e.metric == "unsupported concepts"]
        of_section = unsupported[protocols.index(section.protocol)]
        assert np.isnan(of_section) == (not any(mentioned_concepts(said)))


def test_concepts_that_the_model_does_not_see_are_unsupported(cases, model, monkeypatch):
    import dermis.model.generate as room

    monkeypatch.setattr(room, "generate_texts", lambda model, cases, **_: ["a bleeding ulcer"] * len(cases))
    two = load(model)
    config = EvaluationConfig(protocols=["generation"], n_boot=20, subgroups=[], pictures=0)
    shares = {}
    for scale in (-300.0, 300.0):  # of the prompts with a concept against those without it: seen nowhere, or everywhere
        monkeypatch.setattr(
            "dermis.evaluation.generation.concept_scores",
            lambda image_ND, target, reference, _, s=scale: np.full((len(image_ND), len(target)), 1 / (1 + np.exp(-s))),
        )
        found = evaluate(two, cases, config).entries
        shares[scale] = {e.value for e in found if e.metric == "unsupported concepts"}
    assert shares == {-300.0: {1.0}, 300.0: {0.0}}


def test_wrong_input_is_a_sentence(cases, model, tmp_path, capsys):
    manifest, out = str(cases.root / "cases.parquet"), str(tmp_path / "texts.csv")
    mute = build_two_tower(
        TwoTowerConfig(image=ImageTowerConfig(name="resnet10t", size=48), text=TextTowerConfig(width=16, layers=1))
    )
    silent = save(tmp_path / "silent", mute)
    for arguments, sentence in (
        ([str(silent), manifest, "--out", out], "this model says no texts"),
        ([str(model), manifest, "--out", out, "--top-p", "0.5"], "--top-p has no effect with strategy beam"),
        ([str(model), manifest, "--out", out, "--max-tokens", "99"], "1 to 60 tokens of this generator"),
        ([str(model), manifest, "--out", str(tmp_path / "texts.txt")], "is not named like one"),
    ):
        assert command(*arguments) == 2
        assert sentence in capsys.readouterr().err
    config = EvaluationConfig(protocols=["generation"], n_boot=20)
    with pytest.raises(ValueError, match="needs a model that says texts"):
        evaluate(mute, cases, config)
    without = dataclasses.replace(cases, table=cases.table.drop(columns="complaint"))
    with pytest.raises(ValueError, match="complaint"):
        evaluate(load(model), without, config)
