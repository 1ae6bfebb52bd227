"""What is missing, too old or does not load, simulated; and that the tables here agree with the rest of the house."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import torch

from dermis.batch.loader import Batches
from dermis.doctor import installed, machine
from dermis.doctor.compute import features
from dermis.doctor.installed import EXTRAS, combination_notes, package_notes
from dermis.doctor.note import exit_status
from dermis.training.config import TrainingConfig
from dermis.training.optimiser import adamw

ROOT = Path(__file__).parents[2]
SOURCES = sorted(ROOT.glob("src/dermis/**/*.py"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.mark.parametrize("extra", sorted(PROJECT["optional-dependencies"].keys() - {"dev"}))
def test_every_extra_of_the_project_is_known_with_its_packages(extra):
    declared = {re.split(r"[>=\[<]", line)[0] for line in PROJECT["optional-dependencies"][extra]}
    assert declared == EXTRAS[extra].modules.keys()


def test_every_extra_that_a_sentence_asks_for_is_known():
    others = [path for path in SOURCES if path.parent.name != "doctor"]
    asked = {name for path in others for name in re.findall(r"pip install 'dermis\[(\w+)\]'", path.read_text())}
    assert len(asked) >= 5
    assert asked <= EXTRAS.keys()


def test_a_missing_extra_names_its_packages_and_breaks_nothing(monkeypatch):
    there = installed.util.find_spec
    monkeypatch.setattr(installed.util, "find_spec", lambda name: None if name in ("faiss", "uvicorn") else there(name))
    assert EXTRAS["search"].versions() == {"faiss-cpu": None}
    assert EXTRAS["serve"].versions()["uvicorn"] is None
    assert exit_status(package_notes()) == 0


def test_a_module_counts_whoever_brought_it(monkeypatch):
    versions(monkeypatch, **{"faiss-cpu": None})
    monkeypatch.setattr(installed, "_there", lambda module: True)
    assert EXTRAS["search"].versions() == {"faiss-cpu": "another's"}


def versions(monkeypatch, **changes):
    known = installed.version
    monkeypatch.setattr(installed, "version", lambda package: changes.get(package, known(package)))


def test_what_is_required_is_read_from_dermis_itself():
    assert installed.required().keys() >= {"torch", "timm", "pillow", "simplejpeg"}
    assert not installed.required().keys() & {"faiss-cpu", "pytest"}
    assert package_notes() == []


def test_a_required_package_that_is_too_old_is_broken(monkeypatch):
    versions(monkeypatch, torch="2.5.1+cu121")
    [note] = package_notes()
    assert (note.level, note.sentence) == ("broken", "torch 2.5.1+cu121 is too old: pip install 'torch>=2.6'.")
    assert exit_status([note]) == 1


def test_newer_is_compared_as_numbers_and_not_as_text(monkeypatch):
    versions(monkeypatch, torch="2.10.0")
    assert package_notes() == []


def test_a_required_package_that_is_missing_is_broken_but_simplejpeg_has_a_substitute(monkeypatch):
    versions(monkeypatch, tyro=None, simplejpeg=None)
    there = installed.util.find_spec
    monkeypatch.setattr(installed.util, "find_spec", lambda name: None if name == "tyro" else there(name))
    notes = {note.level: note.sentence for note in package_notes()}
    assert notes["broken"] == "tyro is missing: pip install 'tyro>=0.9'."
    assert "decoded by Pillow, more slowly" in notes["warning"]


def test_a_compiled_part_that_does_not_load_is_told_without_folders(monkeypatch):
    load = installed.importlib.import_module

    def fails(name):
        if name == "cv2":
            raise ImportError("/home/somebody/venv/lib/cv2.abi3.so: libGL.so.1: cannot open shared object file")
        return load(name)

    monkeypatch.setattr(installed.importlib, "import_module", fails)
    installed.trouble.cache_clear()
    [note] = package_notes()
    installed.trouble.cache_clear()
    assert note.level == "broken"
    assert "libGL.so.1: cannot open shared object file" in note.sentence
    assert "somebody" not in note.sentence


def test_the_doctor_speaks_where_torch_does_not_load():
    found = "import sys, dermis.doctor.report; print(sorted({'torch', 'timm', 'cv2'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", found], capture_output=True, text=True).stdout == "[]\n"


def test_known_bad_combinations(monkeypatch):
    monkeypatch.setattr(installed, "_operators_repaired", lambda: True)
    monkeypatch.setattr(installed, "_pillow_reads", lambda name: False)
    versions(monkeypatch, **{"opencv-python": "4.9", "opencv-python-headless": "4.9"})
    notes = combination_notes()
    assert [note.level for note in notes] == ["note", "warning", "warning"]
    assert "handled" in notes[0].sentence
    assert "WebP" in notes[1].sentence
    assert "pip uninstall opencv-python opencv-python-headless" in notes[2].sentence
    assert exit_status(notes) == 0


@pytest.mark.parametrize(
    ("cuda", "device", "said"),
    [
        ("12.8", False, "no GPU or no driver"),
        ("12.8", True, "cannot use it"),
        (None, True, "CPU build"),
        (None, False, ""),
    ],
)
def test_a_build_of_torch_that_does_not_fit_the_machine(monkeypatch, tmp_path, cuda, device, said):
    monkeypatch.setattr(torch.version, "cuda", cuda)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    if device:
        (tmp_path / "dev").mkdir()
        (tmp_path / "dev/nvidia0").touch()
    notes = machine.gpu_notes(tmp_path)
    assert said in "".join(note.sentence for note in notes)
    assert len(notes) == bool(said)
    assert exit_status(notes) == 0


def test_the_features_that_are_told_are_those_of_the_code():
    used = {feature.name: feature.used for feature in features()}
    batches = Batches([0, 1], [[0], [1]], list)  # type: ignore[arg-type]
    assert used["pinned memory"] == batches.loader.pin_memory
    layer = torch.nn.Linear(2, 2, device="cuda" if torch.cuda.is_available() else "cpu")
    assert used["fused AdamW"] == bool(adamw(layer, TrainingConfig()).defaults["fused"])
    assert used["torch.compile"] == TrainingConfig().compile
    sources = "".join(path.read_text() for path in SOURCES if path.parent.name != "doctor")
    assert "set_float32_matmul_precision" not in sources
    assert "allow_tf32" not in sources
    assert "channels_last" in (ROOT / "src/dermis/towers/image.py").read_text()
