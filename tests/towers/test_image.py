"""Image towers: against timm's own forward passes, and the real weights."""

import pytest
import timm
import torch

from dermis.towers.build import ImageTowerConfig, build_image_tower
from dermis.towers.image import ImageTower, create_trunk, transform_of

TRUNKS = ["test_vit", "test_vit2", "test_resnet", "test_efficientnet", "test_convnext", "test_byobnet"]


def tower_of(name, pool=None, size=None):
    trunk = create_trunk(name, size)
    for p in trunk.parameters():
        p.data += 0.05 * torch.randn_like(p)
    return ImageTower(trunk, transform_of(trunk, size), pool).eval()


@pytest.mark.parametrize("name", TRUNKS)
def test_the_pooled_vector_is_timms(name):
    tower = tower_of(name)
    image_BCHW = torch.randn(2, 3, 160, 160)
    out = tower.features(image_BCHW)
    torch.testing.assert_close(out.pooled_BD, tower.trunk(image_BCHW), rtol=1e-5, atol=1e-5)
    assert out.pooled_BD.shape[1] == tower.dim == out.patch_BPD.shape[2]
    assert out.patch_BPD.shape[1] == out.grid[0] * out.grid[1]


def test_a_vits_patches_are_its_last_tokens_row_by_row():
    tower = tower_of("test_vit")
    image_BCHW = torch.randn(1, 3, 160, 160)
    patch_BPD = tower.features(image_BCHW).patch_BPD
    map_BDHW = tower.trunk.forward_intermediates(image_BCHW, indices=1, norm=True, intermediates_only=True)[-1]
    torch.testing.assert_close(patch_BPD, map_BDHW.flatten(2).transpose(1, 2))


def test_a_conv_nets_patches_are_cells_whose_mean_is_the_pooled_vector():
    tower = tower_of("test_resnet")
    image_BCHW = torch.randn(2, 3, 160, 96)
    out = tower.features(image_BCHW)
    assert out.grid == (5, 3)
    torch.testing.assert_close(out.patch_BPD.mean(1), out.pooled_BD, rtol=1e-5, atol=1e-5)
    cell = tower.trunk.forward_features(image_BCHW)[:, :, 1, 2]
    torch.testing.assert_close(out.patch_BPD[:, 1 * 3 + 2], cell, rtol=1e-5, atol=1e-5)


def test_a_normed_conv_nets_patches_get_the_norm_of_the_pooled_vector():
    tower = tower_of("test_convnext")
    out = tower.features(torch.randn(1, 3, 160, 160))
    cell_DHW = tower.trunk.forward_features(torch.zeros(1, 3, 160, 160))
    alone = tower.trunk.forward_head(cell_DHW[:, :, 2:3, 2:3], pre_logits=True)
    torch.testing.assert_close(tower.features(torch.zeros(1, 3, 160, 160)).patch_BPD[:, 12], alone)
    assert out.patch_BPD.std() > 0


def test_token_and_mean_stand_side_by_side():
    both = tower_of("test_vit", "token+avg")
    image_BCHW = torch.randn(2, 3, 160, 160)
    tokens_BND = both.trunk.forward_features(image_BCHW)
    expected = torch.cat([tokens_BND[:, 0], tokens_BND[:, 1:].mean(1)], dim=1)
    torch.testing.assert_close(both.features(image_BCHW).pooled_BD, expected)
    assert both.dim == 128


def test_other_and_oblong_sizes_resample_the_position_embedding():
    tower = tower_of("test_vit", size=96)
    assert tower.trunk.pos_embed.shape[1] == 101
    assert tower.transform.size == (96, 96)
    assert tower.features(torch.randn(1, 3, 96, 128)).grid == (6, 8)
    fixed = create_trunk("test_vit")
    fixed.load_state_dict(tower.trunk.state_dict())
    fixed.set_input_size(img_size=(96, 96))
    image_BCHW = torch.randn(2, 3, 96, 96)
    torch.testing.assert_close(tower.features(image_BCHW).pooled_BD, fixed.eval()(image_BCHW))


def test_pictures_run_channels_last_but_the_weights_stay_contiguous():
    tower = tower_of("test_resnet")
    seen = []
    tower.trunk.layer4.register_forward_hook(lambda *_: seen.append(_[2]))
    tower.features(torch.randn(2, 3, 160, 160))
    assert seen[0].is_contiguous(memory_format=torch.channels_last)
    assert not seen[0].is_contiguous()
    assert all(t.is_contiguous() for t in tower.state_dict().values())


def test_what_a_trunk_does_not_have_is_an_error():
    with pytest.raises(ValueError, match="needs a class token and ResNet has none"):
        tower_of("test_resnet", "token")
    with pytest.raises(ValueError, match="needs an attention pooling"):
        tower_of("test_vit", "map")
    with pytest.raises(ValueError, match="unknown pool 'mean'"):
        tower_of("test_vit", "mean")


