"""ONNX graphs of a model's towers, each compared with the model before anybody gets it.

``image.onnx`` (and ``dermoscopy.onnx``): normalised pictures (batch, 3, H, W) -> ``pooled`` (batch, D), and of two
towers ``image_embedding`` (batch, E), not normalised. ``text.onnx``: token ids padded at the end (batch, length) and
lengths (batch,) -> ``text_embedding``; exact, because a causal text does not see what follows it. Heads that predict
labels, fusion and generators are in none. Needs the extra `export`.
"""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dermis.model.look import picture_towers
from dermis.publish.graphs import ImageGraph, TextGraph, pictures_to_compare, texts_to_compare
from dermis.towers.text import TextTower
from dermis.towers.two_tower import TwoTower

MOST = 1e-3
"""largest difference from torch, relative to the largest value, that is published"""
BATCHES = (1, 5)
OPSET = 20
DYNAMIC = {"image": {0: "batch"}, "tokens": {0: "batch", 1: "length"}, "lengths": {0: "batch"}}
"""input -> its dimensions that are not fixed"""
LARGEST = 2**31 - 2**24
"""bytes of a file of protobuf, with room for the graph beside the weights"""


@dataclass(frozen=True)
class Graph:
    """A graph that was written, and how far it is from torch."""

    name: str
    outputs: tuple[str, ...]
    difference: float
    """largest absolute difference of an output"""
    relative: float
    """the same over the largest absolute value"""


def write_graphs(model: nn.Module, folder: Path) -> tuple[list[Graph], list[str]]:
    """Write the graphs of ``model`` (evaluation mode, CPU) into ``folder``; returns them, and what is left out and why.

    Raises ValueError where the extra is missing, a graph is too large for one file, or torch and ONNX differ by more
    than ``MOST``.
    """
    need_extra()
    folder.mkdir(parents=True, exist_ok=True)
    head = model.image_head if isinstance(model, TwoTower) else None
    outputs = ("pooled",) if head is None else ("pooled", "image_embedding")
    graphs, left_out = [], []
    for column, tower in picture_towers(model).items():
        asked = pictures_to_compare(tower.transform, BATCHES)
        graphs.append(_write(ImageGraph(tower, head), folder / f"{column}.onnx", asked, outputs))
    if isinstance(model, TwoTower):
        if type(model.text) is TextTower:
            text, asked = TextGraph(model.text, model.text_head), texts_to_compare(model.text, BATCHES)
            graphs.append(_write(text, folder / "text.onnx", asked, ("text_embedding",)))
        else:
            left_out.append(f"the text tower ({type(model.text).__name__}): only the causal one has a graph.")
        if model.generator is not None:
            left_out.append("the generator: it writes token by token.")
    if head is None and hasattr(model, "parts") and len(model.parts):
        left_out.append(f"what is built on the towers ({', '.join(model.parts)}): the graphs end at pooled features.")
    return graphs, left_out


def need_extra() -> None:
    """Raise ValueError if the packages are missing."""
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ValueError(f"--onnx needs {error.name}: pip install 'dermis[export]'.") from None


def _write(graph: nn.Module, path: Path, asked: list[dict[str, Tensor]], outputs: tuple[str, ...]) -> Graph:
    import onnx

    size = sum(p.numel() * p.element_size() for p in graph.parameters())
    if size > LARGEST:
        raise ValueError(
            f"{path.stem} has {size / 2**30:.1f} GiB of weights, more than an ONNX file; leave --onnx out."
        )
    graph.eval()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # torch's own deprecations
        program = torch.onnx.export(
            graph,
            kwargs=asked[-1],
            input_names=list(asked[-1]),
            output_names=list(outputs),
            dynamic_shapes={name: DYNAMIC[name] for name in asked[-1]},
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    proto = program.model_proto
    without_traces(proto)
    path.write_bytes(proto.SerializeToString())
    onnx.checker.check_model(str(path), full_check=True)
    difference, relative = compare(graph, path, asked)
    if not relative <= MOST:  # NaN too
        raise ValueError(
            f"{path.name} differs from torch by {relative:.2g} of its largest value, and at most {MOST:g} is published."
        )
    return Graph(path.name, outputs, difference, relative)


def without_traces(message: Any) -> None:
    """Take out what the exporter notes of each node: stack traces, with the places of files on this machine."""
    for field, value in message.ListFields():
        if field.name in ("metadata_props", "doc_string"):
            message.ClearField(field.name)
        elif field.message_type is not None:
            for part in [value] if hasattr(value, "ListFields") else value:
                without_traces(part)


def compare(graph: nn.Module, path: Path, asked: list[dict[str, Tensor]]) -> tuple[float, float]:
    """Largest difference of onnxruntime from torch over all ``asked`` and outputs: absolute, and over the largest
    absolute value of the output."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    absolute, relative = [], []
    for given in asked:
        with torch.no_grad():
            expected = [out.numpy() for out in graph(**given)]
        found = session.run(None, {name: tensor.numpy() for name, tensor in given.items()})
        for want, have in zip(expected, found, strict=True):
            apart = float(np.abs(want - have).max())
            absolute.append(apart)
            relative.append(apart / float(np.abs(want).max()))
    return float(np.max(absolute)), float(np.max(relative))
