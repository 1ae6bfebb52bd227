"""Batches of whole patients: P of them, each with at most L of its lesions (SLIMP, arXiv 2505.23709; P and L are ours).

An epoch shows every patient once, with min(L, n) of its n lesions. They come from the patient's own queue, which goes
on from epoch to epoch and is reshuffled when all have come, so that none comes twice before all have come once. Where a
draw takes the rest of one shuffle and the beginning of the next, the next is reordered: what the draw holds already is
put off until after it. So no draw holds a lesion twice, and every shuffle still brings each lesion once.

Patients that fill no last batch sit out an epoch, and they take turns: nobody sits out again before all others have.
How often a patient has come, and with it the place in its queue, follows from seed and epoch alone.

Shapes: N rows (lesions), Q patients.
"""

from collections.abc import Iterator

import numpy as np

from dermis.batch.sampler import EpochBatches, Key, flags

_REST, _MARKED, _OTHERS = 1, 2, 3  # which random numbers


class PatientBatches(EpochBatches):
    """Ragged batches of keys for one rank, rows of a patient side by side. Set ``epoch`` and ``position`` to resume.

    ``batch_size`` is the most rows that a batch can have, patients * lesions.
    """

    def __init__(
        self,
        patient_N: np.ndarray,
        patients: int,
        lesions: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        first_N: np.ndarray | None = None,
    ) -> None:
        """``patient_N``: equal value = same patient. ``patients`` per batch and rank, at most ``lesions`` of each.

        ``first_N``: True = this lesion is in every draw of its patient, before others (where a patient has more than
        ``lesions`` of them, they take turns and the others never come). SLIMP marks malignant lesions: then the batches
        are made with labels, and what is trained on them is not self-supervised.

        Raises ValueError if patients or lesions are below 1, if all ranks together do not find one full batch of
        patients, and for a ``first_N`` of another length.
        """
        if patients < 1 or lesions < 1:
            raise ValueError(f"a batch has at least 1 patient with 1 lesion, not {patients} with {lesions}.")
        key_Q, patient_N = np.unique(np.asarray(patient_N), return_inverse=True)
        if len(key_Q) < patients * world_size:
            raise ValueError(
                f"{len(key_Q)} patients do not fill one batch of {patients} on each of {world_size} rank(s): "
                f"use at most {len(key_Q) // world_size} patients per batch ({flags(len(key_Q) // world_size)})."
            )
        first_N = np.zeros(len(patient_N), dtype=bool) if first_N is None else np.asarray(first_N, dtype=bool)
        if first_N.shape != patient_N.shape:
            raise ValueError(f"first_N must say yes or no for each of {len(patient_N)} rows, not {len(first_N)}.")
        super().__init__(len(patient_N), patients, seed, rank, world_size)
        self.batch_size = patients * lesions
        self.patients, self.lesions = patients, lesions
        self.row_N = np.lexsort((~first_N, patient_N))  # patient after patient, marked lesions before the others
        self.end_Q = np.bincount(patient_N).cumsum()
        self.marked_Q = np.bincount(patient_N[first_N], minlength=len(key_Q))
        self.rest_Q = np.random.default_rng([seed, _REST]).permutation(len(key_Q))

    def __len__(self) -> int:
        """Batches per epoch: patients // (patients per batch * ranks)."""
        return len(self.end_Q) // (self.patients * self.world_size)

    def __iter__(self) -> Iterator[list[Key]]:
        """The keys of this rank's batches from ``position`` to the end of ``epoch``."""
        epoch, together = self.epoch, self.patients * self.world_size
        everyone, resting = len(self.end_Q), len(self.end_Q) % together
        # in each epoch the next ``resting`` of the circle rest_Q sit out; before place p it has gone round so often:
        rested_Q = -((self.rest_Q - epoch * resting) // everyone)
        coming = np.flatnonzero((self.rest_Q - epoch * resting) % everyone >= resting)
        order = np.random.default_rng([self.seed, epoch]).permutation(coming)
        for batch in range(self.position, len(self)):
            start = batch * together + self.rank * self.patients
            own = order[start : start + self.patients]
            yield [(epoch, int(row)) for patient in own for row in self._draw(patient, epoch - rested_Q[patient])]

    def _draw(self, patient: int, number: int) -> np.ndarray:
        """The rows that come with a patient when it comes for the ``number``-th time, from 0."""
        start = self.end_Q[patient - 1] if patient else 0
        rows, marked = self.row_N[start : self.end_Q[patient]], self.marked_Q[patient]
        first = self._from_queue(rows[:marked], number, self.lesions, (patient, _MARKED))
        others = self._from_queue(rows[marked:], number, self.lesions - len(first), (patient, _OTHERS))
        return np.concatenate([first, others])

    def _from_queue(self, rows: np.ndarray, number: int, count: int, queue: tuple[int, int]) -> np.ndarray:
        """Draw ``number`` of ``count`` rows each; all, in their own order, where there are not more."""
        if not 0 < count < len(rows):
            return rows[:count]
        turn, start = divmod(number * count, len(rows))
        shuffled = self._turn(rows, turn, count, queue)
        if start + count > len(rows):
            shuffled = np.concatenate([shuffled, self._turn(rows, turn + 1, count, queue)])
        return shuffled[start : start + count]

    def _turn(self, rows: np.ndarray, turn: int, count: int, queue: tuple[int, int]) -> np.ndarray:
        """A queue's shuffle number ``turn``, in which no row of a draw that began in the one before comes too soon.

        Such a draw holds the end of the turn before, of which only the first ``count`` rows are reordered. Where its
        end is not among them, what came before that does not matter; with twice ``count`` rows that is always so.
        """
        first = turn
        while first * len(rows) % count > len(rows) - count:
            first -= 1
        ordered = self._shuffled(rows, max(first - 1, 0), queue)
        for number in range(first, turn + 1):
            begun, before = number * len(rows) % count, ordered
            ordered = self._shuffled(rows, number, queue)
            if begun:
                completing = np.flatnonzero(~np.isin(ordered, before[-begun:]))[: count - begun]
                ordered = np.concatenate([ordered[completing], np.delete(ordered, completing)])
        return ordered

    def _shuffled(self, rows: np.ndarray, turn: int, queue: tuple[int, int]) -> np.ndarray:
        return np.random.default_rng([self.seed, queue[0], turn, queue[1]]).permutation(rows)
