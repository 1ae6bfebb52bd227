"""M2CG -- Multi-modal Contrastive-Generative Pre-training for Fine-grained Skin Disease Diagnosis (Ma et al.).

Paper    Ma, Zhao, Wang, Guo and Xu, IEEE BIBM 2023, Section II, equations 1 to 10
Release  none

Two views of a lesion photograph, the consultation about it and the chief complaint. Views find each other (SMC), views
and consultation find each other (MMC), and a generator says the complaint from what a transformer makes of patches and
tokens (MMF, CMG):

    V_k = E_v(I_k),  v_k = mean of V_k;    U = E_t(T),  u = mean of U                                            (1-3)
    L_SMC = NT-Xent of g(v_1), g(v_2),    τ_s = 0.1                                                              (4)
    L_MMC = mean over k of ConVIRT's loss of g(v_k), h(u),    τ_m = 0.1, λ = 0.75                                (6)
    X = fusion(V_1 beside U)                                                                                     (7)
    L_CMG = mean over tokens of -log p(c_l | c_1 … c_{l-1}, X)                                                   (9)
    L = 2 L_SMC + L_MMC + L_CMG                                                                                  (10)

Where the paper can be read in several ways, the default is the left one, the other a setting:
  1. Eq. 4 leaves the pair out of its denominator (``denominator: others``); SimCLR, which it cites, does not.
  2. Eq. 6, second term: texts found among a view's pictures; as printed, indices are swapped (``second: printed``).
  3. Eq. 9 sums a complaint's tokens (``reduction: sequence_sum``), which multiplies 2 : 1 : 1 by its length.
  4. "Depths of 12-layer" (``layers: paper_literal``) make 348 million parameters, 6 text, 6 fusion and 12 generator
     layers make 263; the paper counts 260. The text tower's own depth is ``model.text.layers``.
  5. The generator sees the consultation, which often holds the complaint; ``text_visible: false`` hides it.
Open in the paper, decided here: g is one head for SMC and MMC ("modal-shared latent space"); heads as ConVIRT's
(``model.head: convirt``); v_k is the image tower's pooled vector, for a ResNet the mean of its last map; patches become
as wide as tokens by a linear layer and a norm; without MMF the generator looks at patches and tokens unfused; without
CMG there is no fusion to learn (the paper's row keeps one that gets no gradient); complaints are cut after 60 tokens.
Means are over the cases and tokens of all ranks, negatives are gathered.

Shapes: B cases on this rank, S distinct dialogues, N tokens of them, L tokens of a complaint, E common space.
"""

from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from dermis.batch.texts import concatenated
from dermis.distributed import all_reduce_mean, first_own_row, gather_rows
from dermis.losses.caption import missed
from dermis.losses.contrastive import nt_xent
from dermis.losses.precision import at_least_float32
from dermis.losses.views_and_text import views_and_text
from dermis.methods import method
from dermis.methods.captions import text_of_case, unit_length
from dermis.recipe import changed, refuse_out_of_range
from dermis.towers.fused_generator import FusedGenerator, grid_of
from dermis.towers.ragged import padded
from dermis.towers.two_tower import TwoTower
from dermis.towers.weights import read_weights

DEPTHS = {"param_matched": (6, 12), "paper_literal": (12, 12)}
"""layers of fusion encoder and generator"""
SETTINGS_OF = {
    "single_modal": ("single_temperature", "denominator"),
    "multi_modal": ("multi_temperature", "weight", "second"),
    "generation": ("fusion", "text_visible", "generator_weights", "reduction", "layers", "fusion_layers",
                   "decoder_layers", "heads"),
}  # fmt: skip
"""weight of a module -> the settings that only this module reads"""


