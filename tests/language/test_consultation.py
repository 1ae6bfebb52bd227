"""Narrated consultations: read back by regular expressions, they say what the row says and nothing else."""

import re
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest

from dermis.cases.manifest import Manifest
from dermis.cli import main
from dermis.language.consultation import narrate_consultations, tell_consultation
from dermis.language.knowledge import reader
from dermis.language.lexicon import default_lexicon
from dermis.language.ontology import default_ontology

FLAGS = ("grew", "changed", "itch", "hurt", "bleed", "elevation")
HISTORIES = ("skin_cancer_history", "cancer_history")
TOPICS = {
    "grew": r"grown|bigger", "changed": r"changed|different", "itch": r"itch", "hurt": r"hurt|pain",
    "bleed": r"ble[ed]d?", "elevation": r"raised|stand out", "size": r"big is|What size",
    "duration": r"How long|Since when", "skin_type": r"skin type", "skin_cancer_history": r"skin cancer",
    "cancer_history": r"cancer (of any kind|in general)",
    "person": r"yourself|talking to|file says|see here",
}  # fmt: skip
PERSON = re.compile(r"\ban? (?:(?P<age>\d+)-year-old )?(?P<noun>man|woman|boy|girl|patient|child)\b")
SEX = {"man": "male", "boy": "male", "woman": "female", "girl": "female"}
SYMPTOM = {
    "grew": r"has grown|is bigger", "changed": r"has changed|looks different", "itch": r"itches|itchy",
    "hurt": r"hurts|painful", "bleed": r"bleeds|has bled", "elevation": r"is raised",
}  # fmt: skip
SIZE = r"about ([\d.]+)(?: by ([\d.]+))? mm"


def pad_row(rng):
    """A row with the values of PAD-UFES-20's columns, about half of them missing."""

    def some(*values):
        return values[rng.integers(len(values))] if rng.random() < 0.55 else None

    return {
        "diagnosis": "basal cell carcinoma", "lesion.biopsed": "True", "modality": "clinical",
        "lesion.localization": some("face", "forearm", "chest", "nose", "lip", "back"),
        "lesion.diameter_1": some(4.0, 11.0, 7.5), "lesion.diameter_2": some(3.0, 9.0, 0.0),
        "lesion.duration_months": some(0.5, 1.0, 7.0, 30.0, 36.0),
        **{f"lesion.{flag}": some("True", "False") for flag in FLAGS},
        **{f"patient.{history}": some("True", "False") for history in HISTORIES},
        "patient.age": some(6.0, 17.0, 45.0, 88.0), "patient.sex": some("male", "female"),
        "patient.fitzpatrick": some(1.0, 2.0, 3.0, float("nan")),
    }  # fmt: skip


def turns_of(dialogue):
    """(topic, question, answer) of all turns but the first, and the first answer."""
    lines = dialogue.split("\n")
    assert all(line.startswith(who) for line, who in zip(lines, ("Doctor: ", "Patient: ") * len(lines), strict=False))
    texts = [line.split(": ", 1)[1] for line in lines]
    found = []
    for question, answer in zip(texts[2::2], texts[3::2], strict=True):
        topics = [topic for topic, words in TOPICS.items() if re.search(words, question)]
        topics = ["skin_cancer_history"] if topics[:1] == ["skin_cancer_history"] else topics
        assert len(topics) == 1, question
        found.append((topics[0], question, answer))
    return texts[1], found


def is_true(answer):
    return "False" if re.search(r"\b[Nn]ot?\b|n't\b|is flat", answer) else "True"


def read_back(topic, question, answer):
    """What a turn states, as column values."""
    if topic == "person":
        told = PERSON.search(question + answer)
        return {
            "patient.age": told["age"] and float(told["age"]),
            "patient.sex": SEX.get(told["noun"]),
        }
    if topic == "skin_type":
        return {"patient.fitzpatrick": float(re.search(r"ype (\d)\.", answer)[1])}
    if topic == "size":
        return {"size": re.search(SIZE, answer, re.IGNORECASE).groups()}
    if topic == "duration":
        return {"duration": re.search(r"for (.*)\.", answer, re.IGNORECASE)[1]}
    return {f"{'patient' if topic in HISTORIES else 'lesion'}.{topic}": is_true(answer)}


def size_of(row):
    one, two = (row[f"lesion.diameter_{k}"] or None for k in (1, 2))
    sides = [f"{side:g}" for side in (one, two) if side]
    return (*sides, None)[:2] if sides else None


DURATIONS = {0.5: "about 2 weeks", 1.0: "a month", 7.0: "7 months", 30.0: "about 2 years", 36.0: "3 years"}


def truth_of(row):
    duration = DURATIONS.get(row["lesion.duration_months"])
    values = {c: None if pd.isna(v) else v for c, v in row.items()}
    return {**values, "size": size_of(row), "duration": duration}


