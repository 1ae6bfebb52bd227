"""The loop: batches in, a trained method out. It asks no method for its name.

Promises, each with a test: interrupted at any step and resumed, the weights are bit for bit those of the uninterrupted
run (CPU, with or without workers); a process killed at any moment leaves a loadable newest checkpoint; a loss that is
not a number stops the run with the batch that caused it saved; two ranks take one rank's step.
"""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from dermis.batch.loader import Batches
from dermis.batch.slices import cases_of, to_device
from dermis.distributed import rank, world_size
from dermis.training import average, fully_sharded, ranks
from dermis.training.accumulate import Autocast, backward
from dermis.training.config import TrainingConfig
from dermis.training.interrupt import Interrupted, Interruption
from dermis.training.optimiser import adamw, lr_factor, set_lr
from dermis.training.precision import autocast, choose
from dermis.training.repeatable import repeatable
from dermis.training.state import Place, Run, resume, save
from dermis.training.track import Track

Evaluate = Callable[[nn.Module], dict[str, float]]


def train(
    method: nn.Module,
    batches: Batches,
    config: TrainingConfig,
    folder: Path,
    device: torch.device,
    evaluate: Evaluate | None = None,
) -> None:
    """Train ``method`` in place, resuming from ``folder`` if it holds a checkpoint; averaged weights if ``ema``.

    ``evaluate`` says figures of the method every ``evaluate_epochs``; training ends early once its attribute
    ``finished``, if it has one, is true.

    Raises FloatingPointError if the loss is not finite (the batch is in ``folder/not-finite.safetensors``),
    Interrupted after Ctrl-C or SIGTERM, and ValueError for settings that cannot work.
    """
    with repeatable(device):
        _Loop(method, batches, config, folder, device, evaluate).run()


def quarantined(folder: Path) -> dict[int, str]:
    """row -> why its picture could not be opened, from a run's folder."""
    path, found = folder / "quarantine.jsonl", {}
    for number, line in enumerate(path.read_text().splitlines() if path.is_file() else [], 1):
        try:
            entry = json.loads(line)
        except ValueError:  # written while the disk was full
            raise ValueError(f"{path}, line {number}, is damaged ({line!r}): take it out to go on.") from None
        found[entry["row"]] = entry["reason"]
    return found


