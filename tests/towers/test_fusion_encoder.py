"""The fusion encoder against torch's own layers, and what masks and positions promise."""

from itertools import pairwise

import pytest
import torch
from torch import nn

from dermis.towers.fusion_encoder import FusionEncoder

OFFSETS = torch.tensor([0, 3, 3, 8])  # three texts, the second empty


def encoder(**changes):
    settings = {"image_dim": 20, "text_dim": 16, "width": 16, "layers": 2, "heads": 4, "feedforward": 24}
    fusion = FusionEncoder(**settings | {"grid": (2, 3)} | changes).eval()
    for parameter in fusion.parameters():
        nn.init.normal_(parameter, std=0.3)
    return fusion


@pytest.fixture
def seen():
    return torch.randn(3, 6, 20), torch.randn(8, 16), OFFSETS


def torch_layer(layer):
    """torch's post-norm layer with the weights of ours."""
    theirs = nn.TransformerEncoderLayer(
        16, 4, 24, dropout=0.0, activation="relu", layer_norm_eps=1e-12, batch_first=True
    )
    own, feed = layer.own, layer.feed
    theirs.self_attn.in_proj_weight.data = torch.cat([own.query.weight, own.key.weight, own.value.weight])
    theirs.self_attn.in_proj_bias.data = torch.cat([own.query.bias, own.key.bias, own.value.bias])
    pairs = [(theirs.self_attn.out_proj, own.out), (theirs.norm1, own.norm), (theirs.linear1, feed.wide)]
    for to, source in [*pairs, (theirs.linear2, feed.narrow), (theirs.norm2, feed.norm)]:
        to.load_state_dict(source.state_dict())
    return theirs


def test_layers_equal_torchs(seen):
    fusion = encoder()
    x_BMD, mask_BM = encoder_without_layers(fusion)(*seen)
    for layer in fusion.layers:
        x_BMD = torch_layer(layer)(x_BMD, src_key_padding_mask=~mask_BM)
    ours = fusion(*seen)
    assert ours.mask_BM.equal(mask_BM)
    torch.testing.assert_close(ours.memory_BMD[mask_BM], x_BMD[mask_BM], rtol=1e-5, atol=1e-5)


def encoder_without_layers(fusion):
    unfused = encoder(layers=0)
    unfused.load_state_dict({k: v for k, v in fusion.state_dict().items() if not k.startswith("layers.")})
    return unfused


def test_unfused_tokens_stand_side_by_side(seen):
    """Row and column of each patch by loops; a token is only told its modality."""
    patch_BPD, state_ND, offsets_B1 = seen
    fusion = encoder(layers=0)
    memory_BMD, mask_BM = fusion(*seen)
    assert mask_BM.tolist() == [[True] * 6 + [i < n for i in range(5)] for n in (3, 0, 5)]
    for b in range(3):
        for row in range(2):
            for column in range(3):
                place = fusion.row.weight[row] + fusion.column.weight[column] + fusion.modality.weight[0]
                p = 3 * row + column
                torch.testing.assert_close(memory_BMD[b, p], fusion.from_image(patch_BPD[b, p]) + place)
        own_LD = state_ND[offsets_B1[b] : offsets_B1[b + 1]]
        torch.testing.assert_close(memory_BMD[b, 6 : 6 + len(own_LD)], own_LD + fusion.modality.weight[1])


def test_a_padded_text_equals_the_text_alone(seen):
    patch_BPD, state_ND, offsets_B1 = seen
    fusion = encoder()
    together = fusion(*seen)
    for b, (first, last) in enumerate(pairwise(offsets_B1.tolist())):
        alone = fusion(patch_BPD[b : b + 1], state_ND[first:last], torch.tensor([0, last - first]))
        torch.testing.assert_close(
            together.memory_BMD[b][together.mask_BM[b]], alone.memory_BMD[0], rtol=1e-5, atol=1e-6
        )
    without = fusion(patch_BPD[1:2])
    assert without.mask_BM.all()
    torch.testing.assert_close(together.memory_BMD[1, :6], without.memory_BMD[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("layers", [0, 2])
def test_a_text_that_is_not_visible_reaches_nobody_who_reads_the_memory(seen, layers):
    patch_BPD, state_ND, _ = seen
    state_ND.requires_grad_()
    fusion = encoder(layers=layers)
    memory_BMD, mask_BM = fusion(*seen, text_visible=False)
    assert mask_BM.tolist() == [[True] * 6 + [False] * 5] * 3
    (gradient_ND,) = torch.autograd.grad(memory_BMD[mask_BM].sum(), state_ND, allow_unused=True)
    assert gradient_ND is None or not gradient_ND.any()
    torch.testing.assert_close(memory_BMD[:, :6], fusion(patch_BPD).memory_BMD, rtol=1e-5, atol=1e-6)
    (gradient_ND,) = torch.autograd.grad(fusion(*seen).memory_BMD[:, :6].sum(), state_ND, allow_unused=True)
    assert (gradient_ND is not None and bool(gradient_ND.any())) == (layers > 0)


def test_tokens_of_another_width_are_projected(seen):
    patch_BPD, state_ND, offsets_B1 = seen
    fusion = encoder(text_dim=9, layers=0)
    memory_BMD, _ = fusion(patch_BPD, state_ND[:, :9], offsets_B1)
    torch.testing.assert_close(memory_BMD[0, 6], fusion.from_text(state_ND[0, :9]) + fusion.modality.weight[1])


def test_what_does_not_fit_is_refused(seen):
    patch_BPD, state_ND, offsets_B1 = seen
    with pytest.raises(ValueError, match="6 patches do not fill a grid of 2 x 2"):
        encoder(grid=(2, 2))(patch_BPD)
    with pytest.raises(ValueError, match="each picture needs one text"):
        encoder()(patch_BPD[:2], state_ND, offsets_B1)
    with pytest.raises(ValueError, match="unknown activation 'tanh'"):
        encoder(activation="tanh")
