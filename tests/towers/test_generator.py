"""The generator against transformers' BERT decoder with the same weights, and what sizes the paper's 260 M allow."""

import pytest
import timm
import torch
from torch import nn

from dermis.towers.fusion_encoder import FusionEncoder
from dermis.towers.generator import Generator

transformers = pytest.importorskip("transformers")
SIZE = {"vocabulary": 23, "width": 32, "layers": 3, "heads": 4, "feedforward": 48}


def bert(**changes):
    sizes = dict(
        zip(("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads"), SIZE.values(), strict=False)
    )
    config = transformers.BertConfig(
        **sizes | changes, intermediate_size=48, max_position_embeddings=12, is_decoder=True, add_cross_attention=True
    )
    model = transformers.BertLMHeadModel(config).eval()
    for parameter in model.parameters():  # biases and norms too, or a forgotten one would not be noticed
        nn.init.normal_(parameter, std=0.3)
    return model


def generator(**changes):
    return Generator(**SIZE | {"max_tokens": 10, "pad": 0, "start": 1, "end": 2} | changes).eval()


@pytest.fixture
def seen():
    """A memory of two cases, of which the second is shorter, and tokens."""
    mask_BM = torch.ones(2, 7, dtype=torch.bool)
    mask_BM[1, 4:] = False
    return torch.randint(23, (2, 9)), torch.randn(2, 7, 32), mask_BM


@pytest.mark.parametrize("activation", ["gelu", "relu"])
def test_logits_equal_those_of_transformers(seen, activation):
    tokens_BL, memory_BMD, mask_BM = seen
    theirs, ours = bert(hidden_act=activation), generator(activation=activation)
    theirs.cls.predictions.transform.transform_act_fn = nn.GELU()  # here the option is the layers', not the head's
    ours.from_bert(theirs.state_dict())
    expected = theirs(tokens_BL, encoder_hidden_states=memory_BMD, encoder_attention_mask=mask_BM.long()).logits
    torch.testing.assert_close(ours(tokens_BL, memory_BMD, mask_BM), expected, rtol=1e-5, atol=1e-5)


def test_gradients_equal_those_of_transformers(seen):
    """The token table gets its gradient twice, as embeddings and as head."""
    tokens_BL, memory_BMD, mask_BM = seen
    theirs, ours = bert(), generator()
    ours.from_bert(theirs.state_dict())
    theirs(
        tokens_BL, encoder_hidden_states=memory_BMD, encoder_attention_mask=mask_BM.long()
    ).logits.square().mean().backward()
    ours(tokens_BL, memory_BMD, mask_BM).square().mean().backward()
    embeddings = theirs.bert.embeddings
    expected = embeddings.word_embeddings.weight.grad
    not_padding = torch.arange(23) != 0  # transformers gives padding no gradient as an input
    torch.testing.assert_close(ours.token.weight.grad[not_padding], expected[not_padding], rtol=1e-4, atol=1e-6)
    key = theirs.bert.encoder.layer[1].crossattention.self.key.weight.grad
    torch.testing.assert_close(ours.layers[1].cross.key.weight.grad, key, rtol=1e-4, atol=1e-6)


def test_a_text_encoder_gives_all_but_cross_attention_and_head(seen):
    """Old files: the prefix of a larger model, gamma and beta, no head; a BERT deeper and longer than the generator."""
    encoder = transformers.BertModel(bert(num_hidden_layers=4).config, add_pooling_layer=True)
    old = {
        f"bert.{name}".replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): t
        for name, t in encoder.state_dict().items()
        if "crossattention" not in name
    }
    ours = generator()
    before = {name: parameter.clone() for name, parameter in ours.named_parameters()}
    ours.from_bert(old)
    kept = {name for name, parameter in ours.named_parameters() if torch.equal(parameter, before[name])}
    drawn = {name for name in before if name.startswith("head") or ".cross." in name or name == "bias_V"}
    constant = {name for name in kept if before[name].unique().numel() == 1}  # norms and biases start alike everywhere
    assert kept - constant == drawn - constant
    assert 0.019 < torch.cat([layer.cross.query.weight.flatten() for layer in ours.layers]).std() < 0.021
    torch.testing.assert_close(ours.layers[2].feed.wide.weight, encoder.encoder.layer[2].intermediate.dense.weight)


def test_a_bert_that_does_not_fit_is_refused():
    state = bert().state_dict()
    with pytest.raises(ValueError, match="lacks 16 tensors"):
        generator(layers=4).from_bert(state)
    with pytest.raises(ValueError, match=r"is \(23,\) in this BERT, \(24,\) in the generator"):
        generator(vocabulary=24).from_bert(state)
    with pytest.raises(ValueError, match="position_embeddings"):
        generator(max_tokens=13).from_bert(state)


