"""Searches against enumeration, transformers' own searches, and the distributions that they draw from."""

import itertools
import math

import pytest
import torch
from torch import nn

from dermis.towers.decoding import Rules, beam, greedy, nucleus
from dermis.towers.generation import generate, remembering, rereading
from dermis.towers.generator import Generator

END = 2
SETTINGS = [
    {"strategy": "greedy"},
    {"strategy": "beam", "beams": 1},
    {"strategy": "beam", "beams": 5},
    {"strategy": "beam", "beams": 3, "length_penalty": 0.0},
    {"strategy": "nucleus", "top_p": 0.8, "temperature": 1.3},
]


def opinionated(model, end_bias):
    """Weights with which texts differ between cases and end at different places; fresh ones say nearly nothing."""
    for parameter in model.parameters():
        if parameter.dim() > 1:
            nn.init.normal_(parameter, std=0.3)
    with torch.no_grad():
        end_bias[END] += 1
    return model.eval()


def speaker(**changes):
    settings = {"vocabulary": 19, "width": 16, "layers": 2, "heads": 2, "feedforward": 24, "max_tokens": 16}
    ours = Generator(**settings | {"pad": 0, "start": 1, "end": END} | changes)
    return opinionated(ours, ours.bias_V)


@pytest.fixture
def seen():
    mask_BM = torch.ones(8, 6, dtype=torch.bool)
    mask_BM[1, 3:] = False
    return torch.randn(8, 6, 16), mask_BM


def table(logits_by_prefix, vocabulary):
    """A step over one case that knows the logits after each text: what a model would say, without one."""
    said: list[list[tuple[int, ...]]] = []

    def step(token_R, row_R):
        before = said[-1] if said else [()] * len(token_R)
        rows = range(len(token_R)) if row_R is None else row_R.tolist()
        said.append([(*before[r], t) for r, t in zip(rows, token_R.tolist(), strict=True)])
        return torch.stack([logits_by_prefix.get(p[1:], torch.zeros(vocabulary)) for p in said[-1]])

    return step


def all_texts(vocabulary, most):
    """Every text of up to ``most`` tokens: with an end, or cut at ``most``."""
    words = [t for t in range(vocabulary) if t != END]
    for n in range(most + 1):
        for text in itertools.product(words, repeat=n):
            yield text + (END,) * (n < most)


def score(text, logits_by_prefix, penalty):
    logp = sum(float(logits_by_prefix[text[:i]].log_softmax(0)[t]) for i, t in enumerate(text))
    return logp / len(text) ** penalty


@pytest.mark.parametrize("penalty", [-1.0, 0.0, 0.6, 1.0, 2.0])
@pytest.mark.parametrize("seed", range(4))
def test_beam_search_with_room_for_all_finds_the_best_text_there_is(penalty, seed):
    vocabulary, most = 4, 4
    draw = torch.Generator().manual_seed(seed)
    prefixes = [p for n in range(most) for p in itertools.product((0, 1, 3), repeat=n)]
    logits = {p: 2 * torch.randn(vocabulary, generator=draw) for p in prefixes}
    best = max(all_texts(vocabulary, most), key=lambda text: score(text, logits, penalty))
    rules = Rules(END, min_tokens=0, max_tokens=most)
    (found,) = beam(table(logits, vocabulary), torch.tensor([1]), rules, 4**most, penalty)
    assert found == [t for t in best if t != END]
    (few,) = beam(table(logits, vocabulary), torch.tensor([1]), rules, 2, penalty)
    ended = (*few, *[END] * (len(few) < most))
    assert score(ended, logits, penalty) <= score(best, logits, penalty) + 1e-6


def test_a_complete_text_stays_while_others_go_on_and_the_search_ends_as_soon_as_nobody_can_win():
    """Text 3 ends at once with p = 0.8 x 0.9; the other beginning can never reach it, so a third step is not asked."""
    p = {
        (): [0.1, 0.1, 0.0, 0.8],
        (3,): [0.05, 0.05, 0.9, 0.0],
        (0,): [0.5, 0.5, 0.0, 0.0],
        (1,): [0.5, 0.5, 0.0, 0.0],
    }
    asked = []
    inner = table({k: torch.tensor(v).log() for k, v in p.items()}, 4)

    def step(token_R, row_R):
        asked.append(token_R.tolist())
        return inner(token_R, row_R)

    assert beam(step, torch.tensor([1]), Rules(END, max_tokens=9), 2, 0.0) == [[3]]
    assert len(asked) == 2
    mean = beam(
        table({k: torch.tensor(v).log() for k, v in p.items()}, 4), torch.tensor([1]), Rules(END, max_tokens=9), 2
    )
    assert mean == [[3]]  # its mean is -0.16: those that go on lose log 2 at least at each step