def test_an_unknown_model_names_its_neighbours():
    with pytest.raises(ValueError, match="vit_small_patch14_dinov2"):
        create_trunk("vit_smal_patch14_dinov2")


def test_weights_that_do_not_fit_are_listed(tmp_path):
    from safetensors.torch import save_file

    weights = create_trunk("test_vit").state_dict()
    weights["stem.weight"] = weights.pop("cls_token")
    weights["pos_embed"] = torch.zeros(1, 5, 64)
    save_file(weights, tmp_path / "w.safetensors")
    with pytest.raises(ValueError, match=r"1 missing \(cls_token\); 1 left over \(stem.weight\); 1 of another shape"):
        build_image_tower(ImageTowerConfig(name="test_vit", weights=str(tmp_path / "w.safetensors")))
    (tmp_path / "w.safetensors").write_bytes(b"\x00" * 7)
    with pytest.raises(ValueError, match="damaged or no safetensors"):
        build_image_tower(ImageTowerConfig(name="test_vit", weights=str(tmp_path / "w.safetensors")))
    with pytest.raises(ValueError, match="no weights at"):
        build_image_tower(ImageTowerConfig(name="test_vit", weights=str(tmp_path / "x.safetensors")))
    (tmp_path / "w.pt").write_bytes(b"")
    with pytest.raises(ValueError, match=r"not a \.safetensors file"):
        build_image_tower(ImageTowerConfig(name="test_vit", weights=str(tmp_path / "w.pt")))


def test_published_weights_come_with_a_classifier_that_is_left_out(tmp_path):
    from safetensors.torch import save_file

    published = timm.create_model("test_efficientnet").eval()
    save_file(published.state_dict(), tmp_path / "model.safetensors")
    tower = build_image_tower(ImageTowerConfig(name="test_efficientnet", weights=f"local-dir:{tmp_path}", freeze=True))
    image_BCHW = torch.randn(1, 3, 160, 160)
    expected = published.forward_head(published.forward_features(image_BCHW), pre_logits=True)
    torch.testing.assert_close(tower.features(image_BCHW).pooled_BD, expected, rtol=1e-5, atol=1e-5)
    assert not any(p.requires_grad for p in tower.parameters())


def test_weights_of_the_hub_are_fetched_by_name(tmp_path, monkeypatch):
    from safetensors.torch import save_file

    donor = create_trunk("test_vit")
    save_file(donor.state_dict(), tmp_path / "model.safetensors")
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda repository, name: tmp_path / name)
    tower = build_image_tower(ImageTowerConfig(name="test_vit", weights="hf-hub:org/tiny"))
    assert tower.trunk.pos_embed.equal(donor.pos_embed)

    def offline(repository, name):
        raise OSError("no network")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", offline)
    with pytest.raises(ValueError, match=r"the hub does not give model\.safetensors of 'org/tiny': no network"):
        build_image_tower(ImageTowerConfig(name="test_vit", weights="hf-hub:org/tiny"))


@pytest.mark.data
def test_dinov2_equals_timms_own_loading_at_140_pixels(shared_weights):
    file = str(shared_weights / "vit_small_patch14_dinov2.safetensors")
    name = "vit_small_patch14_dinov2.lvd142m"
    tower = build_image_tower(ImageTowerConfig(name=name, weights=file, size=140, pool="token+avg")).eval()
    assert {p.dtype for p in tower.parameters()} == {torch.float32}
    assert tower.transform.mean == (0.485, 0.456, 0.406)
    stock = timm.create_model(name, num_classes=0, dynamic_img_size=True, checkpoint_path=file).eval()
    image_BCHW = torch.randn(1, 3, 140, 140)
    with torch.no_grad():
        out, tokens_BND = tower.features(image_BCHW), stock.forward_features(image_BCHW)
    assert out.grid == (10, 10)
    torch.testing.assert_close(out.pooled_BD, torch.cat([tokens_BND[:, 0], tokens_BND[:, 1:].mean(1)], dim=1))


@pytest.mark.data
def test_lite0_sees_pictures_from_minus_one_to_one(shared_weights):
    file = str(shared_weights / "efficientnet_lite0.safetensors")
    tower = build_image_tower(ImageTowerConfig(name="tf_efficientnet_lite0", weights=file)).eval()
    assert tower.transform.mean == tower.transform.std == (0.5, 0.5, 0.5)
    with torch.no_grad():
        out = tower.features(torch.randn(1, 3, 224, 224))
    assert out.pooled_BD.shape == (1, 1280)
    assert out.pooled_BD.isfinite().all()
