"""masked_pixels and patchify: against the definitions as loops."""

import pytest
import torch

from dermis.losses.masked_pixels import masked_pixels, patchify


@pytest.fixture
def given(det):
    """Three cases of five patches of twelve values, of which two, one and five are masked."""
    prediction, target = det((3, 5, 12), 1).requires_grad_(), 2 * det((3, 5, 12), 2) + 0.7
    masked = torch.tensor([[1, 0, 0, 1, 0], [0, 0, 1, 0, 0], [1, 1, 1, 1, 1]], dtype=torch.bool)
    return prediction, target, masked


def as_loops(prediction, target, masked, normalise):
    cases = []
    for b in range(len(masked)):
        errors = []
        for p in range(masked.shape[1]):
            if not masked[b, p]:
                continue
            values = target[b, p]
            if normalise:
                mean = sum(values) / len(values)
                variance = sum((value - mean) ** 2 for value in values) / (len(values) - 1)
                values = [(value - mean) / (variance + 1e-6) ** 0.5 for value in values]
            differences = [(y - t) ** 2 for y, t in zip(prediction[b, p], values, strict=True)]
            errors.append(sum(differences) / len(differences))
        cases.append(sum(errors) / len(errors))
    return torch.stack(cases)


@pytest.mark.parametrize("normalise", [True, False])
def test_equals_the_definition(given, normalise):
    ours, theirs = masked_pixels(*given, normalise=normalise), as_loops(*given, normalise)
    torch.testing.assert_close(ours, theirs, atol=1e-12, rtol=0)
    mine, other = (torch.autograd.grad(loss.mean(), given[0])[0] for loss in (ours, theirs))
    torch.testing.assert_close(mine, other, atol=1e-12, rtol=0)


def test_patches_that_were_seen_have_no_influence(given):
    prediction, target, masked = given
    loss = masked_pixels(prediction, target, masked)
    gradient = torch.autograd.grad(loss.sum(), prediction)[0]
    assert gradient[~masked].abs().max() == 0
    assert gradient[masked].abs().min() > 0
    other = torch.where(masked[:, :, None], target, -3 * target)
    torch.testing.assert_close(masked_pixels(prediction, other, masked), loss, atol=0, rtol=0)


def test_normalised_targets_ask_for_structure_not_for_brightness(given):
    prediction, target, masked = given
    brighter = masked_pixels(prediction, 3 * target + 5, masked)
    torch.testing.assert_close(brighter, masked_pixels(prediction, target, masked), atol=1e-5, rtol=0)
    black = torch.full_like(target, -2.1)
    expected = as_loops(prediction, torch.zeros_like(target), masked, normalise=False)
    torch.testing.assert_close(masked_pixels(prediction, black, masked), expected, atol=1e-9, rtol=0)


def test_a_patch_lists_rows_then_columns_then_channels(det):
    image = det((2, 3, 6, 8), 5)
    patches = patchify(image, (3, 2))
    assert patches.shape == (2, 8, 18)
    for b, p, r, c, k in torch.cartesian_prod(*map(torch.arange, (2, 8, 3, 2, 3))).tolist():
        assert patches[b, p, (r * 2 + c) * 3 + k] == image[b, k, p // 4 * 3 + r, p % 4 * 2 + c]


def test_wrong_shapes_are_explained(given):
    prediction, target, masked = given
    with pytest.raises(ValueError, match=r"not \(3, 5, 12\), \(3, 5, 11\) and \(3, 5\)"):
        masked_pixels(prediction, target[:, :, :11], masked)
    with pytest.raises(ValueError, match=r"and \(5, 3\)"):
        masked_pixels(prediction, target, masked.T)
    with pytest.raises(ValueError, match="pictures of 6 x 8 pixels cannot be cut into patches of 4 x 4"):
        patchify(torch.zeros(1, 3, 6, 8), (4, 4))
