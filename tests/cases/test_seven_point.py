"""The checklist's table and score: Derm7pt's own scores, the papers' points, and sentences for wrong names."""

import csv

import pytest

from dermis.cases.catalogue.derm7pt import DIAGNOSES
from dermis.cases.seven_point import CLASSES, POINTS, RULES, class_of, melanomas, rule_of, seven_point_score


@pytest.mark.data
def test_the_weighted_score_is_derm7pts_own_for_every_case(shared_data):
    with (shared_data / "derm7pt_tables" / "meta.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 1011
    for row in rows:
        words = {criterion: row[criterion] for criterion in POINTS}
        assert seven_point_score(words) == int(row["seven_point_score"]), row["case_num"]
        grouped = {criterion: class_of(criterion, word) for criterion, word in words.items()}
        assert seven_point_score(grouped) == int(row["seven_point_score"]), row["case_num"]


def test_points_are_the_papers():
    """Argenziano et al. 1998, Table 2: three major criteria at 2 points, four minor ones at 1; 2011: all at 1."""
    major = {"pigment_network", "blue_whitish_veil", "vascular_structures"}
    assert {name for name, (_, points) in POINTS.items() if points == 2} == major
    assert {name for name, (_, points) in POINTS.items() if points == 1} == POINTS.keys() - major
    assert [(rule.highest, rule.threshold) for rule in (RULES["weighted"], RULES["revised"])] == [(10, 3), (7, 1)]


def test_every_criterion_has_its_suspicious_class_and_no_other_counts():
    assert POINTS.keys() == CLASSES.keys()
    for criterion, classes in CLASSES.items():
        for name, kinds in classes.items():
            for kind in (name, *kinds):
                suspicious = name == POINTS[criterion][0]
                assert seven_point_score({criterion: kind}) == suspicious * POINTS[criterion][1]
                assert seven_point_score({criterion: kind}, "revised") == suspicious


def test_the_highest_score_is_that_of_all_seven():
    worst = {criterion: name for criterion, (name, _) in POINTS.items()}
    assert seven_point_score(worst) == 10
    assert seven_point_score(worst, "revised") == 7
    assert seven_point_score({}) == 0


def test_wrong_names_are_refused_with_the_nearest():
    with pytest.raises(ValueError, match="Did you mean 'pigment_network'"):
        seven_point_score({"pigment_networks": "absent"})
    with pytest.raises(ValueError, match="Did you mean 'atypical'"):
        seven_point_score({"pigment_network": "atypicall"})
    with pytest.raises(ValueError, match=r"checklist 'revisited'.* Did you mean 'revised'"):
        rule_of("revisited")
    with pytest.raises(ValueError, match="Did you mean 'weighted'"):
        seven_point_score({}, "weight")


def test_melanomas_are_those_that_derm7pt_groups_as_such():
    words = [word for group in DIAGNOSES.values() for word in group]
    assert melanomas(words) == list(DIAGNOSES["melanoma"])
    assert melanomas(DIAGNOSES) == ["melanoma"]
    assert melanomas(["MEL_Melanoma", "lentigo maligna melanoma", "melanosis"]) == [
        "MEL_Melanoma",
        "lentigo maligna melanoma",
    ]


@pytest.mark.parametrize(
    "name", ["non-melanoma skin cancer", "no melanoma", "not a melanoma", "melanoma in situ excluded"]
)
def test_a_denied_melanoma_is_none(name):
    assert melanomas([name, "melanoma"]) == ["melanoma"]
    with pytest.raises(ValueError, match=f"none of the diagnoses names melanoma.*: nevus, {name}"):
        melanomas(["nevus", name])
