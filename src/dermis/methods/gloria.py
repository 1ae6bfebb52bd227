"""GLoRIA -- A Multimodal Global-Local Representation Learning Framework (Huang et al., ICCV 2021).

Paper    ICCV 2021 open access, Section 3
Release  marshuang80/gloria at 416466a, gloria/loss/gloria_loss.py, gloria/models/{gloria,vision,text}_model.py

Picture and caption find each other as wholes, and each word of the caption looks for its regions of the picture:

    v_r = W f'(I)_r    regions, f' an intermediate map of the image tower;    v = g(f(I))
    t_l = h(w_l)       words, each the sum of its pieces' states;             t = h(pooled text)
    α_lr = softmax_r( γ1 softmax_l( t_l·v_r ) ),    c_l = Σ_r α_lr v_r                                           (1)
    s(I, T) = γ3 log Σ_l exp( γ2 cos(c_l, t_l) )                                                                 (2)
    L_local  = cross-entropy of s over the captions + over the pictures                                          (3)
    L_global = the same of γ3 cos(v, t)                                                                          (4)
    L = L_global + L_local,    γ = 4, 5, 10                                                                      (5)

The equations are ``dermis.losses.gloria``, in the release's order of softmaxes. g and h are the towers' heads.

Differs from the release:
  1. The text's vector is the text tower's own through its head, so that the saved model encodes texts as in training.
     The release takes the mean over all token slots, padding included.
  2. Words and text go through one linear layer h, as wide as the space; the release compares BERT's states themselves.
  3. A token's state is the sum of BERT's last four layers there; here as the text tower says (``last_layers: 4``).
  4. Regions are a convolutional network's last map but one (layer3 of its ResNet), at the picture's own size; the
     release enlarges 224 pixels to 299. For vision transformers, which it has not, they are the patches.
  5. The pooled picture is the tower's own (the mean of the last map for a ResNet, as there).
  6. Words are all tokens but the first, the end token included; the release's count, of tokens that do not begin with
     "[" and one more, comes to the same except where a text has unknown tokens.
  7. Pieces are merged into words where the tokenizer knows them (BERT's, CLIP's). A Chinese BERT makes each character
     a token: nothing is merged, a character is a word.
  8. Negatives of all ranks, chunks, accumulation with all negatives: same value and gradient. It runs on one GPU.

W is trained with the towers and lives in the run's checkpoints; a model folder holds the two towers.

Shapes: B cases on this rank, N tokens and M words of S distinct strings, L words of the longest, E embedding, H x W
regions of width R.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dermis.batch.texts import concatenated
from dermis.distributed import first_own_row, gather_ragged, gather_rows
from dermis.losses.gloria import attention, gloria_global, gloria_local
from dermis.losses.precision import at_least_float32
from dermis.methods import method
from dermis.methods.captions import caption_of_case
from dermis.recipe import refuse_out_of_range
from dermis.towers.ragged import padded
from dermis.towers.regions import pooled_and_regions, region_dim
from dermis.towers.text import TextTower
from dermis.towers.two_tower import TwoTower


@dataclass(kw_only=True)
class GLoRIAConfig:
    """Settings of GLoRIA."""

    attention: float = 4.0
    """γ1 of equation (1): how few regions a word looks at"""
    matching: float = 5.0
    """γ2 of equation (2): how much the best words decide"""
    scale: float = 10.0
    """γ3 of equations (2) and (4); not trained"""
    aggregate: Literal["sum", "mean"] = "sum"
    """over the words in equation (2)"""
    words: Literal["words", "pieces"] = "words"
    """pieces summed into words (BERT's and CLIP's vocabularies), or each piece by itself"""
    global_weight: float = 1.0
    """of L_global in equation (5)"""
    local_weight: float = 1.0
    """of L_local in equation (5)"""
    chunk: int | None = None
    """captions whose words are scored at a time: memory falls from B·B·L·H·W to B·chunk·L·H·W floats"""

    def __post_init__(self) -> None:
        refuse_out_of_range(self, above_0=("attention", "matching", "scale"))
        if min(self.global_weight, self.local_weight) < 0 or self.global_weight + self.local_weight == 0:
            raise ValueError("global_weight and local_weight are 0 or more, and not both 0.")


@method("gloria")
class GLoRIA(nn.Module):
    """Pictures and captions as wholes, and words with the regions they look for (Huang et al., 2021)."""

    Config = GLoRIAConfig
    needs = ("image", "caption")
    texts = ("caption",)
    citation = (
        "@inproceedings{huang2021gloria, title={GLoRIA: A Multimodal Global-Local Representation Learning Framework "
        "for Label-efficient Medical Image Recognition}, author={Huang, Shih-Cheng and Shen, Liyue and Lungren, "
        "Matthew P. and Yeung, Serena}, booktitle={ICCV}, year={2021}}"
    )

    def __init__(self, model: TwoTower, config: GLoRIAConfig) -> None:
        super().__init__()
        if not hasattr(model.text, "states_and_pooled"):
            raise ValueError("GLoRIA looks for words: it needs the state of each token, of a text tower small or hf:.")
        self.model, self.config = model, config
        self.region_head = nn.Conv2d(region_dim(model.image), model.embed_dim, 1, bias=False)
        with torch.no_grad():
            model.logit_scale.requires_grad_(False).fill_(math.log(config.scale))

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        return self.loss(self.embed(batch), batch)

    def embed(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """``image`` and ``text`` (B, E), ``regions`` (B, E, H, W), and the words of case after case, (·, E)."""
        if "image_BVCHW" not in batch:
            raise ValueError("GLoRIA looks at regions: it needs pictures, not stored embeddings.")
        pooled_BD, region_BRHW = pooled_and_regions(self.model.image, batch["image_BVCHW"][:, 0])
        text_SE, word_ME, bounds_S1 = self._read(batch["tokens"], batch["offsets_S1"])
        string_B = caption_of_case(batch)
        own, _ = concatenated(string_B, bounds_S1)
        found = {
            "image": self.model.project_image(pooled_BD),
            "text": text_SE[string_B],
            "regions": self.region_head(region_BRHW),
            "words": word_ME[own],
        }
        return {name: at_least_float32(x) for name, x in found.items()}

    def loss(self, embeddings: dict[str, Tensor], batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Equation (5) for this rank's cases among those of all ranks; beside it L_global and L_local."""
        config, cases = self.config, len(embeddings["image"])
        own = {"first": first_own_row(cases), "rows": cases}
        _, bounds_S1 = self._words(batch["tokens"], batch["offsets_S1"])
        lengths_B = gather_rows(bounds_S1.diff()[caption_of_case(batch)])
        bounds_B1 = torch.cat([lengths_B.new_zeros(1), lengths_B.cumsum(0)])
        with torch.autocast(embeddings["image"].device.type, enabled=False):
            word_BLE, _ = padded(gather_ragged(embeddings["words"])[0], bounds_B1, int(lengths_B.max()))
            image_BE, text_BE, regions_BEHW = (gather_rows(embeddings[name]) for name in ("image", "text", "regions"))
            wholes = gloria_global(image_BE, text_BE, 1 / config.scale, **own)
            places = gloria_local(
                regions_BEHW,
                word_BLE.transpose(1, 2),
                lengths_B,
                temperatures=(config.attention, config.matching, config.scale),
                aggregate=config.aggregate,
                chunk=config.chunk,
                **own,
            )
        as_wholes, as_places = wholes[0] + wholes[1], places[0] + places[1]
        loss = config.global_weight * as_wholes + config.local_weight * as_places
        paired = F.cosine_similarity(embeddings["image"], embeddings["text"]).mean()
        logged = {"global": as_wholes, "local": as_places, "paired_cosine": paired}
        return {"loss": loss, **{name: value.detach() for name, value in logged.items()}}

    def _read(self, tokens: Tensor, offsets_S1: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Ragged texts -> their vectors (S, E), their words (M, E) and the S + 1 bounds of these."""
        tower = cast(Any, self.model.text)
        state_ND, pooled_SD = tower.states_and_pooled(tokens, offsets_S1)
        if isinstance(tower, TextTower):  # its states come before the norm that its pooled vector has been through
            state_ND = tower.encoder.ln_final(state_ND)
        word_N, bounds_S1 = self._words(tokens, offsets_S1)
        kept_N = word_N >= 0
        sums_MD = state_ND.new_zeros(int(bounds_S1[-1]), state_ND.shape[1])
        sums_MD = sums_MD.index_add(0, word_N[kept_N], state_ND[kept_N])
        return self.model.text_head(pooled_SD), self.model.text_head(sums_MD), bounds_S1

    def _words(self, tokens: Tensor, offsets_S1: Tensor) -> tuple[Tensor, Tensor]:
        """Which of the M words each token belongs to, -1 for the first of a text, and the words' S + 1 bounds."""
        begins_N = torch.ones_like(tokens, dtype=torch.bool)
        if self.config.words == "words":
            tokenizer = cast(Any, self.model.text).tokenizer
            begins_N = torch.tensor(tokenizer.begins_word(tokens.tolist()), device=tokens.device)
        begins_N[offsets_S1[:-1]] = False
        done_N = begins_N.cumsum(0)
        bounds_S1 = torch.cat([done_N.new_zeros(1), done_N[offsets_S1[1:] - 1]])
        return (done_N - 1).index_fill(0, offsets_S1[:-1], -1), bounds_S1

    @torch.no_grad()
    def attention(self, image_CHW: Tensor, text: str) -> Tensor:
        """Where each word of ``text`` looks in a normalised picture: α of equation (1), (L, H, W)."""
        _, region_1RHW = pooled_and_regions(self.model.image, image_CHW[None])
        tokens = torch.tensor(cast(Any, self.model.text).tokenizer([text])[0], device=image_CHW.device)
        _, word_LE, _ = self._read(tokens, torch.tensor([0, len(tokens)], device=tokens.device))
        return attention(self.region_head(region_1RHW)[0], word_LE.T, self.config.attention)

    def encode_image(self, image_BCHW: Tensor, normalize: bool = False) -> Tensor:
        """Normalised pictures -> (B, E)."""
        return self.model.encode_image(image_BCHW, normalize)

    def encode_text(self, tokens: Tensor, offsets_S1: Tensor, normalize: bool = False) -> Tensor:
        """Ragged texts -> (S, E)."""
        return self.model.encode_text(tokens, offsets_S1, normalize)
