"""Pretrained weights from a file, a folder or the hub, and strict loading that says what does not fit."""

from collections.abc import Mapping
from pathlib import Path

import safetensors
import safetensors.torch
from torch import Tensor, nn

HUB, FOLDER = "hf-hub:", "local-dir:"


def find_weights(source: str, name: str = "model.safetensors") -> Path:
    """The safetensors file that ``source`` means: a path, ``local-dir:FOLDER`` or ``hf-hub:org/repo`` (downloads it).

    Raises ValueError, with a sentence, for a file that is not there or is not safetensors.
    """
    if source.startswith(HUB):
        return fetch(source, name)
    path = Path(source.removeprefix(FOLDER)) / name if source.startswith(FOLDER) else Path(source)
    if not path.is_file():
        raise ValueError(f"no weights at {path}: give a .safetensors file, local-dir:FOLDER or hf-hub:ORG/REPO.")
    if path.suffix != ".safetensors":
        raise ValueError(f"{path} is not a .safetensors file; other formats can run code when they are opened.")
    return path


def fetch(source: str, name: str | None = None, patterns: list[str] | None = None) -> Path:
    """A file of ``hf-hub:org/repo``, or the folder of all its files that match ``patterns``, from the hub or its cache.

    Raises ValueError, with a sentence, if the hub does not give it.
    """
    import huggingface_hub

    repository = source.removeprefix(HUB)
    try:
        if name is not None:
            return Path(huggingface_hub.hf_hub_download(repository, name))
        return Path(huggingface_hub.snapshot_download(repository, allow_patterns=patterns))
    except (OSError, ValueError) as error:
        raise ValueError(f"the hub does not give {name or 'the files'} of {repository!r}: {error}") from None


def read_weights(source: str) -> dict[str, Tensor]:
    """Tensors by name from ``source`` (``find_weights``); raises ValueError for a damaged file."""
    path = find_weights(source)
    try:
        return safetensors.torch.load_file(path)
    except safetensors.SafetensorError as error:
        raise ValueError(f"{path} is damaged or no safetensors file ({error}).") from None


def load_strictly(module: nn.Module, weights: Mapping[str, Tensor], source: str) -> None:
    """Copy ``weights`` into ``module``, in the module's own dtype (half precision files become float32).

    Raises ValueError naming the first few tensors that are missing, left over or of another shape.
    """
    own = module.state_dict()
    missing = [k for k in own if k not in weights]
    unexpected = [k for k in weights if k not in own]
    reshaped = [
        f"{k} {tuple(weights[k].shape)} for {tuple(own[k].shape)}"
        for k in own
        if k in weights and weights[k].shape != own[k].shape
    ]
    complaints = [
        f"{len(names)} {what} ({', '.join(names[:3])}{', …' if len(names) > 3 else ''})"
        for what, names in (("missing", missing), ("left over", unexpected), ("of another shape", reshaped))
        if names
    ]
    if complaints:
        raise ValueError(f"the weights of {source} do not fit {type(module).__name__}: {'; '.join(complaints)}.")
    module.load_state_dict(weights)
