"""dermis doctor"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dermis.commands.flags import take_flag, take_option

if TYPE_CHECKING:
    from dermis.experiment import Experiment

SECONDS = 10.0
USAGE = """usage: dermis doctor [--json]
       dermis doctor MANIFEST [RECIPE | --method NAME] [--seconds S] [--smoke] [--json] [--SETTING VALUE ...]

Say what is installed, what is missing for which command, and what of this machine training uses.

With a MANIFEST also measure whether the loader or the model is the bottleneck, by the loader and the loop that train:
reading, decoding, the whole loader without and with workers, and training steps on a batch in memory, about S seconds
each (10). RECIPE is a file or the name of one that came with dermis (`dermis list recipes`); --method NAME takes the
one that came with dermis for this method; without either, clip_small where there are captions, else simclr. A setting
of the recipe is changed as in `dermis train`: --training.workers 8. --json prints all of it for a bug report, without
paths or names of files. The exit status is 1 if something needed is broken.
"""


def run(arguments: Sequence[str]) -> int:
    """`dermis doctor`"""
    if "-h" in arguments or "--help" in arguments:
        sys.stdout.write(USAGE)
        return 0
    rest = list(arguments)
    as_json = take_flag(rest, "--json")
    experiment, seconds = _experiment(rest) if rest else (None, SECONDS)  # first: what is mistyped stops here

    from dermis.doctor.note import exit_status
    from dermis.doctor.report import examine, measured_facts, measured_text, text

    facts, found, notes = examine()
    if not as_json:
        sys.stdout.write(text(facts, notes) + "\n")
    if experiment is not None:
        from dermis.doctor.bottleneck import measure

        measured = measure(experiment, seconds, found, lambda stage: _say(f"measuring: {stage}"))
        notes += measured.notes
        facts["bottleneck"] = measured_facts(measured)
        if not as_json:
            sys.stdout.write("\n" + "\n".join([measured_text(measured), *(n.sentence for n in measured.notes)]) + "\n")
    if as_json:
        facts |= {"notes": [{"level": n.level, "sentence": n.sentence} for n in notes], "status": exit_status(notes)}
        sys.stdout.write(json.dumps(facts, indent=1, ensure_ascii=False) + "\n")
    return exit_status(notes)


def _experiment(rest: list[str]) -> "tuple[Experiment, float]":
    """What shall be measured and for how long. Raises ValueError for arguments that do not fit together."""
    from dermis.doctor.choice import chosen

    method, seconds, smoke = take_option(rest, "--method"), take_option(rest, "--seconds"), take_flag(rest, "--smoke")
    named = next((i for i, argument in enumerate(rest) if argument.startswith("-")), len(rest))
    if not 1 <= named <= 2:
        found = " ".join(rest[:named]) or "nothing"
        raise ValueError(f"MANIFEST and at most one RECIPE come before the settings, not {found}.")
    try:
        time = SECONDS if seconds is None else float(seconds)
    except ValueError:
        raise ValueError(f"--seconds must be a number, not {seconds!r}.") from None
    if not time > 0:
        raise ValueError(f"--seconds must be more than 0, not {seconds}.")
    recipe = rest[1] if named == 2 else None
    return chosen(Path(rest[0]), recipe, method, rest[named:], smoke), time


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")