def test_a_beginning_that_can_still_win_is_not_given_up():
    """An end at once is worth log 0.8. log 0.2 / 2 would be less, but log 0.2 / 9, with sure tokens after it, is more.

    With penalty -1 the end costs log 0.2; the other beginning would lose if it had nine tokens, but it ends after one.
    """
    long = {(): [0.0, 0.0, 0.8, 0.2]} | {(3,) * n: [0.0, 0.0, 0.0, 1.0] for n in range(1, 9)}
    short = {(): [0.0, 0.0, 0.2, 0.8], (3,): [0.0, 0.0, 1.0, 0.0]}
    for p, penalty, best in ((long, 1.0, [3] * 9), (short, -1.0, [3])):
        step = table({k: torch.tensor(v).log() for k, v in p.items()}, 4)
        assert beam(step, torch.tensor([1]), Rules(END, 0, 9), 3, penalty) == [best]


@pytest.mark.parametrize("settings", [{"num_beams": 1}, {"num_beams": 3}, {"num_beams": 4, "length_penalty": 0.3}])
def test_searches_equal_those_of_transformers(seen, settings):
    """A BERT decoder's own ``generate``, which stops a case at K complete texts too."""
    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(
        vocab_size=19, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24,
        max_position_embeddings=16, is_decoder=True, add_cross_attention=True,
    )  # fmt: skip
    theirs, ours, lengths = transformers.BertLMHeadModel(config), speaker(), set()
    opinionated(theirs, theirs.cls.predictions.bias)
    ours.from_bert(theirs.state_dict())
    for _ in range(6):
        memory_BMD, mask_BM = torch.randn(8, 6, 16), seen[1]
        said = theirs.generate(
            torch.ones(8, 1, dtype=torch.int64), attention_mask=torch.ones(8, 1), encoder_hidden_states=memory_BMD,
            encoder_attention_mask=mask_BM.long(), max_new_tokens=9, min_new_tokens=2, do_sample=False, use_cache=False,
            pad_token_id=0, eos_token_id=END, suppress_tokens=[0, 1], **settings,
            early_stopping=settings["num_beams"] > 1,
        )[:, 1:].tolist()  # fmt: skip
        expected = [[t for t in row if t not in (0, END)] for row in said]
        chosen = {"strategy": "beam", "beams": settings["num_beams"]}
        chosen["length_penalty"] = settings.get("length_penalty", 1.0)
        assert generate(ours, memory_BMD, mask_BM, min_tokens=2, max_tokens=9, **chosen) == expected
        lengths |= {len(text) for text in expected}
    assert len(lengths) > 2


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_remembering_says_what_rereading_says(seen, settings):
    """In float64, where the order of sums leaves no room to hide in."""
    ours, logits = speaker().double(), {remembering: [], rereading: []}
    seen = (seen[0].double(), seen[1])

    def noted(steps):
        def make(*given):
            inner = steps(*given)

            def step(*asked):
                logits[steps].append(inner(*asked))
                return logits[steps][-1]

            return step

        return make

    said = [generate(ours, *seen, **settings, min_tokens=3, max_tokens=16, steps=noted(steps)) for steps in logits]
    assert said[0] == said[1]
    assert len({len(text) for text in said[0]}) > 2
    for remembered, reread in zip(*logits.values(), strict=True):
        torch.testing.assert_close(remembered, reread, rtol=1e-10, atol=1e-10)


def test_greedy_is_beam_search_with_one_beam_and_a_nucleus_of_one(seen):
    ours = speaker()
    said = generate(ours, *seen, strategy="greedy", max_tokens=12)
    assert generate(ours, *seen, beams=1, max_tokens=12) == said
    assert generate(ours, *seen, beams=1, max_tokens=12, length_penalty=3.0) == said
    assert generate(ours, *seen, strategy="nucleus", top_p=1e-6, max_tokens=12) == said
    assert len({len(text) for text in said}) > 2


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_a_batch_says_of_each_case_what_it_says_of_it_alone(seen, settings):
    """Texts end at different places. Nucleus draws by the place in the batch, so only its first is compared."""
    memory_BMD, mask_BM = seen
    ours = speaker()
    together = generate(ours, *seen, **settings, max_tokens=12)
    for i in range(1 if settings["strategy"] == "nucleus" else 8):
        assert (
            generate(ours, memory_BMD[i : i + 1], mask_BM[i : i + 1], **settings, max_tokens=12) == together[i : i + 1]
        )


