"""Which patches of a picture are near a text, in the space that both are projected into.

MAKE (Yan et al., MICCAI 2025, eq. 5) weighs patch p of a picture by z_p = v_p · e^r, its projected vector times the raw
text's unit vector, and trains sentences to find what is gathered so. The map here is z with v_p of unit length too, the
cosine: a patch does not stand out for having a long vector. Any text can be asked about, as MAKE's sentences are.

Only MAKE trains patches and texts towards each other. Other two-tower models train the pooled vector alone; that their
patches lie near the right texts is luck and habit, and least to be relied on where an attention pooling stands between
patches and pooled vector. A convolutional network's patches are the cells of its last map, each pooled as if it were
the whole picture (``dermis.towers.image``): they overlap widely, since a cell has seen far more than its place.

Shapes: P = h x w patches, T texts, E width of the common space.
"""

from collections.abc import Sequence

import numpy as np
from torch import Tensor, nn

from dermis.model.use import encode_texts
from dermis.towers.image import ImageTower
from dermis.towers.open_clip import OpenClipImageTower
from dermis.towers.two_tower import TwoTower


def has_projected_patches(model: nn.Module) -> bool:
    """Can its patches be compared with texts? Read off its parts; nothing runs."""
    tower = getattr(model, "image", None)
    if not isinstance(model, TwoTower) or not isinstance(tower, ImageTower | OpenClipImageTower):
        return False
    # pooled twice as wide as a patch: the projection does not fit
    return tower.has_patches and getattr(tower, "pool", None) != "token+avg"


def similarity(model: TwoTower, view_CHW: Tensor, texts: Sequence[str]) -> np.ndarray:
    """Cosine of each projected patch of a normalised picture with each text, float32 (T, h, w).

    Call it in evaluation mode without gradients. Raises ValueError for a tower without patches as wide as its pooled
    vector.
    """
    _, patch_BPD, grid = model.image.features(view_CHW[None]).with_patches()
    patch_PE = model.project_image(patch_BPD[0], normalize=True).float().cpu().numpy()
    return (encode_texts(model, texts) @ patch_PE.T).reshape(len(texts), *grid)
