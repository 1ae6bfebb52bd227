"""Roll-out against attention that is computed here a second time, and what it leaves behind in a model: nothing."""

import weakref

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F

from dermis.explain import explain, kinds_of
from dermis.explain.rollout import attention_layers, rollout
from dermis.towers import Transform
from dermis.towers.image import ImageTower

PLAIN = {"size": (32, 32), "mean": (0.5,) * 3, "std": (0.5,) * 3}


def rolled(attention_LNN):
    """Abnar & Zuidema's equation as loops."""
    N = len(attention_LNN[0])
    total = np.eye(N)
    for attention_NN in attention_LNN:
        step = np.zeros((N, N))
        for i in range(N):
            for j in range(N):
                step[i, j] = attention_NN[i, j] + (i == j)
            step[i] /= step[i].sum()
        total = step @ total
    return total


def test_a_small_vit_by_hand(tower):
    """Queries and keys from the weights, softmax, heads, layers: nothing of it is the tower's own attention."""
    model, view_CHW = tower(), torch.randn(3, 48, 80)
    trunk, attention_LNN = model.trunk, []
    with torch.no_grad():
        x_1ND = trunk.norm_pre(trunk._pos_embed(trunk.patch_embed(view_CHW[None])))
        for block in trunk.blocks:
            h_ND, heads = block.norm1(x_1ND)[0].double().numpy(), block.attn.num_heads
            qkv = h_ND @ block.attn.qkv.weight.double().numpy().T + block.attn.qkv.bias.double().numpy()
            q_ND, k_ND, _ = np.split(qkv, 3, axis=1)
            width, mean_NN = q_ND.shape[1] // heads, 0
            for head in range(heads):
                own = slice(head * width, (head + 1) * width)
                odds_NN = np.exp(q_ND[:, own] @ k_ND[:, own].T / np.sqrt(width))
                mean_NN = mean_NN + odds_NN / odds_NN.sum(axis=1, keepdims=True) / heads
            attention_LNN.append(mean_NN)
            x_1ND = block(x_1ND)
    found = explain(model, view_CHW)
    assert [(one.column, one.kind, one.about) for one in found] == [("image", "rollout", "")]
    assert found[0].values.dtype == np.float32
    np.testing.assert_allclose(found[0].values, rolled(attention_LNN)[0, 1:].reshape(3, 5), rtol=1e-4)


def recorded(model, view_CHW, monkeypatch):
    """Mean attention of each layer, read from what goes into the fused kernel."""
    kernel, attention_LNN = F.scaled_dot_product_attention, []

    def recording(q, k, v, attn_mask=None, *rest, **named):
        score = q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5
        score = score if attn_mask is None else score + attn_mask
        if q.shape[-2] == k.shape[-2]:  # an attention pooling has fewer queries
            attention_LNN.append(score.softmax(-1).mean(1)[0].detach().double().numpy())
        return kernel(q, k, v, attn_mask, *rest, **named)

    with monkeypatch.context() as patch:
        patch.setattr(F, "scaled_dot_product_attention", recording)
        model.features(view_CHW[None])  # with gradients, or torch's own attention takes another kernel
    return attention_LNN


def trunk_of(name):
    """Small ones of timm's families that have attention of their own."""
    from timm.models import beit, eva, vision_transformer_relpos

    small = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 3, "num_heads": 2}
    trunk = {
        "eva": lambda: eva.Eva(**small, use_rot_pos_emb=True, num_reg_tokens=2),
        "rope": lambda: eva.Eva(**small, use_rot_pos_emb=True, attn_type="rope", class_token=False),
        "beit": lambda: beit.Beit(**small, use_rel_pos_bias=True, use_abs_pos_emb=False),
        "relpos": lambda: vision_transformer_relpos.VisionTransformerRelPos(**small, class_token=False),
    }[name]()
    trunk.pretrained_cfg = {}
    return ImageTower(trunk, Transform(**PLAIN)).eval()


