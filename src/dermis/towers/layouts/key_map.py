"""Translation of tensor names, complete in both directions."""

import logging
from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor

log = logging.getLogger(__name__)

Entry = tuple[str, tuple[str, ...], Callable[..., Tensor]]
"""our name, theirs (one or more), and how ours is made of theirs"""


def same(ours: str, theirs: str) -> Entry:
    return ours, (theirs,), lambda tensor: tensor


def layer(ours: str, theirs: str) -> list[Entry]:
    """Weight and bias of a linear layer, a norm or a convolution."""
    return [same(f"{ours}.{part}", f"{theirs}.{part}") for part in ("weight", "bias")]


def transposed(ours: str, theirs: str) -> Entry:
    """A projection that one side stores as a layer (out, in) and the other as a matrix (in, out)."""
    return ours, (theirs,), lambda tensor: tensor.T


def stacked(ours: str, *theirs: str) -> Entry:
    """Queries, keys and values: apart there, one under the other here."""
    return ours, theirs, lambda *tensors: torch.cat(tensors)


def scalar(ours: str, theirs: str) -> Entry:
    """A number that they may keep in a vector of one."""
    return ours, (theirs,), lambda tensor: tensor.reshape(())


def translate(
    entries: Iterable[Entry], tensors: Mapping[str, Tensor], source: str, left_out: tuple[str, ...] = ()
) -> dict[str, Tensor]:
    """``tensors`` under our names. ``left_out``: prefixes of names that the layout has no use for; they are said.

    Raises ValueError naming the first few tensors that are missing, or that neither an entry nor ``left_out`` knows.
    """
    entries = list(entries)
    wanted = [name for _, theirs, _ in entries for name in theirs]
    missing = [name for name in wanted if name not in tensors]
    unused = [name for name in tensors if name not in set(wanted)]
    surplus = [name for name in unused if not name.startswith(left_out)]
    complaints = [
        f"{len(names)} {what} ({', '.join(names[:3])}{', …' if len(names) > 3 else ''})"
        for what, names in (("missing", missing), ("left over", surplus))
        if names
    ]
    if complaints:
        raise ValueError(f"the weights of {source} do not fit their layout: {'; '.join(complaints)}.")
    say_left_out(unused, source)
    return {ours: make(*(tensors[name] for name in theirs)) for ours, theirs, make in entries}


def say_left_out(names: Iterable[str], source: str) -> None:
    """Log what is not loaded, a line for each part of the model; buffers of positions say nothing and are not said."""
    parts = sorted({name.split(".")[0] for name in names if not name.endswith("position_ids")})
    if parts:
        log.warning("%s: left out, no part of the two towers: %s", source, ", ".join(parts))