class _Loop:
    def __init__(
        self,
        method: nn.Module,
        batches: Batches,
        config: TrainingConfig,
        folder: Path,
        device: torch.device,
        evaluate: Evaluate | None,
    ) -> None:
        self.batches, self.config, self.folder = batches, config, folder
        self.device, self.evaluate = device, evaluate
        self.dtype, self.reason = choose(config.precision, device)
        self.autocast: Autocast = autocast(self.dtype, device)
        self.whole = method.to(device)
        ranks.same_start(method)
        self.cut = config.fully_sharded and world_size() > 1
        if self.cut and self.dtype == torch.float16:
            raise ValueError("training.fully_sharded goes with bf16 or fp32: ranks would scale fp16 differently.")
        self.method = method = fully_sharded.cut(method, device) if self.cut else method
        if self.cut:
            self.whole.cpu()
        self.parameters = [p for p in method.parameters() if p.requires_grad]
        self.state = Run(
            method=method,
            optimiser=adamw(self.whole, config, method if self.cut else None),
            scaler=torch.amp.GradScaler(device.type, enabled=self.dtype == torch.float16),
            average=average.start(method) if config.ema else {},
            cases_per_step=config.batch_size * world_size(),
            place=Place(),
        )
        self.steps = config.epochs * len(batches)
        if hasattr(method, "start_training"):
            method.start_training(self.steps, len(batches.dataset))  # type: ignore[operator]
        self.quarantined: set[int] = set(quarantined(folder))
        self.previous: tuple[Tensor, dict[str, Any]] | None = None
        self.waited, self.seen = 0.0, 0
        if config.compile:
            method.compile()

    def run(self) -> None:
        came_from = resume(self.state, self.folder / "checkpoints")
        place = self.state.place
        with Track(self.folder, self.steps, place.step, self.config.tensorboard) as self.track:
            self.track.say(f"{self.steps} steps on {self.device}, {self.reason}" + self._resumed(came_from))
            with Interruption() as self.interruption:
                while place.epoch < self.config.epochs and not getattr(self.evaluate, "finished", False):
                    self._epoch()
        average.copy_into(self.method, self.state.average)
        self._bring_home()

    def _bring_home(self) -> None:
        """The method that everybody else has is the trained one, or gets its weights."""
        if self.cut:
            fully_sharded.bring_home(self.method, self.whole.to(self.device))

    def _resumed(self, came_from: Path | None) -> str:
        return f"; resumed at step {self.state.place.step} from {came_from}" if came_from else ""

    def _epoch(self) -> None:
        place, order = self.state.place, self.batches.order
        order.epoch, order.position = place.epoch, place.position
        if place.position == 0 and hasattr(self.method, "start_epoch"):
            self.method.start_epoch(place.epoch, self.batches)  # type: ignore[operator]
        self.method.train()
        asked = time.monotonic()
        for batch in self.batches:
            self.waited += time.monotonic() - asked
            self._step(batch)
            asked = time.monotonic()
        place.epoch, place.position = place.epoch + 1, 0
        self._check_finite()
        last = place.epoch == self.config.epochs
        if self.evaluate and self.config.evaluate_epochs and (place.epoch % self.config.evaluate_epochs == 0 or last):
            self._evaluate()
        self._save()

    def _step(self, batch: dict[str, Any]) -> None:
        place, config = self.state.place, self.config
        self._quarantine(batch.pop("quarantined"))
        batch = to_device(batch, self.device)
        self.seen += cases_of(batch)  # of this rank; batches of patients differ in size
        set_lr(self.state.optimiser, config.lr * lr_factor(place.step, self.steps, config.warmup, config.schedule))
        outputs = backward(self.method, batch, config.accumulate, self.autocast, self.state.scaler.scale)
        ranks.average_gradients(self.parameters)
        self.state.scaler.unscale_(self.state.optimiser)
        if config.clip_norm is not None:
            clip = fully_sharded.clip_gradients if self.cut else nn.utils.clip_grad_norm_
            outputs["gradient_norm"] = clip(self.parameters, config.clip_norm)
        self._check_finite()  # of the step before: its loss is known by now, so asking does not make a GPU wait
        self.previous = (outputs["loss"], batch)
        self.state.scaler.step(self.state.optimiser)
        self.state.scaler.update()
        self.state.optimiser.zero_grad(set_to_none=True)
        if hasattr(self.method, "after_step"):
            self.method.after_step(place.step)  # type: ignore[operator]
        if self.state.average:
            average.update(self.state.average, self.method, config.ema or 0.0, place.step)
        place.step, place.position = place.step + 1, place.position + 1
        self.track.advance()
        if place.step % config.log_steps == 0 or place.step == self.steps:
            self._log(outputs)
        if config.checkpoint_steps and place.step % config.checkpoint_steps == 0:
            self._save()
        self._stop_if_asked()

    def _log(self, outputs: dict[str, Tensor]) -> None:
        elapsed = time.monotonic() - self.track.start
        figures = {name: float(value) for name, value in outputs.items()}
        figures["lr"] = self.state.optimiser.param_groups[0]["lr"]
        figures["cases_per_second"] = self.seen * world_size() / max(elapsed, 1e-9)
        figures["waiting_for_data"] = self.waited / max(elapsed, 1e-9)
        self.track.log(self.state.place.step, figures)

    def _evaluate(self) -> None:
        assert self.evaluate is not None
        with torch.no_grad(), average.applied(self.state.average, self.method):
            self._bring_home()
            self.track.log(self.state.place.step, self.evaluate(self.whole.eval()), kind="evaluate")
        if self.cut:
            self.whole.cpu()
        self.method.train()

    def _save(self) -> None:
        self._check_finite()
        save(self.state, self.folder / "checkpoints", self.config.keep)

    def _stop_if_asked(self) -> None:
        # ranks must agree at the same step, and asking costs them a round trip: not every step
        if world_size() > 1 and self.state.place.step % self.config.log_steps:
            return
        if ranks.any_rank(self.interruption.asked is not None, self.device):
            self._save()
            number = self.interruption.asked or 15
            raise Interrupted(int(number), self.folder / "checkpoints" / f"step-{self.state.place.step:08d}")

    def _check_finite(self) -> None:
        if self.previous is None:
            return
        loss, batch = self.previous
        self.previous = None
        if not torch.isfinite(loss):
            path = self.folder / (
                f"not-finite-rank{rank()}.safetensors" if world_size() > 1 else "not-finite.safetensors"
            )
            save_file({k: v.cpu().contiguous() for k, v in batch.items() if isinstance(v, Tensor)}, path)
            raise FloatingPointError(
                f"the loss is {loss.item()} at step {self.state.place.step}; its batch is in {path}. "
                "The newest checkpoint is from before it. Try a lower training.lr or precision fp32, in another "
                "folder: a run goes on with its own settings only."
            )

    def _quarantine(self, entries: list[tuple[int, str]]) -> None:
        new = {row: reason for row, reason in entries if row not in self.quarantined}
        self.quarantined |= new.keys()
        if new:
            with (self.folder / "quarantine.jsonl").open("a") as file:
                for row, reason in new.items():
                    file.write(json.dumps({"row": row, "reason": reason}) + "\n")
