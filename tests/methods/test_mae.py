"""MAE against transformers' ViTMAE and timm's own encoder; what is hidden stays hidden, what is seen is not scored."""

import math

import pytest
import torch
from torch import nn

from dermis.batch.slices import slices
from dermis.losses.masked_pixels import masked_pixels, patchify
from dermis.methods.mae import MAE
from dermis.towers.branches import Branches
from dermis.towers.image import ImageTower, create_trunk, transform_of
from dermis.towers.pixel_decoder import PixelDecoder, sine_cosine
from dermis.towers.visible_patches import draw_visible, patch_trunk, visible_tokens
from dermis.training.accumulate import backward

SMALL = {"decoder_width": 16, "decoder_layers": 1, "decoder_heads": 2}
TRUNKS = {
    "plain": {},
    "one size": {"dynamic_img_size": False},
    "registers": {"reg_tokens": 3},
    "registers without positions": {"reg_tokens": 3, "no_embed_class": True},
    "no class token": {"class_token": False, "global_pool": "avg", "fc_norm": False},
    "norm after pooling": {"class_token": False, "global_pool": "avg", "reg_tokens": 1},
    "norm before": {"pre_norm": True},
    "no positions": {"pos_embed": "none", "dynamic_img_size": False},
}


def trunk_of(**settings):
    import timm  # after dermis, which makes it importable in the processes of two ranks too

    tiny = {"img_size": 16, "patch_size": 4, "embed_dim": 24, "depth": 2, "num_heads": 2}
    return timm.create_model("test_vit", num_classes=0, **tiny | settings)


def build(pictures=("image",), trunk=None, **settings):
    torch.manual_seed(0)
    trunks = {name: trunk or trunk_of() for name in pictures}
    towers = {name: ImageTower(t, transform_of(t)) for name, t in trunks.items()}
    return MAE(Branches(towers), MAE.Config(**SMALL | settings)).double()


