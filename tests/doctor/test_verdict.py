"""The verdict on given rates: which of loader and model waits for the other, and what is worth trying."""

from dataclasses import replace

import pytest

from dermis.doctor.step import followed
from dermis.doctor.verdict import Rates, verdict

EVEN = Rates(
    reading=9000, decoding=900, alone=300, step=300, workers=2, loading=300, wanted=2, processors=8, on_gpu=True
)


def test_a_slow_model_is_told_with_its_ratio():
    found = verdict(replace(EVEN, loading=310, step=100))
    assert found.bottleneck == "model"
    assert found.sentence == (
        "The model is the bottleneck: it takes 3.1 times as long as the pictures (100 against 310 a second with "
        "2 workers), so more workers will not help."
    )
    assert not any("workers" in line for line in found.tries)


def test_a_slow_loader_is_told_with_its_ratio_and_asks_for_as_many_workers_as_help():
    found = verdict(replace(EVEN, alone=150, loading=280, step=700))
    assert found.bottleneck == "loader"
    assert "the model could take 2.5 times as many pictures (700 against 280 a second with 2 workers)" in found.sentence
    assert found.tries[0] == "--training.workers 6 (8 processors can be used)"  # 1.25 * 700 / 150, rounded up


def test_more_workers_than_processors_are_not_asked_for():
    few = replace(EVEN, alone=150, loading=280, step=7000, processors=4)
    assert verdict(few).tries[0] == "--training.workers 4 (4 processors can be used)"
    assert verdict(replace(few, processors=2)).tries[0] == "more processors: 2 workers have 2"


@pytest.mark.parametrize("step", [250, 300, 370])
def test_what_noise_could_explain_is_no_bottleneck(step):
    found = verdict(replace(EVEN, step=step))
    assert found.bottleneck == "neither"
    assert "gains little" in found.sentence


def test_without_workers_loader_and_model_take_turns():
    turns = verdict(replace(EVEN, alone=300, step=100, wanted=0))
    assert turns.bottleneck == "model"
    assert turns.tries[0].startswith("--training.workers 1: without workers loader and model take turns, and 25%")
    alone = replace(EVEN, alone=300, step=100, wanted=0, processors=1, on_gpu=False)
    assert not any("workers" in line for line in verdict(alone).tries)


@pytest.mark.parametrize(
    ("rates", "advice"),
    [
        ({"reading": 200}, "reading takes 50% of the loader's time: copy the pictures to a local disk"),
        ({"decoding": 125}, "decoding takes 80% of the loader's time: make the pictures smaller once"),
        ({"decoding": 900}, "augmentation and texts take 59% of the loader's time: try --data.augmentation light"),
        ({"frozen": True}, "--data.augmentation stored: the image tower is frozen"),
    ],
)
def test_the_part_of_the_loader_that_takes_long_has_its_own_advice(rates, advice):
    slow = replace(EVEN, reading=333, decoding=286, alone=100, loading=190, step=1000)  # 30, 35 and 35 %
    assert verdict(slow).tries == ["--training.workers 8 (8 processors can be used)"]
    assert any(line.startswith(advice) for line in verdict(replace(slow, **rates)).tries)


def test_workers_that_bring_nothing_are_not_multiplied():
    found = verdict(replace(EVEN, alone=100, loading=105, step=1000))
    assert found.tries[0].startswith("2 workers are hardly faster than none (105 against 100)")
    assert not any("--training.workers" in line for line in found.tries)


def test_workers_that_cannot_run_do_not_count():
    found = verdict(replace(EVEN, alone=100, loading=None, step=1000))
    assert "(1,000 against 100 a second with no workers)" in found.sentence


def test_a_whole_batch_is_judged_on_the_line_through_two_parts_of_it():
    seconds = {cases: 1 + 0.1 * cases for cases in (8, 32, 128)}  # the optimiser costs 1 s whatever the batch
    assert followed((8, seconds[8]), (32, seconds[32]), 128) == pytest.approx(128 / seconds[128])
    assert followed((0, 0.0), (8, 1.8), 128) == pytest.approx(8 / 1.8)  # one part: nothing is known of fixed costs
    assert followed((8, 2.0), (32, 1.5), 128) == pytest.approx(128 / 1.5)  # noise: larger is never faster
    assert followed((8, 0.1), (32, 3.2), 128) == pytest.approx(10)  # nor does a case cost more than all of the step
