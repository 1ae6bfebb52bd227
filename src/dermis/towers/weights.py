"""Pretrained weights from a file, a folder or the hub, and strict loading that says what does not fit."""

import pickle
from collections.abc import Mapping
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

HUB, FOLDER = "hf-hub:", "local-dir:"
UNPICKLED = (".bin", ".pt", ".pth")
CHECKPOINTS = ("open_clip_model", "open_clip_pytorch_model", "model", "pytorch_model")
"""what publishers call the one file of a model, the likelier first"""


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


def fetch_folder(source: str) -> Path:
    """The folder that ``source`` means: a path, ``local-dir:FOLDER`` or ``hf-hub:org/repo`` (downloads it).

    Of the hub's weights safetensors are taken, pickles only where there is nothing else. Raises ValueError, with a
    sentence, if there is no such folder or the hub does not give it.
    """
    if source.startswith(HUB):
        folder = fetch(source, patterns=["*.json", "*.safetensors", "*.txt", "*.md", "*.yaml", "*.model"])
        if not any(folder.rglob("*.safetensors")):
            folder = fetch(source, patterns=["*.json", "*.txt", "*.md", "*.model", *(f"*{end}" for end in UNPICKLED)])
        return folder
    folder = Path(source.removeprefix(FOLDER))
    if not folder.is_dir():
        raise ValueError(f"no folder at {folder}: give a model folder, local-dir:FOLDER or hf-hub:ORG/REPO.")
    return folder


def find_checkpoint(folder: Path) -> Path:
    """The file with the weights of a published model; raises ValueError if there is none or no telling which."""
    endings = (".safetensors", *UNPICKLED)
    for name in (f"{stem}{ending}" for ending in endings for stem in CHECKPOINTS):
        if (folder / name).is_file():
            return folder / name
    found = sorted(p for p in folder.iterdir() if p.suffix in endings)
    if len(found) == 1:
        return found[0]
    if not found:
        raise ValueError(f"{folder} has no weights: no file ends in .safetensors, {', '.join(UNPICKLED)}.")
    names = ", ".join(p.name for p in found[:5])
    raise ValueError(f"{folder} has several files of weights ({names}); keep one of them.")


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """Tensors by name of a published file: safetensors, or a pickle of which tensors and plain containers are built.

    A pickle is opened with torch's ``weights_only=True``, which runs no code of the file. A training checkpoint is
    unwrapped (its ``state_dict`` or ``model``), and so are names under DDP's ``module.``. A file that is a single
    tensor has the name "". Raises ValueError for a damaged file and for one that holds anything else.
    """
    if path.suffix == ".safetensors":
        return read_weights(str(path))
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError):  # torch's own sentence advises to run the code
        raise ValueError(f"{path} is damaged, or holds more than tensors, which could run code; not opened.") from None
    if isinstance(found, Tensor):
        return {"": found.detach()}
    for key in ("state_dict", "model"):
        if isinstance(found, dict) and isinstance(found.get(key), dict):
            found = found[key]
    if not isinstance(found, dict) or not all(isinstance(v, Tensor) for v in found.values()):
        raise ValueError(f"{path} does not hold tensors by name.")
    if all(name.startswith("module.") for name in found):
        found = {name.removeprefix("module."): tensor for name, tensor in found.items()}
    return {name: tensor.detach() for name, tensor in found.items()}


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
