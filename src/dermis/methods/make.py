"""MAKE -- Multi-Aspect Knowledge-Enhanced Vision-Language Pretraining (Yan, Li et al., MICCAI 2025).

Paper    MICCAI 2025 open access; equations 1 to 8
Release  SiyuanYan1/MAKE at ded1959, src/open_clip/{model,loss}.py, src/open_clip_train, script/pretrain.sh

A case has a picture I and several texts: raw T^r, disease t^d, concept t^c, and the sentences S^1…S^K of the raw text.

    e^v = f(I)/|f(I)|,    e^p = patches of f(I),    e^t = g(text)/|g(text)|                                  (1, 2)
    L_mkcl = (L_i2t + L_t2i) / 2: each text against the pictures, each picture against the texts             (3, 4)
    e^k = Σ_p v_p z_p / Σ_p z_p,    z_p = v_p · e^r                                                             (5)
    L_slra = sentences against e^k of all cases                                                                 (6)
    w_j = e^d · e^sj / max_j (e^d · e^sj) for sentences, 1 for the other texts                                  (7)
    L = w L_mkcl + λ w L_slra                                                                                   (8)

The equations are ``dermis.losses.multi_aspect``. The rows of the paper's Table 3: {num_sentences: 0, lambda_s: 0,
weights: none}; {lambda_s: 0, weights: none}; {weights: none}; the defaults.

Where the paper leaves something open, ours is: i2t normalises over texts with the case's other texts left out (eq. 3 as
printed repeats eq. 4: ``i2t: images``); terms are weighted means, not sums; weights are clamped to [0, 1], K is 8.

Differs from the release, which ``as_released`` computes instead (one rank):
  1. i2t: the case's other texts and empty texts are negatives there.
  2. t2i is not weighted there; weights are exp(c - max c), and read the wrong rows (spec of multi_aspect_released).
  3. e^k: patches gated at 0 and weighted to L2 norm 1 there, not of unit length, and by the wrong row's text.
  4. L_slra: e^k against all texts but the first B rows there; here sentences against e^k.
  5. A missing sentence is the empty text there, a missing disease or concept text the word "nan"; both are encoded and
     negatives. Here they do not exist (``as_released``: all empty texts).
  6. A string of several cases is encoded once and belongs to all of them (``duplicates: shared``); there each copy is
     the others' negative.
  7. Several ranks, accumulation with all negatives, chunks: same value and gradient. The release runs on one GPU.
  8. 1/τ is clamped to at most 100; there to at least 1 as well.
  9. Warm-up over half of the steps, fp16 and no clipping are its script's: recipes/make_as_released.yaml.

``ontology`` adds O-MAKE's soft labels (Li et al., arXiv 2512.03445): pictures against the batch's diseases, where
related diseases share the target; β falls from ``ontology_beta`` to 0 by a cosine over the training.

Shapes: B cases, T (case, text) occurrences, S distinct strings, P patches, E embedding, N = 3 + K.
"""

import math
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from dermis.distributed import first_own_row, gather_ragged, gather_rows, world_size
from dermis.losses.multi_aspect import RAW, TERMS, multi_aspect_pooled, patches_of_raw_text
from dermis.losses.multi_aspect_released import multi_aspect_released
from dermis.methods import method
from dermis.methods.aspects import aspects_of, grid
from dermis.methods.captions import unit_length
from dermis.methods.ontology_labels import OntologyLabels
from dermis.recipe import changed, refuse_out_of_range
from dermis.registry import unknown
from dermis.towers.two_tower import TwoTower

RELEASED_IGNORES = ("weigh", "i2t", "siblings", "duplicates", "chunk", "ontology")


