"""The whole way on twelve cases, each with one known fault, and the command from files to report."""

import json
import sys

import numpy as np
import pandas as pd
import pytest

from dermis.cases.corpus import build as module
from dermis.cases.corpus.build import RULES, CorpusConfig, build
from dermis.cases.corpus.look import classifier
from dermis.cases.manifest import Manifest
from dermis.commands.corpus import run

LONG = "a solitary erythematous plaque with silvery scale on the extensor surface of the left elbow"
NO_LANGUAGE = CorpusConfig(skip=("language",))


@pytest.fixture
def collected(tmp_path, picture, save):
    """Case -> what is wrong with it is its name."""
    two = np.concatenate([picture(20, 300, 200), np.full((300, 8, 3), 255, np.uint8), picture(21, 300, 200)], axis=1)
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    rows = [
        ("fine", save("fine.jpg", picture(0)), LONG, "p1"),
        ("short", save("short.jpg", picture(1)), "red", "p2"),
        ("original-of-short", save("copy-of-short.jpg", picture(1)), "a red itchy plaque", "p3"),
        ("equal", save("equal.jpg", picture(0)), "a red scaly plaque", "p4"),
        ("near", save("near.jpg", picture(0), quality=60), "an inflamed patch of skin", "p5"),
        ("broken", "broken.jpg", "a picture that is broken", "p6"),
        ("absent", "absent.jpg", "a picture that is absent", "p7"),
        ("blank", save("blank.jpg", np.full((300, 400, 3), 128, np.uint8)), "a picture of nothing", "p8"),
        ("panels", save("panels.jpg", two), "figure of two panels", "p9"),
        ("same-words", save("same-words.jpg", picture(2)), LONG.upper(), "p10"),
        ("leak-picture", save("leak.jpg", picture(3), quality=70), "dermoscopy of a nevus", "p11"),
        ("leak-patient", save("patient.jpg", picture(4)), "dermoscopy of a melanoma", "p12"),
    ]
    table = pd.DataFrame(rows, columns=["case_id", "image", "caption", "patient_id"])
    return Manifest.build(table.assign(source=["web"] * 6 + ["clinic"] * 6), tmp_path)


@pytest.fixture
def evaluation(tmp_path, picture, save):
    rows = [
        ("e0", save("test/e0.jpg", picture(3)[:, ::-1]), "p1", "elsewhere"),  # mirrored; patient p1 of another source
        ("e1", save("test/e1.jpg", picture(30)), "p12", "clinic"),
        ("e2", save("test/e2.jpg", picture(31)), "p99", "clinic"),
    ]
    table = pd.DataFrame(rows, columns=["case_id", "image", "patient_id", "source"])
    return Manifest.build(table.assign(caption=[f"{LONG}.", None, None]), tmp_path)


def test_every_fault_is_found_once_and_nothing_is_lost(collected, evaluation):
    corpus = build(collected, NO_LANGUAGE, {"test": evaluation})
    assert dict(zip(corpus.dropped["case_id"], corpus.dropped["rule"], strict=True)) == {
        "short": "caption-length", "broken": "unreadable-picture", "absent": "unreadable-picture",
        "blank": "blank-picture", "equal": "equal-picture", "near": "near-picture",
        "leak-picture": "leak-near-picture", "leak-patient": "leak-id",
    }  # fmt: skip
    assert corpus.kept.table["case_id"].tolist() == ["fine", "original-of-short", "panels", "same-words"]
    assert len(corpus.kept) + len(corpus.dropped) == len(collected)
    assert corpus.flagged[["case_id", "rule"]].to_numpy().tolist() == [
        ["same-words", "near-caption"],
        ["panels", "panels"],
        ["fine", "leak-caption"],
        ["same-words", "leak-caption"],
    ]
    reason = corpus.dropped.set_index("case_id")["reason"]
    assert reason["near"] == "the picture looks the same as that of case fine"
    assert reason["leak-picture"] == "the picture looks the same as that of case e0 of test"
    assert reason["leak-patient"] == "patient_id p12 is that of case e1 of test"
    assert [applied.rule for applied in corpus.applied] == list(RULES)


def test_rules_may_flag_or_be_left_out(collected, evaluation):
    config = CorpusConfig(skip=("language", "near-picture", "leak-id"), flag=("equal-picture", "caption-length"))
    corpus = build(collected, config, {"test": evaluation})
    assert {"near", "leak-patient", "equal", "short"} <= set(corpus.kept.table["case_id"])
    assert {"panels", "same-words"} <= set(corpus.dropped["case_id"])
    assert corpus.flagged["rule"].unique().tolist() == ["caption-length", "equal-picture"]


