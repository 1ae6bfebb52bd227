"""What commands share of their arguments, and what they refuse."""

import re

import pytest

import dermis
from dermis.cli import COMMANDS, main
from dermis.commands.arguments import by_column, called, typed
from dermis.commands.flags import take_flag, take_option


def status_of(*arguments):
    with pytest.raises(SystemExit) as end:
        main([str(a) for a in arguments])
    return end.value.code


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_the_help_of_a_command_says_what_to_give_it_by_name(command, capsys):
    assert status_of(command, "--help") == 0
    usage = capsys.readouterr().out.splitlines()[0]
    assert usage.startswith(f"usage: dermis {command}")
    assert not re.search(r"(?<!-)\b(STR|PATH)\b", re.sub(r"\[-.*?\]|READER PATH", "", usage)), usage


def test_a_report_says_what_was_typed_and_not_what_python_was_started_with(monkeypatch):
    monkeypatch.setattr("sys.argv", ["pytest", "calibrate", "-x"])

    def command(out: str, seed: int = 0) -> str:
        return typed()

    assert called(command, "embed", ["--out", "my folder", "--seed", "3"]) == "dermis embed --out 'my folder' --seed 3"


def test_pictures_by_column():
    assert by_column(["a.jpg"], ["image"]) == by_column(["image=a.jpg"], ["image"]) == {"image": "a.jpg"}
    assert by_column(["k=10.jpg"], ["image"]) == {"image": "k=10.jpg"}
    pair = ["dermoscopy", "image"]
    assert by_column(["image=a.jpg", "dermoscopy=b=c.jpg"], pair) == {"image": "a.jpg", "dermoscopy": "b=c.jpg"}
    with pytest.raises(ValueError, match=r"unknown picture column 'imag'\. Did you mean 'image'"):
        by_column(["imag=a.jpg", "dermoscopy=b.jpg"], pair)
    for wrong in (["a.jpg", "b.jpg"], ["image=a.jpg"], ["image=a.jpg"] * 2, ["image=a.jpg", "dermoscopy="]):
        with pytest.raises(ValueError, match="looks at 2 pictures of a case: give dermoscopy=FILE image=FILE, not "):
            by_column(wrong, pair)
    with pytest.raises(ValueError, match=r"--picture must be one file; it is a\.jpg b\.jpg"):
        by_column(["a.jpg", "b.jpg"], ["image"])


def test_flags_are_taken_out_of_the_arguments():
    arguments = ["cases.parquet", "--out", "folder", "--smoke", "--seconds=3", "--outer", "x"]
    assert (take_flag(arguments, "--smoke"), take_flag(arguments, "--json")) == (True, False)
    assert (take_option(arguments, "--out"), take_option(arguments, "--seconds")) == ("folder", "3")
    assert arguments == ["cases.parquet", "--outer", "x"]
    assert take_option(arguments, "--out") is None
    with pytest.raises(ValueError, match="--out needs a value"):
        take_option(["--out"], "--out")


@pytest.mark.parametrize(
    "options, sentence",
    [
        (["--folds", "5", "--valid", "0.2"], "--valid and --test have no effect with --folds"),
        (["--folds", "0"], "k=0: cross-validation needs 2 folds or more"),
    ],
)
def test_split_refuses_settings_without_effect(options, sentence, tmp_path, capsys):
    dermis.make_cases(tmp_path, cases=12, size=32, seed=1)
    before = (tmp_path / "cases.parquet").read_bytes()
    assert status_of("split", tmp_path / "cases.parquet", *options) == 2
    assert sentence in capsys.readouterr().err
    assert (tmp_path / "cases.parquet").read_bytes() == before
