"""GLoRIA's two losses against the equations as loops, in chunks, on the rows of several ranks, and their attention."""

import pytest
import torch

from dermis.losses.gloria import attention, gloria_global, gloria_local

LENGTHS = torch.tensor([3, 1, 4, 2, 3])


@pytest.fixture
def local(det):
    """Regions of five pictures (width 6, 2 x 3) and up to four words, not of unit length."""
    regions, words = det((5, 6, 2, 3), 11), det((5, 6, 4), 12)
    return regions.requires_grad_(), words.requires_grad_()


def cosine(x, y):
    return (x @ y) / (x.norm() * y.norm())


def softmax(values):
    exponentials = [torch.exp(value) for value in values]
    return [e / sum(exponentials) for e in exponentials]


def cross_entropies(score):
    """Picture→text and text→picture of a table of scores, one exponential at a time."""
    cases = range(len(score))
    to_text = sum(-torch.log(softmax([score[i][j] for j in cases])[i]) for i in cases)
    to_image = sum(-torch.log(softmax([score[j][i] for j in cases])[i]) for i in cases)
    return to_text / len(score), to_image / len(score)


def attention_as_loops(vs, ts, over_regions):
    """Softmax over the words at each region, then over the regions for each word."""
    at_region = [softmax([t @ v for t in ts]) for v in vs]
    return [softmax([over_regions * at_region[r][word] for r in range(len(vs))]) for word in range(len(ts))]


def local_as_loops(regions, words, lengths, temperatures=(4.0, 5.0, 10.0), aggregate="sum"):
    over_regions, over_words, over_cases = temperatures
    score = []
    for picture in regions:
        vs = [picture[:, y, x] for y in range(picture.shape[1]) for x in range(picture.shape[2])]
        row = []
        for caption, length in zip(words, lengths.tolist(), strict=True):
            ts = [caption[:, word] for word in range(length)]
            total = 0.0
            for t, alphas in zip(ts, attention_as_loops(vs, ts, over_regions), strict=True):
                c = sum(alpha * v for alpha, v in zip(alphas, vs, strict=True))
                total = total + torch.exp(over_words * cosine(c, t))
            row.append(over_cases * torch.log(total / length if aggregate == "mean" else total))
        score.append(row)
    return cross_entropies(score)


def assert_same(ours, theirs, inputs, value=1e-9, gradient=1e-8):
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, atol=value, rtol=0)
        gradients = (torch.autograd.grad(loss, inputs, retain_graph=True) for loss in (mine, other))
        for g, h in zip(*gradients, strict=True):
            torch.testing.assert_close(g, h, atol=gradient, rtol=0)


@pytest.mark.parametrize("chunk", [None, 1, 3])
@pytest.mark.parametrize("options", [{}, {"aggregate": "mean"}, {"temperatures": (2.0, 3.0, 0.5)}])
def test_local_equals_the_equations_as_loops(local, options, chunk):
    loops = local_as_loops(*local, LENGTHS, **options)
    assert_same(gloria_local(*local, LENGTHS, chunk=chunk, **options), loops, local)


@pytest.mark.parametrize("chunk", [None, 2])
def test_global_equals_the_equation_as_loops(det, chunk):
    pairs = tuple(det((6, 5), seed).requires_grad_() for seed in (13, 14))
    score = [[cosine(u, v) / 0.1 for v in pairs[1]] for u in pairs[0]]
    assert_same(gloria_global(*pairs, 0.1, chunk=chunk), cross_entropies(score), pairs)


def test_what_stands_behind_a_caption_has_no_say(local):
    regions, words = local
    behind = torch.arange(4) >= LENGTHS[:, None, None]
    other = words.detach().masked_fill(behind, torch.nan).requires_grad_()
    ours, theirs = gloria_local(regions, other, LENGTHS), gloria_local(regions, words, LENGTHS)
    assert torch.equal(torch.stack(ours), torch.stack(theirs))
    gradient = torch.autograd.grad(sum(ours), other)[0]
    assert not gradient.masked_select(behind).any()
    torch.testing.assert_close(gradient, torch.autograd.grad(sum(theirs), words)[0])


@pytest.mark.parametrize("chunk", [None, 2])
def test_shares_of_the_ranks_average_to_the_whole(det, local, chunk):
    def mean(parts):
        return [torch.stack(term).mean() for term in zip(*parts, strict=True)]

    bounds = [(0, 1), (1, 1), (2, 1), (3, 1), (4, 1)]
    parts = [gloria_local(*local, LENGTHS, chunk=chunk, first=first, rows=rows) for first, rows in bounds]
    assert_same(mean(parts), gloria_local(*local, LENGTHS), local, 1e-12, 1e-12)
    pairs = tuple(det((6, 5), seed).requires_grad_() for seed in (13, 14))
    parts = [gloria_global(*pairs, 0.1, chunk=chunk, first=first, rows=2) for first in (0, 2, 4)]
    assert_same(mean(parts), gloria_global(*pairs, 0.1), pairs, 1e-12, 1e-12)


def test_a_chunk_keeps_less_for_backward(local, kept_for_backward):
    whole, chunked = (
        kept_for_backward(lambda chunk=chunk: gloria_local(*local, LENGTHS, chunk=chunk)) for chunk in (None, 1)
    )
    assert chunked < whole / 2


def test_float32_is_close_to_float64(local):
    single = torch.stack(gloria_local(*(x.detach().float() for x in local), LENGTHS, chunk=2))
    assert single.dtype == torch.float32
    double = torch.stack(gloria_local(*local, LENGTHS)).detach()
    torch.testing.assert_close(single.double(), double, atol=1e-5, rtol=0)


def test_attention_is_a_map_for_each_word(local):
    regions, words = (x[0].detach() for x in local)
    vs = [regions[:, y, x] for y in range(2) for x in range(3)]
    loops = torch.stack([torch.stack(row) for row in attention_as_loops(vs, list(words.T), 4.0)])
    torch.testing.assert_close(attention(regions, words), loops.reshape(4, 2, 3), atol=1e-12, rtol=0)
    torch.testing.assert_close(attention(regions, words, 9.0).sum((1, 2)), torch.ones(4, dtype=torch.float64))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"aggregate": "max"}, "aggregate of gloria_local 'max'"),
        ({"words_BDL": torch.ones(5, 7, 4)}, r"same B and D, not \(5, 6, 2, 3\) and \(5, 7, 4\)"),
        ({"lengths_B": torch.ones(4)}, r"5 captions need as many lengths, not \(4,\)"),
        ({"lengths_B": torch.tensor([1, 0, 1, 1, 1])}, r"1 to 4 words here; lengths are \[1, 0, 1, 1, 1\]"),
        ({"lengths_B": torch.tensor([1, 5, 1, 1, 1])}, "1 to 4 words here"),
        ({"chunk": 0}, "chunk must be at least 1"),
        ({"first": 4, "rows": 2}, "own rows 4 to 5 do not lie in a batch of 5"),
    ],
)
def test_wrong_arguments_are_explained(local, change, message):
    given = {"regions_BDHW": local[0], "words_BDL": local[1], "lengths_B": LENGTHS}
    with pytest.raises(ValueError, match=message):
        gloria_local(**(given | change))
