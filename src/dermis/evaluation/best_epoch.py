"""The best epoch so far, on disk: what the training loop calls after an epoch, and asks whether it may stop.

``best.safetensors`` holds what may have changed since the start, with its epoch and figure as metadata; ``best.json``
the figures of all epochs. Each is written beside its place and renamed. An epoch that is trained again after an
interruption overwrites its own figure, so both are the same however often a run is cut.
"""

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from dermis.cases.targets import UNKNOWN

WEIGHTS, FIGURES = "best.safetensors", "best.json"
FIGURE = "mean macro AUROC"


def refuse_undecidable(label_NL: np.ndarray, which: str) -> None:
    """Raise ValueError if no label has two classes among the cases ``which`` the epoch would be chosen on."""
    if not any(len(set(label_N[label_N != UNKNOWN])) > 1 for label_N in label_NL.T):
        raise ValueError(f"the best epoch cannot be chosen: no label has two classes among {which}.")


class BestEpoch:
    """Called with the method after an epoch: measures it, keeps the best weights, says when to stop (``finished``)."""

    def __init__(
        self,
        folder: Path,
        measure: Callable[[nn.Module], dict[str, float]],
        epoch: Callable[[], int],
        patience: int | None,
    ) -> None:
        """``measure``: label -> AUROC of a method. ``epoch``: how many are done. Goes on from what ``folder`` holds."""
        self.folder, self.measure, self.epoch, self.patience = folder, measure, epoch, patience
        self.figures: dict[int, float] = {}
        self.best: tuple[int, float] | None = None
        self.complete = False
        if (folder / FIGURES).is_file():
            told = json.loads((folder / FIGURES).read_text())
            self.figures, self.complete = {int(k): v for k, v in told["figures"].items()}, told["complete"]
        if (folder / WEIGHTS).is_file():
            with safe_open(folder / WEIGHTS, "pt") as file:
                told = file.metadata()
            self.best = int(told["epoch"]), float(told["figure"])
            self.figures.setdefault(*self.best)

    @property
    def finished(self) -> bool:
        """Have ``patience`` epochs passed without a better one?"""
        return self.patience is not None and self.best is not None and max(self.figures) - self.best[0] >= self.patience

    def __call__(self, method: nn.Module) -> dict[str, float]:
        """The figures of this epoch, for the log."""
        by_label = {name: value for name, value in self.measure(method).items() if not np.isnan(value)}
        figure, epoch = float(np.mean(list(by_label.values()))), self.epoch()
        if self.best is None or figure > self.best[1]:
            self.best = epoch, figure
            tensors = {k: v.detach().cpu().contiguous().clone() for k, v in _changing(method).items()}
            told = {"epoch": str(epoch), "figure": repr(figure)}
            self._write(WEIGHTS, lambda path: save_file(tensors, path, metadata=told))
        self.figures[epoch] = figure
        self._remember()
        return {FIGURE: figure, **{f"macro AUROC: {name}": value for name, value in by_label.items()}}

    def restore(self, method: nn.Module) -> None:
        """Give the method its best weights."""
        missing, unexpected = method.load_state_dict(load_file(self.folder / WEIGHTS), strict=False)
        assert not unexpected
        assert not set(missing) & _changing(method).keys()

    def close(self) -> None:
        """Training is over: the next run of this folder has nothing to do."""
        self.complete = True
        self._remember()

    def _remember(self) -> None:
        text = json.dumps({"figures": self.figures, "complete": self.complete}, indent=1)
        self._write(FIGURES, lambda path: path.write_text(text))

    def _write(self, name: str, write: Callable[[Path], object]) -> None:
        scratch = self.folder / f".writing-{name}"
        write(scratch)
        with scratch.open("rb") as file:
            os.fsync(file.fileno())
        scratch.replace(self.folder / name)


def _changing(method: nn.Module) -> dict:
    """The tensors that training can move: weights that learn, and buffers."""
    frozen = {name for name, parameter in method.named_parameters() if not parameter.requires_grad}
    return {name: tensor for name, tensor in method.state_dict().items() if name not in frozen}