@pytest.mark.parametrize(
    "name, pool",
    [
        ("test_vit", "token"),
        ("test_vit", "avg"),
        ("test_vit", "token+avg"),
        ("test_vit2", "avg"),
        ("test_vit3", "map"),
        ("test_vit4", "avg"),
        ("eva", "avg"),
        ("rope", "avg"),
        ("beit", "avg"),
        ("relpos", "avg"),
    ],
)
def test_the_row_is_that_of_what_is_pooled(tower, monkeypatch, name, pool):
    torch.manual_seed(0)
    model = tower(name=name, pool=pool) if name.startswith("test") else trunk_of(name)
    assert model.pool == pool
    for p in model.parameters():
        p.data += 0.1 * torch.randn_like(p)
    view_CHW = torch.randn(3, *model.transform.size)
    total_NN = rolled(recorded(model, view_CHW, monkeypatch))
    with torch.no_grad():
        found_hw = rollout(model, view_CHW)
    first = model.trunk.num_prefix_tokens
    rows = {"token": total_NN[0], "token+avg": (total_NN[0] + total_NN[first:].mean(0)) / 2}
    expected_P = rows.get(pool, total_NN[first:].mean(0))[first:]
    np.testing.assert_allclose(found_hw.ravel(), expected_P, rtol=1e-4)
    assert found_hw.shape == (4, 4)
    assert found_hw.std() > 1e-4 * found_hw.mean()


def test_open_clip_towers_have_it_too(open_clip_model, monkeypatch):
    view_CHW = torch.randn(3, 32, 32)
    expected_NN = rolled(recorded(open_clip_model.image, view_CHW, monkeypatch))
    found = explain(open_clip_model, view_CHW)[0].values
    np.testing.assert_allclose(found.ravel(), expected_NN[0, 1:], rtol=1e-4)


@pytest.mark.parametrize("fails", [False, True])
def test_the_model_is_afterwards_as_it_was(two_tower, open_clip_model, monkeypatch, fails):
    for model in (two_tower(), open_clip_model):
        model.train()
        layers, view_CHW = attention_layers(model.image), torch.randn(3, *model.image.transform.size)
        if hasattr(layers[0], "fused_attn"):
            layers[0].fused_attn = not layers[0].fused_attn  # each gets its own back
        before = [getattr(layer, "fused_attn", None) for layer in layers]
        if fails:
            last = model.image.trunk.blocks[-1] if hasattr(model.image, "trunk") else layers[-1]
            monkeypatch.setattr(last, "forward", None)
            with pytest.raises(TypeError):
                explain(model, view_CHW)
        else:
            explain(model, view_CHW)
        assert [getattr(layer, "fused_attn", None) for layer in layers] == before
        assert not [m for m in model.modules() if m._forward_hooks or m._forward_pre_hooks]
        assert model.training
        assert all(p.grad is None for p in model.parameters())


def test_heads_of_one_layer_at_a_time(tower):
    model, alive = tower(), []

    def watch(_, inputs, __):
        assert not [one for one in alive if one() is not None]
        alive.append(weakref.ref(inputs[0]))

    for layer in attention_layers(model):
        layer.attn_drop.register_forward_hook(watch)
    explain(model, torch.randn(3, 64, 64))
    assert len(alive) == len(model.trunk.blocks)


@pytest.mark.parametrize(
    "name, pool, kinds",
    [
        ("vit_tiny_patch16_224", None, {"similarity", "rollout"}),
        ("deit_tiny_distilled_patch16_224", None, {"similarity", "rollout"}),
        ("cait_xxs24_224", "avg", {"similarity"}),
        ("xcit_nano_12_p16_224", "avg", set()),
        ("tnt_s_legacy_patch16_224", "avg", set()),
        ("samvit_base_patch16", None, {"similarity"}),
        ("vit_dwee_patch16_reg1_gap_256", None, {"similarity"}),
        ("swin_tiny_patch4_window7_224", None, {"similarity"}),
        ("mixer_s16_224", None, set()),
        ("resnet18", None, {"similarity"}),
    ],
)
def test_only_plain_attention_is_rolled_out(two_tower, name, pool, kinds):
    model = two_tower()
    with torch.device("meta"):
        model.image = ImageTower(timm.create_model(name, num_classes=0), Transform(**PLAIN), pool)
    assert set(kinds_of(model)) == kinds
