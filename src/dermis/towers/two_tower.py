"""Two towers and their projections into one space.

Shapes: B pictures, S distinct texts, P patches, D width of a tower, E width of the common space.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from timm.layers import Mlp
from torch import Tensor, nn

from dermis.registry import unknown
from dermis.towers.freeze import is_frozen
from dermis.towers.fused_generator import FusedGenerator
from dermis.towers.generation import generate
from dermis.towers.stored import TextMemory

HEADS = ("linear", "mlp", "convirt", "none")


class TwoTower(nn.Module):
    """Image and text into one space, as CLIP and SigLIP need it.

    ``image`` and ``text`` are towers (docs/design.md). ``logit_scale`` is a parameter that holds the logarithm of the
    scale; ``logit_bias`` is a parameter, or None where ``logit_bias_init`` is. A frozen tower stays in evaluation mode.
    ``generator``: what says a text about a picture, where a method taught it (None: nothing does).
    ``config`` says how to build the model again; without it the model cannot be saved (``dermis.model.save``).
    """

    def __init__(
        self,
        image: nn.Module,
        text: nn.Module,
        embed_dim: int,
        head: str = "linear",
        logit_scale_init: float = 1 / 0.07,
        logit_bias_init: float | None = None,
        config: object | None = None,
    ) -> None:
        super().__init__()
        self.image, self.text, self.embed_dim, self.config = image, text, embed_dim, config
        self.image_head = make_head(head, image.dim, embed_dim)
        self.text_head = make_head(head, text.dim, embed_dim)
        self.generator: FusedGenerator | None = None
        self.text_memory = TextMemory()
        self.register_load_state_dict_post_hook(lambda module, _: module.text_memory.clear())
        self.logit_scale = nn.Parameter(torch.tensor(math.log(logit_scale_init)))
        self.logit_bias = None if logit_bias_init is None else nn.Parameter(torch.tensor(float(logit_bias_init)))

    def encode_image(self, image_BCHW: Tensor, normalize: bool = False) -> Tensor:
        """Normalised pictures -> (B, E)."""
        return self.project_image(self.image.features(image_BCHW).pooled_BD, normalize)

    def encode_text(self, tokens: Tensor, offsets_S1: Tensor, normalize: bool = False) -> Tensor:
        """Ragged texts -> (S, E)."""
        embedding_SE = self.text_head(self.text_features(tokens, offsets_S1))
        return F.normalize(embedding_SE, dim=-1) if normalize else embedding_SE

    def text_features(self, tokens: Tensor, offsets_S1: Tensor) -> Tensor:
        """Ragged texts -> (S, D), before the projection; a frozen tower encodes each text once."""
        if is_frozen(self.text):
            return self.text_memory.features(self.text, tokens, offsets_S1)
        return self.text.features(tokens, offsets_S1).pooled_BD

    def encode_patches(self, image_BCHW: Tensor) -> Tensor:
        """Normalised pictures -> (B, P, E): each patch through the projection of the pooled vector, not normalised.

        Raises ValueError for a tower without patches, or one that is pooled from more than one vector.
        """
        return self.encode_image_and_patches(image_BCHW)[1]

    def encode_image_and_patches(self, image_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        """``encode_image`` and ``encode_patches`` in one pass: (B, E) and (B, P, E). ValueError as in the latter."""
        pooled_BD, patch_BPD, _ = self.image.features(image_BCHW).with_patches()
        return self.project_image(pooled_BD), self.project_image(patch_BPD)

    def project_image(self, pooled_BD: Tensor, normalize: bool = False) -> Tensor:
        """The image tower's pooled vectors (or patches), fresh or stored, -> (..., E)."""
        embedding_BE = self.image_head(pooled_BD)
        return F.normalize(embedding_BE, dim=-1) if normalize else embedding_BE

    def image_embedding(self, batch: dict[str, Tensor], normalize: bool = False) -> Tensor:
        """(B, E) from ``stored_BD`` where the batch has it, else from the first view of ``image_BVCHW``.

        Raises ValueError if stored vectors are offered to a tower that learns: they would hide its changes.
        """
        if "stored_BD" not in batch:
            return self.encode_image(batch["image_BVCHW"][:, 0], normalize)
        if not is_frozen(self.image):
            raise ValueError("stored image embeddings need a frozen image tower: set image.freeze.")
        return self.project_image(batch["stored_BD"], normalize)

    @torch.no_grad()
    def generate(self, image_BCHW: Tensor, dialogues: Sequence[str | None] | None = None, **search: Any) -> list[str]:
        """A text about each normalised picture, and its dialogue where there is one (M2CG: the chief complaint).

        ``search``: settings of ``dermis.towers.generation.generate`` (strategy, beams, max_tokens, …). Call it in
        evaluation mode. Raises ValueError for a model that has no generator, for another number of dialogues than of
        pictures, for dialogues that the generator was not taught to see, and as ``generate``.
        """
        if self.generator is None:
            raise ValueError("this model says no texts: it was not taught by a method with a generator (m2cg).")
        patch_BPD, told = self.image.features(image_BCHW).patch_BPD, []
        if dialogues is not None:
            if len(dialogues) != len(image_BCHW):
                raise ValueError(f"each picture has one dialogue, or None; {len(dialogues)} for {len(image_BCHW)}.")
            if not self.generator.text_visible:
                raise ValueError("this model's generator sees pictures only: leave the dialogues out.")
            ids = [self.text.tokenizer([text])[0] if text else [] for text in dialogues]
            tokens = torch.tensor([i for text in ids for i in text], dtype=torch.int64, device=image_BCHW.device)
            offsets_B1 = torch.tensor([0, *map(len, ids)], device=tokens.device).cumsum(0)
            some = [n for n, text in enumerate(ids) if text]
            if some:
                bounds = torch.cat([offsets_B1[:1], offsets_B1[1:][some]])
                told = [self.text.token_states(tokens, bounds), offsets_B1]
        memory = self.generator.look(patch_BPD, *told)
        said = generate(self.generator.generator, *memory, **search)
        return [self.text.tokenizer.text(tokens) for tokens in said]

    @property
    def picture_towers(self) -> dict[str, nn.Module]:
        """Picture column -> the tower that looks at it."""
        return {"image": self.image}

    def train(self, mode: bool = True) -> "TwoTower":
        super().train(mode)
        for tower in (self.image, self.text):
            if is_frozen(tower):
                tower.eval()
        return self


def make_head(kind: str, dim: int, embed_dim: int) -> nn.Module:
    """A projection from ``dim`` to ``embed_dim``: linear without bias, two layers with GELU, none, or ``convirt``, two
    layers with ReLU, the first as wide as the tower (ConVIRT, eq. 1; M2CG)."""
    if kind == "linear":
        head = nn.Linear(dim, embed_dim, bias=False)
        nn.init.normal_(head.weight, std=dim**-0.5)
        return head
    if kind == "mlp":
        return Mlp(dim, 2 * embed_dim, embed_dim, bias=(True, False))
    if kind == "convirt":
        return nn.Sequential(nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, embed_dim))
    if kind == "none":
        if dim != embed_dim:
            raise ValueError(f"head 'none' needs towers as wide as embed_dim; this one has {dim}, not {embed_dim}.")
        return nn.Identity()
    raise unknown("head", kind, HEADS)
