"""What a resumable run is: weights, optimiser, average, random numbers and place, in a folder that appears whole.

``checkpoints/step-00000120/`` holds ``model.safetensors``, ``state.safetensors`` and ``state.json``. It is written
under another name, synced to disk and renamed, so a process killed at any moment leaves only whole checkpoints. Nothing
in it is executable. Tensors are whole in it, however they were cut over ranks, so a run goes on with another number of
ranks that together see as many cases. Random numbers of training come from torch alone; those of data from (seed,
epoch, row).
"""

import json
import os
import shutil
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from dermis.distributed import barrier, gather_rows, is_main, rank, world_size
from dermis.training.fully_sharded import cut_like, whole

REPLACED = "-replaced"
"""ends the name of a checkpoint while the one of the same step that takes its place is renamed"""


@dataclass
class Place:
    """Where training stands: ``step`` optimiser steps done; the next batch is number ``position`` of ``epoch``."""

    step: int = 0
    epoch: int = 0
    position: int = 0


@dataclass
class Run:
    """The live objects that a checkpoint holds."""

    method: nn.Module
    optimiser: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    average: dict[str, Tensor]
    """the exponential moving average of the weights; empty if there is none"""
    cases_per_step: int
    """cases of all ranks in one step; a run resumes only with the same number"""
    place: Place


def _names(run: Run) -> dict[Tensor, str]:
    return {parameter: name for name, parameter in run.method.named_parameters()}


def _gathered(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Copies on the CPU, whole; nothing on ranks that write nothing, which help with the tensors that are cut."""
    found = {}
    for name, tensor in tensors.items():
        value = whole(tensor)
        if is_main():
            found[name] = value.to("cpu", copy=True, memory_format=torch.contiguous_format)
    return found


def save(run: Run, folder: Path, keep: int) -> None:
    """Write the checkpoint of the run's place and delete all but the ``keep`` newest. All ranks call it."""
    random_R = {"torch": gather_rows(torch.get_rng_state()[None])}
    if torch.cuda.is_initialized():
        random_R["cuda"] = gather_rows(torch.cuda.get_rng_state()[None])
    tensors = {f"random/{name}": value for name, value in random_R.items()}
    names = _names(run)
    for parameter, state in run.optimiser.state.items():
        tensors |= {f"optimiser/{names[parameter]}/{key}": value for key, value in state.items()}
    tensors |= {f"average/{name}": value for name, value in run.average.items()}
    weights, tensors = _gathered(dict(run.method.state_dict())), _gathered(tensors)
    if is_main():
        facts = asdict(run.place) | {
            "version": 1,
            "cases_per_step": run.cases_per_step,
            "world_size": world_size(),
            "scaler": run.scaler.state_dict(),
        }
        target = folder / f"step-{run.place.step:08d}"
        scratch = folder / f".writing-{target.name}"
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        save_file(weights, scratch / "model.safetensors")
        save_file(tensors, scratch / "state.safetensors")
        (scratch / "state.json").write_text(json.dumps(facts, indent=1))
        _sync([*scratch.iterdir(), scratch])
        replaced = folder / (target.name + REPLACED)
        if target.exists():  # the last step of an epoch is saved as a step and as the epoch's end
            shutil.rmtree(replaced, ignore_errors=True)
            target.rename(replaced)
        scratch.rename(target)
        _sync([folder])
        shutil.rmtree(replaced, ignore_errors=True)
        for old in checkpoints(folder)[:-keep]:
            shutil.rmtree(old)
    barrier()


def _sync(paths: Iterable[Path]) -> None:
    for path in paths:
        handle = os.open(path, os.O_RDONLY)
        os.fsync(handle)
        os.close(handle)


def checkpoints(folder: Path) -> list[Path]:
    """The whole checkpoints of a folder, oldest first."""
    found = [path for path in folder.glob("step-*") if (path / "state.json").is_file()]
    return sorted(found, key=lambda path: (path.name.removesuffix(REPLACED), not path.name.endswith(REPLACED)))


def resume(run: Run, folder: Path) -> Path | None:
    """Load the newest readable checkpoint into the run's objects; None if the folder has none.

    Raises ValueError if the checkpoint is of another model, of another number of cases per step, or averages other
    weights than the run does.
    """
    for path in reversed(checkpoints(folder)):
        try:
            facts = json.loads((path / "state.json").read_text())
            weights = load_file(path / "model.safetensors")
            tensors = load_file(path / "state.safetensors")
        except (SafetensorError, json.JSONDecodeError, OSError):
            continue  # a disk can break what was whole: the one before it will do
        _restore(run, path, facts, weights, tensors)
        return path
    return None


def refuse_other_size(folder: Path, cases_per_step: int) -> None:
    """Raise ValueError if the newest checkpoint of a folder was trained with another number of cases per step."""
    for path in reversed(checkpoints(folder)):
        try:
            facts = json.loads((path / "state.json").read_text())
        except (json.JSONDecodeError, OSError):
            continue  # as in ``resume``
        _refuse_other_size(path, facts, cases_per_step)
        break


def _refuse_other_size(path: Path, facts: dict, cases_per_step: int) -> None:
    if facts["cases_per_step"] != cases_per_step:
        raise ValueError(
            f"{path} was trained with {facts['cases_per_step']} cases per step (batch_size x ranks); this run has "
            f"{cases_per_step}. Go on with as many, or choose another folder (--out)."
        )


def _restore(run: Run, path: Path, facts: dict, weights: dict[str, Tensor], tensors: dict[str, Tensor]) -> None:
    _refuse_other_size(path, facts, run.cases_per_step)
    live = run.method.state_dict(keep_vars=True)
    shapes, held = ({name: weight.shape for name, weight in one.items()} for one in (live, weights))
    if wrong := [name for name in held | shapes if held.get(name) != shapes.get(name)]:
        raise ValueError(
            f"{path} is a checkpoint of another model: {len(wrong)} weights are missing, new or of another shape, "
            f"{wrong[0]} among them. Choose another folder (--out), or delete this one."
        )
    run.method.load_state_dict({name: cut_like(value, live[name]) for name, value in weights.items()})
    averaged = {key.removeprefix("average/") for key in tensors if key.startswith("average/")}
    if averaged != run.average.keys():
        raise ValueError(
            f"{path} has averages (training.ema) of {len(averaged)} weights, this run of {len(run.average)}. "
            "Go on with the same settings, or choose another folder (--out)."
        )
    parameters = dict(run.method.named_parameters())
    states: dict[str, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        kind, _, rest = key.partition("/")
        if kind == "optimiser":
            name, _, slot = rest.rpartition("/")
            like = parameters[name]
            states.setdefault(name, {})[slot] = cut_like(value, like) if value.shape == like.shape else value
        elif kind == "average":
            run.average[rest].copy_(cut_like(value, run.average[rest]))
    names = _names(run)
    ordered = [names[p] for group in run.optimiser.param_groups for p in group["params"]]
    loaded = run.optimiser.state_dict()
    loaded["state"] = {i: states[name] for i, name in enumerate(ordered) if name in states}
    run.optimiser.load_state_dict(loaded)
    run.scaler.load_state_dict(facts["scaler"])
    own = rank() if facts["world_size"] == world_size() else 0
    torch.set_rng_state(tensors["random/torch"][own])
    if "random/cuda" in tensors and torch.cuda.is_initialized():
        torch.cuda.set_rng_state(tensors["random/cuda"][own])
    run.place.step, run.place.epoch, run.place.position = (facts[k] for k in ("step", "epoch", "position"))
