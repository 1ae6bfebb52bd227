"""PanDerm's image tower in DermLIP's folder, against the equations of CAE's block written out as loops."""

import json
import math

import pytest
import timm
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from timm.models import register_model
from timm.models.vision_transformer import VisionTransformer
from torch.testing import assert_close

from dermis.model import load, save
from dermis.towers.layouts import panderm

transformers = pytest.importorskip("transformers")
WIDTH, DEPTH, HEADS, PATCH, SIDE, EMBED = 64, 2, 2, 8, 4, 24
TEXTS = ["melanoma of the back", "nevus", " ".join(["skin"] * 400)]


@register_model
def tiny_cae(pretrained=False, num_classes=0, global_pool="token", **timms):
    size = {"embed_dim": WIDTH, "depth": DEPTH, "num_heads": HEADS, "patch_size": PATCH, "img_size": PATCH * SIDE}
    model = VisionTransformer(
        **size, no_embed_class=True, init_values=1e-6, num_classes=num_classes, global_pool=global_pool
    )
    model.pretrained_cfg = {"input_size": (3, 32, 32), "fixed_input_size": True, "classifier": "head"}
    return model


def cae_shapes(width, depth, patch, places, embed, norm="fc_norm"):
    """CAE's tensors of a vision transformer, by name."""
    shapes = {"cls_token": (1, 1, width), "pos_embed": (1, places + 1, width), "head.bias": (embed,)}
    shapes |= {"patch_embed.proj.weight": (width, 3, patch, patch), "patch_embed.proj.bias": (width,)}
    shapes |= {f"{norm}.weight": (width,), f"{norm}.bias": (width,), "head.weight": (embed, width)}
    for n in range(depth):
        block = {"norm1.weight": (width,), "norm1.bias": (width,), "norm2.weight": (width,), "norm2.bias": (width,)}
        block |= {"attn.qkv.weight": (3 * width, width), "attn.q_bias": (width,), "attn.v_bias": (width,)}
        block |= {"attn.proj.weight": (width, width), "attn.proj.bias": (width,)}
        block |= {"mlp.fc1.weight": (4 * width, width), "mlp.fc1.bias": (4 * width,)}
        block |= {"mlp.fc2.weight": (width, 4 * width), "mlp.fc2.bias": (width,)}
        block |= {"gamma_1": (width,), "gamma_2": (width,)}
        shapes |= {f"blocks.{n}.{name}": shape for name, shape in block.items()}
    return shapes


def cae_forward(t, image_CHW, mean_pooling=True):
    """One picture, one token, one head at a time."""

    def norm(x_D, name):
        x_D = (x_D - x_D.mean()) / torch.sqrt(x_D.var(correction=0) + 1e-6)
        return x_D * t[f"{name}.weight"] + t[f"{name}.bias"]

    x_ND = [t["cls_token"][0, 0]]
    for row in range(SIDE):
        for column in range(SIDE):
            cell = image_CHW[:, row * PATCH : (row + 1) * PATCH, column * PATCH : (column + 1) * PATCH]
            x_ND.append((t["patch_embed.proj.weight"] * cell).sum((1, 2, 3)) + t["patch_embed.proj.bias"])
    x_ND = [x_D + place_D for x_D, place_D in zip(x_ND, t["pos_embed"][0], strict=True)]
    d = WIDTH // HEADS
    for n in range(DEPTH):
        b = f"blocks.{n}."
        zero = torch.zeros(WIDTH)
        qkv_bias = torch.cat([t[b + "attn.q_bias"], zero, t[b + "attn.v_bias"]])
        qkv_N = [(t[b + "attn.qkv.weight"] @ norm(x, b + "norm1") + qkv_bias).reshape(3, HEADS, d) for x in x_ND]
        after = []
        for x_D, (q_Hd, _, _) in zip(x_ND, qkv_N, strict=True):
            heads = []
            for h in range(HEADS):
                odds_N = torch.stack([q_Hd[h] @ k_Hd[h] / math.sqrt(d) for _, k_Hd, _ in qkv_N]).softmax(0)
                heads.append(sum(odd * v_Hd[h] for odd, (_, _, v_Hd) in zip(odds_N, qkv_N, strict=True)))
            out_D = t[b + "attn.proj.weight"] @ torch.cat(heads) + t[b + "attn.proj.bias"]
            after.append(x_D + t[b + "gamma_1"] * out_D)
        x_ND = []
        for x_D in after:
            hidden = F.gelu(t[b + "mlp.fc1.weight"] @ norm(x_D, b + "norm2") + t[b + "mlp.fc1.bias"])
            x_ND.append(x_D + t[b + "gamma_2"] * (t[b + "mlp.fc2.weight"] @ hidden + t[b + "mlp.fc2.bias"]))
    pooled_D = norm(sum(x_ND[1:]) / SIDE**2, "fc_norm") if mean_pooling else norm(x_ND[0], "norm")
    return t["head.weight"] @ pooled_D + t["head.bias"]