def test_token_by_token_equals_all_at_once(seen):
    tokens_BL, memory_BMD, mask_BM = seen
    ours = generator()
    cache = ours.look_at(memory_BMD, mask_BM)
    steps = [ours.step(token_B1, cache) for token_B1 in tokens_BL.split(1, 1)]
    torch.testing.assert_close(torch.cat(steps, 1), ours(tokens_BL, memory_BMD, mask_BM), rtol=1e-6, atol=1e-6)


def test_several_texts_of_a_case_share_its_memory(seen):
    """Three rows a case, then rows 2, 2, 0 of each: as if the memory were copied."""
    _, memory_BMD, mask_BM = seen
    ours, three = generator(), torch.randint(23, (6, 4))
    cache = ours.look_at(memory_BMD, mask_BM)
    for token_R1 in three[:, :3].split(1, 1):
        ours.step(token_R1, cache)
    row_R = torch.tensor([2, 2, 0, 5, 5, 3])
    cache.choose(row_R)
    after = ours.step(three[:, 3:], cache)
    whole = torch.cat([three[row_R, :3], three[:, 3:]], 1)
    expected = ours(whole, memory_BMD.repeat_interleave(3, 0), mask_BM.repeat_interleave(3, 0))[:, -1:]
    torch.testing.assert_close(after, expected, rtol=1e-6, atol=1e-6)


def test_nothing_masked_and_nothing_later_has_an_influence(seen):
    tokens_BL, memory_BMD, mask_BM = seen
    memory_BMD.requires_grad_()
    ours = generator()
    x = {}
    ours.token.register_forward_hook(lambda _, __, out: x.setdefault("tokens_BLD", out))
    ours(tokens_BL, memory_BMD, mask_BM)[:, 4].sum().backward(inputs=[memory_BMD, x["tokens_BLD"]])
    assert (memory_BMD.grad.abs().sum(2) > 0).equal(mask_BM)
    assert (x["tokens_BLD"].grad.abs().sum(2) > 0).equal((torch.arange(9) <= 4).expand(2, 9))


def test_wrong_sizes_are_refused(seen):
    tokens_BL, memory_BMD, _ = seen
    with pytest.raises(ValueError, match="5 does not divide 32"):
        generator(heads=5)
    with pytest.raises(ValueError, match="Did you mean 'gelu'"):
        generator(activation="gelo")
    with pytest.raises(ValueError, match="a text of 11 tokens is longer than the generator's 10"):
        generator()(torch.ones(2, 11, dtype=torch.int64), memory_BMD)
    with pytest.raises(ValueError, match="31 wide and the generator 32"):
        generator()(tokens_BL, memory_BMD[..., 1:])
    ours = generator()
    cache = ours.look_at(memory_BMD)
    ours.step(tokens_BL[:, :2], cache)
    with pytest.raises(ValueError, match="one token at a time, not 2"):
        ours.step(tokens_BL[:, 2:4], cache)


@pytest.mark.parametrize(
    "text, fusion, decoder, millions",
    [(12, 12, 12, 348.37), (6, 6, 12, 263.31)],
    ids=["paper_literal", "param_matched"],
)
def test_which_depths_the_paper_can_have_had(text, fusion, decoder, millions):
    """M2CG says 260 M (Section III.B): depths of 12 each are a third more, 6 + 6 + 12 within 2 %."""
    vocabulary, width = 21_128, 768
    with torch.device("meta"):
        config = transformers.BertConfig(vocab_size=vocabulary, num_hidden_layers=text)
        parts = nn.ModuleList([
            timm.create_model("resnet50", num_classes=0),
            transformers.BertModel(config, add_pooling_layer=False),
            FusionEncoder(2048, width, width, fusion, 12, 4 * width, grid=(7, 7)),
            Generator(vocabulary, width, decoder, 12, 4 * width, max_tokens=60, pad=0, start=101, end=102),
            nn.Sequential(nn.Linear(2048, 2048), nn.Linear(2048, 512)),
            nn.Sequential(nn.Linear(width, width), nn.Linear(width, 512)),
        ])  # fmt: skip
    counts = [sum(p.numel() for p in part.parameters()) / 1e6 for part in parts]
    assert sum(counts) == pytest.approx(millions, abs=0.01)
    layer = (
        sum(p.numel() for p in parts[2].layers[0].parameters()),
        sum(p.numel() for p in parts[3].layers[0].parameters()),
    )
    assert layer == (7_087_872, 9_451_776)  # BERT's layer, and one with cross-attention
