"""Equations: pure functions of tensors. No ranks, no state, no files; one file per family."""

from dermis.losses.caption import caption
from dermis.losses.contrastive import clip, nt_xent, siglip
from dermis.losses.multi_aspect import multi_aspect
from dermis.losses.multi_aspect_released import multi_aspect_released

__all__ = ["caption", "clip", "multi_aspect", "multi_aspect_released", "nt_xent", "siglip"]
