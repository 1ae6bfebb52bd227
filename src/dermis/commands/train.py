"""dermis train"""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from dermis.commands.flags import take_flag, take_option

USAGE = """usage: dermis train RECIPE [--smoke] [--out FOLDER] [--SETTING VALUE ...]

Train what a recipe says, evaluate it, and leave a model folder and a report. RECIPE is a file, or the name of one that
came with dermis (`dermis list recipes`). The same command resumes an interrupted run. --smoke: the recipe's own small
size, to see that everything works. `dermis train RECIPE --help` shows every setting; for several GPUs:
torchrun --nproc-per-node N -m dermis train RECIPE.
"""


def run(arguments: Sequence[str]) -> int:
    """`dermis train`"""
    if not arguments or arguments[0] in ("-h", "--help"):
        sys.stdout.write(USAGE)
        return 0
    from dermis.recipes import find_recipe

    rest = list(arguments[1:])
    smoke, out = take_flag(rest, "--smoke"), take_option(rest, "--out")
    recipe = find_recipe(arguments[0])

    from dermis.experiment import read_experiment
    from dermis.run import run_experiment

    experiment = read_experiment(recipe, rest, smoke, f"dermis train {arguments[0]}")
    folder = Path(out) if out else Path("runs") / (experiment.name + ("-smoke" if smoke else ""))
    run_experiment(experiment, folder, command=shlex.join(["dermis", "train", *arguments]))
    return 0
