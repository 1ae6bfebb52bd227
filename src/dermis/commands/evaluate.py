"""dermis evaluate"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import tyro

from dermis.evaluation.config import EvaluationConfig


@dataclass(kw_only=True)
class Evaluate:
    """Run evaluation protocols on a trained model and write report.html, report.md and report.json."""

    model: tyro.conf.Positional[str]
    """a model folder (dermis or open_clip), local-dir:FOLDER or hf-hub:ORG/REPO"""
    manifest: tyro.conf.Positional[Path]
    """cases.parquet or cases.csv with the columns `split` and `diagnosis`"""
    root: Path | None = None
    """image root, if not the one the manifest records"""
    out: Path = Path("report")
    """folder for the report"""
    cache: Path = Path("runs/embeddings")
    """where embeddings of pictures are kept between runs"""
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    """protocols and their settings"""


def run(arguments: Sequence[str]) -> int:
    """`dermis evaluate`"""
    asked = tyro.cli(Evaluate, args=list(arguments), prog="dermis evaluate")

    from dermis.cases.manifest import Manifest
    from dermis.evaluation.evaluate import evaluate
    from dermis.model import load
    from dermis.model.embed import embed_pictures
    from dermis.progress import counting

    model = load(asked.model)
    with counting("embedding pictures") as progress:
        report = evaluate(
            model,
            Manifest.read(asked.manifest, asked.root),
            asked.evaluation,
            name=Path(asked.model).name,
            embed=lambda cases: embed_pictures(model, cases, cache=asked.cache, progress=progress),
            command="dermis evaluate " + " ".join(arguments),
        )
    page = report.write(asked.out)
    for entry in report.entries:
        if not entry.subgroup and not entry.class_name:
            sys.stdout.write(f"{entry.protocol}: {entry.metric} {entry.text()} (n = {entry.n})\n")
    sys.stdout.write(f"report: {page}\n")
    return 0
