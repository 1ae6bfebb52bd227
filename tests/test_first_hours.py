"""The two first hours as their pages have them: each bash and Python block, in order, in a folder like the reader's."""

import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import dermis
from dermis.model import save
from dermis.towers.build import ImageTowerConfig, TextTowerConfig, TwoTowerConfig, build_two_tower

DOCS = Path(__file__).parents[1] / "docs"


def blocks(page):
    """(language, code) of each block that runs; ``console`` blocks need more time or machines."""
    return re.findall(r"^```(bash|python)\n(.*?)^```$", (DOCS / page).read_text(), flags=re.DOTALL | re.MULTILINE)


def run(script, folder):
    """A whole page as one shell session, with this Python's dermis."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "OMP_NUM_THREADS": "1"}
    script = f"set -e; trap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n{script}"
    done = subprocess.run(
        ["bash", "-c", script], cwd=folder, env=environment, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


@pytest.mark.slow
def test_the_first_hour_of_a_researcher(tmp_path):
    made = dermis.make_cases(tmp_path / "made", patients=60, size=64, seed=1)
    shutil.copytree(made.root, tmp_path / "photos")
    patients = made.table.groupby("diagnosis")["patient_id"].transform("nunique")
    table = made.table.loc[patients >= 9, ["image", "diagnosis", "patient_id", "caption"]]
    table.columns = ["file", "label", "patient", "text"]
    table.assign(file="photos/" + table["file"]).to_csv(tmp_path / "cases.csv", index=False)
    shutil.copy(made.root / table["file"].iloc[0], tmp_path / "photos" / "a.jpg")
    said = run("\n".join(code for language, code in blocks("first_hour_researcher.md") if language == "bash"), tmp_path)
    assert "bottleneck" in said
    assert (tmp_path / "runs" / "try" / "report" / "report.html").is_file()
    assert list((tmp_path / "runs" / "probe").rglob("report.json"))


@pytest.mark.slow
def test_the_first_hour_of_an_engineer(tmp_path):
    text = TextTowerConfig(width=32, layers=1, heads=2, context_length=16)
    image = ImageTowerConfig(name="test_vit", size=32)
    save(tmp_path / "model", build_two_tower(TwoTowerConfig(image=image, text=text, embed_dim=16), seed=1))
    made = dermis.make_cases(tmp_path / "made", cases=2, size=64, seed=1)
    shutil.copy(made.root / made.table["image"].iloc[0], tmp_path / "photo.jpg")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    session = []
    for language, code in blocks("first_hour_engineer.md"):
        code = code.replace("8000", port).replace("pip install", ": pip install")
        session.append(code if language == "bash" else f"python - <<'PYTHON'\n{code}PYTHON")
    said = run("\n".join(session), tmp_path)
    assert '"classify_names":true' in said
    found = eval(said[said.rindex("{") :])
    assert sum(found.values()) == pytest.approx(1)


def test_commands_and_links_of_the_pages_exist():
    from dermis.cli import COMMANDS

    for page in DOCS.glob("*.md"):
        text = page.read_text()
        assert set(re.findall(r"^dermis (\w+)", text, flags=re.MULTILINE)) <= set(COMMANDS), page
        for link in re.findall(r"\]\(((?!http)[^)#]+)\)", text):
            assert (DOCS / link).exists(), (page, link)
