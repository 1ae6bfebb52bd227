"""Batches of patients: who comes, which lesions, queues without repetition, any position, any number of ranks."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dermis.batch.loader import Batches
from dermis.batch.patients import PatientBatches


def epoch(order: PatientBatches, number: int, position: int = 0) -> list[list[tuple[int, int]]]:
    order.epoch, order.position = number, position
    return list(order)


def rows(batches: list[list[tuple[int, int]]]) -> list[list[int]]:
    return [[row for _, row in batch] for batch in batches]


def blocks(patient_N: np.ndarray, batch: list[int]) -> list[list[int]]:
    """The batch's rows, cut where the patient changes."""
    cuts = np.flatnonzero(np.diff(patient_N[batch])) + 1
    return [part.tolist() for part in np.split(np.array(batch), cuts)]


def assert_a_queue(drawn: list[int], members: np.ndarray) -> None:
    """None of the members comes twice before all have come once, over and over."""
    own = [row for row in drawn if row in members]
    for start in range(0, len(own), max(len(members), 1)):
        turn = own[start : start + len(members)]
        assert len(set(turn)) == len(turn)


@st.composite
def clinics(draw, marked: bool = False):
    """Rows of 1 to 12 patients with 1 to 9 lesions, shuffled, and a sampler's other arguments (one rank)."""
    counts = draw(st.lists(st.integers(1, 9), min_size=1, max_size=12))
    seed = draw(st.integers(0, 1000))
    patient_N = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)) * 7 - 3, counts))
    arguments = {"patients": draw(st.integers(1, len(counts))), "lesions": draw(st.integers(1, 10)), "seed": seed}
    if marked:
        arguments["first_N"] = np.random.default_rng(seed + 1).random(len(patient_N)) < draw(st.floats(0, 1))
    return patient_N, arguments


@settings(deadline=None)
@given(clinics(marked=True), st.integers(0, 40))
def test_a_batch_is_patients_side_by_side_with_as_many_lesions_as_they_have(clinic, number):
    patient_N, arguments = clinic
    order = PatientBatches(patient_N, **arguments)
    batches = rows(epoch(order, number))
    assert len(batches) == len(order) == len(set(patient_N)) // arguments["patients"]
    owned, shown = Counter(patient_N.tolist()), Counter()
    for batch in batches:
        assert len(set(batch)) == len(batch) <= order.batch_size
        parts = blocks(patient_N, batch)
        assert len(parts) == arguments["patients"]
        for part in parts:
            patient = int(patient_N[part[0]])
            assert len(part) == min(arguments["lesions"], owned[patient])
            shown[patient] += 1
    assert max(shown.values()) == 1


@settings(deadline=None)
@given(clinics())
def test_no_lesion_comes_twice_before_all_of_its_patient_have_come_once(clinic):
    patient_N, arguments = clinic
    order = PatientBatches(patient_N, **arguments)
    drawn = [row for number in range(30) for batch in rows(epoch(order, number)) for row in batch]
    for patient in set(patient_N.tolist()):
        assert_a_queue(drawn, np.flatnonzero(patient_N == patient))


@settings(deadline=None)
@given(clinics())
def test_patients_that_fill_no_batch_sit_out_in_turns(clinic):
    patient_N, arguments = clinic
    order = PatientBatches(patient_N, **arguments)
    came = Counter(dict.fromkeys(patient_N.tolist(), 0))
    for number in range(20):
        came.update({int(patient_N[row]) for batch in rows(epoch(order, number)) for row in batch})
        assert max(came.values()) - min(came.values()) <= 1


@settings(deadline=None)
@given(clinics(marked=True), st.integers(0, 40), st.data())
def test_from_any_position_the_rest_is_the_same(clinic, number, data):
    patient_N, arguments = clinic
    whole = epoch(PatientBatches(patient_N, **arguments), number)
    position = data.draw(st.integers(0, len(whole)))
    assert epoch(PatientBatches(patient_N, **arguments), number, position) == whole[position:]
    assert all(e == number for batch in whole for e, _ in batch)


