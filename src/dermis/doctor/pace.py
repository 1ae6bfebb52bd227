"""How many a second, within a bounded time."""

import time


class Pace:
    """Counts laps until ``seconds`` are over. The first ``warm_up`` laps open files, start workers, choose kernels."""

    def __init__(self, seconds: float, warm_up: int = 1) -> None:
        self.seconds, self.warm_up = seconds, warm_up
        self.laps = self.cases = 0
        self.began = self.last = time.perf_counter()

    def goes_on(self, cases: int) -> bool:
        """``cases`` more are done; is there time for another lap? At least one lap is counted after the warm-up."""
        self.last = time.perf_counter()
        self.laps += 1
        if self.laps <= self.warm_up:
            self.began = self.last
            return True
        self.cases += cases
        return self.last - self.began < self.seconds

    @property
    def rate(self) -> float:
        """Cases a second after the warm-up. Raises ValueError if no lap was counted."""
        if not self.cases:
            raise ValueError("nothing was measured: there are too few cases for a warm-up and one measured round.")
        return self.cases / max(self.last - self.began, 1e-9)
