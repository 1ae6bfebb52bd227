"""dermis demo"""

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from dermis.commands.arguments import called

NEXT = """
What to type next{first}. One picture:

  python -c "import dermis; print(dermis.classify(dermis.load('{model}'), '{picture}', ['melanoma', 'nevus']))"

and with pictures of your own and a table cases.csv that names them (leave out of `columns` what it does not have):

  dermis import csv cases.csv --out cases.parquet \\
      --options columns "image=file, caption=text, diagnosis=label, patient_id=patient"
  dermis check cases.parquet          # what is wrong with it
  dermis split cases.parquet          # train, valid, test; no patient on two sides
  dermis train clip_small --data.manifest cases.parquet
"""


def _first() -> str:
    """What to type before anything else where a shell does not find `dermis`, as after `make demo`."""
    activate = Path(sys.prefix) / "bin" / "activate"
    if shutil.which("dermis") or not activate.is_file():
        return ""
    near = activate.is_relative_to(Path.cwd())
    return f", after `source {activate.relative_to(Path.cwd()) if near else activate}`"


def demo(out: Path = Path("demo"), patients: int = 800, seed: int = 1) -> int:
    """The whole way on made-up cases, in minutes: make them, pre-train CLIP, evaluate it beside the untrained model.

    The pictures are the synthetic skin (rendered, nobody's), so the numbers say that everything works, not how well a
    model diagnoses.

    Args:
        out: folder for the cases and the run; a second demo there resumes or only evaluates again
        patients: synthetic patients, with one to five lesions each
        seed: of the cases; the frozen evaluation sets have others
    """
    from rich.console import Console

    from dermis.cases.synthetic import make_cases
    from dermis.evaluation.report import UNTRAINED
    from dermis.experiment import read_experiment
    from dermis.recipes import find_recipe
    from dermis.run import run_experiment

    console = Console(stderr=True)
    console.print(f"1/3  drawing synthetic lesions of {patients} patients", highlight=False, soft_wrap=True)
    manifest = make_cases(out / "cases", patients=patients, size=96, seed=seed, workers=2)
    console.print(f"     {len(manifest)} cases in {out / 'cases'}", highlight=False, soft_wrap=True)
    took = "about two minutes on two free cores"
    console.print(f"2/3  pre-training CLIP on their captions, then evaluating: {took}", highlight=False, soft_wrap=True)
    arguments = ["--data.manifest", str(out / "cases" / "cases.parquet"), "--data.cache", str(out / "embeddings")]
    experiment = read_experiment(find_recipe("demo"), arguments)
    report = run_experiment(experiment, out / "run", command="dermis demo")
    console.print("3/3  test cases the model has not seen; untrained beside trained", highlight=False, soft_wrap=True)
    assert report is not None
    for protocol, metric in (("prompt classification", "macro AUROC"), ("image-to-text retrieval", "recall@10")):
        before, after = (report.value(protocol, metric, model=m).text() for m in (UNTRAINED, experiment.name))
        console.print(f"     {protocol}, {metric}: {before} -> {after}", highlight=False, soft_wrap=True)
    picture = out / "cases" / manifest.table["image"].iloc[0]
    said = NEXT.format(first=_first(), model=out / "run" / "model", picture=picture)
    console.print(said, highlight=False, markup=False, soft_wrap=True)
    return 0


def run(arguments: Sequence[str]) -> int:
    """`dermis demo`"""
    return called(demo, "demo", arguments)
