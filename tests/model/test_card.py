"""The card says what is known, and that the rest is not."""

from types import SimpleNamespace

from dermis.model.card import Card, render
from dermis.towers.build import BranchesConfig, ImageTowerConfig, build_branches

ENTRY = {"protocol": "prompts", "metric": "macro AUROC", "value": 0.9123, "low": 0.9, "high": 0.92, "n": 2015}
ENTRY |= {"model": "m", "dataset": "HAM10000", "split": "test", "subgroup": "", "class_name": ""}


def test_a_bare_card_says_what_is_missing_and_what_it_is_not_for(tiny):
    text = render(tiny(), Card(), "derm-small")
    assert text.startswith("---\nlicense: unknown\n")
    for part in ("# derm-small", "not a medical device", "Not stated.", "None recorded.", "test_vit", "160 x 160"):
        assert part in text
    assert 'create_model_and_transforms("local-dir:derm-small")' in text


def test_a_card_without_a_title_is_called_after_its_recipe(tiny):
    recipe = SimpleNamespace(name="clip_small")
    text = render(tiny(), Card(), "model", recipe)
    assert "\n# clip_small\n" in text
    assert 'dermis.load("model")' in text
    assert "\n# Skin\n" in render(tiny(), Card(title="Skin"), "model", recipe)


def test_a_card_says_from_how_many_draws_its_intervals_are(tiny):
    assert "Intervals: 20 draws of a bootstrap" in render(
        tiny(), Card(), "m", report={"entries": [ENTRY], "n_boot": 20}
    )
    assert "Intervals: bootstrap" in render(tiny(), Card(), "m", report={"entries": [ENTRY]})


def test_a_full_card_shows_metrics_with_intervals(tiny):
    card = Card(title="Title", data="HAM10000, 8,010 cases", licence="CC-BY-NC-4.0", citation="@article{x}")
    undefined = ENTRY | {"metric": "AUPR", "value": None}
    bare = ENTRY | {"metric": "ECE", "value": 0.5, "low": None, "high": None}
    women = ENTRY | {"subgroup": "patient.sex = female", "metric": "hidden"}
    report = {"entries": [ENTRY, undefined, bare, women]}
    text = render(tiny(size=96), card, "m", recipe=object(), report=report)
    assert "| m | HAM10000, test | prompts | macro AUROC | 2015 | 0.912 [0.900, 0.920] |" in text
    assert "| AUPR | 2015 | undefined |" in text
    assert "| ECE | 2015 | 0.500 |" in text
    assert "hidden" not in text
    assert "force_image_size=96" in text
    assert "```bibtex\n@article{x}\n```" in text
    assert "license: cc-by-nc-4.0" in text


def test_notes_of_the_report_are_on_the_card_and_nothing_without_them(tiny):
    said = ["Lesions of melanoma were drawn first in every batch: labels were used in pre-training.", "No patient_id."]
    text = render(tiny(), Card(), "m", report={"entries": [], "notes": said})
    assert f"## Notes\n\n- {said[0]}\n- {said[1]}\n\n## Limits" in text
    assert "## Notes" not in render(tiny(), Card(), "m", report={"entries": [ENTRY]})


def test_a_table_tower_is_shown_with_its_level_and_columns():
    model = build_branches(BranchesConfig(image=ImageTowerConfig(name="test_vit", size=32), paired=False), seed=0)
    assert "table tower" not in render(model, Card(), "m")
    lesion = {"numbers": {"lesion.size": [0.0, 1.0]}, "categories": {"lesion.site": ["arm", "leg"]}}
    patient = {"numbers": {"patient.age": [50.0, 20.0]}, "categories": {}}
    model.add("tables", schemas={"lesion": lesion, "patient": patient}, width=8)
    lines = render(model, Card(), "m").splitlines()
    assert "- table tower of level lesion: lesion.size, lesion.site" in lines
    assert "- table tower of level patient: patient.age" in lines