@pytest.fixture
def dermlip_folder(tmp_path, monkeypatch):
    """A folder as DermLIP's fork of open_clip writes it; returns it, its visual tensors and its text encoder."""
    monkeypatch.setitem(panderm.TRUNKS, (WIDTH, DEPTH), "tiny_cae")

    def make(norm="fc_norm", **changes):
        visual = {k: 0.3 * torch.randn(s) for k, s in cae_shapes(WIDTH, DEPTH, PATCH, SIDE**2, EMBED, norm).items()}
        folder = tmp_path / "dermlip"
        folder.mkdir()
        letters = [p + c for p in ("", "##") for c in "abcdefghijklmnopqrstuvwxyz"]
        (tmp_path / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters]))
        transformers.BertTokenizerFast(vocab=str(tmp_path / "vocab.txt")).save_pretrained(folder)
        size = {"hidden_size": 40, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
        bert = transformers.BertModel(transformers.BertConfig(vocab_size=57, **size), add_pooling_layer=False).eval()
        bert.config.save_pretrained(folder)
        head = {"text.proj.0.weight": torch.randn(32, 40), "text.proj.2.weight": torch.randn(EMBED, 32)}
        tensors = {f"visual.{k}": v for k, v in visual.items()} | {"logit_scale": torch.tensor(3.0)} | head
        tensors |= {f"text.transformer.{k}": v for k, v in bert.state_dict().items()}
        save_file(tensors | changes, folder / "open_clip_model.safetensors")
        vision_cfg = {"image_size": 32, "layers": DEPTH, "width": WIDTH, "patch_size": PATCH, "pretrain_path": "a.pth"}
        name = "neuml/pubmedbert-base-embeddings"
        text_cfg = {"hf_model_name": name, "hf_tokenizer_name": name, "context_length": 256}
        text_cfg |= {"hf_proj_type": "mlp", "hf_pooler_type": "mean_pooler"}
        model_cfg = {"embed_dim": EMBED, "vision_cfg": vision_cfg, "text_cfg": text_cfg}
        (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": model_cfg, "preprocess_cfg": {}}))
        return folder, visual, bert, head

    return make


@pytest.mark.parametrize("norm, positions", [("fc_norm", True), ("fc_norm", False), ("norm", True)])
def test_panderm_gives_what_the_equations_of_cae_give(dermlip_folder, norm, positions, caplog):
    folder, visual, _, _ = dermlip_folder(norm)
    if not positions:
        tensors = load_file(folder / "open_clip_model.safetensors")
        del tensors["visual.pos_embed"]
        save_file(tensors, folder / "open_clip_model.safetensors")
        visual["pos_embed"] = loop_positions()
    ours = load(folder)
    assert "vision_cfg.pretrain_path: where the image tower started" in caplog.text
    image_BCHW = torch.randn(2, 3, 32, 32)
    expected = torch.stack([cae_forward(visual, image_CHW, norm == "fc_norm") for image_CHW in image_BCHW])
    with torch.no_grad():
        assert_close(ours.encode_image(image_BCHW), expected, rtol=1e-5, atol=1e-5)


def loop_positions():
    """CAE's, place by place: sin and cos of the row at a quarter of the width each, then of the column; zero first."""
    place_ND = torch.zeros(SIDE**2 + 1, WIDTH)
    quarter = WIDTH // 4
    for row in range(SIDE):
        for column in range(SIDE):
            for i in range(quarter):
                frequency = 1 / 10000 ** (i / quarter)
                waves = (math.sin(row * frequency), math.cos(row * frequency))
                waves += (math.sin(column * frequency), math.cos(column * frequency))
                for block, wave in enumerate(waves):
                    place_ND[1 + row * SIDE + column, block * quarter + i] = wave
    return place_ND[None]


def test_texts_are_the_mean_of_bert_through_two_layers_and_256_tokens_long(dermlip_folder, ragged):
    folder, _, bert, head = dermlip_folder()
    ours = load(folder)
    ids = ours.text.tokenizer(TEXTS)
    assert [len(text) for text in ids] == [19, 7, 256]
    with torch.no_grad():
        expected = []
        for text in ids:
            pooled_D = bert(torch.tensor([text])).last_hidden_state[0].mean(0)
            expected.append(head["text.proj.2.weight"] @ F.gelu(head["text.proj.0.weight"] @ pooled_D))
        assert_close(ours.encode_text(*ragged(ids)), torch.stack(expected), rtol=1e-5, atol=1e-5)


def test_what_was_loaded_is_saved_as_stock_open_clip(dermlip_folder, tmp_path, ragged):
    import open_clip

    folder, _, _, _ = dermlip_folder()
    ours = load(folder)
    again = save(tmp_path / "again", ours)
    image_BCHW = torch.randn(2, 3, 32, 32)
    ids = ours.text.tokenizer(TEXTS)
    saved = load(again)
    with torch.no_grad():
        image_BE = ours.encode_image(image_BCHW)
        assert saved.encode_image(image_BCHW).equal(image_BE)
        assert saved.encode_text(*ragged(ids)).equal(ours.encode_text(*ragged(ids)))
    settings = json.loads((again / "open_clip_config.json").read_text())["model_cfg"]
    assert settings["text_cfg"]["hf_model_name"] == "neuml/pubmedbert-base-embeddings"
    settings["text_cfg"]["hf_model_name"] = str(again)  # stock open_clip asks the hub
    stock = open_clip.CustomTextCLIP(
        EMBED, settings["vision_cfg"], settings["text_cfg"] | {"hf_model_pretrained": False}
    ).eval()
    stock.load_state_dict(load_file(again / "model.safetensors"), strict=True)
    with torch.no_grad():
        assert_close(stock.encode_image(image_BCHW), image_BE, rtol=1e-5, atol=1e-5)


def test_what_does_not_fit_is_named(dermlip_folder, monkeypatch, caplog):
    folder, _, _, _ = dermlip_folder(**{"visual.mask_token": torch.ones(1), "visual.decoder.weight": torch.ones(1)})
    load(folder)
    assert "left out" in caplog.text
    tensors = load_file(folder / "open_clip_model.safetensors")
    save_file(tensors | {"visual.rel_pos_bias.table": torch.ones(1)}, folder / "open_clip_model.safetensors")
    with pytest.raises(ValueError, match=r"1 left over \(visual\.rel_pos_bias\.table\)"):
        load(folder)
    del tensors["visual.blocks.1.attn.v_bias"]
    save_file(tensors, folder / "open_clip_model.safetensors")
    with pytest.raises(ValueError, match=r"1 missing \(visual\.blocks\.1\.attn\.v_bias\)"):
        load(folder)
    monkeypatch.delitem(panderm.TRUNKS, (WIDTH, DEPTH))
    with pytest.raises(ValueError, match="64 wide with 2 layers; known are 768 wide with 12 layers"):
        load(folder)


@pytest.mark.parametrize("width, depth", panderm.TRUNKS)
def test_published_sizes_fill_timms_trunk(width, depth):
    with torch.device("meta"):
        visual = {f"visual.{k}": torch.empty(s) for k, s in cae_shapes(width, depth, 16, 196, 512).items()}
        trunk = timm.create_model(panderm.TRUNKS[width, depth], num_classes=512, global_pool="avg")
        _, tensors = panderm.translated({"vision_cfg": {}}, visual, "the test")
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    assert shapes == {f"visual.trunk.{name}": tensor.shape for name, tensor in trunk.state_dict().items()}
    assert trunk.blocks[0].attn.num_heads == width // 64
