"""What CLIP and SigLIP have in common: their loss is the published one, on one rank, on two, and slice by slice."""

import math

import pytest
import torch
import torch.nn.functional as F

import dermis.torchvision_operators  # noqa: F401 (before open_clip)
from dermis.batch.slices import slices
from dermis.methods import method, methods
from tests.methods.conftest import CAPTIONS, tiny_batch, tiny_two_tower

BIAS = {"clip": None, "siglip": -4.0}
PAGES = pytest.mark.parametrize("name", ["clip", "siglip"])
DUPLICATES = pytest.mark.parametrize("duplicates", ["negatives", "shared"])


def build(name, **settings):
    page = methods()[name]
    return page(tiny_two_tower(BIAS[name]), page.Config(**settings))


def gradients(page):
    return {key: p.grad.clone() for key, p in page.named_parameters()}


def test_pages_register_themselves():
    assert {"clip", "siglip"} <= set(methods())
    assert methods() is method
    assert "softmax" in methods().summary("clip")
    assert methods()["clip"].needs == ("image", "caption")


@PAGES
def test_loss_is_that_of_open_clip_on_the_towers_embeddings(name, batch):
    losses = pytest.importorskip("open_clip.loss")
    page = build(name)
    u = F.normalize(page.encode_image(batch["image_BVCHW"][:, 0]), dim=-1)
    # each caption encoded by itself: nothing shared, nothing ragged
    v = torch.cat(
        [page.encode_text(torch.tensor([ord(c) for c in t]), torch.tensor([0, len(t)]), True) for t in CAPTIONS]
    )
    scale = page.model.logit_scale.exp()
    theirs = losses.ClipLoss()(u, v, scale) if name == "clip" else losses.SigLipLoss()(u, v, scale, BIAS[name])
    out = page(batch)
    torch.testing.assert_close(out["loss"], theirs)
    assert out["logit_scale"].item() == pytest.approx(9.0)
    assert out["paired_cosine"].item() == pytest.approx((u * v).sum(1).mean().item())
    assert [key for key, value in out.items() if value.requires_grad] == ["loss"]


@PAGES
def test_a_string_is_encoded_once(name, batch):
    page = build(name)
    page(batch)
    assert page.model.text.encoded == len({*CAPTIONS, "disease"})


@PAGES
@DUPLICATES
def test_the_loss_of_concatenated_slices_is_the_whole_loss(name, duplicates, batch):
    page = build(name, duplicates=duplicates)
    whole = page(batch)["loss"]
    parts = [page.embed(part) for part in slices(batch, 4)]
    together = {key: torch.cat([part[key] for part in parts]) for key in parts[0]}
    torch.testing.assert_close(page.loss(together, batch)["loss"], whole, rtol=1e-12, atol=1e-12)


@PAGES
def test_shared_captions_and_chunks_do_what_they_say(name, batch):
    literal, shared = (build(name, duplicates=d)(batch)["loss"] for d in ("negatives", "shared"))
    assert not torch.isclose(literal, shared)
    torch.testing.assert_close(build(name, chunk=2, duplicates="shared")(batch)["loss"], shared)

    distinct = tiny_batch(["a", "b", "c", "d"])
    literal, shared = (build(name, duplicates=d)(distinct)["loss"] for d in ("negatives", "shared"))
    torch.testing.assert_close(literal, shared)


@PAGES
def test_the_loss_is_computed_in_full_precision_under_autocast(name, batch):
    page = build(name).float()
    batch["image_BVCHW"] = batch["image_BVCHW"].float()
    with torch.autocast("cpu", torch.bfloat16):
        embeddings = page.embed(batch)
        loss = page.loss(embeddings, batch)["loss"]
    assert embeddings["image"].dtype == embeddings["text"].dtype == loss.dtype == torch.float32
    torch.testing.assert_close(embeddings["image"].norm(dim=1), torch.ones(6))
    exact = page.loss({key: x.double() for key, x in embeddings.items()}, batch)["loss"]
    torch.testing.assert_close(loss.double(), exact, rtol=1e-6, atol=0)


@PAGES
def test_the_chunk_setting_reaches_the_loss(name, batch):
    with pytest.raises(ValueError, match="chunk must be at least 1"):
        build(name, chunk=0)(batch)


@PAGES
@pytest.mark.parametrize("learn", [True, False])
def test_the_scale_is_trained_only_if_asked(name, learn, batch):
    page = build(name, learn_scale=learn)
    page(batch)["loss"].backward()
    assert (page.model.logit_scale.grad is not None) == learn
    if name == "siglip":
        assert (page.model.logit_bias.grad is not None) == learn


@PAGES
def test_stored_image_embeddings_take_the_place_of_pictures(name, batch):
    page = build(name)
    whole = page(batch)["loss"]
    page.model.image.requires_grad_(False)
    batch["stored_BD"] = page.model.image.features(batch.pop("image_BVCHW")[:, 0]).pooled_BD
    torch.testing.assert_close(page(batch)["loss"], whole)