def pictures(rows=6, size=(16, 16), seed=1):
    return torch.randn(rows, 3, *size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def six(**changes):
    return {"row_B": torch.arange(6), "image_BVCHW": pictures(**changes)[:, None]}


def pixels_of(patch_BP, grid, patch):
    """A mask of patches as a mask of pixels (B, 1, H, W)."""
    return patch_BP.view(-1, 1, *grid).repeat_interleave(patch, 2).repeat_interleave(patch, 3)


@pytest.mark.parametrize("settings", TRUNKS.values(), ids=TRUNKS.keys())
def test_with_all_patches_visible_the_encoder_is_timm_s(settings):
    trunk = trunk_of(**settings).eval()
    sizes = [(16, 16)] if not trunk.dynamic_img_size else [(16, 16), (24, 16)]
    for size in sizes:
        image = pictures(3, size).float()
        everything = torch.arange(size[0] * size[1] // 16).expand(3, -1)
        assert torch.equal(visible_tokens(trunk, image, everything), trunk.fc_norm(trunk.forward_features(image)))


@pytest.mark.parametrize("settings", TRUNKS.values(), ids=TRUNKS.keys())
def test_what_is_hidden_does_not_reach_the_encoder(settings):
    page = build(trunk=trunk_of(**settings)).eval()
    image, visible = pictures(), draw_visible(6, 16, 12, torch.device("cpu"))
    hidden = torch.ones(6, 16, dtype=torch.bool).scatter(1, visible, False)
    said = page.reconstruct("image", image, visible)
    other = torch.where(pixels_of(hidden, (4, 4), 4), pictures(seed=2), image)
    assert said.shape == (6, 16, 48)
    assert torch.equal(page.reconstruct("image", other, visible), said)
    other = torch.where(pixels_of(~hidden, (4, 4), 4), pictures(seed=2), image)
    assert not torch.isclose(page.reconstruct("image", other, visible), said).all(2).any()


def test_the_loss_is_that_of_transformers_with_its_weights_and_its_mask():
    transformers = pytest.importorskip("transformers")
    config = transformers.ViTMAEConfig(
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=72,
        image_size=16,
        patch_size=4,
        decoder_hidden_size=16,
        decoder_num_hidden_layers=1,
        decoder_num_attention_heads=2,
        decoder_intermediate_size=64,
        layer_norm_eps=1e-6,
        norm_pix_loss=True,
    )
    torch.manual_seed(3)
    theirs = transformers.ViTMAEForPreTraining(config).double().eval()
    theirs.vit.embeddings.initialize_weights()  # positions, which are zero otherwise
    theirs.decoder.initialize_weights(16)
    for parameter in theirs.parameters():
        if parameter.requires_grad:
            nn.init.normal_(parameter, std=0.3)
    page = build()
    page.load_state_dict(renamed(theirs.state_dict(), page.state_dict()))
    noise = torch.rand(6, 16, generator=torch.Generator().manual_seed(4))
    image = pictures()
    with torch.no_grad():
        expected = theirs(image, noise=noise)
        said = page.reconstruct("image", image, noise.argsort(1)[:, :4].sort(1).values)
        error = masked_pixels(said, patchify(image, (4, 4)), expected.mask.bool())
    torch.testing.assert_close(said, expected.logits, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(error.mean(), expected.loss, atol=1e-5, rtol=1e-5)


def renamed(theirs, ours):
    """ViTMAE's weights under our names; each of ours is given once."""
    blocks = {"vit.layers": "trunk.blocks", "decoder.decoder_layers": "decoder.blocks"}
    names = {
        "vit.embeddings.cls_token": "trunk.cls_token",
        "vit.embeddings.position_embeddings": "trunk.pos_embed",
        "vit.embeddings.patch_embeddings.projection": "trunk.patch_embed.proj",
        "vit.layernorm": "trunk.norm",
        "decoder.decoder_embed": "decoder.embed",
        "decoder.mask_token": "decoder.mask_token",
        "decoder.decoder_norm": "decoder.norm",
        "decoder.decoder_pred": "decoder.pixels",
        "attention.o_proj": "attn.proj",
        "layernorm_before": "norm1",
        "layernorm_after": "norm2",
    }
    state, joined = {}, {}
    for name, value in theirs.items():
        for old, new in (blocks | names).items():
            name = name.replace(old, new)
        name = name.replace("trunk.", "model.picture_towers.image.trunk.").replace("decoder.", "decoders.image.")
        if "_proj." in name:
            block, _, rest = name.partition(".attention.")
            joined.setdefault(f"{block}.attn.qkv.{rest.split('.')[-1]}", {})[rest[0]] = value
        elif not name.endswith("decoder_pos_embed"):
            state[name] = value
    state |= {name: torch.cat([parts[which] for which in "qkv"]) for name, parts in joined.items()}
    assert state.keys() == ours.keys()
    return state


def test_positions_are_sines_and_cosines_of_column_and_row():
    found = sine_cosine(3, 5, 12)
    assert found.shape == (15, 12)
    for row in range(3):
        for column in range(5):
            expected = []
            for place in (column, row):
                angles = [place / 10000 ** (f / 3) for f in range(3)]
                expected += [math.sin(a) for a in angles] + [math.cos(a) for a in angles]
            torch.testing.assert_close(found[row * 5 + column], torch.tensor(expected), atol=1e-6, rtol=0)


def test_every_token_goes_back_to_its_own_place():
    decoder = PixelDecoder(8, 8, 8, layers=0, heads=2)
    decoder.embed, decoder.norm, decoder.pixels = nn.Identity(), nn.Identity(), nn.Identity()
    tokens, visible = torch.randn(2, 2 + 3, 8), torch.tensor([[5, 0, 2], [1, 4, 3]])
    found = decoder(tokens, visible, (2, 3)) - sine_cosine(2, 3, 8)
    for b in range(2):
        seen = visible[b].tolist()
        for p in range(6):
            expected = tokens[b, 2 + seen.index(p)] if p in seen else decoder.mask_token[0, 0]
            torch.testing.assert_close(found[b, p], expected, atol=1e-6, rtol=0)


def test_each_picture_hides_its_own_equally_many_patches():
    visible = draw_visible(4000, 16, 12, torch.device("cpu"))
    assert visible.shape == (4000, 4)
    assert (visible.diff(dim=1) > 0).all()
    assert len(visible.unique(dim=0)) > 1500  # of 1820 sets, of which all but 200 are met in 4,000 draws
    shares = visible.flatten().bincount(minlength=16) / 4000
    torch.testing.assert_close(shares, torch.full((16,), 0.25), atol=0.03, rtol=0)


@pytest.mark.parametrize(
    "ratio, masked, normalise", [(0.75, 12, True), (0.75, 12, False), (0.9, 14, True), (0.05, 1, True)]
)
def test_the_loss_scores_what_the_settings_ask_for(monkeypatch, ratio, masked, normalise):
    page, seen = build(mask_ratio=ratio, norm_pixels=normalise), {}
    own = PixelDecoder.forward

    def watched(self, tokens, visible, grid):
        seen["visible"] = visible
        return own(self, tokens, visible, grid)

    monkeypatch.setattr(PixelDecoder, "forward", watched)
    errors = page.embed(six())["image"]
    assert seen["visible"].shape == (6, 16 - masked)
    hidden = torch.ones(6, 16, dtype=torch.bool).scatter(1, seen["visible"], False)
    said = page.reconstruct("image", pictures(), seen["visible"])
    expected = masked_pixels(said, patchify(pictures(), (4, 4)), hidden, normalise=normalise)
    torch.testing.assert_close(errors, expected)


def test_the_pictures_of_a_case_add_up_and_each_has_its_decoder():
    page = build(("dermoscopy", "image"))
    out = page(six() | {"dermoscopy_BVCHW": pictures(seed=2)[:, None]})
    torch.testing.assert_close(out["loss"], out["dermoscopy"] + out["image"])
    assert [key for key, value in out.items() if value.requires_grad] == ["loss"]
    out["loss"].backward()
    assert [name for name, p in page.named_parameters() if p.grad is None] == []


def test_wrong_settings_and_trunks_are_sentences():
    for name, whose in [("resnet10t", "ResNet"), ("test_vit_relpos", "VisionTransformerRelPos")]:
        with pytest.raises(ValueError, match=f"not from {whose}"):
            patch_trunk(ImageTower(create_trunk(name), transform_of(create_trunk(name))))
    with pytest.raises(ValueError, match=r"stem \(HybridEmbed\) looks beyond a patch"):
        patch_trunk(create_trunk("vit_tiny_r_s16_p8_224"))
    for ratio in (0.0, 1.0):
        with pytest.raises(ValueError, match="mask_ratio is a share"):
            build(mask_ratio=ratio)
    for settings in ({"decoder_width": 10}, {"decoder_heads": 3}):
        with pytest.raises(ValueError, match="is no multiple of it"):
            build(**settings)
    with pytest.raises(ValueError, match="masks 1 of a picture's 1 patches"):
        build()(six(size=(4, 4)))


def test_the_error_is_in_full_precision_under_autocast(monkeypatch):
    page, said = build().float(), []
    own = PixelDecoder.forward
    monkeypatch.setattr(PixelDecoder, "forward", lambda *given: said.append((given[2], own(*given))) or said[0][1])
    with torch.autocast("cpu", torch.bfloat16):
        errors = page.embed({"image_BVCHW": six()["image_BVCHW"].float()})["image"]
    visible, half = said[0]
    hidden = torch.ones(6, 16, dtype=torch.bool).scatter(1, visible, False)
    exact = masked_pixels(half.double(), patchify(pictures().float().double(), (4, 4)), hidden)
    assert (half.dtype, errors.dtype) == (torch.bfloat16, torch.float32)
    torch.testing.assert_close(errors.double(), exact, rtol=1e-5, atol=0)


def test_training_learns_to_say_the_colour_of_what_it_does_not_see():
    torch.manual_seed(1)
    page = build(norm_pixels=False).float()
    optimiser = torch.optim.AdamW(page.parameters(), lr=3e-3)
    for _ in range(150):
        one_colour = torch.randn(32, 1, 3, 1, 1).expand(-1, -1, -1, 16, 16)
        loss = page({"image_BVCHW": one_colour})["loss"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss < 0.3  # 1.0 is the best that can be said without looking


def test_slices_give_the_gradient_of_the_whole_batch():
    found = []
    for count in (1, 3):
        page = build()
        torch.manual_seed(7)
        out = backward(page, six(), count, lambda: torch.autocast("cpu", enabled=False), lambda x: x)
        found.append({"loss": out["loss"], **{name: p.grad for name, p in page.named_parameters()}})
    for name, value in found[0].items():
        torch.testing.assert_close(found[1][name], value, rtol=1e-9, atol=1e-12, msg=name)


def step(batch, skip):
    """Value and gradient under the masks that the generator gives after those of ``skip`` pictures."""
    page = build()
    torch.manual_seed(7)
    torch.rand(skip, 16)
    loss = page(batch)["loss"]
    loss.backward()
    return {"loss": loss.detach(), **{name: p.grad for name, p in page.named_parameters()}}


def _worker(number):
    part = list(slices(six(), 2))[number]
    return step(part, skip=3 * number)


def test_two_ranks_that_hide_the_same_patches_give_the_value_and_gradient_of_one(two_ranks):
    """Each rank draws its own masks; here the second one's generator is where one rank's would be by then."""
    ranks = two_ranks(_worker)
    for name, value in step(six(), skip=0).items():
        mean = (ranks[0][name] + ranks[1][name]) / 2
        torch.testing.assert_close(mean, value, rtol=1e-9, atol=1e-12, msg=name)
    other = step(six(), skip=1)
    assert not torch.isclose(other["loss"], step(six(), skip=0)["loss"])
