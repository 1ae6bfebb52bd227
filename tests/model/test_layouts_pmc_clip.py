"""PMC-CLIP's two releases, tiny ones, against transformers' BERT and open_clip's ResNet."""

import math

import pytest
import torch
from open_clip.modified_resnet import ModifiedResNet
from torch.testing import assert_close

from dermis.model import load, save
from dermis.model.open_clip_layout import why_not
from dermis.towers.layouts import pmc_clip
from dermis.towers.published import BERT_BASE

transformers = pytest.importorskip("transformers")
TEXTS = ["melanoma of the back", "nevus", " ".join(["skin"] * 100)]
EMBED = 24


@pytest.fixture
def published(tmp_path):
    """Both releases of one model: the folder of the checkpoint, that of the three files, image and text encoder."""
    image = ModifiedResNet(layers=[1, 2, 1, 1], output_dim=EMBED, heads=8, image_size=64, width=16).eval()
    size = {"hidden_size": 40, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
    text = transformers.BertModel(transformers.BertConfig(vocab_size=57, **size)).eval()
    for p in [*image.parameters(), *text.parameters()]:
        p.data += 0.05 * torch.randn_like(p)
    projection = torch.randn(40, EMBED)
    whole, three = tmp_path / "whole", tmp_path / "three"
    letters = [p + c for p in ("", "##") for c in "abcdefghijklmnopqrstuvwxyz"]
    (tmp_path / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters]))
    for folder in (whole, three):
        text.config.save_pretrained(folder)
        transformers.BertTokenizerFast(vocab=str(tmp_path / "vocab.txt")).save_pretrained(folder)
    tensors = {f"visual.{k}": v for k, v in image.state_dict().items()}
    tensors |= {f"text_encoder.{k}": v for k, v in text.state_dict().items()}
    tensors |= {"text_projection": projection, "logit_scale": torch.tensor(pmc_clip.LOGIT_SCALE)}
    tensors |= {"mlm_projection": torch.ones(2), "img_special_token": torch.ones(1), "ln_final.weight": torch.ones(2)}
    tensors |= {"positional_embedding": torch.ones(2), "fusion_module.resblocks.0.ln_1.weight": torch.ones(2)}
    tensors |= {"text_encoder.embeddings.position_ids": torch.arange(512)[None]}
    tensors = {f"module.{k}": v for k, v in tensors.items()}
    torch.save({"epoch": 1, "state_dict": tensors, "optimizer": {"state": {}}}, whole / "checkpoint.pt")
    torch.save(image.state_dict(), three / pmc_clip.IMAGE)
    torch.save(text.state_dict(), three / pmc_clip.TEXT)
    torch.save(torch.nn.Parameter(projection), three / pmc_clip.PROJECTION)
    return whole, three, image, text, projection


@pytest.mark.parametrize("release", [0, 1], ids=["checkpoint", "three_files"])
def test_both_releases_give_what_training_gave(published, release, tmp_path, ragged, caplog):
    folder, (image, text, projection) = published[release], published[2:]
    ours = load(folder)
    image_BCHW = torch.randn(2, 3, 64, 64)
    ids = ours.text.tokenizer(TEXTS)
    assert [len(t) for t in ids] == [19, 7, 77]
    padded = torch.tensor([t + [0] * (77 - len(t)) for t in ids])
    with torch.no_grad():
        image_BE = image(image_BCHW)
        # the published training code hands over no attention mask: padding is read like any other token
        text_SE = text(padded, attention_mask=torch.ones_like(padded)).last_hidden_state[:, 0] @ projection
        masked_SE = text(padded, attention_mask=(padded != 0).long()).last_hidden_state[:, 0] @ projection
    assert (text_SE - masked_SE)[:2].abs().max() > 1e-3
    saved = load(save(tmp_path / "again", ours))
    for model in (ours, saved):
        with torch.no_grad():
            assert_close(model.encode_image(image_BCHW), image_BE, rtol=1e-5, atol=1e-5)
            assert_close(model.encode_text(*ragged(ids)), text_SE, rtol=1e-5, atol=1e-5)
        assert model.logit_scale.item() == pytest.approx(4.4292)
    assert "masks the padding" in why_not(saved)
    if release == 0:
        for part in ("fusion_module", "mlm_projection", "img_special_token", "positional_embedding", "ln_final"):
            assert part in caplog.text
    else:
        assert "scale of the cosine is in none of its files" in caplog.text


def test_what_does_not_fit_is_named(published):
    folder = published[0]
    tensors = torch.load(folder / "checkpoint.pt", weights_only=True)["state_dict"]
    torch.save(tensors | {"module.prompt": torch.ones(1)}, folder / "checkpoint.pt")
    with pytest.raises(ValueError, match=r"1 left over \(prompt\)"):
        load(folder)
    short = {k: v for k, v in tensors.items() if k != "module.text_encoder.encoder.layer.1.output.dense.bias"}
    torch.save(short, folder / "checkpoint.pt")
    with pytest.raises(ValueError, match=r"1 missing \(text\.transformer\.encoder\.layer\.1\.output\.dense\.bias\)"):
        load(folder)
    torch.save({"a": torch.ones(1)}, folder / "checkpoint.pt")
    with pytest.raises(ValueError, match=r"is no PMC-CLIP: its weights lack visual\.layer4"):
        load(folder)


def test_the_published_size_is_clips_resnet_50_beside_a_bert_of_base_size():
    """RN50_fusion4.json: layers 3, 4, 6, 3, width 64, 224 pixels, 768 wide, 77 tokens."""
    with torch.device("meta"):
        image = ModifiedResNet(layers=[3, 4, 6, 3], output_dim=768, heads=32, image_size=224, width=64)
    tensors = {f"visual.{k}": v for k, v in image.state_dict().items()} | {"text_projection": torch.empty(768, 768)}
    settings = pmc_clip._settings(tensors)
    assert settings["vision_cfg"] == {"image_size": 224, "layers": [3, 4, 6, 3], "width": 64}
    assert (settings["embed_dim"], settings["text_cfg"]["context_length"]) == (768, 77)
    assert pmc_clip.BERT in BERT_BASE
    assert math.prod(image.conv1.weight.shape) == 3 * 32 * 9