@dataclass(kw_only=True)
class M2CGConfig:
    """Settings of M2CG. A weight of 0 leaves its module out: the rows of the paper's Table III."""

    single_modal: float = 2.0
    """λ_SMC of equation (10)"""
    multi_modal: float = 1.0
    """λ_MMC"""
    generation: float = 1.0
    """λ_CMG"""
    fusion: bool = True
    """MMF; if not, the generator looks at patches and tokens side by side"""
    single_temperature: float = 0.1
    """τ_s of equation (4)"""
    multi_temperature: float = 0.1
    """τ_m of equation (6)"""
    weight: float = 0.75
    """λ of equation (6), on view→text"""
    denominator: Literal["all", "others"] = "all"
    """equation (4): over all other views (SimCLR), or as printed over those of other cases"""
    second: Literal["views", "printed"] = "views"
    """the second term of equation (6): of each view, or as printed (dermis.losses.views_and_text)"""
    reduction: Literal["token", "sequence_sum"] = "token"
    """equation (9): mean over tokens, or as printed their sum"""
    layers: Literal["param_matched", "paper_literal"] = "param_matched"
    """depths of the fusion encoder and the generator: 6 and 12, or 12 and 12 (6 and 12 of text: model.text.layers)"""
    fusion_layers: int | None = None
    """instead of those of `layers`"""
    decoder_layers: int | None = None
    """instead of those of `layers`"""
    heads: int | None = None
    """attention heads of both (None: one for 64 of the text tower's width)"""
    dropout: float = 0.1
    """in both"""
    max_tokens: int = 60
    """tokens of a complaint, start and end included"""
    text_visible: bool = True
    """the generator sees the consultation; if not, the picture alone: then it cannot copy the complaint from there"""
    generator_weights: str | None = None
    """a BERT whose weights the generator starts from, cross-attention aside: local-dir:FOLDER or hf-hub:ORG/NAME (None:
    random). It then has BERT's GELU, else the paper's ReLU"""
    chunk: int | None = None
    """rows scored at a time; memory falls from B·B to chunk·B floats, the value does not change"""

    def __post_init__(self) -> None:
        weights = {name: getattr(self, name) for name in ("single_modal", "multi_modal", "generation")}
        if min(weights.values()) < 0 or not any(weights.values()):
            raise ValueError(f"weights are 0 or above, and one at least above 0; they are {weights}.")
        for module, own in SETTINGS_OF.items():
            if not weights[module] and (idle := changed(self, own)):
                raise ValueError(f"method.{', '.join(idle)} has no effect with {module} 0.")
        if not self.fusion and self.fusion_layers is not None:
            raise ValueError("method.fusion_layers has no effect with fusion off.")
        refuse_out_of_range(
            self,
            above_0=("single_temperature", "multi_temperature"),
            at_least_1=("fusion_layers", "decoder_layers", "heads"),
            shares=("weight",),
        )
        if self.max_tokens < 3:
            raise ValueError(f"max_tokens must leave room for start, a token and end; it is {self.max_tokens}.")


