"""clip: against the equation written as loops, against open_clip, a golden value, chunks, and rows of several ranks."""

import math

import pytest
import torch
import torch.nn.functional as F

import dermis.torchvision_operators  # noqa: F401 (before open_clip)
from dermis.losses.contrastive import clip

SCALE = 10.0
CHUNKS = pytest.mark.parametrize("chunk", [1, 3, 7, 100], ids=lambda c: f"chunk={c}")


def equation(u, v, scale, weight, same_text=None):
    """One anchor and one candidate at a time, on tensors so that it has a gradient."""
    cases = range(len(u))
    texts = list(range(len(u))) if same_text is None else same_text.tolist()
    image_to_text = text_to_image = 0.0
    for i in cases:
        once = [texts.index(t) for t in dict.fromkeys(texts)]
        all_texts = sum(torch.exp(scale * u[i] @ v[j]) for j in once)
        image_to_text = image_to_text - torch.log(torch.exp(scale * u[i] @ v[i]) / all_texts)

        all_images = sum(torch.exp(scale * u[j] @ v[i]) for j in cases)
        owners = [o for o in cases if texts[o] == texts[i]]
        mean = sum(torch.exp(scale * u[o] @ v[i]) / all_images for o in owners) / len(owners)
        text_to_image = text_to_image - torch.log(mean)
    return weight * image_to_text / len(u) + (1 - weight) * text_to_image / len(u)


def value_and_gradients(loss, *inputs):
    return [loss.detach(), *torch.autograd.grad(loss, inputs)]


def assert_same(ours, theirs, value=1e-9, gradient=1e-8):
    torch.testing.assert_close(ours[0], theirs[0], atol=value, rtol=0)
    for mine, other in zip(ours[1:], theirs[1:], strict=True):
        torch.testing.assert_close(mine, other, atol=gradient, rtol=0)


@pytest.mark.parametrize("chunk", [None, 3])
@pytest.mark.parametrize("weight", [0.5, 0.75, 0.0])
def test_equals_the_equation_as_loops(pairs, weight, chunk):
    scale = torch.tensor(SCALE, dtype=torch.float64, requires_grad=True)
    ours = value_and_gradients(clip(*pairs, scale, weight=weight, chunk=chunk), *pairs, scale)
    loops = value_and_gradients(equation(*pairs, scale, weight), *pairs, scale)
    assert_same(ours, loops)


@pytest.mark.parametrize("chunk", [None, 3])
def test_a_repeated_caption_counts_once_and_belongs_to_all_its_owners(shared_pairs, same_text, chunk):
    scale = torch.tensor(SCALE, dtype=torch.float64, requires_grad=True)
    inputs = (*shared_pairs, scale)
    loss = clip(*inputs, weight=0.3, chunk=chunk, same_text_B=same_text)
    loops = equation(*inputs, 0.3, same_text)
    torch.testing.assert_close(loss, loops, atol=1e-9, rtol=0)

    ours, theirs = (torch.autograd.grad(x, inputs) for x in (loss, loops))
    torch.testing.assert_close(ours[0], theirs[0], atol=1e-8, rtol=0)
    torch.testing.assert_close(ours[2], theirs[2], atol=1e-8, rtol=0)
    # the copies of one string are one vector, so only the sum of their gradients has a meaning
    for text in same_text.unique():
        copies = same_text == text
        torch.testing.assert_close(ours[1][copies].sum(0), theirs[1][copies].sum(0), atol=1e-8, rtol=0)


def test_ids_without_repetition_change_nothing(pairs):
    ids = torch.tensor([5, 3, 9, 1, 0, 4, 2])
    torch.testing.assert_close(clip(*pairs, SCALE, same_text_B=ids), clip(*pairs, SCALE), atol=1e-12, rtol=0)


def test_one_caption_for_all_leaves_nothing_to_tell_apart(pairs):
    u, v = pairs
    same = v[:1].expand(7, -1)
    assert clip(u, same, SCALE, same_text_B=torch.zeros(7)).item() == pytest.approx(0.5 * math.log(7))
    assert clip(u, same, SCALE).item() > 0.5 * math.log(7)


def test_equals_open_clip(pairs):
    theirs = pytest.importorskip("open_clip.loss").ClipLoss()
    scale = torch.tensor(SCALE, dtype=torch.float64, requires_grad=True)
    ours = value_and_gradients(clip(*pairs, scale), *pairs, scale)
    assert_same(ours, value_and_gradients(theirs(*pairs, scale), *pairs, scale))


