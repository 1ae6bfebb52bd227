"""multi_aspect_released: against the release's steps written out with its own row order, loop by loop."""

import math

import pytest
import torch
import torch.nn.functional as F

from dermis.losses.multi_aspect_released import multi_aspect_released

CASES, PATCHES, WIDTH = 4, 3, 5


def release(image, text, patch, mask, scale, lambda_m, lambda_s, weights, sigma):
    """spec 1.3 and 1.4 as it happens there: expanded logits, class weights, ignored labels, row b of the flat texts."""
    B, N, _ = text.shape
    rows = text.reshape(B * N, -1)  # row b * N + n
    pooled = []
    for b in range(B):
        similarity = torch.stack([patch[b, p] @ rows[b] for p in range(patch.shape[1])])
        gate = torch.tensor([1.0 if s >= sigma else 0.0 for s in similarity], dtype=text.dtype)
        w = similarity * gate
        w = w / w.norm().clamp_min(1e-12)
        pooled.append(sum(w[p] * patch[b, p] for p in range(patch.shape[1])))
    pooled = torch.stack(pooled)

    label = torch.arange(B * N)
    label[mask.reshape(-1) == 0] = -100
    class_weight = torch.ones(B * N, dtype=text.dtype)
    if weights:
        blocks = [rows.detach()[n * B : (n + 1) * B] for n in range(N)]  # what chunk(rows, N) gives
        for b in range(B):
            if mask[b, 1] == 0 or not mask[b, 3:].any():
                continue
            c = [
                float(blocks[1][b] @ blocks[3 + k][b]) if mask[b, 3 + k] else -math.inf for k in range(N - 3)
            ]  # fmt: skip
            softmax = [math.exp(x) / sum(math.exp(y) for y in c) for x in c]
            for k, s in enumerate(softmax):
                class_weight[b * N + 3 + k] = s / max(softmax)

    def cross_entropy(vectors, labels):
        expanded = vectors.repeat_interleave(N, dim=0)
        return F.cross_entropy(scale * expanded @ rows.T, labels, weight=class_weight, ignore_index=-100)

    i2t = cross_entropy(image, label)
    no_raw = label.clone()
    no_raw[:B] = -100
    slra = lambda_s * cross_entropy(pooled, no_raw)
    owner = torch.arange(B * N) // N
    owner[mask.reshape(-1) == 0] = -100
    t2i = F.cross_entropy(scale * rows @ image.T, owner, ignore_index=-100)
    mkcl = lambda_m * (i2t + t2i) / 2
    return {"i2t": i2t, "t2i": t2i, "mkcl": mkcl, "slra": slra, "loss": mkcl + slra}


def inputs(det, sentences):
    image = F.normalize(det((CASES, WIDTH), 51), dim=-1)
    text = F.normalize(det((CASES, 3 + sentences, WIDTH), 52), dim=-1)
    patch = det((CASES, PATCHES, WIDTH), 53)
    scale = torch.tensor(6.0, dtype=torch.float64)
    return [x.requires_grad_() for x in (image, text, patch, scale)]


def mask_of(sentences, kind):
    mask = torch.ones(CASES, 3 + sentences)
    if kind == "gaps":
        mask[0, 3:] = 0  # no sentence
        mask[1, 1] = 0  # no disease text
        mask[2, 4:] = 0
        mask[3, 0] = 0  # no raw text
    if kind == "empty case":
        mask[2] = 0
    return mask


@pytest.mark.parametrize(
    ("sentences", "weights"), [(0, False), (1, True), (2, False), (2, True), (8, True)], ids=lambda x: str(x)
)
@pytest.mark.parametrize("sigma", [-math.inf, 0.0, 0.3, 10.0])
@pytest.mark.parametrize("kind", ["all", "gaps", "empty case"])
def test_equals_the_release(det, sentences, weights, sigma, kind):
    given, mask = inputs(det, sentences), mask_of(sentences, kind)
    image, text, patch, scale = given
    found = multi_aspect_released(
        image, text, patch, mask, scale, lambda_m=0.9, lambda_s=0.6, weights=weights, sigma=sigma
    )
    theirs = release(image, text, patch, mask, scale, 0.9, 0.6, weights, sigma)
    assert found.keys() == theirs.keys()
    for name, value in theirs.items():
        torch.testing.assert_close(found[name], value, atol=1e-12, rtol=0, msg=name)
    ours, expected = (torch.autograd.grad(x["loss"], given) for x in (found, theirs))
    for mine, other in zip(ours, expected, strict=True):
        torch.testing.assert_close(mine, other, atol=1e-12, rtol=0)


def test_a_batch_without_texts_is_finite(det):
    given = inputs(det, 2)
    found = multi_aspect_released(*given[:3], torch.zeros(CASES, 5), given[3])
    gradients = torch.autograd.grad(found["loss"], given)
    assert found["loss"].item() == 0
    assert all(g.isfinite().all() for g in gradients)


def test_the_mix_up_of_rows_matters(det):
    """The release's loss changes if another case's text moves; the patches of case 0 must be read with row 0."""
    image, text, patch, scale = (x.detach() for x in inputs(det, 2))
    mask = torch.ones(CASES, 5)
    moved = text.clone()
    moved[0, 1] = -moved[0, 1]  # flat row 1: the disease text of case 0, which the release reads for case 1's patches
    slra = [multi_aspect_released(image, t, patch, mask, scale)["slra"].item() for t in (text, moved)]
    assert abs(slra[0] - slra[1]) > 1e-3


@pytest.mark.parametrize(("texts", "weights"), [(2, False), (3, True)])
def test_too_few_texts_are_explained(det, texts, weights):
    image, text, patch, scale = inputs(det, 2)
    with pytest.raises(ValueError, match=f"there are {texts}"):
        multi_aspect_released(image, text[:, :texts], patch, torch.ones(CASES, texts), scale, weights=weights)
