"""Two streams that look at each other, against the same as loops over cases, tokens and heads."""

import math

import pytest
import torch
import torch.nn.functional as F

from dermis.towers.co_attention import CoAttention, MatchingHead, Streams

LENGTHS = [3, 5, 1]


def build(**settings):
    torch.manual_seed(0)
    fusion = CoAttention(7, 6, **{"width": 8, "layers": 3, "heads": 2, "dropout": 0.0} | settings).double()
    for parameter in fusion.parameters():  # far enough from 0 and 1 to show a mix-up
        parameter.data += 0.3 * torch.randn_like(parameter)
    return fusion


def pictures_and_texts():
    generator = torch.Generator().manual_seed(1)
    image = torch.randn(3, 4, 7, generator=generator, dtype=torch.float64)
    state = torch.randn(sum(LENGTHS), 6, generator=generator, dtype=torch.float64)
    return image, state, torch.tensor([0, *LENGTHS]).cumsum(0)


def attention_by_hand(part, x, seen, heads=2):
    """LayerNorm(x + attention), one token and one head at a time; ``x`` and ``seen`` are lists of vectors."""
    out = []
    for token in x:
        found = []
        for query, keys, values in zip(
            part.query(token).chunk(heads),
            zip(*(part.key(s).chunk(heads) for s in seen), strict=True),
            zip(*(part.value(s).chunk(heads) for s in seen), strict=True),
            strict=True,
        ):
            weights = torch.stack([torch.exp(query @ key / math.sqrt(len(query))) for key in keys])
            found.append(sum(w * value for w, value in zip(weights / weights.sum(), values, strict=True)))
        out.append(part.norm(token + part.out(torch.cat(found))))
    return out


def layer_by_hand(layer, x, other):
    x = attention_by_hand(layer.own, x, x)
    x = attention_by_hand(layer.cross, x, other)
    return [layer.feed.norm(token + layer.feed.narrow(F.gelu(layer.feed.wide(token)))) for token in x]


@pytest.mark.parametrize("layers", [1, 2, 3, None])
def test_both_streams_are_the_layers_as_loops_without_padding(layers):
    fusion, (image, state, offsets) = build(), pictures_and_texts()
    found = fusion(image, state, offsets, layers)
    assert found.real_BL.sum(1).tolist() == LENGTHS
    for case, picture in enumerate(image):
        x = [fusion.from_image(token) + fusion.modality.weight[0] for token in picture]
        y = [fusion.from_text(token) + fusion.modality.weight[1] for token in state[offsets[case] : offsets[case + 1]]]
        for k in range(layers or 3):
            x, y = layer_by_hand(fusion.image_layers[k], x, y), layer_by_hand(fusion.text_layers[k], y, x)
        torch.testing.assert_close(found.image_BPW[case], torch.stack(x), rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(found.text_BLW[case, : len(y)], torch.stack(y), rtol=1e-9, atol=1e-9)


def test_matching_reads_the_first_token_of_each_stream():
    torch.manual_seed(2)
    head, streams = (
        MatchingHead(8).double(),
        Streams(torch.randn(3, 4, 8).double(), torch.randn(3, 5, 8).double(), None),
    )
    first = torch.cat([head.of_image(streams.image_BPW[:, 0]), head.of_text(streams.text_BLW[:, 0])], 1)
    torch.testing.assert_close(head(streams), first @ head.logit.weight[0] + head.logit.bias[0])
    assert first.abs().max() < 1


def test_dropout_is_for_training_and_heads_divide_the_width():
    given = pictures_and_texts()
    fusion = build(dropout=0.5)
    assert not torch.equal(fusion(*given).image_BPW, fusion(*given).image_BPW)
    assert torch.equal(fusion.eval()(*given).image_BPW, build().eval()(*given).image_BPW)
    with pytest.raises(ValueError, match="3 does not divide 8"):
        build(heads=3)
