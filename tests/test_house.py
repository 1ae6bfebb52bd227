"""The house's own rules, where a program can check them."""

import ast
import inspect
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from dermis.methods import methods

ROOT = Path(__file__).parents[1]
SOURCES = sorted(ROOT.glob("src/dermis/**/*.py"))


def test_no_file_is_longer_than_400_lines():
    long = {str(p.relative_to(ROOT)): n for p in [*SOURCES, *ROOT.glob("tests/**/*.py")] if (n := lines(p)) > 400}
    assert not long


def lines(path: Path) -> int:
    return path.read_text().count("\n")


def test_files_are_named_after_a_concept():
    vague = {"utils", "helpers", "common", "misc", "base", "util", "helper"}
    assert not [p for p in SOURCES if vague & {p.stem, p.parent.name}]


def test_only_one_file_and_the_training_room_know_about_ranks():
    known = {"distributed.py", "ranks.py", "fully_sharded.py"}
    assert {p.name for p in SOURCES if "torch.distributed" in p.read_text()} <= known


@pytest.mark.parametrize(
    "forbidden",
    [
        r"(?<![\w.])eval\(",
        r"pickle(?!\.UnpicklingError)\.|import .*pickle,|from pickle",
        r"torch\.load\((?!.*weights_only=True\))",
    ],
    ids=["eval", "pickle", "torch.load"],
)
def test_nothing_foreign_is_executed(forbidden):
    """Of the module pickle the name of its error is all that may be used; torch.load reads weights only."""
    assert not [str(p) for p in SOURCES if any(re.search(forbidden, code) for code in code_lines(p))]


def test_no_error_is_swallowed():
    assert not [str(p) for p in SOURCES if re.search(r"except( Exception)?:\s+pass", p.read_text())]


def code_lines(path: Path) -> list[str]:
    return [line.split("#")[0] for line in path.read_text().splitlines() if "`" not in line and '"""' not in line]


def test_help_needs_no_heavy_import():
    heavy = "{'torch', 'pandas', 'tyro', 'cv2', 'sklearn'} & set(sys.modules)"
    program = f"import sys, dermis.cli; dermis.cli.main(['--help']); print(sorted({heavy}))"
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert out.splitlines()[-1] == "[]"


@pytest.mark.parametrize("name", sorted(methods()))
def test_a_methods_page_has_the_same_parts_as_the_others(name):
    page = methods()[name]
    told = sys.modules[page.__module__].__doc__
    places = [re.search(rf"^{part}", told, re.MULTILINE) for part in ("Paper  ", "Release  ", "Shapes: ")]
    assert all(places), told[:300]
    assert [m.start() for m in places] == sorted(m.start() for m in places)
    assert re.search(r"^(Differs from|Open in the paper)", told, re.MULTILINE)
    assert re.search(r" \(\d(-\d+)?\)", told), "equations are numbered"
    assert page.citation.startswith("@")
    [settings] = ast.parse(inspect.getsource(page.Config)).body
    for line, after in pairwise([*settings.body, None]):
        if isinstance(line, ast.AnnAssign) and not ast.unparse(line.annotation).startswith("ClassVar"):
            said = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
            assert said, f"{ast.unparse(line.target)} has no docstring"


@pytest.mark.parametrize("recipe", sorted(ROOT.glob("recipes/*.yaml")), ids=lambda p: p.stem)
def test_a_recipe_says_paper_and_command_and_has_a_smoke_size(recipe):
    text = recipe.read_text()
    head = "".join(line for line in text.splitlines(keepends=True) if line.startswith("#"))
    assert all(f"# {what}:" in head for what in ("paper", "command", "hardware"))
    assert "smoke" in yaml.safe_load(text)
    assert yaml.safe_load(text)["name"] == recipe.stem
