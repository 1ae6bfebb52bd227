"""`dermis publish` into a folder: whole or not at all, and a sentence for what cannot be."""

import json
from dataclasses import dataclass

import pytest
import torch

import dermis
from dermis.commands.publish import run
from dermis.model import save
from dermis.model.card import Card
from dermis.publish import onnx_export
from dermis.publish.onnx_export import Graph
from dermis.publish.publish import publish


def test_the_command_writes_a_model_that_loads_with_a_complete_card(folder, two_tower, tmp_path, capsys):
    to = tmp_path / "skin"
    assert run([str(folder), str(to), "--licence", "MIT", "--data", "My clinic.", "--out-of-scope", "Nails."]) == 0
    said = capsys.readouterr().out
    assert f"published: {to}" in said
    assert "not published, because dermis did not write it: patients.csv" in said
    image_BCHW = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert dermis.load(to).encode_image(image_BCHW).equal(two_tower.encode_image(image_BCHW))
    card = Card.read((to / "README.md").read_text())
    assert (card.title, card.licence, card.data, card.out_of_scope) == ("skin", "MIT", "My clinic.", "Nails.")
    assert card.contact == "jane@clinic.org"
    assert {p.name for p in tmp_path.iterdir()} == {"trained", "skin"}


def test_a_new_version_takes_the_place_of_the_old_one_and_keeps_nothing_of_it(folder, tmp_path):
    publish(folder, tmp_path / "skin", said={"licence": "MIT"})
    assert (tmp_path / "skin" / "decision").is_dir()
    publish(folder, tmp_path / "skin", said={"licence": "MIT"}, decision=False)
    assert not (tmp_path / "skin" / "decision").exists()
    assert "None is published" in (tmp_path / "skin" / "README.md").read_text()


def test_the_licence_of_the_folders_own_card_is_enough(two_tower, tmp_path):
    save(tmp_path / "model", two_tower, card=Card(title="Skin", licence="MIT"))
    publish(tmp_path / "model", tmp_path / "out")
    assert "\n# Skin\n" in (tmp_path / "out" / "README.md").read_text()


@dataclass
class Recipe:
    name: str = "simclr"


def test_the_recipes_name_on_the_folders_own_card_is_no_title(two_tower, tmp_path):
    save(tmp_path / "run" / "model", two_tower, recipe=Recipe())
    assert "\n# simclr\n" in (tmp_path / "run" / "model" / "README.md").read_text()
    publish(tmp_path / "run" / "model", tmp_path / "skin", said={"licence": "MIT"})
    assert "\n# skin\n" in (tmp_path / "skin" / "README.md").read_text()
    with pytest.raises(ValueError, match=r"did you mean .*run/model, the model of this run\?"):
        publish(tmp_path / "run", tmp_path / "other", said={"licence": "MIT"})


@pytest.mark.parametrize(
    "to, options, said",
    [
        ("skin", {"said": {}}, "give --licence, such as CC-BY-NC-4.0"),
        ("skin", {"private": True}, "--private is about the model hub, and .*skin is a folder"),
        ("trained/skin", {}, "lie in each other"),
        ("", {}, "lie in each other"),
        ("thesis", {}, "holds something that is not a dermis model"),
        ("thesis/chapter.tex", {}, "holds something that is not a dermis model"),
    ],
)
def test_what_cannot_be_published_is_a_sentence_and_changes_nothing(folder, tmp_path, to, options, said):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("")
    with pytest.raises(ValueError, match=said):
        publish(folder, tmp_path / to, **{"said": {"licence": "MIT"}} | options)
    assert {p.name for p in tmp_path.iterdir()} == {"trained", "thesis"}


def test_wrong_names_and_settings_without_effect(folder, two_tower, tmp_path):
    with pytest.raises(ValueError, match=r"is no model folder of dermis \(it has no dermis.json\)"):
        publish(tmp_path, tmp_path / "out", said={"licence": "MIT"})
    with pytest.raises(ValueError, match="is hf-hub:ORG/REPO, not hf-hub:skin"):
        publish(folder, "hf-hub:skin", said={"licence": "MIT"})
    bare = save(tmp_path / "bare", two_tower)
    with pytest.raises(ValueError, match=r"--no-decision has no effect: .*bare has no decision"):
        publish(bare, tmp_path / "out", said={"licence": "MIT"}, decision=False)


def test_a_name_that_cleaning_cannot_take_out_stops_it(folder, tmp_path):
    recipe = folder / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("clip_small\n", "clip of jdoe\n"))
    with pytest.raises(ValueError, match=r"recipe\.yaml: jdoe, the name of your home folder\. Nothing is published"):
        publish(folder, tmp_path / "skin", said={"licence": "MIT"})
    assert not (tmp_path / "skin").exists()


def test_paths_in_peoples_words_are_cut_too(folder, tmp_path):
    publish(folder, tmp_path / "skin", said={"licence": "MIT", "data": "From /home/jdoe/derm/ham."})
    assert Card.read((tmp_path / "skin" / "README.md").read_text()).data == "From ham."


def test_the_card_has_the_numbers_that_the_export_found(folder, tmp_path, monkeypatch):
    graphs = [Graph("image.onnx", ("pooled", "image_embedding"), 1.2e-6, 3.5e-7)]
    left_out = ["the text tower (X): only the causal one has a graph."]
    monkeypatch.setattr(onnx_export, "write_graphs", lambda _, to: to.mkdir() or (graphs, left_out))
    publish(folder, tmp_path / "skin", said={"licence": "MIT"}, onnx=True)
    card = (tmp_path / "skin" / "README.md").read_text()
    assert "| `onnx/image.onnx` | pooled, image_embedding | 1.2e-06 | 3.5e-07 |" in card
    assert "Left out: the text tower (X): only the causal one has a graph." in card
    said = json.loads((tmp_path / "skin" / "onnx" / "preprocessing.json").read_text())
    assert said["image"]["size"] == [32, 32]


def test_without_the_extra_it_stops_before_anything_is_written(folder, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(ValueError, match=r"--onnx needs onnxruntime: pip install 'dermis\[export\]'"):
        publish(folder, tmp_path / "skin", said={"licence": "MIT"}, onnx=True)
    assert not (tmp_path / "skin").exists()


def test_a_graph_that_is_refused_leaves_no_folder(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_export, "LARGEST", 1)
    with pytest.raises(ValueError, match="more than an ONNX file"):
        publish(folder, tmp_path / "skin", said={"licence": "MIT"}, onnx=True)
    assert {p.name for p in tmp_path.iterdir()} == {"trained"}