@dataclass(kw_only=True)
class MAKEConfig:
    """Settings of MAKE."""

    num_sentences: int = 8
    """K: the first K sentences of a case take part; 0: the knowledge set (raw, disease, concept) only"""
    lambda_s: float = 0.7
    """λ of equation (8); 0: without fine-grained alignment (slra), and no patches are made"""
    weights: Literal["ratio", "exp", "none"] = "ratio"
    """diagnosis-guided weights: equation (7) clamped to [0, 1], exp(c - max c) as released, or without them (dkw)"""
    weigh: list[str] = field(default_factory=lambda: list(TERMS))
    """the terms that they weigh"""
    i2t: Literal["texts", "images"] = "texts"
    """what image→text normalises over; images: equation (3) as printed"""
    siblings: Literal["excluded", "negatives", "soft"] = "excluded"
    """the case's other texts in image→text: not in the denominator, negatives, or sharing the target"""
    duplicates: Literal["shared", "negatives"] = "shared"
    """texts that are the same string: one text that all its owners share, or each other's negatives"""
    max_logit_scale: float = 100.0
    """largest 1/τ; clamped after each step"""
    learn_scale: bool = True
    """train 1/τ; if not, it stays as the towers' settings or weights have it"""
    chunk: int | None = None
    """rows scored at a time; memory falls from B·S to chunk·S floats, the value does not change"""
    ontology: str | None = None
    """adds O-MAKE's soft labels by this disease ontology: a file (JSON, YAML, OBO, OWL), or `default` for ours"""
    ontology_beta: float = 0.5
    """share of the soft target at the first step; falls to 0 by a cosine"""
    as_released: bool = False
    """model and loss as the release computes them, mistakes included"""

    def __post_init__(self) -> None:
        refuse_out_of_range(self, above_0=("max_logit_scale",), shares=("ontology_beta",))
        if self.num_sentences < 0 or self.lambda_s < 0:
            raise ValueError(f"num_sentences ({self.num_sentences}) and lambda_s ({self.lambda_s}) are 0 or more.")
        if self.num_sentences == 0 and (self.lambda_s or self.weights != "none"):
            raise ValueError("without sentences (num_sentences: 0) set lambda_s: 0 and weights: none.")
        if self.i2t == "images" and self.siblings != "excluded":
            raise ValueError(f"siblings: {self.siblings} has no effect with i2t: images; leave it out.")
        if self.as_released and self.weights == "exp":
            raise ValueError("as_released weighs as the release does: leave weights out, or none to switch them off.")
        for term in self.weigh:
            if term not in TERMS:
                raise unknown("term to weigh", term, TERMS)
        without_effect = {"as_released": RELEASED_IGNORES} if self.as_released else {}
        without_effect |= {"ontology: null": ("ontology_beta",)} if self.ontology is None else {}
        without_effect |= {"weights: none": ("weigh",)} if self.weights == "none" else {}
        for because, names in without_effect.items():
            for name in changed(self, names):
                raise ValueError(f"{name} has no effect with {because}; leave it out.")