@pytest.mark.parametrize("top_p, kept", [(0.5, 2), (0.71, 3), (1.0, 5)])
def test_nucleus_draws_from_the_cut_distribution(top_p, kept):
    """Five words at temperature 2; draws of 20,000 cases within four standard errors, and none outside the nucleus."""
    cases, p_V = 20_000, torch.tensor([0.05, 0.3, 0.15, 0.4, 0.1])
    logits_BV = (2 * p_V.log()).expand(cases, 5)
    said = nucleus(lambda *_: logits_BV, torch.ones(cases, dtype=torch.int64), Rules(99, 0, 1), top_p, 2.0)
    share_V = torch.tensor(said).flatten().bincount(minlength=5) / cases
    nucleus_V = torch.zeros(5)
    for token in [3, 1, 2, 4, 0][:kept]:
        nucleus_V[token] = p_V[token]
    nucleus_V /= nucleus_V.sum()
    assert share_V[nucleus_V == 0].sum() == 0
    assert ((share_V - nucleus_V).abs() <= 4 * (nucleus_V * (1 - nucleus_V) / cases).sqrt()).all()


def test_draws_of_places_are_independent_and_a_seed_repeats_them():
    cases, start_B, rules = 4000, torch.ones(4000, dtype=torch.int64), Rules(99, 0, 2)
    said = nucleus(lambda *_: torch.zeros(cases, 2), start_B, rules, 1.0)
    pairs = torch.tensor([2 * a + b for a, b in said]).bincount(minlength=4) / cases
    assert ((pairs - 0.25).abs() < 4 * math.sqrt(0.25 * 0.75 / cases)).all()
    assert nucleus(lambda *_: torch.zeros(cases, 2), start_B, rules, 1.0) == said
    assert nucleus(lambda *_: torch.zeros(cases, 2), start_B, rules, 1.0, seed=1) != said


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_lengths_are_kept_and_padding_and_start_never_said(seen, settings):
    ours = speaker()
    with torch.no_grad():
        ours.bias_V[:2] += 50
        ours.bias_V[END] += 8
    said = generate(ours, *seen, **settings, min_tokens=4, max_tokens=7)
    assert all(4 <= len(text) <= 7 for text in said)
    assert not {0, 1, END} & {token for text in said for token in text}
    with torch.no_grad():
        ours.bias_V[END] -= 100
    assert {len(text) for text in generate(ours, *seen, **settings, max_tokens=7)} == {7}


def test_a_generator_whose_start_is_its_end_can_end(seen):
    ours = speaker(start=END, pad=END)
    with torch.no_grad():
        ours.bias_V[END] += 50
    assert {len(text) for text in generate(ours, *seen, strategy="greedy", max_tokens=9)} == {1}


def test_dropout_is_off_while_speaking_and_back_afterwards(seen):
    ours = speaker(dropout=0.5).train()
    assert generate(ours, *seen, max_tokens=9) == generate(ours, *seen, max_tokens=9)
    assert ours.training
    assert ours.layers[0].own.training


def test_a_text_is_as_long_as_the_generator_can_say_unless_told_otherwise(seen):
    ours = speaker(max_tokens=9)
    assert generate(ours, *seen) == generate(ours, *seen, max_tokens=9)


def test_greedy_needs_no_generator():
    logits_BV = torch.tensor([[0.0, 1.0, 0.5], [0.0, 1.0, 2.0]])
    assert greedy(lambda *_: logits_BV, torch.tensor([0, 0]), Rules(END, 0, 3)) == [[1, 1, 1], []]


def test_what_cannot_be_said_is_refused(seen):
    memory_BMD, mask_BM = seen
    ours = speaker()
    with pytest.raises(ValueError, match="Did you mean 'nucleus'"):
        generate(ours, *seen, strategy="nuclear")
    with pytest.raises(ValueError, match="a text has 1 to 16 tokens of this generator, not 1 to 17"):
        generate(ours, *seen, max_tokens=17)
    with pytest.raises(ValueError, match="not 9 to 8"):
        generate(ours, *seen, min_tokens=9, max_tokens=8)
    with pytest.raises(ValueError, match="at least one beam, not 0"):
        generate(ours, *seen, beams=0, max_tokens=8)
    for setting in ({"top_p": 0.0}, {"top_p": 1.1}, {"temperature": 0.0}):
        with pytest.raises(ValueError, match="top_p must be in"):
            generate(ours, *seen, strategy="nucleus", max_tokens=8, **setting)
    with pytest.raises(ValueError, match="all of it is masked"):
        generate(ours, memory_BMD, mask_BM & (torch.arange(8) != 2)[:, None], max_tokens=8)
    assert generate(ours, memory_BMD[:0], max_tokens=8) == []
