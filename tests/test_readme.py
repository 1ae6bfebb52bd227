"""What the README shows, run as it stands."""

import re
from pathlib import Path

import pytest

import dermis
from dermis.cli import COMMANDS, main
from dermis.commands.train import USAGE

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_the_one_picture_example_runs_after_a_demo(tmp_path, monkeypatch, capsys):
    dermis.make_cases(tmp_path / "demo" / "cases", patients=30, size=64, seed=1)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        main(["train", "demo", "--smoke", "--out", "demo/run", "--data.manifest", "demo/cases/cases.parquet"])
    assert end.value.code == 0
    capsys.readouterr()
    (code,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert len([line for line in code.splitlines() if line]) <= 5
    exec(compile(code, "README.md", "exec"), {})
    probabilities = eval(capsys.readouterr().out)
    assert sum(probabilities.values()) == pytest.approx(1)


def test_commands_and_links_of_the_readme_exist():
    assert set(re.findall(r"^dermis (\w+)", README, flags=re.MULTILINE)) <= set(COMMANDS)
    for link in re.findall(r"\]\(((?!http)[^)#]+)\)", README):
        assert (ROOT / link).exists(), link
    assert "torchrun" in USAGE
