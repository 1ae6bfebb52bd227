"""ConVIRT -- Contrastive Learning of Medical Visual Representations from Paired Images and Text.

Paper    Zhang et al., MLHC 2022, https://arxiv.org/abs/2010.00747, Section 3, equations 1 to 4
Release  none of the training (yuhaozhang/convirt at cf6add8 holds retrieval lists); edreisMD/ConVIRT-pytorch at
         c99ca5f is others' (models/model.py, loss/nt_xent.py)

CLIP's loss before CLIP, with a fixed temperature and more weight on the picture that finds its text:

    v_i = g_v(f_v(x_i)),    u_i = g_u(f_u(t_i)),    g two layers each                                            (1)
    L_image = mean_i -log( e^{cos(v_i, u_i)/τ} / Σ_j e^{cos(v_i, u_j)/τ} )                                       (2)
    L_text  = mean_i -log( e^{cos(v_i, u_i)/τ} / Σ_j e^{cos(v_j, u_i)/τ} )                                       (3)
    L = λ L_image + (1 - λ) L_text,    λ = 0.75, τ = 0.1                                                         (4)

Differs from the paper:
  1. The text is the whole caption; the paper draws one of its sentences each time.
  2. Negatives of all ranks, chunks, accumulation with all negatives, and captions that repeat: as in CLIP.
What the paper's towers were is the model's matter: g is ``head: convirt``, the text tower a BERT with ``pooling: max``
and ``freeze_layers: 6``.

Differs from ConVIRT-pytorch: the text branch trains. There, pooling and text head are computed under ``no_grad``
(models/model.py:94-98), so that neither they nor BERT get a gradient. A table whose ConVIRT lies far below its CLIP may
have been made with it: the losses differ in λ and τ alone.

Shapes: B cases on this rank, S distinct strings, E embedding.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from dermis.methods import method
from dermis.methods.clip import CLIP, CLIPConfig
from dermis.recipe import refuse_out_of_range
from dermis.towers.two_tower import TwoTower


@dataclass(kw_only=True)
class ConVIRTConfig:
    """Settings of ConVIRT."""

    weight: float = 0.75
    """λ of equation (4), on image→text"""
    temperature: float = 0.1
    """τ; it divides the cosine and is not trained"""
    duplicates: Literal["negatives", "shared"] = "negatives"
    """captions that are the same string: each other's negatives (the paper), or one text that all its owners share"""
    chunk: int | None = None
    """rows scored at a time; memory falls from B·B to chunk·B floats, the value does not change"""

    def __post_init__(self) -> None:
        refuse_out_of_range(self, above_0=("temperature",), shares=("weight",))


@method("convirt")
class ConVIRT(nn.Module):
    """Pictures and captions by CLIP's loss at a fixed temperature, pictures weighing more (Zhang et al., 2022)."""

    Config = ConVIRTConfig
    needs = ("image", "caption")
    texts = ("caption",)
    citation = (
        "@inproceedings{zhang2022convirt, title={Contrastive Learning of Medical Visual Representations from Paired "
        "Images and Text}, author={Zhang, Yuhao and Jiang, Hang and Miura, Yasuhide and Manning, Christopher D. and "
        "Langlotz, Curtis P.}, booktitle={MLHC}, year={2022}}"
    )

    def __init__(self, model: TwoTower, config: ConVIRTConfig) -> None:
        super().__init__()
        self.config = config
        as_clip = CLIPConfig(weight=config.weight, learn_scale=False, duplicates=config.duplicates, chunk=config.chunk)
        self.clip = CLIP(model, as_clip)
        with torch.no_grad():
            model.logit_scale.fill_(-math.log(config.temperature))

    @property
    def model(self) -> TwoTower:
        """The two towers."""
        return self.clip.model

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        return self.loss(self.embed(batch), batch)

    def embed(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Equation (1): ``image`` and ``text``, (B, E) each, of unit length; the caption's row for each case."""
        return self.clip.embed(batch)

    def loss(self, embeddings: dict[str, Tensor], batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Equation (4) for this rank's cases among those of all ranks; beside it the mean cosine of the pairs."""
        found = self.clip.loss(embeddings, batch)
        return {name: found[name] for name in ("loss", "paired_cosine")}

    def encode_image(self, image_BCHW: Tensor, normalize: bool = False) -> Tensor:
        """Normalised pictures -> (B, E)."""
        return self.model.encode_image(image_BCHW, normalize)

    def encode_text(self, tokens: Tensor, offsets_S1: Tensor, normalize: bool = False) -> Tensor:
        """Ragged texts -> (S, E)."""
        return self.model.encode_text(tokens, offsets_S1, normalize)
