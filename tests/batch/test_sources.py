"""Where texts come from: several columns in one caption, with and without headings."""

import numpy as np
import pandas as pd
import pytest

from dermis.batch.config import DataConfig
from dermis.batch.sources import from_columns, has_text, in_one_caption
from dermis.cases.columns import TEXT_KINDS
from dermis.cases.manifest import Manifest
from dermis.training_data import training_cases

TABLE = {
    "case_id": ["a", "b", "c", "d"],
    "split": ["train"] * 4,
    "complaint": ["itching", "It itches!", None, None],
    "dialogue": [" Since when? A week. ", None, "瘙痒一周。", " "],
}


@pytest.fixture
def manifest(tmp_path):
    return Manifest(pd.DataFrame(TABLE), tmp_path)


def said(source):
    return [source(row, np.random.default_rng(0)) for row in range(4)]


def test_columns_are_texts_of_their_kind(manifest):
    texts = said(from_columns(manifest, ["complaint"]))
    assert texts == [[(TEXT_KINDS["complaint"], "itching")], [(TEXT_KINDS["complaint"], "It itches!")], [], []]


def test_joined_columns_are_sentences_in_their_order(manifest):
    source = in_one_caption(manifest, ["dialogue", "complaint"])
    assert said(source) == [[(0, "Since when? A week. itching.")], [(0, "It itches!")], [(0, "瘙痒一周。")], []]
    assert has_text(source, 4).tolist() == [True, True, True, False]


def test_a_method_may_ask_for_each_of_its_texts(manifest):
    source = from_columns(manifest, ["dialogue", "complaint"])
    assert has_text(source, 4, ["dialogue", "complaint"]).tolist() == [True, False, False, False]
    assert has_text(source, 4, ["dialogue"]).tolist() == [True, False, True, False]
    cases, _, said = training_cases(manifest, DataConfig(), 0, ("dialogue", "complaint"), ("dialogue", "complaint"))
    assert cases.table["case_id"].tolist() == ["a"]
    assert said == ["3 of 4 training cases have no dialogue or no complaint and are left out."]


def test_headings_make_the_prompt_of_m2cgs_rivals(manifest):
    headings = {"complaint": "Chief complaint", "dialogue": "Consultation dialogue"}
    texts = said(in_one_caption(manifest, ["complaint", "dialogue"], headings))
    assert texts == [
        [(0, "Chief complaint: itching. Consultation dialogue: Since when? A week.")],
        [(0, "Chief complaint: It itches!")],
        [(0, "Consultation dialogue: 瘙痒一周。")],
        [],
    ]


def test_a_column_that_holds_no_texts_is_named():
    with pytest.raises(ValueError, match=r"unknown text column in data\.texts 'diagnosis'\. .*Allowed: caption"):
        DataConfig(texts=["caption", "diagnosis"])


def test_headings_without_effect_are_refused():
    with pytest.raises(ValueError, match=r"stand before the texts that data\.join_texts joins, which is off"):
        DataConfig(headings={"complaint": "Chief complaint"})
    with pytest.raises(ValueError, match=r"columns that data\.texts has not: caption"):
        DataConfig(texts=["complaint", "dialogue"], join_texts=True, headings={"caption": "x", "dialogue": "y"})
