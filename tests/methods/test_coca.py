"""CoCa's page: CLIP's contrast, the caption loss of a padded decoder, several ranks, slices; it can learn to speak."""

import pytest
import torch
from torch import Tensor, nn

from dermis.batch.slices import slices
from dermis.batch.texts import ragged
from dermis.losses import caption
from dermis.methods import methods
from dermis.methods.captions import caption_of_case
from dermis.methods.clip import CLIP, CLIPConfig
from dermis.methods.coca import CoCa, CoCaConfig
from dermis.towers import Features
from dermis.towers.text import small_text_tower
from dermis.towers.two_tower import TwoTower

CAPTIONS = ["a mole", "melanoma on the back", "a mole", "basal cell carcinoma", "red patch", "melanoma on the back"]
SETTINGS = {"decoder_layers": 1, "decoder_heads": 2, "queries": 3}


class Patches(nn.Module):
    """An image tower whose patches are the columns of the picture."""

    dim = 12

    def features(self, image_BCHW: Tensor) -> Features:
        patch_BPD = image_BCHW.flatten(1, 2).transpose(1, 2)
        return Features(patch_BPD.mean(1), patch_BPD, (1, 4))


def build(**settings):
    torch.manual_seed(0)
    model = TwoTower(Patches(), small_text_tower(width=8, layers=1, heads=2, context_length=12), embed_dim=5)
    return CoCa(model, CoCaConfig(**(SETTINGS | settings))).double()


def make_batch():
    generator = torch.Generator().manual_seed(1)
    tokenizer = build().model.text.tokenizer
    texts = [[(0, text), *([(1, "disease")] if i % 2 else [])] for i, text in enumerate(CAPTIONS)]
    pictures = torch.randn(len(CAPTIONS), 1, 3, 4, 4, generator=generator, dtype=torch.float64)
    return {"row_B": torch.arange(len(CAPTIONS)), "image_BVCHW": pictures, **ragged(texts, tokenizer)}


@pytest.fixture
def batch():
    return make_batch()


def padded_caption_loss(page, batch):
    """One case at a time: the text tower's states of one caption, padded logits, shifted targets."""
    rows, targets = [], []
    for case, text in enumerate(CAPTIONS):
        tokens = torch.tensor(page.model.text.tokenizer([text])[0])
        patch = page.model.image.features(batch["image_BVCHW"][case]).patch_BPD
        offsets = torch.tensor([0, len(tokens)])
        logits = page.decoder(patch, page.model.text.token_states(tokens, offsets), offsets)[:-1]
        rows.append(torch.cat([logits, logits.new_full((12 - len(logits), logits.shape[1]), 7.0)]))
        targets.append([*tokens[1:].tolist(), *[-1] * (12 - len(logits))])
    return caption(torch.stack(rows), torch.tensor(targets), pad=-1)


def test_loss_is_the_contrast_of_clip_and_the_caption_loss(batch):
    page = build(contrast=0.7, caption=1.5, duplicates="shared")
    out = page(batch)
    contrast = CLIP(page.model, CLIPConfig(duplicates="shared"))(batch)["loss"]
    said = padded_caption_loss(page, batch)
    torch.testing.assert_close(out["contrast"], contrast, rtol=1e-12, atol=0)
    torch.testing.assert_close(out["caption"], said, rtol=1e-10, atol=0)
    torch.testing.assert_close(out["loss"], 0.7 * contrast + 1.5 * said, rtol=1e-10, atol=0)
    assert [key for key, value in out.items() if value.requires_grad] == ["loss"]


def test_the_decoder_looks_at_the_case_s_own_picture_and_not_ahead(batch):
    page = build()
    missed = page.embed(batch)["missed"]
    changed = dict(batch)
    changed["image_BVCHW"] = batch["image_BVCHW"].clone()
    changed["image_BVCHW"][2, :, :, 0] *= -2
    differs = (page.embed(changed)["missed"] - missed).abs() > 1e-9
    assert differs.tolist() == [False, False, True, False, False, False]

    tokens = torch.tensor([1, 2, 3, 4])
    patch, offsets = page.model.image.features(batch["image_BVCHW"][0]).patch_BPD, torch.tensor([0, 4])
    logits = page.decoder(patch, page.model.text.token_states(tokens, offsets), offsets)
    tokens[3] = 9
    later = page.decoder(patch, page.model.text.token_states(tokens, offsets), offsets)
    torch.testing.assert_close(later[:3], logits[:3])
    assert (later[3] - logits[3]).abs().max() > 1e-6


def test_the_loss_of_concatenated_slices_is_the_whole_loss(batch):
    page = build()
    parts = [page.embed(part) for part in slices(batch, 4)]
    together = {key: torch.cat([part[key] for part in parts]) for key in parts[0]}
    torch.testing.assert_close(page.loss(together, batch)["loss"], page(batch)["loss"], rtol=1e-12, atol=1e-12)


def test_it_learns_to_say_the_captions_of_its_pictures(batch):
    page = build().float()
    batch["image_BVCHW"] = batch["image_BVCHW"].float()
    optimiser = torch.optim.AdamW(page.parameters(), lr=0.02)
    for _ in range(80):
        optimiser.zero_grad()
        page(batch)["loss"].backward()
        optimiser.step()
    assert page.generate(batch["image_BVCHW"][:, 0]) == CAPTIONS
    assert page.generate(batch["image_BVCHW"][:1, 0], max_tokens=1) == ["a"]


def test_it_needs_patches_and_a_causal_text_tower(batch):
    page = build()
    page.model.image.requires_grad_(False)
    stored = {key: value for key, value in batch.items() if key != "image_BVCHW"} | {"stored_BD": torch.zeros(6, 12)}
    with pytest.raises(ValueError, match="looks at patches"):
        page(stored)
    with pytest.raises(ValueError, match="causal text tower"):
        CoCa(TwoTower(Patches(), Patches(), 5), CoCaConfig())
    page.model.image.requires_grad_(True)
    page.model.image.features = lambda _: Features(torch.zeros(6, 24), torch.zeros(6, 4, 12), (1, 4))
    with pytest.raises(ValueError, match="no patches as wide as its pooled vector"):
        page(batch)
    with pytest.raises(ValueError, match="3 does not divide 8"):
        build(decoder_heads=3)
    assert methods()["coca"] is CoCa
    assert caption_of_case(batch).tolist() == [0, 1, 0, 3, 4, 1]


def gradients(page):
    return {key: p.grad.clone() for key, p in page.named_parameters()}


def _worker(number):
    page = build()
    loss = page(list(slices(make_batch(), 2))[number])["loss"]
    loss.backward()
    return {"loss": loss.detach(), **gradients(page)}


def test_two_ranks_give_the_value_and_gradient_of_one(two_ranks, batch):
    ranks = two_ranks(_worker)
    page = build()
    loss = page(batch)["loss"]
    loss.backward()
    for key, expected in {"loss": loss.detach(), **gradients(page)}.items():
        mean = sum(r[key] for r in ranks) / 2
        torch.testing.assert_close(mean, expected, rtol=1e-10, atol=1e-12, msg=lambda m, k=key: f"{k}: {m}")
