"""dermis doctor"""

import importlib.metadata as metadata
import os
import platform
import sys
from collections.abc import Sequence

PACKAGES = ("torch", "torchvision", "timm", "open_clip_torch", "numpy", "opencv-python-headless", "pandas", "pyarrow")
EXTRAS = {"hf": "transformers", "lora": "peft", "search": "faiss-cpu", "text": "sacrebleu", "track": "tensorboard"}


def lines() -> list[str]:
    """What is installed, what this machine can do, and what is missing, one sentence a line."""
    found = [f"dermis {metadata.version('dermis')}, Python {platform.python_version()}, {platform.platform()}"]
    for package in PACKAGES:
        try:
            found.append(f"  {package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            found.append(f"  {package}: MISSING; reinstall dermis")
    for extra, package in EXTRAS.items():
        try:
            found.append(f"  extra `{extra}`: {package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            found.append(f"  extra `{extra}` is not installed: pip install 'dermis[{extra}]'")
    return found + _machine()


def _machine() -> list[str]:
    import torch

    from dermis import torchvision_operators
    from dermis.training.precision import choose

    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    device = torch.device("cuda" if gpus else "cpu")
    return [
        f"  processors {os.cpu_count()}, torch uses {torch.get_num_threads()}; GPUs: {', '.join(gpus) or 'none'}",
        f"  training would compute in {choose('auto', device)[1]}",
        "  torchvision's compiled part "
        + ("cannot load beside this torch; its Python part is used" if torchvision_operators.repaired() else "loads"),
    ]


def run(arguments: Sequence[str]) -> int:
    """`dermis doctor`: say what is installed, what the machine can do and what is missing."""
    if arguments and arguments[0] not in ("-h", "--help"):
        raise ValueError(f"doctor takes no arguments, not {arguments[0]!r}.")
    sys.stdout.write((run.__doc__ or "") + "\n" if arguments else "\n".join(lines()) + "\n")
    return 0
