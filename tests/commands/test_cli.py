"""What every command ends with: a sentence and a status, whatever stopped it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dermis.cli import help_text, main
from dermis.commands import demo
from dermis.training.interrupt import Interrupted


def status_of(*arguments):
    with pytest.raises(SystemExit) as end:
        main(list(map(str, arguments)))
    return end.value.code


def raises(error):
    def stopped(*_, **__):
        raise error

    return stopped


def test_an_interrupted_training_is_a_sentence_whichever_command_trained(monkeypatch, capsys, tmp_path):
    stop = Interrupted(signal.SIGTERM, Path("run/checkpoints/step-00000003"))
    monkeypatch.setattr("dermis.run.run_experiment", raises(stop))
    assert status_of("demo", "--out", tmp_path, "--patients", "3") == 143
    assert capsys.readouterr().err.endswith(
        "\ninterrupted; saved in run/checkpoints/step-00000003. The same command resumes.\n"
    )


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (FileExistsError(17, "File exists", "runs/afile"), "runs/afile: File exists."),
        (OSError(28, "No space left on device"), "No space left on device."),
        (OSError(18, "Invalid cross-device link", "a", None, "b"), "a -> b: Invalid cross-device link."),
        (ConnectionError("no answer from the hub"), "no answer from the hub"),
    ],
)
def test_an_error_of_the_system_is_a_sentence_with_the_files_name(monkeypatch, capsys, error, sentence):
    monkeypatch.setattr("dermis.commands.list.lines", raises(error))
    assert status_of("list", "methods") == 2
    assert capsys.readouterr().err == f"dermis list: {sentence}\n"


@pytest.mark.parametrize("command", ["list", "--help"])
def test_a_reader_that_leaves_ends_it_quietly(command):
    reading, writing = os.pipe()
    os.close(reading)
    program = [sys.executable, "-m", "dermis", command]
    done = subprocess.run(program, stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)
    assert done.stderr == ""
    assert done.returncode == 128 + signal.SIGPIPE


def test_the_help_shows_how_columns_are_named():
    assert '--options columns "image=file, caption=text, diagnosis=label, patient_id=patient"' in help_text()


def test_after_a_demo_a_shell_is_told_how_to_reach_dermis(monkeypatch, tmp_path):
    monkeypatch.setattr(demo.shutil, "which", lambda _: "/usr/bin/dermis")
    assert demo._first() == ""
    monkeypatch.setattr(demo.shutil, "which", lambda _: None)
    monkeypatch.setattr(demo.sys, "prefix", str(tmp_path / ".venv"))
    assert demo._first() == ""
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "activate").touch()
    monkeypatch.chdir(tmp_path)
    assert demo._first() == ", after `source .venv/bin/activate`"
