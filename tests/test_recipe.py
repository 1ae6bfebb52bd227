"""recipe: strict reading, precedence, and a resolved recipe that is itself a recipe."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest
import yaml

from dermis.recipe import build, command_line, overlay, read_yaml, to_mapping, write_yaml


@dataclass(kw_only=True)
class Optim:
    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.98)
    schedule: Literal["cosine", "constant"] = "cosine"


@dataclass(kw_only=True)
class Toy:
    name: str
    steps: int = 10
    root: Path | None = None
    optim: Optim = field(default_factory=Optim)
    classes: list[str] | None = None


def test_numbers_in_scientific_notation_are_numbers():
    assert build(Toy, yaml.safe_load("{name: a, optim: {lr: 3e-4}}")).optim.lr == 3e-4


@pytest.mark.parametrize(
    "text, sentence",
    [
        ("{name: a, optim: {lrr: 1}}", "unknown key in optim 'lrr'. Did you mean 'lr'?"),
        ("{name: a, optim: {schedule: cosin}}", "Did you mean 'cosine'?"),
        ("{name: a, steps: many}", "steps must be a whole number, not 'many'"),
        ("{name: a, steps: true}", "steps must be a whole number, not True"),
        ("{name: a, optim: {betas: [0.9]}}", "must hold 2 values"),
        ("{steps: 3}", "needs name"),
        ("{name: a, optim: 3}", "must be a block"),
        ("{name: a, classes: nevus}", "must be a list"),
    ],
)
def test_wrong_recipes_stop_with_a_sentence(text, sentence):
    with pytest.raises(ValueError) as error:
        build(Toy, yaml.safe_load(text))
    assert sentence in str(error.value)


def test_a_key_that_stands_twice_is_an_error(tmp_path):
    (tmp_path / "r.yaml").write_text("name: a\nname: b\n")
    with pytest.raises(ValueError, match="'name' stands twice"):
        read_yaml(tmp_path / "r.yaml")


@pytest.mark.parametrize("key", ["[a, b]", "{a: b}"])
def test_a_key_that_is_no_name_is_an_error(tmp_path, key):
    (tmp_path / "r.yaml").write_text(f"name: a\n? {key}\n: b\n")
    with pytest.raises(ValueError, match=r"r\.yaml: .*line 2"):
        read_yaml(tmp_path / "r.yaml")


@pytest.mark.parametrize("smoke", [True, False])
def test_a_smoke_block_that_is_no_block_is_an_error(tmp_path, smoke):
    (tmp_path / "r.yaml").write_text("name: a\nsmoke: 3\n")
    with pytest.raises(ValueError, match="smoke must be a block of `key: value` lines, not 3"):
        read_yaml(tmp_path / "r.yaml", smoke)


def test_the_resolved_recipe_is_a_recipe(tmp_path):
    toy = Toy(name="a", root=Path("x"), optim=Optim(lr=2.5e-5), classes=["melanoma", "nevus"])
    write_yaml(toy, tmp_path / "recipe.yaml", header="one\ntwo")
    assert build(Toy, read_yaml(tmp_path / "recipe.yaml")) == toy


def test_smoke_changes_only_what_it_names(tmp_path):
    text = "name: a\nsteps: 100\noptim: {lr: 0.5, schedule: constant}\nsmoke: {optim: {lr: 1}}"
    (tmp_path / "r.yaml").write_text(text)
    assert to_mapping(build(Toy, read_yaml(tmp_path / "r.yaml", smoke=True)))["optim"]["lr"] == 1.0
    assert build(Toy, read_yaml(tmp_path / "r.yaml", smoke=True)).optim.schedule == "constant"
    assert build(Toy, read_yaml(tmp_path / "r.yaml")).optim.lr == 0.5
    assert overlay({"a": {"b": 1, "c": 2}}, {"a": {"b": 3}}) == {"a": {"b": 3, "c": 2}}


def test_the_command_line_goes_over_the_recipe():
    default = build(Toy, {"name": "a", "steps": 5})
    changed = command_line(Toy, default, ["--optim.lr", "0.25"], "dermis train", "")
    assert (changed.steps, changed.optim.lr) == (5, 0.25)


def test_a_wrong_flag_stops_and_names_the_nearest(capsys):
    with pytest.raises(SystemExit):
        command_line(Toy, Toy(name="a"), ["--optim.lrr", "1"], "dermis train", "")
    assert "--optim.lr" in capsys.readouterr().err
