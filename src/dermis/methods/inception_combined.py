"""Inception-Combined -- Seven-Point Checklist and Skin Lesion Classification Using Multitask Multimodal Neural Nets.

Paper    Kawahara, Daneshvar, Argenziano and Hamarneh, IEEE JBHI 23(2), 538-546 (2019),
         https://doi.org/10.1109/JBHI.2018.2824327
Release  none of the model; jeremykawahara/derm7pt at ce43687 has the data's loader and classes

Two towers (InceptionV3), h_d = f(dermoscopy) and h_c = f'(photograph). For each combination of the inputs a head q for
each of the L labels, the diagnosis and the seven criteria, so that each combination can classify by itself:

    z_d = h_d,    z_c = h_c,    z_dc = [h_d, h_c]                                                     (1)
    L_m = mean_l CE(q_ml(z_m), y_l),    m ∈ {d, c, dc}                                                (2)
    L = (L_d + L_c + L_dc) / 3                                                                        (3)

Batches are balanced by label (`data.balance`, ``dermis.batch.balanced``): one case drawn for each of the 24 classes of
Derm7pt's eight labels. Predictions come from z_dc. In the paper a case that lacks an input is classified by the heads
of the combination that it has.

Differs from the paper, of which there is no code to compare with:
  1. Metadata are no input: the combinations of a picture or both with metadata, and their heads, are left out.
  2. Both means, over labels and over combinations, are ours; a sum is the same up to the learning rate.
  3. Predictions come from z_dc only: training and prediction need both pictures of a case.
  4. The balance is that of the batches alone; the loss does not weigh classes.
  5. Labels may be unknown: a case counts for the labels that it has.
  6. Pictures have InceptionV3's own 299 pixels in our recipe.

Shapes: B cases, L labels, D features of a tower.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from dermis.methods import method
from dermis.methods.multi_label import label_loss, targets_of
from dermis.towers.branches import Branches
from dermis.towers.build import BranchesConfig


@dataclass(kw_only=True)
class InceptionCombinedConfig:
    """Settings of Inception-Combined."""

    targets: dict[str, list[str]] = field(default_factory=dict)
    """label column -> its classes in order (none: the diagnosis and all findings of the manifest)"""


@method("inception_combined")
class InceptionCombined(nn.Module):
    """Each picture by itself and both together classify all labels (Kawahara et al., 2019)."""

    Config = InceptionCombinedConfig
    Towers = BranchesConfig
    needs = ("image", "dermoscopy")
    citation = (
        "@article{kawahara2019seven, title={Seven-Point Checklist and Skin Lesion Classification Using Multitask "
        "Multimodal Neural Nets}, author={Kawahara, Jeremy and Daneshvar, Sara and Argenziano, Giuseppe and Hamarneh, "
        "Ghassan}, journal={IEEE Journal of Biomedical and Health Informatics}, volume={23}, number={2}, "
        "pages={538--546}, year={2019}}"
    )

    def __init__(self, model: Branches, config: InceptionCombinedConfig) -> None:
        """Raises ValueError if there is no label to learn, or if ``model`` does not look at two pictures."""
        super().__init__()
        if len(model.pictures) != 2:
            raise ValueError("inception_combined combines two pictures, and this model sees one: set model.paired.")
        self.model, self.config, self.targets = model, config, targets_of(config)
        model.add("combinations", classes=config.targets)

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        return self.loss(self.embed(batch), batch)

    def embed(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """The towers' features (B, D), as ``dermoscopy1`` and ``image1``."""
        return self.model.encode_views(batch)

    def loss(self, embeddings: dict[str, Tensor], batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Equation (3); beside it the terms (2) of its combinations."""
        heads = self.model.parts["combinations"]
        logits = heads({name: embeddings[f"{name}1"] for name in self.model.pictures})
        terms = {name: label_loss(rows, batch["label_BL"]) for name, rows in logits.items()}
        return {"loss": torch.stack(list(terms.values())).mean(), **{k: term.detach() for k, term in terms.items()}}
