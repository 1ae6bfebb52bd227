"""Vectors on disk by picture: what a frozen tower said need not be computed twice.

A cache is a folder of parts, each a safetensors file that appears whole (written under another name, then renamed), so
an interrupted run keeps what it had. The folder's name stands for the tower: its weights, its layers, its transform.
"""

import hashlib
import os
import re
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import timm
import torch
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from torch import nn

from dermis.model.look import picture_towers
from dermis.pictures import PictureError
from dermis.pictures.store import read_bytes

FORMAT = "1"
"""changes whenever the same tower and picture would give another vector"""
PART = 2048
"""pictures in a part: what an interruption can lose"""
SENTENCE = "Erythematous papules, 3 mm: psoriasis, a Spitz nevus or naïve guesswork?"
"""by what becomes of it two tokenizers are told apart"""


def tower_key(tower: nn.Module) -> str:
    """A name for everything of an image tower that its pooled vector depends on."""
    name = hashlib.blake2b(digest_size=16)
    facts = (FORMAT, timm.__version__, repr(tower), repr(tower.transform), getattr(tower, "pool", None))
    name.update(repr(facts).encode())
    update_with_weights(name, tower)
    return name.hexdigest()


def model_key(model: nn.Module) -> str:
    """A name for everything of a whole model that its answers depend on: layers, weights, transforms, words to tokens.

    It tells models apart, not vectors: other than ``tower_key`` it outlives a new version of timm.
    """
    towers = {c: (getattr(t, "transform", None), getattr(t, "pool", None)) for c, t in picture_towers(model).items()}
    tokenizer = getattr(getattr(model, "text", None), "tokenizer", None)
    said = None if tokenizer is None else [list(map(int, ids)) for ids in tokenizer([SENTENCE])]
    layers = re.sub(r" at 0x[0-9a-f]+", "", repr(model))
    facts = (layers, sorted(towers.items()), said, getattr(model, "settings", None))
    name = hashlib.blake2b(repr(facts).encode(), digest_size=16)
    update_with_weights(name, model)
    return name.hexdigest()


def update_with_weights(name: hashlib.blake2b, module: nn.Module) -> None:
    """Take names, types, shapes and bits of all tensors of ``module`` into the hash."""
    for key, tensor in sorted(module.state_dict().items()):
        name.update(f"{key}{tensor.dtype}{tuple(tensor.shape)}".encode())
        name.update(
            tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        )  # NumPy has no bf16


def picture_key(root: Path, path: str | None) -> bytes:
    """A name for a picture: where it lies, and size and time of its file, or its content where the file is elsewhere.

    Empty for a picture that is not there: it is never in a cache.
    """
    if not isinstance(path, str):
        return b""
    try:
        file = Path(os.path.abspath(root)) / path.partition("!/")[0]
        state = file.stat()
        identity = f"{file}\0{path}\0{state.st_size}\0{state.st_mtime_ns}".encode()
    except (OSError, ValueError):
        try:
            identity = read_bytes(root, path)
        except PictureError:
            return b""
    return hashlib.blake2b(identity, digest_size=16).digest()


class VectorCache:
    """Vectors by 16-byte key in ``folder``; several processes may write to one folder, each its own parts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._vectors: dict[bytes, np.ndarray] = {}
        self._fresh: dict[bytes, np.ndarray] = {}
        for part in sorted(folder.glob("part-*.safetensors")):
            try:
                stored = load_file(part)
            except (SafetensorError, OSError):
                part.unlink(missing_ok=True)  # a broken disk; its pictures are embedded again
                continue
            self._vectors |= {key.tobytes(): v for key, v in zip(stored["key"], stored["vector"], strict=True)}

    def __contains__(self, key: object) -> bool:
        return key in self._vectors

    def __getitem__(self, key: bytes) -> np.ndarray:
        return self._vectors[key]

    def add(self, keys: Sequence[bytes], vector_ND: np.ndarray) -> None:
        """Keep these too; on disk once there are enough for a part."""
        self._fresh |= {key: vector for key, vector in zip(keys, vector_ND, strict=True) if key}
        if len(self._fresh) >= PART:
            self.flush()

    def flush(self) -> None:
        """Write what is not on disk yet."""
        if not self._fresh:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        part = self.folder / f"part-{time.time_ns()}-{os.getpid()}.safetensors"
        scratch = part.with_name(f".{part.name}")
        keys = np.stack([np.frombuffer(key, np.uint8) for key in self._fresh])
        save_file({"key": keys, "vector": np.stack(list(self._fresh.values()))}, scratch)
        scratch.rename(part)
        self._vectors |= self._fresh
        self._fresh = {}
