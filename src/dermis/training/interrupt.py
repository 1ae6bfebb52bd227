"""Ctrl-C and SIGTERM ask the loop to stop after the step in hand."""

import signal
import threading
from pathlib import Path
from types import FrameType


class Interrupted(Exception):  # noqa: N818 (no error: it was asked for)
    """Ctrl-C or SIGTERM: the run is saved and can be resumed. ``status`` is the exit status to end with."""

    def __init__(self, signal_number: int, checkpoint: Path) -> None:
        super().__init__(f"interrupted; saved in {checkpoint}. The same command resumes.")
        self.status = 128 + signal_number


class Interruption:
    """Within the block the two signals set ``asked`` instead of ending the process; a second Ctrl-C ends it."""

    def __init__(self) -> None:
        self.asked: signal.Signals | None = None
        self._before: dict[signal.Signals, object] = {}

    def __enter__(self) -> "Interruption":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _note(self, number: int, _: FrameType | None) -> None:
        if self.asked is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.asked = signal.Signals(number)