@PAGES
def test_the_order_of_occurrences_does_not_matter(name, batch):
    page = build(name)
    whole = page(batch)["loss"]
    order = torch.randperm(len(batch["owner_T"]), generator=torch.Generator().manual_seed(2))
    shuffled = batch | {key: batch[key][order] for key in ("text_of_T", "owner_T", "kind_T")}
    torch.testing.assert_close(page(shuffled)["loss"], whole)


@PAGES
def test_a_case_without_its_one_caption_is_named(name, batch):
    page = build(name)
    with pytest.raises(ValueError, match=r"manifest row 12 has 0 \(1 such cases in this batch of 6\)"):
        page(batch | {"kind_T": torch.where(batch["owner_T"] == 2, 1, batch["kind_T"])})
    with pytest.raises(ValueError, match=r"manifest row 11 has 2"):
        page(batch | {"kind_T": torch.where(batch["owner_T"] == 1, 0, batch["kind_T"])})


def test_clip_clamps_the_scale_after_a_step(batch):
    page = build("clip", max_logit_scale=20.0)
    with torch.no_grad():
        page.model.logit_scale.fill_(7.0)
    page.after_step(1)
    assert page.model.logit_scale.item() == pytest.approx(math.log(20))
    with torch.no_grad():
        page.model.logit_scale.fill_(1.0)
    page.after_step(2)
    assert page.model.logit_scale.item() == 1.0


def test_a_scale_that_is_not_trained_is_not_clamped_either():
    page = build("clip", learn_scale=False)
    with torch.no_grad():
        page.model.logit_scale.fill_(7.0)
    page.after_step(1)
    assert page.model.logit_scale.item() == 7.0


@pytest.mark.parametrize(
    ("name", "settings", "sentence"),
    [
        ("clip", {"weight": 2.0}, r"weight is a share, 0 to 1, not 2\.0"),
        ("clip", {"max_logit_scale": -1.0}, r"max_logit_scale must be above 0, not -1\.0"),
        ("coca", {"max_logit_scale": 0.0}, r"max_logit_scale must be above 0"),
        ("coca", {"decoder_heads": 0}, "decoder_heads must be at least 1, not 0"),
        ("make", {"max_logit_scale": 0.0}, "max_logit_scale must be above 0"),
        ("mae", {"decoder_heads": 0}, "decoder_heads must be at least 1"),
        ("m3ae", {"heads": 0}, "heads must be at least 1"),
        ("m3ae", {"lr_factor": 0.0}, "lr_factor must be above 0"),
        ("multi_label", {"relation": "tel", "heads": 0}, "heads must be at least 1"),
        ("simclr", {"temperature": 0.0}, "temperature must be above 0"),
        ("moco", {"temperature": -0.1}, "temperature must be above 0"),
        ("moco", {"queue": 0}, "queue must be at least 1"),
        ("sm3", {"temperature": 0.0}, "temperature must be above 0"),
        ("sm3", {"clusters": []}, r"clusters are 1 or more of each label, not \[\]"),
        ("sm3", {"clusters": [5, 0]}, r"clusters are 1 or more of each label, not \[5, 0\]"),
        ("ssd_kd", {"temperature": 0.0}, "temperature must be above 0"),
        ("ssd_kd", {"keep_similar": 1.5}, r"keep_similar is a share, 0 to 1, not 1\.5"),
        ("table_clip", {"projection": 0}, "projection must be at least 1"),
    ],
)
def test_numbers_out_of_range_are_sentences(name, settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        methods()[name].Config(**settings)


def test_siglip_asks_for_towers_with_a_bias():
    page = methods()["siglip"]
    with pytest.raises(ValueError, match="needs towers with a logit_bias"):
        page(tiny_two_tower(None), page.Config())


SETTINGS = [
    (name, {"duplicates": duplicates, "chunk": chunk})
    for name in BIAS
    for duplicates, chunk in (("negatives", None), ("shared", 2))
]


def _worker(number):
    found = {}
    for name, settings in SETTINGS:
        page = build(name, **settings)
        loss = page(list(slices(tiny_batch(CAPTIONS), 2))[number])["loss"]
        loss.backward()
        found[f"{name} {settings}"] = {"loss": loss.detach(), **gradients(page)}
    return found


def test_two_ranks_give_the_value_and_gradient_of_one(two_ranks, batch):
    ranks = two_ranks(_worker)
    for name, settings in SETTINGS:
        page = build(name, **settings)
        loss = page(batch)["loss"]
        loss.backward()
        for key, expected in {"loss": loss.detach(), **gradients(page)}.items():
            mean = sum(r[f"{name} {settings}"][key] for r in ranks) / 2
            torch.testing.assert_close(mean, expected, rtol=1e-10, atol=1e-12, msg=lambda m, k=key: f"{k}: {m}")
