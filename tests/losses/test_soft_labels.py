"""ontology_contrast: against its equations one pair at a time, against clip at beta 0, and finite differences."""

import math

import pytest
import torch
import torch.nn.functional as F

from dermis.losses.contrastive import clip
from dermis.losses.soft_labels import annealed, ontology_contrast, ontology_soft_targets

LABEL = [2, 0, -1, 2, 4, 0, 2]  # of 5 diseases; 1 and 3 have no picture, one picture has no disease


@pytest.fixture
def inputs(det):
    image = F.normalize(det((7, 5), 3), dim=-1).requires_grad_()
    text = F.normalize(det((5, 5), 4), dim=-1).requires_grad_()
    return image, text, torch.tensor(6.0, dtype=torch.float64, requires_grad=True)


@pytest.fixture
def similarity(det):
    half = det((5, 5), 9).abs().clamp(max=1)
    return ((half + half.T) / 2).fill_diagonal_(1)


def equations(image, text, label, similarity, scale, beta, temperature):
    """The docstring, one number at a time, on tensors so that it has a gradient."""
    pictures = [b for b, y in enumerate(label) if y >= 0]
    names = range(len(text))
    i2t = t2i = torch.tensor(0.0, dtype=torch.float64)
    for b in pictures:
        y = label[b]
        soft = [math.exp(similarity[y][k] / temperature) for k in names]
        below = torch.stack([torch.exp(scale * image[b] @ text[j]) for j in names]).sum()
        for k in names:
            q = (1 - beta) * (k == y) + beta * soft[k] / sum(soft)
            i2t = i2t - q * torch.log(torch.exp(scale * image[b] @ text[k]) / below)
        below = sum(torch.exp(scale * image[m] @ text[y]) for m in pictures)
        p = {n: torch.exp(scale * image[n] @ text[y]) / below for n in pictures}
        owners = [o for o in pictures if label[o] == y]
        soft = {n: math.exp(similarity[y][label[n]] / temperature) for n in pictures}
        t2i = t2i - (1 - beta) * torch.log(torch.stack([p[o] for o in owners]).mean())
        t2i = t2i - beta * sum(soft[n] / sum(soft.values()) * torch.log(p[n]) for n in pictures)
    return (i2t + t2i) / 2 / len(pictures)


def assert_same(ours, theirs, inputs):
    torch.testing.assert_close(ours, theirs, atol=1e-11, rtol=0)
    gradients = (torch.autograd.grad(loss, inputs) for loss in (ours, theirs))
    for mine, other in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, other, atol=1e-10, rtol=0)


@pytest.mark.parametrize("beta", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("temperature", [0.07, 0.5])
def test_equals_the_equations(inputs, similarity, beta, temperature):
    image, text, scale = inputs
    ours = ontology_contrast(image, text, torch.tensor(LABEL), similarity, scale, beta=beta, temperature=temperature)
    assert_same(ours, equations(image, text, LABEL, similarity.tolist(), scale, beta, temperature), inputs)


def test_beta_zero_is_clip_with_shared_texts(inputs, similarity):
    image, text, scale = inputs
    label = torch.tensor([2, 0, 1, 2, 4, 3, 2])
    ours = ontology_contrast(image, text, label, similarity, scale, beta=0.0)
    assert_same(ours, clip(image, text[label], scale, same_text_B=label), inputs)


def test_beta_zero_with_a_picture_per_disease_is_infonce(inputs, similarity):
    image, text, scale = inputs
    ours = ontology_contrast(image[:5], text, torch.arange(5), similarity, scale, beta=0.0)
    assert_same(ours, clip(image[:5], text, scale), inputs)


def test_gradient_is_that_of_finite_differences(inputs, similarity):
    def loss(image, text, scale):
        return ontology_contrast(image, text, torch.tensor(LABEL), similarity, scale, beta=0.4)

    assert torch.autograd.gradcheck(loss, inputs)


def test_a_related_error_costs_less(similarity):
    related = torch.eye(3, dtype=torch.float64)
    related[0, 1] = related[1, 0] = 0.9
    label, text = torch.tensor([0]), torch.eye(3, dtype=torch.float64)

    def cost(said, beta):
        return ontology_contrast(text[[said]], text, label, related, 10.0, beta=beta).item()

    assert cost(1, 0.5) < cost(2, 0.5) - 0.1
    assert cost(1, 0.0) == pytest.approx(cost(2, 0.0))


def test_soft_targets_by_hand():
    similarity = torch.tensor([[1.0, 0.5, 0.0], [0.5, 1.0, 0.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
    target = ontology_soft_targets(similarity, torch.tensor([0, 2]), beta=0.5, temperature=0.5)
    e = math.e
    total = e**2 + e + 1
    expected = [
        [0.5 + 0.5 * e**2 / total, 0.5 * e / total, 0.5 / total],
        [0.5 / (e**2 + 2), 0.5 / (e**2 + 2), 0.5 + 0.5 * e**2 / (e**2 + 2)],
    ]
    torch.testing.assert_close(target, torch.tensor(expected, dtype=torch.float64), atol=1e-12, rtol=0)


def test_nobody_has_a_disease(inputs, similarity):
    image, text, scale = inputs
    loss = ontology_contrast(image, text, torch.full((7,), -1), similarity, scale, beta=0.5)
    assert (loss.shape, loss.item()) == ((), 0.0)
    loss.backward()
    assert not image.grad.any()


def test_float32_and_a_large_scale_stay_finite(inputs, similarity):
    image, text, _ = (x.detach().float() for x in inputs)
    image.requires_grad_()
    loss = ontology_contrast(image, text, torch.tensor(LABEL), similarity, 1000.0, beta=0.5)
    loss.backward()
    assert loss.dtype == torch.float32
    assert loss.isfinite()
    assert image.grad.isfinite().all()


def test_annealing_is_half_a_cosine():
    assert [annealed(0.5, step, 4) for step in (0, 2, 4, 9)] == pytest.approx([0.5, 0.25, 0, 0], abs=1e-15)
    assert annealed(0.5, 1, 4) == pytest.approx(0.25 * (1 + math.sqrt(0.5)))
    with pytest.raises(ValueError, match="at least 1 step, not 0"):
        annealed(0.5, 0, 0)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"label_B": torch.tensor([5] * 7)}, r"labels must lie in -1 … 4; got 5 … 5"),
        ({"label_B": torch.tensor([0])}, r"labels must be \(7,\)"),
        ({"similarity_KK": torch.eye(4)}, r"the similarity \(5, 5\)"),
        ({"text_KD": torch.eye(3)}, "pictures and texts must be"),
        ({"beta": 1.5}, "beta is a share of the target, 0 to 1, not 1.5"),
        ({"temperature": 0.0}, "temperature must be positive"),
    ],
)
def test_wrong_input_is_explained(inputs, similarity, change, sentence):
    image, text, scale = inputs
    right = {"image_BD": image, "text_KD": text, "label_B": torch.tensor(LABEL), "similarity_KK": similarity}
    with pytest.raises(ValueError, match=sentence):
        ontology_contrast(**right | {"scale": scale, "beta": 0.5} | change)
