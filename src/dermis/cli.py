"""The command line: a table of commands, and a sentence instead of a traceback when input is wrong.

Only the table is imported for `dermis --help`; a command's own imports wait until it runs.
"""

import importlib
import os
import select
import signal
import sys
from collections.abc import Sequence

from dermis.registry import unknown
from dermis.training.interrupt import Interrupted

COMMANDS = {
    "demo": "make synthetic cases, pre-train on them, evaluate, write a report: the whole way in minutes",
    "import": "read a public data set, any CSV or a folder per class into a manifest",
    "check": "look for what is wrong with a manifest: files, labels, sentinels, leaks, duplicates",
    "split": "give each case train, valid or test without tearing a patient or lesion apart",
    "knowledge": "read disease, concepts and patient out of raw captions, offline or by a language model",
    "narrate": "tell each case as a consultation and a chief complaint, from its own columns",
    "corpus": "clean a pre-training corpus: lengths, languages, duplicates, panels, leaks; nothing is lost",
    "export": "write a manifest as the training table of MAKE or Derm1M",
    "train": "train what a recipe says, evaluate it, and leave a model folder and a report",
    "evaluate": "run evaluation protocols on a trained model: on a manifest, as a published table, or a whole suite",
    "leaderboard": "set several models' suites side by side: a table of their numbers, and the mean rank",
    "calibrate": "teach a model calibrated probabilities, sets with a promise, and when to say not sure",
    "embed": "write the embeddings of a manifest's pictures into a folder; what exists is skipped",
    "search": "show the cases nearest to a picture, a text or both",
    "explain": "show where a model looked: patches near a text, or attention rolled out",
    "publish": "make a model ready for others: cleaned, with a complete card, ONNX graphs, in a folder or on the hub",
    "serve": "put a model behind an HTTP API and a page, with limits, in batches; nothing sent is kept",
    "generate": "write a text about each picture with a model that learnt to (m2cg)",
    "extrapolate": "give image-only cases the metadata of the reference case that looks most alike",
    "list": "name data sets, methods, recipes, augmentations, templates, classes, protocols, tables, suites, models",
    "doctor": "say what is installed, what is missing and for what, and whether the loader or the model is slow",
}

HELP = """dermis: dermatology representations from images, captions, consultations and tables

usage: dermis COMMAND [...]        dermis COMMAND --help explains one

{commands}

First time:      dermis demo
Your own data:   dermis import csv cases.csv --out cases.parquet \\
                     --options columns "image=file, caption=text, diagnosis=label, patient_id=patient"
                 dermis check cases.parquet
                 dermis split cases.parquet
                 dermis train clip_small --data.manifest cases.parquet
"""


def help_text() -> str:
    """What `dermis --help` prints."""
    return HELP.format(commands="\n".join(f"  {name:<12}{summary}" for name, summary in COMMANDS.items()))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command; exits with 2 and a sentence on wrong input (DERMIS_DEBUG=1 shows the traceback)."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        status = _run(arguments)
        sys.stdout.flush()
    except (ValueError, FloatingPointError, OSError) as error:
        if isinstance(error, BrokenPipeError) and _nobody_reads():
            status = 128 + signal.SIGPIPE
        elif os.environ.get("DERMIS_DEBUG"):
            raise
        else:
            sys.stderr.write(f"{' '.join(['dermis', *arguments[:1]])}: {_sentence(error)}\n")
            status = 2
    except Interrupted as stop:
        sys.stderr.write(f"{stop}\n")
        status = stop.status
    except KeyboardInterrupt:
        status = 130
    if status is not None:
        sys.exit(status)


def _run(arguments: list[str]) -> int | None:
    """The exit status of a command; None after help and version."""
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        sys.stdout.write(help_text())
        return None
    if arguments[0] in ("-V", "--version"):
        from dermis import __version__

        sys.stdout.write(f"dermis {__version__}\n")
        return None
    if arguments[0] not in COMMANDS:
        raise unknown("command", arguments[0], COMMANDS)
    module = importlib.import_module(f"dermis.commands.{arguments[0].replace('import', 'import_set')}")
    return module.run(arguments[1:])


def _sentence(error: Exception) -> str:
    """What went wrong; of a file, in the system's words and with its name."""
    if not isinstance(error, OSError) or error.strerror is None:
        return str(error)
    names = [str(name) for name in (error.filename, error.filename2) if name is not None]
    return f"{' -> '.join(names)}: {error.strerror}." if names else f"{error.strerror}."


def _nobody_reads() -> bool:
    """Is the reader of our output gone, as `head` is once it has its lines? Then nothing more is written to it."""
    output = select.poll()
    for descriptor in (1, 2):
        output.register(descriptor, 0)  # errors are reported in any case
    gone = [descriptor for descriptor, event in output.poll(0) if event & select.POLLERR]
    for descriptor in gone:
        os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)  # Python flushes once more at its end
    return bool(gone)
