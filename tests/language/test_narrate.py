"""Narration: real facts only, our wording, deterministic per case, independent of the order of the rows."""

import re
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest

from dermis.cases.catalogue import import_set
from dermis.language.narrate import FIELDS, Narrator, case_rng, narrate
from dermis.language.phrases import narratable, person, with_article, wordings
from dermis.language.prompts import class_list
from dermis.language.spoken import spoken
from dermis.language.wording import check_wording, fill
from dermis.recipe import read_yaml
from dermis.recipes import find_recipe


@dataclass(frozen=True)
class Cases:
    table: pd.DataFrame


ROW = {
    "diagnosis": "melanoma", "patient.age": 45.0, "patient.sex": "male", "lesion.localization": "back",
    "modality": "dermoscopic",
}  # fmt: skip


@pytest.fixture
def cases():
    rows = [{"case_id": f"c{k}", **ROW, "lesion.dx_type": "histo"} for k in range(200)]
    return Cases(pd.DataFrame(rows))


def test_a_caption_tells_the_facts_of_its_row(cases):
    captions = narrate(cases, seed=0).table["caption"]
    assert captions.str.contains("melanoma", case=False).all()
    assert captions.str.contains("45-year-old man", case=False).all()
    assert captions.str.contains("on the back", case=False).all()
    assert captions.nunique() > 10
    assert not captions.str.contains("histo", case=False).any()


def test_the_same_seed_tells_the_same_whatever_the_order_of_the_rows(cases):
    once = narrate(cases, seed=3, drop=0.4).table.set_index("case_id")["caption"]
    shuffled = Cases(cases.table.sample(frac=1, random_state=0).reset_index(drop=True))
    again = narrate(shuffled, seed=3, drop=0.4).table.set_index("case_id")["caption"]
    assert again.reindex(once.index).equals(once)
    fewer = narrate(Cases(cases.table.iloc[50:].reset_index(drop=True)), seed=3, drop=0.4).table
    assert fewer.set_index("case_id")["caption"].equals(once.iloc[50:])
    assert not narrate(cases, seed=4, drop=0.4).table.set_index("case_id")["caption"].equals(once)


def test_each_epoch_tells_anew_and_the_same_epoch_tells_the_same():
    narrator = Narrator(drop=0.3)
    tellings = [narrator(ROW, case_rng(0, epoch, "c1")) for epoch in range(50)]
    assert len(set(tellings)) > 20
    assert tellings == [narrator(ROW, case_rng(0, epoch, "c1")) for epoch in range(50)]


@pytest.mark.parametrize("drop", [0.0, 0.25, 0.8])
def test_fields_are_dropped_with_the_given_probability_each_for_itself(drop):
    narrator, rng, n = Narrator(drop=drop), np.random.default_rng(0), 4000
    told = [narrator(ROW, rng) for _ in range(n)]
    age, sex, site = (np.array([bool(re.search(word, t)) for t in told]) for word in ("45", r"\bman\b", "on the back"))
    for there in (age, sex, site):
        assert there.mean() == pytest.approx(1 - drop, abs=4 * 0.5 / np.sqrt(n))
    assert (age & site).mean() == pytest.approx((1 - drop) ** 2, abs=4 * 0.5 / np.sqrt(n))
    assert all("melanoma" in t.casefold() for t in told)  # the diagnosis stays unless told otherwise


def test_even_the_diagnosis_can_be_dropped_but_a_caption_is_never_empty():
    narrator = Narrator(drop=1.0, keep=())
    told = [narrator(ROW, np.random.default_rng(k)) for k in range(50)]
    assert all(sum(w in t.casefold() for w in ("melanoma", "45-year-old", " man", "on the back")) == 1 for t in told)


def test_missing_values_are_not_told_and_a_case_without_facts_has_no_caption():
    table = pd.DataFrame({
        "case_id": ["a", "b", "c"], "modality": "clinical", "diagnosis": ["nevus", None, None],
        "patient.age": [np.nan, np.nan, 70], "patient.sex": [None, None, "female"],
        "caption": [None, None, "Written by a doctor."],
    })  # fmt: skip
    told = narrate(Cases(table), seed=0).table
    assert not re.search(r"nan|none|year|unknown", told["caption"][0], re.IGNORECASE)
    assert pd.isna(told["caption"][1])
    assert told["caption"][2] == "Written by a doctor."
    assert told["caption_origin"].fillna("null").tolist() == ["narrated", "null", "given"]


def test_narrated_captions_are_told_again_and_given_ones_are_not(cases):
    once = narrate(cases, seed=0)
    twice = narrate(once, seed=1)
    assert (twice.table["caption_origin"] == "narrated").all()
    assert (twice.table["caption"] != once.table["caption"]).mean() > 0.5
    given = Cases(once.table.assign(caption_origin="given"))
    assert narrate(given, seed=1).table["caption"].equals(once.table["caption"])


@pytest.mark.parametrize("field", ["dx_type", "lesion.dx_type", "lesion.biopsed", "patient.diagnosis_confirm_type"])
def test_what_tells_the_label_is_refused(field):
    with pytest.raises(ValueError, match="tells how the diagnosis was found"):
        Narrator(fields=["diagnosis", field])


