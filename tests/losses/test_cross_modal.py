"""cross_modal: against SM3's two readings as loops, against cross-entropy, chunks, and rows of several ranks."""

import pytest
import torch
import torch.nn.functional as F

from dermis.losses.cross_modal import cross_modal

# (dermoscopy view, clinical view) as the release pairs them
PAIRS = {0: [(1, 1), (2, 2)], 1: [(1, 2), (2, 1)], 2: [(1, 1), (1, 2), (2, 1), (2, 2)]}
READINGS = [("released", 0), ("released", 1), ("released", 2), ("paper", 0)]


@pytest.fixture
def views(det):
    """derm1, clinic1, derm2, clinic2 of six cases that resemble each other, not of unit length."""
    lesion = det((6, 8), 1)
    return tuple((0.5 * lesion + det((6, 8), seed)).requires_grad_() for seed in (2, 3, 4, 5))


def one_anchor(anchor, own, others, temperature):
    """-log of the share of ``own`` among itself and ``others``, one exponential at a time."""

    def e(z):
        return torch.exp(anchor @ z / (anchor.norm() * z.norm()) / temperature)

    denominator = e(own)
    for z in others:
        denominator = denominator + e(z)
    return -torch.log(e(own) / denominator)


def as_released(views, temperature, style):
    d, c = {1: views[0], 2: views[2]}, {1: views[1], 2: views[3]}
    terms = []
    for v, w in PAIRS[style]:
        anchors = []
        for i in range(6):
            others = [z[j] for j in range(6) if j != i for z in (d[v], c[w])]
            anchors.append(one_anchor(d[v][i], c[w][i], others, temperature))
            anchors.append(one_anchor(c[w][i], d[v][i], others, temperature))
        terms.append(sum(anchors) / 12)
    return sum(terms) / len(terms)


def as_printed(views, temperature):
    d1, c1, _, c2 = views
    total = 0.0
    for i in range(6):
        for clinic in (c1, c2):
            others = [z[j] for j in range(6) if j != i for z in (clinic, d1)]
            total = total + one_anchor(d1[i], clinic[i], others, temperature)
    return total / 6


def assert_same(ours, theirs, inputs, value=1e-9, gradient=1e-8):
    torch.testing.assert_close(ours, theirs, atol=value, rtol=0)
    gradients = (torch.autograd.grad(loss, inputs, allow_unused=True) for loss in (ours, theirs))
    for mine, other in zip(*gradients, strict=True):
        assert (mine is None) == (other is None)
        if mine is not None:
            torch.testing.assert_close(mine, other, atol=gradient, rtol=0)


@pytest.mark.parametrize("chunk", [None, 1, 5])
@pytest.mark.parametrize(("variant", "style"), READINGS)
def test_equals_the_equation_as_loops(views, variant, style, chunk):
    loops = as_printed(views, 0.3) if variant == "paper" else as_released(views, 0.3, style)
    assert_same(cross_modal(*views, 0.3, style=style, variant=variant, chunk=chunk), loops, views)


def test_released_equals_cross_entropy_without_the_diagonal(views):
    theirs = []
    for d, c in (views[:2], views[2:]):
        z = F.normalize(torch.cat([d, c]), dim=-1)
        theirs.append(F.cross_entropy((z @ z.T / 0.1).fill_diagonal_(-torch.inf), torch.arange(12).roll(6)))
    assert_same(cross_modal(*views, 0.1), (theirs[0] + theirs[1]) / 2, views)


def test_paper_leaves_the_second_dermoscopy_view_alone(views):
    loss = cross_modal(*views, 0.1, variant="paper")
    gradients = torch.autograd.grad(loss, views, allow_unused=True)
    assert [gradient is None for gradient in gradients] == [False, False, True, False]


@pytest.mark.parametrize("chunk", [None, 3])
@pytest.mark.parametrize(("variant", "style"), READINGS)
def test_shares_of_the_ranks_average_to_the_whole(views, variant, style, chunk):
    options = {"style": style, "variant": variant}
    ranks = [cross_modal(*views, 0.1, **options, chunk=chunk, first=first, rows=2) for first in (0, 2, 4)]
    assert_same(torch.stack(ranks).mean(), cross_modal(*views, 0.1, **options), views, 1e-12, 1e-12)


@pytest.mark.parametrize(("variant", "style"), READINGS)
def test_float32_is_close_to_float64(views, variant, style):
    single = cross_modal(*(z.detach().float() for z in views), 0.1, style=style, variant=variant, chunk=5)
    assert single.dtype == torch.float32
    double = cross_modal(*views, 0.1, style=style, variant=variant).detach()
    torch.testing.assert_close(single.double(), double, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"variant": "papers"}, r"variant of cross_modal 'papers'. Did you mean 'paper'\?"),
        ({"style": 3}, "style of cross_modal is 0 .* not 3"),
        ({"style": 1, "variant": "paper"}, "style 1 has no effect on variant 'paper'"),
        ({"derm2_BD": torch.ones(5, 8)}, r"alike, not \(6, 8\), \(6, 8\), \(5, 8\), \(6, 8\)"),
        ({"chunk": 0}, "chunk must be at least 1"),
        ({"first": 5, "rows": 4}, "own rows 5 to 8 do not lie in a batch of 6"),
    ],
)
def test_wrong_arguments_are_explained(views, change, message):
    given = dict(zip(("derm1_BD", "clinic1_BD", "derm2_BD", "clinic2_BD"), views, strict=True))
    with pytest.raises(ValueError, match=message):
        cross_modal(**(given | {"temperature": 0.1} | change))