def test_every_stated_fact_is_the_row_s_and_missing_ones_are_never_stated():
    rng = np.random.default_rng(0)
    stated = dict.fromkeys(TOPICS, 0)
    unsure = 0
    for _ in range(1500):
        row = pad_row(rng)
        truth = truth_of(row)
        told = tell_consultation(row, rng)
        if told.dialogue is None:
            continue
        opening, turns = turns_of(told.dialogue)
        site = row["lesion.localization"]
        assert re.findall(r"on my (\w+)", opening) == ([site] if site else [])
        assert len({topic for topic, *_ in turns}) == len(turns)
        for topic, question, answer in turns:
            if "don't know" in answer:
                unsure += 1
                column = f"{'patient' if topic in HISTORIES else 'lesion'}.{topic}"
                column = {"size": "size", "duration": "duration", "skin_type": "patient.fitzpatrick"}.get(topic, column)
                assert truth[column] is None
                continue
            stated[topic] += 1
            for column, value in read_back(topic, question, answer).items():
                assert value == truth[column], (question, answer)
    assert min(stated.values()) > 200  # every topic has been told
    assert unsure > 200


def test_complaints_say_what_the_row_says_in_at_most_60_tokens():
    from dermis.towers.text import BytePairTokenizer

    rng, longest, count = np.random.default_rng(1), 0, BytePairTokenizer(200)
    seen = dict.fromkeys((*SYMPTOM, "size", "site", "duration"), 0)
    for _ in range(1500):
        row = pad_row(rng)
        truth, complaint = truth_of(row), tell_consultation(row, rng).complaint
        tellable = [row["lesion.localization"], truth["duration"], truth["size"]]
        tellable += [row[f"lesion.{flag}"] == "True" or None for flag in FLAGS]
        if complaint is None:
            assert all(value is None for value in tellable)
            continue
        for flag, words in SYMPTOM.items():
            if re.search(words, complaint):
                seen[flag] += 1
                assert truth[f"lesion.{flag}"] == "True", complaint
        site, size = re.findall(r"on my (\w+)", complaint), re.search(SIZE, complaint)
        assert site == ([row["lesion.localization"]] if row["lesion.localization"] else [])
        assert size is None or size.groups() == truth["size"]
        sentences = re.split(r"(?<=\.) ", complaint)
        assert len(set(sentences)) == len(sentences)
        durations = re.findall(r"(?:about )?(?:a|\d+) (?:week|month|year)s?", complaint)
        assert durations in ([], [truth["duration"]])
        for name, there in (("size", size), ("site", site), ("duration", durations)):
            seen[name] += bool(there)
        longest = max(longest, len(count([complaint])[0]))
    assert longest <= 60
    assert min(seen.values()) > 100


def test_the_dictionary_reads_no_disease_and_no_finding_that_the_row_lacks():
    """The house's reader, which knows some 1,000 spellings of findings and the ontology's diseases."""
    read, rng, found = reader(default_ontology(), default_lexicon()), np.random.default_rng(2), set()
    holds = {"bleeding": ("bleed", "True"), "elevated": ("elevation", "True"), "flat": ("elevation", "False")}
    for _ in range(600):
        row = pad_row(rng)
        dialogue, complaint = tell_consultation(row, rng)
        if dialogue is None:
            continue
        lines = [re.sub(r"[^.?]*cancer[^.?]*[.?]", "", line) for line in dialogue.split("\n")]  # in the ontology
        assert set(read(" ".join(lines[::2])).concepts) <= {"bleeding", "elevated"}  # what questions ask for
        for text in (" ".join(lines[1::2]).replace("Patient: ", ""), complaint or ""):
            told = read(text)
            assert told.disease is None, text
            assert all(row[f"lesion.{holds[c][0]}"] == holds[c][1] for c in told.concepts), text
            assert not re.search(r"carcinoma|melanoma|nevus|\bmole\b|keratosis|biops|clinical", text)
            found |= {*told.concepts}
    assert found == set(holds)


def test_the_same_seed_tells_the_same_and_a_missing_value_does_not_move_the_others():
    row = pad_row(np.random.default_rng(5)) | {
        "lesion.localization": "back",
        "lesion.itch": "True",
        "lesion.hurt": "False",
    }
    once, again = (tell_consultation(row, np.random.default_rng(7)) for _ in range(2))
    assert once == again
    assert len({tell_consultation(row, np.random.default_rng(k)).dialogue for k in range(50)}) == 50
    for seed in range(20):
        full = turns_of(tell_consultation(row, np.random.default_rng(seed)).dialogue)
        fewer = turns_of(tell_consultation(row | {"lesion.hurt": None}, np.random.default_rng(seed)).dialogue)
        assert fewer[0] == full[0]
        assert [t for t in fewer[1] if t[0] != "hurt"] == [t for t in full[1] if t[0] != "hurt"]