def test_wrong_settings_are_one_sentence_each(cases):
    with pytest.raises(ValueError, match=r"unknown field to narrate 'patient\.agee'. Did you mean 'patient\.age'"):
        Narrator(fields=["patient.agee"])
    with pytest.raises(ValueError, match=r"drop=1\.5 should be a probability"):
        Narrator(drop=1.5)
    with pytest.raises(ValueError, match=r"unknown slot of a wording 'diagnoses'. Did you mean 'diagnosis'"):
        Narrator(templates=["{diagnoses}."])
    with pytest.raises(ValueError, match=r"brackets of the wording .* do not match"):
        Narrator(templates=["{Diagnosis}[ {site}."])
    with pytest.raises(ValueError, match="nothing to narrate: the manifest has none of skin_tone"):
        narrate(cases, seed=0, fields=["skin_tone"])
    with pytest.raises(ValueError, match=r"lesion\.diameter_1 should be a number to be told; it is '6 mm'"):
        Narrator(["lesion.diameter_1"])({"lesion.diameter_1": "6 mm"}, np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"keep='patient\.age' is not among the fields"):
        Narrator(fields=["diagnosis"], keep=["patient.age"])


@pytest.mark.parametrize("values, text", [
    ({"diagnosis": "a nevus", "site": "on the back"}, "A nevus on the back seen."),
    ({"diagnosis": "a nevus"}, "A nevus seen."),
    ({"site": "on the back"}, "A lesion on the back seen."),
    ({}, "A lesion seen."),
])  # fmt: skip
def test_slots_fill_fall_back_and_disappear(values, text):
    assert fill("{Diagnosis|a lesion}[ {site}] seen.", values) == text


def test_every_built_in_wording_is_a_sentence_with_and_without_facts():
    slots = ("picture", "a_picture", "diagnosis", "bare", "site", "person")
    full = dict(zip(slots, ("image", "an image", "a nevus", "nevus", "on the back", "a man"), strict=True))
    for wording in wordings():
        check_wording(wording, slots)
        for values in (full, {"picture": "image", "a_picture": "an image"}):
            text = fill(wording, values)
            assert re.fullmatch(r"[A-Z][^\[\]{}|]*\.", text), text
            assert not re.search(r"\s[.,;:]|[,;:]\.|\.\.|  ", text), text


@pytest.mark.parametrize("noun, article", [
    ("80-year-old man", "an"), ("8-year-old girl", "an"), ("11-year-old boy", "an"), ("18-year-old woman", "an"),
    ("85-year-old man", "an"), ("70-year-old man", "a"), ("108-year-old man", "a"), ("1-year-old boy", "a"),
    ("image", "an"), ("dermoscopic image", "a"),
])  # fmt: skip
def test_articles(noun, article):
    assert with_article(noun) == f"{article} {noun}"


def test_people():
    assert person(45.0, "male") == "a 45-year-old man"
    assert person(5, "female") == "a 5-year-old girl"
    assert person(0.0, None) == "an infant"
    assert person(17, None) == "a 17-year-old child"
    assert person(None, "female") == "a woman"
    assert person(None, None) is None


def unseen_synonyms():
    """Class -> the names that the recipe asks with, which no caption may use."""
    return read_yaml(find_recipe("clip_ham10000"))["evaluation"]["synonyms"]


def test_no_caption_uses_an_unseen_synonym_nor_another_class():
    synonyms = unseen_synonyms()
    assert set(synonyms) == set(class_list("ham10000"))
    said = {name.casefold() for c in synonyms for name in spoken(c)}
    for c, names in synonyms.items():
        for name in names:
            assert not any(name.casefold() in phrase or phrase in name.casefold() for phrase in said), (c, name)
            assert all(name not in others for other, others in synonyms.items() if other != c), name


@pytest.mark.data
def test_ham10000_told_from_its_table(shared_data):
    manifest = import_set("ham10000", shared_data / "ham10000_200x150")
    told = narrate(manifest, seed=0, drop=0.3)
    assert type(told) is type(manifest)
    captions = told.table["caption"]
    assert captions.notna().all()
    assert (told.table["caption_origin"] == "narrated").all()
    for diagnosis, rows in told.table.groupby("diagnosis"):
        names = "|".join(name.removeprefix("a ").removeprefix("an ") for name in spoken(diagnosis))
        assert rows["caption"].str.contains(names, case=False).all()
        others = [n for d in class_list("ham10000") if d != diagnosis for n in (d, *unseen_synonyms()[d])]
        wrong = [o for o in others if rows["caption"].str.contains(rf"\b{o}\b", case=False).any()]
        assert not wrong, (diagnosis, wrong)
    words = set(re.findall(r"[a-z_]+", " ".join(captions).casefold()))
    assert not {"histo", "follow_up", "consensus", "confocal", "unknown", "nan", "none"} & words


@pytest.mark.data
@pytest.mark.parametrize("name, folder", [
    ("pad-ufes-20", "pad_ufes20_subset"), ("derm7pt", "derm7pt_tables"), ("milk10k", "milk10k_tables"),
    ("isic2020", "isic2020_tables"), ("fitzpatrick17k", "fitzpatrick17k_tables"), ("isic2024", "isic2024_sample"),
])  # fmt: skip
def test_every_column_that_can_be_told_is_told_in_english(shared_data, name, folder):
    manifest = import_set(name, shared_data / folder)
    captions = narrate(manifest, seed=0, fields=narratable()).table["caption"].dropna()
    assert len(captions) > 0.9 * len(manifest)
    assert not captions.str.contains(r"_|\bnan\b|\bNone\b|True|False|\[|\{|  | \.|\.\.", regex=True).any()
    assert captions.str.match(r"[A-Z0-9].*\.$").all()


def test_default_fields_can_be_told():
    assert set(FIELDS) <= set(narratable())
