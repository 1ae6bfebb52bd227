"""MAE's reconstruction error: the pixels of the patches that were hidden, and the order in which a patch lists them."""

import torch
from torch import Tensor

_EPSILON = 1e-6
"""added to a patch's variance: a patch of one colour, as in the black frame of a dermoscope, becomes zeros"""


def patchify(image_BCHW: Tensor, patch: tuple[int, int]) -> Tensor:
    """Pictures as patches (B, P, h·w·C), row by row from the top left.

    A patch lists its pixels row by row, a pixel its channels side by side: value ((r·w) + c)·C + k is channel k of the
    pixel in row r and column c. ``patch``: height h and width w in pixels. Raises ValueError where they do not divide
    the picture.
    """
    B, C, H, W = image_BCHW.shape
    h, w = patch
    if H % h or W % w:
        raise ValueError(f"pictures of {H} x {W} pixels cannot be cut into patches of {h} x {w}.")
    parts = image_BCHW.reshape(B, C, H // h, h, W // w, w)
    return parts.permute(0, 2, 4, 3, 5, 1).reshape(B, (H // h) * (W // w), h * w * C)


def masked_pixels(prediction_BPN: Tensor, target_BPN: Tensor, masked_BP: Tensor, *, normalise: bool = True) -> Tensor:
    """Each case's error (B,): the mean over its masked patches of the mean squared error of their N values.

    MAE (He et al., CVPR 2022, arXiv 2111.06377, Section 3): patches that were seen do not count. ``normalise``: a
    patch's target is (x - mean) / sqrt(variance + 1e-6), with the mean and the variance (over N - 1) of its own N
    values. The mean over cases is the paper's loss where all cases mask equally many patches.

    A case that masks nothing has no error (nan). Raises ValueError for shapes that do not belong together.
    """
    if prediction_BPN.shape != target_BPN.shape or masked_BP.shape != prediction_BPN.shape[:2]:
        raise ValueError(
            "prediction and target must be (B, P, N) alike and the mask (B, P), not "
            f"{tuple(prediction_BPN.shape)}, {tuple(target_BPN.shape)} and {tuple(masked_BP.shape)}."
        )
    if normalise:
        variance_BP1, mean_BP1 = torch.var_mean(target_BPN, dim=2, keepdim=True)
        target_BPN = (target_BPN - mean_BP1) / (variance_BP1 + _EPSILON).sqrt()
    error_BP = (prediction_BPN - target_BPN).square().mean(2)
    return (error_BP * masked_BP).sum(1) / masked_BP.sum(1)