@pytest.mark.parametrize("row, dialogue, complaint", [
    ({}, None, None),
    ({"diagnosis": "nevus", "modality": "clinical", "patient.smoke": "True"}, None, None),
    ({"patient.age": 50.0}, "I am a 50-year-old patient", None),
    ({"patient.age": 0.0, "patient.sex": "female"}, "an infant girl", None),
    ({"lesion.itch": "False"}, r"not itch|n't itch", None),
    ({"lesion.itch": True}, r"itches", r"itches|itchy"),
    ({"lesion.elevation": "nodular"}, "lump", "lump"),
    ({"lesion.localization": "posterior torso"}, "on my back", "on my back"),
    ({"lesion.clin_size_long_diam_mm": 3.25}, "3.25 mm", "3.25 mm"),
    ({"lesion.elevation": "who knows"}, None, None),
    ({"patient.fitzpatrick": "1-2"}, None, None),
])  # fmt: skip
def test_rows_that_know_little(row, dialogue, complaint):
    for seed in range(30):
        told = tell_consultation(row, np.random.default_rng(seed))
        for text, expected in zip(told, (dialogue, complaint), strict=True):
            assert (text is None) if expected is None else re.search(expected, text)


def test_a_measure_that_is_no_number_is_a_sentence():
    with pytest.raises(ValueError, match=r"lesion\.diameter_1 should be a number to be told; it is 'large'"):
        tell_consultation({"lesion.diameter_1": "large"}, np.random.default_rng(0))


@dataclass(frozen=True)
class Cases:
    table: pd.DataFrame


@pytest.fixture
def cases():
    rng = np.random.default_rng(3)
    return Cases(pd.DataFrame([{"case_id": f"c{k}", **pad_row(rng)} for k in range(80)]))


def test_a_manifest_tells_the_same_whatever_its_order_and_given_texts_stay(cases):
    once = narrate_consultations(cases, seed=0).table.set_index("case_id")
    shuffled = Cases(cases.table.sample(frac=1, random_state=0).reset_index(drop=True))
    again = narrate_consultations(shuffled, seed=0).table.set_index("case_id").reindex(once.index)
    for kind in ("dialogue", "complaint"):
        assert again[kind].equals(once[kind])
        assert set(once[f"{kind}_origin"].dropna()) == {"narrated"}
        assert once[kind].notna().equals(once[f"{kind}_origin"].notna())
    anew = narrate_consultations(narrate_consultations(cases, seed=0), seed=1).table
    assert (anew["dialogue"] != once["dialogue"].to_numpy()).mean() > 0.9
    given = cases.table.assign(dialogue=["Doctor: Yes?\nPatient: Yes.", *[None] * 79])
    kept = narrate_consultations(Cases(given), seed=0).table
    assert kept["dialogue"][0] == "Doctor: Yes?\nPatient: Yes."
    assert kept["dialogue_origin"][0] == "given"
    assert kept["dialogue"][1:].tolist() == once["dialogue"][1:].tolist()


def test_nothing_to_tell_is_a_sentence():
    with pytest.raises(ValueError, match=r"no consultation to tell: the manifest has none of lesion\.localization"):
        narrate_consultations(Cases(pd.DataFrame({"case_id": ["a"], "diagnosis": ["nevus"]})), seed=0)


def test_the_command_writes_a_manifest_that_can_be_read(cases, tmp_path, capsys):
    table = cases.table.assign(image="a.jpg").drop(columns="lesion.biopsed")
    manifest = Manifest.build(table, tmp_path, {})
    manifest.write(tmp_path / "cases.parquet")
    with pytest.raises(SystemExit) as status:
        main(["narrate", str(tmp_path / "cases.parquet"), "--out", str(tmp_path / "told.parquet"), "--caption"])
    assert status.value.code == 0
    told = Manifest.read(tmp_path / "told.parquet").table
    expected = narrate_consultations(cases, seed=0).table
    assert told["complaint"].fillna("").tolist() == expected["complaint"].fillna("").tolist()
    assert told["caption"].str.contains("carcinoma").all()
    said = capsys.readouterr().out
    assert f"dialogue: {expected['dialogue'].notna().sum()} narrated, 0 given before" in said


def test_the_command_says_why_nobody_complains_and_which_values_are_not_told(tmp_path, capsys):
    def said(**columns):
        table = {"case_id": ["a", "b"], "image": "a.jpg", "patient.age": [30.0, 60.0]}
        table |= {name.replace("__", "."): values for name, values in columns.items()}
        path = Manifest.build(pd.DataFrame(table), tmp_path).write(tmp_path / "cases.parquet")
        with pytest.raises(SystemExit) as status:
            main(["narrate", str(path)])
        assert status.value.code == 0
        return capsys.readouterr().out

    wrong = said(lesion__itch=["yes", "no"])
    assert "complaint: 0 narrated, 0 given before" in wrong
    assert "note: of lesion.itch only True, False can be told, not 'no', 'yes'.\n" in wrong
    why = next(
        line for line in wrong.splitlines() if line.startswith("note: no case has what a complaint is told from")
    )
    assert "lesion.localization" in why
    assert "lesion.itch (True)" in why
    assert "lesion.elevation (True or palpable or nodular)" in why
    assert "patient" not in why
    right = said(lesion__itch=[True, False])
    assert "complaint: 1 narrated" in right
    assert "note:" not in right
    assert "note:" not in said(complaint=["It itches.", None])
