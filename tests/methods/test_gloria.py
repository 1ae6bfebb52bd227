"""GLoRIA's page: its loss text by text, several ranks, slices, who learns, and where words look."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dermis.batch.slices import slices
from dermis.batch.texts import ragged
from dermis.losses import gloria_global, gloria_local
from dermis.methods import methods
from dermis.methods.gloria import GLoRIA, GLoRIAConfig
from dermis.towers import Features
from dermis.towers.image import ImageTower, create_trunk, transform_of
from dermis.towers.text import small_text_tower
from dermis.towers.two_tower import TwoTower
from tests.methods.conftest import assert_two_ranks_are_one, tiny_two_tower

CAPTIONS = [
    "a mole",
    "melanoma on the back",
    "a mole",
    "basal cell carcinoma",
    "hyperkeratosis",
    "melanoma on the back",
]
SETTINGS = [{}, {"words": "pieces", "aggregate": "mean", "attention": 2.0, "matching": 3.0, "scale": 6.0, "chunk": 2}]


class Cells(nn.Module):
    """An image tower whose patches are the pixels of the picture."""

    dim = 7

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, self.dim)

    def features(self, image_BCHW: Tensor) -> Features:
        patch_BPD = torch.tanh(self.layer(image_BCHW.flatten(2).transpose(1, 2)))
        return Features(patch_BPD.mean(1), patch_BPD, (4, 4))


def build(image=None, **settings):
    torch.manual_seed(0)
    text = small_text_tower(width=8, layers=1, heads=2, context_length=12)
    return GLoRIA(TwoTower(image or Cells(), text, embed_dim=5), GLoRIAConfig(**settings)).double()


def make_batch(captions=CAPTIONS):
    generator = torch.Generator().manual_seed(1)
    texts = [[(0, text), *([(1, "disease")] if i % 2 else [])] for i, text in enumerate(captions)]
    pictures = torch.randn(len(captions), 1, 3, 4, 4, generator=generator, dtype=torch.float64)
    return {
        "row_B": torch.arange(len(captions)),
        "image_BVCHW": pictures,
        **ragged(texts, build().model.text.tokenizer),
    }


@pytest.fixture
def batch():
    return make_batch()


def words_by_hand(page, text):
    """The (E) vectors of one caption's words, found by decoding its tokens one after the other."""
    tower = page.model.text
    tokens = tower.tokenizer([text])[0]
    states = tower.encoder.ln_final(tower.token_states(torch.tensor(tokens), torch.tensor([0, len(tokens)])))
    words, left = [], []
    for token, state in zip(tokens[1:], states[1:], strict=True):
        left.append((tower.tokenizer.text([token]), state))
        # a word is complete when its pieces spell one of the caption's
        if page.config.words == "pieces" or "".join(said for said, _ in left) in [*text.split(), "<end_of_text>"]:
            words.append(sum(state for _, state in left))
            left = []
    assert not left
    return page.model.text_head(torch.stack(words))


@pytest.mark.parametrize("settings", SETTINGS)
def test_loss_is_that_of_the_towers_embeddings_text_by_text(settings, batch):
    page = build(**settings, local_weight=0.7, global_weight=1.5)
    pictures = batch["image_BVCHW"][:, 0]
    cells = page.model.image.features(pictures).patch_BPD
    regions = (cells @ page.region_head.weight[:, :, 0, 0].T).transpose(1, 2).reshape(6, 5, 4, 4)
    words = [words_by_hand(page, text) for text in CAPTIONS]
    texts = []
    for text in CAPTIONS:
        tokens = torch.tensor(page.model.text.tokenizer([text])[0])
        texts.append(page.encode_text(tokens, torch.tensor([0, len(tokens)])))
    padded = nn.utils.rnn.pad_sequence(words, batch_first=True).transpose(1, 2)
    lengths = torch.tensor([len(w) for w in words])
    temperatures = tuple(
        settings.get(name, value) for name, value in (("attention", 4), ("matching", 5), ("scale", 10))
    )
    local = gloria_local(
        regions, padded, lengths, temperatures=temperatures, aggregate=settings.get("aggregate", "sum")
    )
    wholes = gloria_global(page.encode_image(pictures), torch.cat(texts), 1 / temperatures[2])
    out = page(batch)
    torch.testing.assert_close(out["loss"], 1.5 * sum(wholes) + 0.7 * sum(local))
    torch.testing.assert_close(torch.stack([out["global"], out["local"]]), torch.stack([sum(wholes), sum(local)]))
    assert out["paired_cosine"].item() == pytest.approx(
        F.cosine_similarity(page.encode_image(pictures), torch.cat(texts)).mean().item()
    )
    assert [name for name, value in out.items() if value.requires_grad] == ["loss"]
    if settings.get("words") != "pieces":
        assert lengths.tolist() == [3, 5, 3, 4, 2, 5]