@method("m2cg")
class M2CG(nn.Module):
    """Views, consultation and chief complaint: contrast and generation (Ma et al., 2023)."""

    Config = M2CGConfig
    needs = ("image", "dialogue", "complaint")
    texts = ("dialogue", "complaint")
    whole = ("dialogue", "complaint")
    views = 2
    citation = (
        "@inproceedings{ma2023m2cg, title={Multi-modal Contrastive-Generative Pre-training for Fine-grained Skin "
        "Disease Diagnosis}, author={Ma, Liangdi and Zhao, Jun and Wang, Guoxin and Guo, Yuchen and Xu, Feng}, "
        "booktitle={IEEE BIBM}, year={2023}}"
    )

    def __init__(self, model: TwoTower, config: M2CGConfig) -> None:
        super().__init__()
        self.model, self.config = model, config
        if not hasattr(model.text, "states_and_pooled") or not hasattr(model.text.tokenizer, "pad"):
            raise ValueError(
                "M2CG needs a text tower like BERT: set model.text.name to trained, or hf:bert-base-chinese."
            )
        model.logit_scale.requires_grad_(False)
        model.generator = self._generator() if config.generation else None

    def _generator(self) -> FusedGenerator:
        config, text = self.config, cast(Any, self.model.text)
        fusion, decoder = DEPTHS[config.layers]
        tokenizer = text.tokenizer
        built = FusedGenerator(
            cast(Any, self.model.image).dim,
            text.dim,
            grid_of(self.model.image),
            len(tokenizer),
            (tokenizer.pad, tokenizer.start, tokenizer.end),
            fusion_layers=(config.fusion_layers or fusion) if config.fusion else 0,
            decoder_layers=config.decoder_layers or decoder,
            heads=config.heads or max(1, text.dim // 64),
            max_tokens=config.max_tokens,
            text_visible=config.text_visible,
            dropout=config.dropout,
            activation="gelu" if config.generator_weights else "relu",
        )
        if config.generator_weights:
            built.generator.from_bert(read_weights(config.generator_weights))
        return built

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        return self.loss(self.embed(batch), batch)

    def embed(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """``view1``, ``view2`` and ``text`` of unit length (B, E); ``missed``, Σ_l -log p(c_l | …) of a case (B,)."""
        config, model = self.config, self.model
        if "image_BVCHW" not in batch:
            raise ValueError("M2CG contrasts views: it needs pictures, not stored embeddings.")
        contrasted = config.single_modal or config.multi_modal
        views = batch["image_BVCHW"].unbind(1)[: 2 if contrasted else 1]  # the generator looks at the first alone
        seen = [cast(Any, model.image).features(view_BCHW) for view_BCHW in views]
        found = {f"view{k}": unit_length(model.project_image(f.pooled_BD)) for k, f in enumerate(seen, start=1)}
        if not config.multi_modal and not config.generation:
            return found
        told_S, row_B = text_of_case(batch, "dialogue").unique(return_inverse=True)
        token_N, bounds_S1 = concatenated(told_S, batch["offsets_S1"])
        state_ND, pooled_SD = cast(Any, model.text).states_and_pooled(batch["tokens"][token_N], bounds_S1)
        if config.multi_modal:
            found["text"] = unit_length(model.text_head(pooled_SD))[row_B]
        if model.generator is not None:
            own_N, bounds_B1 = concatenated(row_B, bounds_S1)
            told = (state_ND[own_N], bounds_B1) if config.text_visible else ()
            memory = model.generator.look(seen[0].patch_BPD, *told)
            said_BL = self.complaints(batch)
            logits_BLV = at_least_float32(model.generator.generator(said_BL[:, :-1], *memory))
            found["missed"] = missed(logits_BLV, said_BL[:, 1:], pad=model.generator.generator.pad).sum(1)
        return found

    def complaints(self, batch: dict[str, Tensor]) -> Tensor:
        """Each case's complaint (B, L), start and end in, padded; a longer one ends after ``max_tokens``."""
        assert self.model.generator is not None
        generator = self.model.generator.generator
        token_N, bounds_B1 = concatenated(text_of_case(batch, "complaint"), batch["offsets_S1"])
        longest = int(bounds_B1.diff().max())
        said_BL, real_BL = padded(batch["tokens"][token_N], bounds_B1, longest, fill=generator.pad)
        if longest > self.config.max_tokens:
            cut_B = real_BL[:, self.config.max_tokens]
            said_BL = said_BL[:, : self.config.max_tokens].clone()
            said_BL[cut_B, -1] = generator.end
        return said_BL

    def loss(self, embeddings: dict[str, Tensor], batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Equation (10) for this rank's cases among those of all ranks; beside it its terms."""
        config, cases = self.config, len(embeddings["view1"])
        own = {"first": first_own_row(cases), "rows": cases, "chunk": config.chunk}
        terms: dict[str, Tensor] = {}
        with torch.autocast(embeddings["view1"].device.type, enabled=False):
            gathered = {name: gather_rows(x) for name, x in embeddings.items() if name != "missed"}
            if config.single_modal:
                variant = "symmetric" if config.denominator == "all" else "decoupled"
                terms["single_modal"] = nt_xent(
                    gathered["view1"], gathered["view2"], config.single_temperature, variant=variant, **own
                )
            if config.multi_modal:
                how = {"weight": config.weight, "reading": config.second, **own}
                terms["multi_modal"] = views_and_text(
                    gathered["view1"], gathered["view2"], gathered["text"], config.multi_temperature, **how
                )
        if "missed" in embeddings:
            missed_B = embeddings["missed"]
            if config.reduction == "token":
                lengths_B = batch["offsets_S1"].diff()[text_of_case(batch, "complaint")].clamp(max=config.max_tokens)
                terms["generation"] = missed_B.sum() / all_reduce_mean((lengths_B - 1).sum().to(missed_B.dtype))
            else:
                terms["generation"] = missed_B.mean()
        loss = torch.stack([getattr(config, name) * term for name, term in terms.items()]).sum()
        return {"loss": loss, **{name: term.detach() for name, term in terms.items()}}

    def encode_image(self, image_BCHW: Tensor, normalize: bool = False) -> Tensor:
        """Normalised pictures -> (B, E)."""
        return self.model.encode_image(image_BCHW, normalize)

    def encode_text(self, tokens: Tensor, offsets_S1: Tensor, normalize: bool = False) -> Tensor:
        """Ragged texts -> (S, E)."""
        return self.model.encode_text(tokens, offsets_S1, normalize)
