"""A decision in a folder: bit for bit, all or nothing, and a sentence for what is broken."""

import dataclasses
import json

import numpy as np
import pytest

from dermis.decision.stored import read, write


def bits(decision):
    arrays = {name: value for name, value in vars(decision).items() if isinstance(value, np.ndarray)}
    arrays |= {name: value for name, value in vars(decision.probe).items() if isinstance(value, np.ndarray)}
    plain = (decision.classes, decision.rules, decision.tower, decision.temperature.hex(), decision.probe.c)
    return {name: (a.dtype, a.shape, a.tobytes()) for name, a in arrays.items()}, plain


@pytest.mark.parametrize("changes", [{}, {"score": "aps", "alpha": 0.25, "classwise": True, "seed": 3}])
def test_what_is_read_is_what_was_written_bit_for_bit(fitted, cases, tmp_path, changes):
    decision, new = fitted(**changes), cases(50, 2)
    folder = write(decision, tmp_path, report='{"version": 1}')
    assert {path.name for path in folder.iterdir()} == {"decision.safetensors", "decision.json", "report.json"}
    again = read(tmp_path)
    assert bits(again) == bits(decision)
    one, two = decision.judge(new.feature), again.judge(new.feature)
    assert all(np.array_equal(value, getattr(two, name)) for name, value in vars(one).items())


def test_a_new_decision_takes_the_place_of_the_old_one(fitted, tmp_path):
    write(fitted(), tmp_path, report="{}")
    write(fitted(alpha=0.3), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["decision"]
    assert read(tmp_path).rules.alpha == 0.3
    assert not (tmp_path / "decision" / "report.json").exists()


def test_a_failed_write_leaves_the_old_one(fitted, tmp_path):
    write(fitted(), tmp_path)
    with pytest.raises(TypeError):
        write(dataclasses.replace(fitted(alpha=0.3), tower=object()), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["decision"]
    assert read(tmp_path).rules.alpha == 0.1


def edited(**changes):
    def edit(folder):
        words = json.loads((folder / "decision.json").read_text())
        (folder / "decision.json").write_text(json.dumps(words | changes))

    return edit


@pytest.mark.parametrize(
    "breaking, said",
    [
        (lambda folder: (folder / "decision.json").unlink(), "has no decision: fit one with `dermis calibrate"),
        (lambda folder: (folder / "decision.json").write_text("{"), "cannot be read"),
        (lambda folder: (folder / "decision.json").write_text("[]"), "cannot be read"),
        (lambda folder: (folder / "decision.safetensors").write_bytes(b"abc"), "cannot be read"),
        (lambda folder: (folder / "decision.safetensors").unlink(), "cannot be read"),
        (edited(format=9, dermis="7.0"), "dermis 7.0, which is newer"),
        (edited(classes=["melanoma", "nevus"]), r"weight is \(3, 8\) and must be \(2, 8\)"),
        (edited(rules={"alfa": 0.1}), "Did you mean 'alpha'"),
        (edited(rules={"alpha": 2.0}), "between 0 and 1"),
    ],
)
def test_a_broken_folder_is_said(fitted, tmp_path, breaking, said):
    breaking(write(fitted(), tmp_path))
    with pytest.raises(ValueError, match=said):
        read(tmp_path)
