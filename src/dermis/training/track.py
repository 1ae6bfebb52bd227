"""What a run says while it goes: log.jsonl always, TensorBoard if asked, a progress bar on a terminal."""

import json
import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from dermis.distributed import is_main


class Track:
    """Rank 0 writes; the other ranks are silent. Use it as a context manager."""

    def __init__(self, folder: Path, steps: int, done: int = 0, tensorboard: bool = False) -> None:
        """``steps``: of the whole run; ``done``: how many of them a resumed run has behind it."""
        self.steps, self.speaks = steps, is_main()
        self.console = Console(stderr=True)
        self.start = time.monotonic()
        self.progress: Progress | None = None
        self.writer: Any = None
        if not self.speaks:
            return
        folder.mkdir(parents=True, exist_ok=True)
        self.file = (folder / "log.jsonl").open("a")
        if tensorboard:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError:
                raise ValueError("training.tensorboard needs the extra: pip install 'dermis[track]'.") from None
            self.writer = SummaryWriter(str(folder))
        if sys.stderr.isatty():
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            self.progress = Progress(*columns, TextColumn("{task.fields[figures]}"), console=self.console)
            self.task = self.progress.add_task("train", total=steps, completed=done, figures="")

    def __enter__(self) -> "Track":
        if self.progress:
            self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.progress:
            self.progress.stop()
        if self.speaks:
            self.file.close()
        if self.writer:
            self.writer.close()

    def advance(self) -> None:
        """One step is done."""
        if self.progress:
            self.progress.advance(self.task)

    def say(self, sentence: str) -> None:
        """A sentence for the person in front of it."""
        if self.speaks:
            self.console.print(sentence, highlight=False, soft_wrap=True)

    def log(self, step: int, figures: dict[str, float], kind: str = "train") -> None:
        """One line of log.jsonl; on a terminal beside the bar, elsewhere as a plain line."""
        if not self.speaks:
            return
        self.file.write(json.dumps({"kind": kind, "step": step, **figures}) + "\n")
        self.file.flush()
        if self.writer:
            for name, value in figures.items():
                self.writer.add_scalar(f"{kind}/{name}", value, step)
        short = "  ".join(f"{k} {v:.4g}" for k, v in figures.items())
        if self.progress and kind == "train":
            self.progress.update(self.task, figures=f"loss {figures['loss']:.4f}")
        else:
            self.say(f"{kind} {step}/{self.steps}  {short}")
