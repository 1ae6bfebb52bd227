"""Equations: pure functions of tensors. No ranks, no state, no files; one file per family."""

from dermis.losses.caption import caption
from dermis.losses.clustering import kmeans
from dermis.losses.contrastive import clip, nt_xent, siglip
from dermis.losses.cross_modal import cross_modal
from dermis.losses.distillation import (
    most_reliable,
    relation_angle,
    relation_distance,
    relation_gram,
    rotation_similarity,
    soft_target,
)
from dermis.losses.gloria import gloria_global, gloria_local
from dermis.losses.masked_pixels import masked_pixels, patchify
from dermis.losses.moco import moco
from dermis.losses.multi_aspect import multi_aspect
from dermis.losses.multi_aspect_released import multi_aspect_released
from dermis.losses.multi_label import multi_label
from dermis.losses.nested import info_nce, nested

__all__ = [
    "caption",
    "clip",
    "cross_modal",
    "gloria_global",
    "gloria_local",
    "info_nce",
    "kmeans",
    "masked_pixels",
    "moco",
    "most_reliable",
    "multi_aspect",
    "multi_aspect_released",
    "multi_label",
    "nested",
    "nt_xent",
    "patchify",
    "relation_angle",
    "relation_distance",
    "relation_gram",
    "rotation_similarity",
    "siglip",
    "soft_target",
]