def test_without_pictures_only_words_and_ids_count(collected, evaluation):
    corpus = build(collected, NO_LANGUAGE, {"test": evaluation}, pictures=False)
    assert corpus.dropped["case_id"].tolist() == ["short", "leak-patient"]
    why = {applied.rule: applied.not_applied for applied in corpus.applied}
    assert (why["near-picture"], why["leak-near-picture"]) == ("no picture was opened",) * 2
    with pytest.raises(ValueError, match="no effect where no picture is opened"):
        build(collected, NO_LANGUAGE, pictures=False, skin=lambda picture: 1.0)


def test_no_evaluation_picture_is_opened_where_no_rule_about_leaks_is_applied(collected, evaluation, monkeypatch):
    opened, look = [], module.look
    monkeypatch.setattr(module, "look", lambda root, paths, **options: opened.extend(paths) or look(root, paths))
    leaks = tuple(rule for rule in RULES if rule.startswith("leak-"))
    corpus = build(collected, CorpusConfig(skip=("language", "panels", *leaks)), {"test": evaluation})
    assert opened
    assert not any(path.startswith("test/") for path in opened)
    assert corpus.leaks.empty


def test_the_skin_classifier_decides(collected):
    seen = []

    def skin(picture):  # a white line down the middle is not skin
        seen.append(picture)
        return 1 - float((picture[:, picture.shape[1] // 2] > 240).all())

    corpus = build(collected, NO_LANGUAGE, skin=skin)
    not_skin = corpus.dropped[corpus.dropped["rule"] == "not-skin"]
    assert not_skin[["case_id", "reason"]].to_numpy().tolist() == [
        ["panels", "the picture shows skin with probability 0.00"]
    ]
    assert all(picture.dtype == np.uint8 and picture.shape[2] == 3 for picture in seen)
    with pytest.raises(ValueError, match="must be one probability in 0 to 1"):
        build(collected, NO_LANGUAGE, skin=lambda picture: 7)


@pytest.mark.parametrize(
    ("place", "sentence"),
    [
        ("numpy", "named module:function, not 'numpy'"),
        ("no.such.module:skin", "cannot be imported"),
        ("numpy:no_such_function", "has no function 'no_such_function'"),
    ],
)
def test_a_wrong_classifier_is_explained(place, sentence):
    with pytest.raises(ValueError, match=sentence):
        classifier(place)
    assert classifier("numpy:mean") is np.mean


def test_an_unknown_rule_gets_the_nearest():
    with pytest.raises(ValueError, match=r"unknown rule of a corpus 'near-pictures'\. Did you mean 'near-picture'"):
        CorpusConfig(skip=("near-pictures",))


def test_the_command_writes_corpus_dropped_and_report(collected, evaluation, tmp_path, monkeypatch, capsys):
    (tmp_path / "skin_colour.py").write_text("def skin(picture):\n    return 1.0\n", encoding="utf-8")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    cases = collected.write(tmp_path / "cases.parquet")
    test = evaluation.write(tmp_path / "test.parquet")
    out = tmp_path / "clean" / "clean.parquet"
    arguments = [str(cases), "--out", str(out), "--against", str(test), "--skip", "language"]
    assert run([*arguments, "--skin", "skin_colour:skin"]) == 0
    page = capsys.readouterr().out
    clean = Manifest.read(out)
    dropped = pd.read_parquet(out.with_suffix(".dropped.parquet"))
    assert clean.root == collected.root
    assert (len(clean), len(dropped)) == (4, 8)
    assert sorted([*clean.table["case_id"], *dropped["case_id"]]) == sorted(collected.table["case_id"])
    record = json.loads(out.with_suffix(".report.json").read_text(encoding="utf-8"))
    assert (record["collected"], record["dropped"], record["kept"], record["flagged"]) == (12, 8, 4, 3)
    assert record["evaluations"][0]["corpus_cases_shared"] == {
        "leak-equal-picture": 0, "leak-near-picture": 1, "leak-id": 1, "leak-caption": 2,
    }  # fmt: skip
    assert record["sources"] == [
        {"source": "web", "collected": 6, "kept": 2}, {"source": "clinic", "collected": 6, "kept": 2},
    ]  # fmt: skip
    assert "| near-picture | picture that looks the same as an earlier case's | 7 | 1 | 0 |" in page
    assert page == out.with_suffix(".report.md").read_text(encoding="utf-8")


def test_the_command_overwrites_nothing_and_needs_something_left(collected, tmp_path):
    cases = str(collected.write(tmp_path / "cases.parquet"))
    with pytest.raises(ValueError, match="is also read"):
        run([cases, "--out", cases])
    with pytest.raises(ValueError, match="is not named like one"):
        run([cases, "--out", str(tmp_path / "clean.json")])
    with pytest.raises(ValueError, match="no case is left"):
        run([cases, "--out", str(tmp_path / "c.parquet"), "--least-words", "300", "--no-pictures"])
    assert len(pd.read_parquet(tmp_path / "c.dropped.parquet")) == 12