@settings(deadline=None)
@given(clinics(marked=True), st.integers(0, 40), st.integers(1, 3))
def test_ranks_share_out_the_patients_of_one_rank(clinic, number, world_size):
    patient_N, arguments = clinic
    each = max(1, arguments["patients"] // world_size)
    if each * world_size > len(set(patient_N.tolist())):
        return
    whole = epoch(PatientBatches(patient_N, **arguments | {"patients": each * world_size}), number)
    ranks = [
        epoch(PatientBatches(patient_N, **arguments | {"patients": each}, rank=r, world_size=world_size), number)
        for r in range(world_size)
    ]
    assert [[key for part in parts for key in part] for parts in zip(*ranks, strict=True)] == whole


@settings(deadline=None)
@given(clinics(marked=True))
def test_marked_lesions_come_first_in_every_draw(clinic):
    patient_N, arguments = clinic
    order, first_N = PatientBatches(patient_N, **arguments), arguments["first_N"]
    drawn = []
    for number in range(15):
        for batch in rows(epoch(order, number)):
            for part in blocks(patient_N, batch):
                marked = set(np.flatnonzero(first_N & (patient_N == patient_N[part[0]])).tolist())
                here = min(len(marked), arguments["lesions"])
                assert all(row in marked for row in part[:here])
                assert not marked & set(part[here:])
                assert len(set(part)) == len(part)
                drawn += part
    for kind in (first_N, ~first_N):
        for patient in set(patient_N.tolist()):
            assert_a_queue(drawn, np.flatnonzero(kind & (patient_N == patient)))


def test_the_seed_and_the_epoch_decide():
    patient_N = np.repeat(np.arange(20), 11)
    first, again, other = (epoch(PatientBatches(patient_N, 6, 4, seed=s), 2) for s in (1, 1, 2))
    assert first == again != other
    assert rows(first) != rows(epoch(PatientBatches(patient_N, 6, 4, seed=1), 3))
    orders = [list(dict.fromkeys(row // 11 for _, row in batches[0])) for batches in (first, other)]
    later = epoch(PatientBatches(patient_N, 5, 4, seed=1), 0), epoch(PatientBatches(patient_N, 5, 4, seed=1), 1)
    orders += [list(dict.fromkeys(row // 11 for batch in batches for _, row in batch)) for batches in later]
    assert orders[0] != orders[1]
    assert orders[2] != orders[3]
    # other lesions too, not only another order of patients, and lesions of patients are shuffled each by itself
    drawn = [{r for batch in rows(batches) for r in batch if r < 11} for batches in (first, other)]
    assert drawn[0] != drawn[1]
    places = {tuple(sorted(r % 11 for r in part)) for b in rows(first) for part in blocks(patient_N, b)}
    assert len(places) > 10


def test_each_shuffle_is_another():
    patient_N = np.zeros(12, dtype=int)
    order = PatientBatches(patient_N, 1, 4, seed=0)
    drawn = [row for number in range(9) for batch in rows(epoch(order, number)) for row in batch]
    assert len({tuple(drawn[i : i + 12]) for i in (0, 12, 24)}) == 3


def test_a_lesion_put_off_comes_no_later_than_needed():
    """Draws of 2 of 5: the third is the last lesion of one shuffle with the first of the next, and is not twice it."""
    places = set()
    for seed in range(60):
        order = PatientBatches(np.zeros(5, dtype=int), 1, 2, seed)
        drawn = [row for number in range(5) for row in rows(epoch(order, number))[0]]
        places.add(drawn[5:].index(drawn[4]))
    assert places == {1, 2, 3, 4}


def shuffle_by_definition(seed: int, lesions: int, count: int, turn: int) -> list[int]:
    """Shuffle ``turn`` of one patient's queue: what the draw that began in the turn before has, is put off after it."""
    shuffled = np.random.default_rng([seed, 0, turn, 3]).permutation(lesions).tolist()
    if not (begun := turn * lesions % count):
        return shuffled
    held = shuffle_by_definition(seed, lesions, count, turn - 1)[-begun:]
    completing = [row for row in shuffled if row not in held][: count - begun]
    return completing + [row for row in shuffled if row not in completing]


@settings(deadline=None)
@given(st.integers(2, 30), st.integers(1, 29), st.integers(0, 100), st.integers(0, 60))
def test_draws_are_those_of_shuffles_one_after_the_other(lesions, count, seed, number):
    count = min(count, lesions - 1)
    turn, start = divmod(number * count, lesions)
    queue = [row for t in (turn, turn + 1) for row in shuffle_by_definition(seed, lesions, count, t)]
    [batch] = rows(epoch(PatientBatches(np.zeros(lesions, dtype=int), 1, count, seed), number))
    assert batch == queue[start : start + count]


@pytest.mark.parametrize(("lesions", "count"), [(4999, 1500), (1501, 1500)])
def test_thousands_of_lesions_in_large_draws(lesions, count):
    order = PatientBatches(np.zeros(lesions, dtype=int), 1, count, seed=0)
    for number in (3304, 9999):
        [batch] = rows(epoch(order, number))
        assert len(set(batch)) == len(batch) == count


def test_names_of_patients_are_as_good_as_numbers():
    number_N = np.repeat(np.arange(9), 5)
    name_N = np.array([f"p{i}" for i in number_N])
    number, *names = (
        epoch(PatientBatches(patient_N, 4, 2, seed=3), 1) for patient_N in (number_N, name_N, name_N.astype(object))
    )
    assert names == [number, number]


class Rows:
    """A data set whose cases are their keys."""

    def __init__(self, cases: int) -> None:
        self.cases = cases

    def __len__(self) -> int:
        return self.cases

    def __getitem__(self, key: tuple[int, int]) -> tuple[int, int]:
        return key


def test_the_loader_takes_it_and_still_gives_every_row_in_order():
    order = PatientBatches(np.repeat(np.arange(10), np.arange(1, 11)), 4, 3, seed=0)
    batches = Batches(Rows(55), order, collate=list)  # pyright: ignore[reportArgumentType]
    order.epoch = 2
    assert list(batches) == epoch(order, 2)
    in_order = list(batches.in_order())
    assert [key for batch in in_order for key in batch] == [(2, row) for row in range(55)]
    assert [len(batch) for batch in in_order] == [12, 12, 12, 12, 7]


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (
            {"patients": 4},
            r"7 patients do not fill one batch of 4 on each of 2 rank\(s\): use at most 3 patients per batch \(",
        ),
        ({"lesions": 0}, "at least 1 patient with 1 lesion, not 2 with 0"),
        ({"patients": 0}, "at least 1 patient with 1 lesion, not 0 with 3"),
        ({"first_N": np.ones(3, dtype=bool)}, "yes or no for each of 35 rows, not 3"),
    ],
)
def test_what_cannot_be_batched_is_said(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        PatientBatches(
            **(
                {"patient_N": np.repeat(np.arange(7), 5), "patients": 2, "lesions": 3, "seed": 0, "world_size": 2}
                | arguments
            )
        )