@method("make")
class MAKE(nn.Module):
    """Pictures and their raw, disease, concept and sentence texts; sentences find their patches (Yan et al., 2025)."""

    Config = MAKEConfig
    needs = ("image", "caption")
    citation = (
        "@inproceedings{yan2025make, title={MAKE: Multi-Aspect Knowledge-Enhanced Vision-Language Pretraining for "
        "Zero-shot Dermatological Assessment}, author={Yan, Siyuan and Li, Xieji and Hu, Ming and Jiang, Yiwen and Yu, "
        "Zhen and Ge, Zongyuan}, booktitle={MICCAI}, year={2025}}"
    )

    def __init__(self, model: TwoTower, config: MAKEConfig) -> None:
        super().__init__()
        self.model, self.config = model, config
        model.logit_scale.requires_grad_(config.learn_scale)
        self.ontology = None if config.ontology is None else OntologyLabels(config.ontology, config.ontology_beta)

    @staticmethod
    def texts_of(config: MAKEConfig) -> tuple[str, ...]:
        """The text columns that take part."""
        return ("caption", "disease_text", "concept_text", *(["sentences"] if config.num_sentences else []))

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        return self.loss(self.embed(batch), batch)

    def embed(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Equations (1, 2, 5): ``image`` (B, E) and ``text`` (T, E) of unit length; with slra ``pooled`` e^k (B, E).

        The texts are those of ``aspects_of``. As released: ``text`` is (B, N, E), and ``patch`` (B, P, E) as projected.
        """
        texts = aspects_of(batch, self.config.num_sentences)
        text_TE = unit_length(self.model.encode_text(texts["tokens"], texts["offsets_S1"]))[texts["text_of_T"]]
        if not self.config.lambda_s and not self.config.as_released:
            return {"image": unit_length(self.model.image_embedding(batch)), "text": text_TE}
        if "image_BVCHW" not in batch:
            raise ValueError(
                "MAKE with patches (lambda_s above 0, or as_released) needs pictures, not stored embeddings."
            )
        image_BE, patch_BPE = self.model.encode_image_and_patches(batch["image_BVCHW"][:, 0])
        patch_BPE = patch_BPE.to(text_TE.dtype)
        if self.config.as_released:
            tokenizer: Any = self.model.text.tokenizer
            tokens = torch.tensor(tokenizer([""])[0], device=patch_BPE.device)
            empty_1E = unit_length(self.model.encode_text(tokens, torch.tensor([0, len(tokens)], device=tokens.device)))
            text_BNE = grid(text_TE, texts, empty_1E, len(image_BE), 3 + self.config.num_sentences)
            return {"image": unit_length(image_BE), "text": text_BNE, "patch": patch_BPE}
        with torch.autocast(text_TE.device.type, enabled=False):  # the sign of a sum of similarities decides
            pooled_BE, _ = patches_of_raw_text(patch_BPE, text_TE, texts["owner_T"], texts["kind_T"])
        return {"image": unit_length(image_BE), "text": text_TE, "pooled": pooled_BE}

    def loss(self, embeddings: dict[str, Tensor], batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Equation (8) for this rank's cases among those of all ranks; beside it its terms and 1/τ."""
        scale = self.model.logit_scale.exp()
        texts = aspects_of(batch, self.config.num_sentences)
        terms = self._released if self.config.as_released else self._paper
        with torch.autocast(embeddings["image"].device.type, enabled=False):
            found = terms(embeddings, texts, scale)
            if self.ontology is not None:
                found["ontology"] = self.ontology(embeddings, texts, batch["label_B"], scale)
                found["loss"] = found["loss"] + found["ontology"]
        logged = {name: value.detach() for name, value in found.items() if name != "loss"}
        return {"loss": found["loss"], **logged, "logit_scale": scale.detach()}

    def _paper(self, embeddings: dict[str, Tensor], texts: dict[str, Tensor], scale: Tensor) -> dict[str, Tensor]:
        config, cases = self.config, len(embeddings["image"])
        first = first_own_row(cases)
        kind_T, owner_T, string_T = (
            gather_ragged(x)[0]
            for x in (texts["kind_T"], texts["owner_T"] + first, texts["text_hash_S"][texts["text_of_T"]])
        )
        return multi_aspect_pooled(
            gather_rows(embeddings["image"]),
            gather_ragged(embeddings["text"])[0],
            gather_rows(embeddings["pooled"]) if "pooled" in embeddings else None,
            owner_T[kind_T == RAW].bincount(minlength=cases * world_size()) > 0,
            owner_T,
            kind_T,
            scale,
            distinct_T=string_T if config.duplicates == "shared" else None,
            lambda_s=config.lambda_s,
            i2t=config.i2t,
            siblings=config.siblings,
            weights=config.weights,
            weigh=config.weigh,
            chunk=config.chunk,
            first=first,
            rows=cases,
        )

    def _released(self, embeddings: dict[str, Tensor], texts: dict[str, Tensor], scale: Tensor) -> dict[str, Tensor]:
        if world_size() > 1:
            raise ValueError("as_released runs on one rank, as the release does.")
        image_BE, text_BNE, patch_BPE = (embeddings[name] for name in ("image", "text", "patch"))
        there_T1 = torch.ones(len(texts["owner_T"]), 1, device=image_BE.device)
        mask_BN1 = grid(there_T1, texts, torch.zeros_like(there_T1[:1]), *text_BNE.shape[:2])
        return multi_aspect_released(
            image_BE,
            text_BNE,
            patch_BPE,
            mask_BN1.squeeze(2),
            scale,
            lambda_s=self.config.lambda_s,
            weights=self.config.weights != "none",
        )

    def start_training(self, steps: int, cases: int) -> None:
        """The soft labels fade over this many steps."""
        if self.ontology is not None:
            self.ontology.steps = steps

    def labels(self, diagnoses: list[str | None]) -> list[int] | None:
        """``label_B`` of these cases, -1 where the ontology does not know the diagnosis; None without ``ontology``."""
        return None if self.ontology is None else self.ontology.labels(diagnoses)

    def after_step(self, step: int) -> None:
        """1/τ stays at or below its largest value, if it is trained; the soft labels fade."""
        c = self.config
        if c.learn_scale:
            with torch.no_grad():
                self.model.logit_scale.clamp_(min=0 if c.as_released else None, max=math.log(c.max_logit_scale))
        if self.ontology is not None:
            self.ontology.done.fill_(step + 1)

    def encode_image(self, image_BCHW: Tensor, normalize: bool = False) -> Tensor:
        """Normalised pictures -> (B, E)."""
        return self.model.encode_image(image_BCHW, normalize)

    def encode_text(self, tokens: Tensor, offsets_S1: Tensor, normalize: bool = False) -> Tensor:
        """Ragged texts -> (S, E)."""
        return self.model.encode_text(tokens, offsets_S1, normalize)
