"""Real data and weights, where a machine has them; tests that need them skip and say so where it has not."""

import os
from pathlib import Path

import pytest

from dermis import torchvision_operators  # noqa: F401 (before any test imports timm or open_clip)

ROOT = Path(__file__).parents[1]


def _folder(variable: str, default: str, what: str) -> Path:
    folder = Path(os.environ.get(variable, ROOT / ".." / "shared" / default)).resolve()
    if not folder.is_dir():
        pytest.skip(f"needs the real {what}: set {variable} to their folder (looked in {folder})")
    return folder


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the real data sets (not redistributable, so not in the repository)."""
    return _folder("DERMIS_DATA", "data", "data sets")


@pytest.fixture(scope="session")
def shared_weights() -> Path:
    """Folder of the real pretrained weights."""
    return _folder("DERMIS_WEIGHTS", "weights", "weights")


def pytest_terminal_summary(terminalreporter) -> None:
    """Say how much was not tested because this machine has no real data."""
    missing = [r for r in terminalreporter.stats.get("skipped", []) if "needs the real" in str(r.longrepr)]
    terminalreporter.write_line(f"{len(missing)} tests skipped because real data or weights are absent")