def test_everything_but_the_scale_learns(batch):
    page = build()
    page(batch)["loss"].backward()
    assert [name for name, p in page.named_parameters() if p.grad is None] == ["model.logit_scale"]
    assert page.model.logit_scale.exp().item() == pytest.approx(10)


@pytest.mark.parametrize("settings", SETTINGS)
def test_the_loss_of_concatenated_slices_is_the_whole_loss(settings, batch):
    page = build(**settings)
    parts = [page.embed(part) for part in slices(batch, 4)]
    together = {key: torch.cat([part[key] for part in parts]) for key in parts[0]}
    torch.testing.assert_close(page.loss(together, batch)["loss"], page(batch)["loss"], rtol=1e-12, atol=1e-12)


def test_the_order_of_occurrences_does_not_matter(batch):
    page = build()
    order = torch.randperm(len(batch["owner_T"]), generator=torch.Generator().manual_seed(2))
    shuffled = batch | {key: batch[key][order] for key in ("text_of_T", "owner_T", "kind_T")}
    torch.testing.assert_close(page(shuffled)["loss"], page(batch)["loss"])


def test_the_loss_is_computed_in_full_precision_under_autocast(batch):
    page = build().float()
    batch["image_BVCHW"] = batch["image_BVCHW"].float()
    with torch.autocast("cpu", torch.bfloat16):
        embeddings = page.embed(batch)
        loss = page.loss(embeddings, batch)["loss"]
    assert {x.dtype for x in embeddings.values()} == {torch.float32}
    exact = page.loss({key: x.double() for key, x in embeddings.items()}, batch)["loss"]
    torch.testing.assert_close(loss.double(), exact, rtol=1e-5, atol=0)


def test_twenty_steps_lower_the_loss():
    batch = make_batch([text for i, text in enumerate(CAPTIONS) if i not in (2, 5)])
    page = build()
    optimiser = torch.optim.Adam([p for p in page.parameters() if p.requires_grad], lr=0.02)
    losses = []
    for _ in range(21):
        found = page(batch)
        optimiser.zero_grad()
        found["loss"].backward()
        optimiser.step()
        losses.append((found["loss"].item(), found["global"].item(), found["local"].item()))
    assert all(last < 0.7 * first for first, last in zip(losses[0], losses[-1], strict=True))


def test_a_word_looks_where_the_loss_says(batch):
    page = build()
    picture = batch["image_BVCHW"][1, 0]
    maps = page.attention(picture, CAPTIONS[1])
    words = words_by_hand(page, CAPTIONS[1]).detach()
    regions = page.region_head(page.model.image.features(picture[None]).patch_BPD.transpose(1, 2).reshape(1, 7, 4, 4))[
        0
    ]
    over_words = torch.einsum("le,ehw->lhw", words, regions).softmax(0)
    torch.testing.assert_close(maps, (4 * over_words).flatten(1).softmax(1).reshape(5, 4, 4).detach())


def test_a_residual_network_gives_its_third_layer():
    trunk = create_trunk("resnet10t")
    page = build(ImageTower(trunk, transform_of(trunk)))
    batch = make_batch()
    batch["image_BVCHW"] = torch.randn(6, 1, 3, 64, 64, dtype=torch.float64)
    assert page.region_head.in_channels == 256
    assert page.embed(batch)["regions"].shape == (6, 5, 4, 4)
    page(batch)["loss"].backward()
    assert page.region_head.weight.grad.abs().sum() > 0
    assert trunk.layer4[0].downsample[1].weight.grad.abs().sum() > 0


def test_what_it_cannot_work_with_is_refused(batch):
    with pytest.raises(ValueError, match="needs the state of each token"):
        GLoRIA(tiny_two_tower(), GLoRIAConfig())
    with pytest.raises(ValueError, match="needs pictures, not stored embeddings"):
        build()(batch | {"stored_BD": batch.pop("image_BVCHW")})
    with pytest.raises(ValueError, match="matching must be above 0, not 0"):
        GLoRIAConfig(matching=0.0)
    with pytest.raises(ValueError, match="not both 0"):
        GLoRIAConfig(global_weight=0.0, local_weight=0.0)
    assert methods()["gloria"] is GLoRIA


def test_two_ranks_give_the_value_and_gradient_of_one(two_ranks):
    assert_two_ranks_are_one(two_ranks, build, make_batch, SETTINGS)
