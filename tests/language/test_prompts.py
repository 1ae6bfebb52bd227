"""Prompts and class lists against the published lists' own check values."""

import hashlib
import json

import pytest

from dermis.language.prompts import class_list, class_lists, class_prompts, template_sets, templates

# sha256(json.dumps(list(names))), 12 hex digits, computed on the lists of the public repositories
PUBLISHED = {
    "pad-ufes-20": ("91314b629f84", 6),
    "fitzpatrick17k": ("ea336ebd9c9f", 114),
    "snu-134": ("58936dbc748a", 134),
    "sd-128": ("cfef53838111", 128),
    "ham10000": ("b9e47a93d1f4", 7),
    "daffodil": ("cc06a2a52361", 5),
}


def check_value(texts):
    return hashlib.sha256(json.dumps(texts).encode()).hexdigest()[:12]


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_class_list_is_the_published_one(name):
    names = class_list(name)
    assert (check_value(names), len(names)) == PUBLISHED[name]
    assert len(set(names)) == len(names)


def test_every_class_list_is_checked():
    assert class_lists() == sorted(PUBLISHED)


@pytest.mark.data
def test_class_lists_are_those_of_the_real_file(shared_data):
    theirs = json.loads((shared_data / "class_lists" / "zero_shot_class_names.json").read_text())
    assert {name: class_list(name) for name in class_lists()} == theirs


def test_make8_filled_with_x_is_the_published_set():
    filled = [own[0] for own in zip(*class_prompts(["X"], "make8"), strict=True)]
    assert check_value(filled) == "4d0f63e9f40f"


@pytest.mark.parametrize("name", template_sets())
def test_every_template_has_one_place_for_the_name(name):
    assert templates(templates(name)) == templates(name)


def test_prompts_are_every_name_in_every_template():
    prompts = class_prompts(["nevus", "wart {x}"], ["a {}", "{}{x}"], {"nevus": ["mole", "naevus"]})
    assert prompts == [["a mole", "mole{x}", "a naevus", "naevus{x}"], ["a wart {x}", "wart {x}{x}"]]


def test_one_name_may_be_a_plain_string():
    assert class_prompts(["nevus"], ["a {}"], {"nevus": "mole"}) == [["a mole"]]


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: templates("make88"), "Did you mean 'make8'"),
        (lambda: class_list("ham1000"), "Did you mean 'ham10000'"),
        (lambda: templates(["a skin image"]), "exactly once"),
        (lambda: templates(["{} and {}"]), "exactly once"),
        (lambda: templates([]), "no template"),
        (lambda: class_prompts(["nevus"], "name", {"naevus": ["mole"]}), "Did you mean 'nevus'"),
        (lambda: class_prompts(["nevus"], "name", {"nevus": []}), "empty"),
    ],
)
def test_wrong_names_are_answered_with_a_sentence(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()


def test_a_returned_list_is_the_callers_own():
    class_list("ham10000").append("wart")
    assert "wart" not in class_list("ham10000")