def test_equals_the_reference_value(det):
    u, v = (F.normalize(det((6, 16), seed), dim=-1) for seed in (31, 32))
    assert clip(u, v, 10.0, weight=0.75).item() == pytest.approx(2.885587150757, abs=1e-9)


@CHUNKS
def test_chunks_change_neither_value_nor_gradient(shared_pairs, same_text, chunk):
    scale = torch.tensor(SCALE, dtype=torch.float64, requires_grad=True)
    inputs = (*shared_pairs, scale)
    for ids in (None, same_text):
        whole = value_and_gradients(clip(*inputs, same_text_B=ids), *inputs)
        chunked = value_and_gradients(clip(*inputs, chunk=chunk, same_text_B=ids), *inputs)
        assert_same(chunked, whole, 1e-12, 1e-12)


@pytest.mark.parametrize("ids", ["none", "shared"])
@pytest.mark.parametrize("chunk", [None, 3])
def test_gradient_of_chunks_is_that_of_finite_differences(shared_pairs, same_text, chunk, ids):
    scale = torch.tensor(3.0, dtype=torch.float64, requires_grad=True)
    same = same_text if ids == "shared" else None
    assert torch.autograd.gradcheck(
        lambda u, v, s: clip(u, v, s, weight=0.7, chunk=chunk, same_text_B=same), (*shared_pairs, scale)
    )


@pytest.mark.parametrize("chunk", [None, 3])
def test_float32_is_close_to_float64(pairs, chunk):
    single = clip(*(x.detach().float() for x in pairs), SCALE, chunk=chunk)
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), clip(*pairs, SCALE).detach(), atol=1e-5, rtol=0)


@pytest.mark.parametrize("chunk", [None, 2])
@pytest.mark.parametrize("sign", [1, -1], ids=["alike", "opposite"])
@pytest.mark.parametrize("scale", [100.0, 1000.0])
def test_large_scale_stays_finite_and_right(chunk, scale, sign):
    u = F.normalize(torch.eye(4) + 0.01, dim=-1).requires_grad_()
    loss = clip(u, sign * u.detach(), scale, chunk=chunk)
    loss.backward()
    wide = u.detach().double()
    expected = F.cross_entropy(sign * scale * wide @ wide.T, torch.arange(4))
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5, abs=1e-4)
    assert u.grad.isfinite().all()


@pytest.mark.parametrize("chunk", [None, 1])
def test_a_single_pair_costs_nothing(pairs, chunk):
    u, v = (x[:1] for x in pairs)
    value, *gradients = value_and_gradients(clip(u, v, SCALE, chunk=chunk), u, v)
    assert value.item() == pytest.approx(0, abs=1e-12)
    assert all(gradient.abs().max() < 1e-12 for gradient in gradients)


def test_chunks_keep_no_logits_for_backward(kept_for_backward):
    u, v = (F.normalize(torch.randn(64, 2), dim=-1).requires_grad_() for _ in range(2))
    ids = torch.arange(64) % 16

    def kept(chunk, same):
        return kept_for_backward(lambda: clip(u, v, torch.tensor(9.0), chunk=chunk, same_text_B=same))

    for same in (None, ids):
        assert kept(None, same) > 64 * 64
        assert kept(8, same) < 8 * 64 * (3 if same is not None else 2)


@pytest.mark.parametrize("shared", [False, True], ids=["literal", "shared"])
@pytest.mark.parametrize("chunk", [None, 2])
def test_shares_of_the_ranks_average_to_the_whole(shared_pairs, same_text, chunk, shared):
    u, v = (x.detach()[:6].requires_grad_() for x in shared_pairs)
    ids = same_text[:6] if shared else None
    whole = value_and_gradients(clip(u, v, SCALE, weight=0.7, same_text_B=ids), u, v)
    ranks = [
        clip(u, v, SCALE, weight=0.7, chunk=chunk, first=first, rows=2, same_text_B=ids) for first in range(0, 6, 2)
    ]
    assert_same(value_and_gradients(torch.stack(ranks).mean(), u, v), whole, 1e-12, 1e-12)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"text_BD": torch.ones(3, 5)}, r"\(B, D\) alike, not \(7, 5\) and \(3, 5\)"),
        ({"chunk": 0}, "chunk must be at least 1"),
        ({"first": 5, "rows": 4}, "own rows 5 to 8 do not lie in a batch of 7"),
    ],
)
def test_wrong_arguments_are_explained(pairs, change, message):
    with pytest.raises(ValueError, match=message):
        clip(**({"image_BD": pairs[0], "text_BD": pairs[1], "scale": 1.0} | change))
