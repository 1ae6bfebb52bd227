"""MAKE's page: its loss is that of the equations on the towers' embeddings; on two ranks and slice by slice as well."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dermis.batch.slices import slices
from dermis.batch.texts import ragged
from dermis.losses import multi_aspect, multi_aspect_released
from dermis.methods.make import MAKE, MAKEConfig
from dermis.towers import Features
from dermis.towers.two_tower import TwoTower
from tests.methods.conftest import Letters

TEXTS = [
    [(0, "a mole on the back"), (1, "melanocytic, nevus"), (2, "brown"), (3, "a mole"), (3, "on the back")],
    [(1, "melanocytic, melanoma"), (3, "it grew"), (3, "it bled"), (3, "it hurt")],
    [(0, "a mole"), (1, "melanocytic, nevus"), (3, "one"), (4, "How long have you had it?")],
    [(0, "red patch"), (2, "red"), (3, "red"), (3, "scaly")],
    [(0, "nothing else")],
    [(3, "it grew"), (1, "vascular, angioma"), (0, "red papule")],
]
KNOWLEDGE_SET = {"num_sentences": 0, "lambda_s": 0, "weights": "none"}
ROWS = [KNOWLEDGE_SET, {"lambda_s": 0, "weights": "none"}, {"weights": "none"}, {}]
DIAGNOSES = ["nevus", "melanoma", "nevus", None, "psoriasis", "angioma"]


class Quarters(nn.Module):
    """An image tower: a layer over each quarter of the picture; the picture is the mean of its patches."""

    dim = 7

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3 * 2 * 2, self.dim)

    def features(self, image_BCHW: Tensor) -> Features:
        quarters = F.unfold(image_BCHW, 2, stride=2).transpose(1, 2)
        patch_BPD = torch.tanh(self.layer(quarters))
        return Features(patch_BPD.mean(1), patch_BPD, (2, 2))


def tokens_of(strings):
    return [[ord(letter) for letter in string + "."] for string in strings]


def build(**settings):
    torch.manual_seed(0)
    letters = Letters()
    letters.tokenizer = tokens_of
    return MAKE(TwoTower(Quarters(), letters, embed_dim=5, logit_scale_init=9.0).double(), MAKEConfig(**settings))


def make_batch(texts=TEXTS):
    generator = torch.Generator().manual_seed(1)
    return {
        "row_B": torch.arange(len(texts)),
        "label_B": torch.tensor([0, 1, 0, -1, 2, 3]),
        "image_BVCHW": torch.randn(len(texts), 1, 3, 4, 4, generator=generator, dtype=torch.float64),
        **ragged(texts, tokens_of),
    }


@pytest.fixture
def batch():
    return make_batch()


def embedded(page, batch, num_sentences):
    """Each wanted text encoded by itself: nothing shared, nothing ragged; pictures and patches by the towers alone."""
    u = page.encode_image(batch["image_BVCHW"][:, 0], normalize=True)
    patch = page.model.encode_patches(batch["image_BVCHW"][:, 0])
    rows = []
    for owner, texts in enumerate(TEXTS):
        for kind in range(4):
            own = [text for k, text in texts if k == kind][: num_sentences if kind == 3 else None]
            rows += [(owner, kind, text) for text in own]
    ids = [tokens_of([text])[0] for _, _, text in rows]
    v = torch.cat([page.encode_text(torch.tensor(i), torch.tensor([0, len(i)]), normalize=True) for i in ids])
    strings = [text for _, _, text in rows]
    owner, kind, string = torch.tensor([(o, k, strings.index(t)) for o, k, t in rows]).unbind(1)
    return u, v, patch, owner, kind, string


@pytest.mark.parametrize(
    "settings",
    [*ROWS, {"num_sentences": 1, "weights": "exp", "weigh": ["i2t"]}, {"siblings": "negatives", "chunk": 2},
     {"i2t": "images"}, {"duplicates": "negatives", "lambda_s": 2.0}],
    ids=str,
)  # fmt: skip
def test_loss_is_that_of_the_equations(batch, settings):
    page = build(**settings)
    config = page.config
    u, v, patch, owner, kind, string = embedded(page, batch, config.num_sentences)
    expected = multi_aspect(
        u, v, patch, owner, kind, page.model.logit_scale.exp(),
        distinct_T=string if config.duplicates == "shared" else None, lambda_s=config.lambda_s, i2t=config.i2t,
        siblings=config.siblings, weights=config.weights, weigh=config.weigh,
    )  # fmt: skip
    out = page(batch)
    for name in ("i2t", "t2i", "mkcl", "loss", *(["slra"] if config.lambda_s else [])):
        torch.testing.assert_close(out[name], expected[name], rtol=1e-12, atol=1e-12)
    assert ("slra" in out) == bool(config.lambda_s)
    assert [key for key, value in out.items() if value.requires_grad] == ["loss"]


def test_the_rows_of_the_ablation_differ(batch):
    losses = [build(**settings)(batch)["loss"].item() for settings in ROWS]
    assert len({round(loss, 6) for loss in losses}) == len(ROWS)


@pytest.mark.parametrize("settings", [{}, {"weights": "none", "lambda_s": 0.3}, {"num_sentences": 2}], ids=str)
def test_as_released_is_the_release_on_a_grid_with_empty_texts(batch, settings):
    page = build(as_released=True, **settings)
    sentences = page.config.num_sentences
    u = page.encode_image(batch["image_BVCHW"][:, 0], normalize=True)
    grid, mask = [], torch.zeros(len(TEXTS), 3 + sentences)
    for owner, texts in enumerate(TEXTS):
        by_kind = {kind: [t for k, t in texts if k == kind] for kind in range(4)}
        cells = [*(by_kind[kind][0] if by_kind[kind] else "" for kind in range(3)), *by_kind[3][:sentences]]
        cells += [""] * (3 + sentences - len(cells))
        mask[owner] = torch.tensor([float(bool(cell)) for cell in cells])
        ids = tokens_of(cells)
        grid.append(torch.cat([page.encode_text(torch.tensor(i), torch.tensor([0, len(i)]), True) for i in ids]))
    expected = multi_aspect_released(
        u, torch.stack(grid), page.model.encode_patches(batch["image_BVCHW"][:, 0]), mask,
        page.model.logit_scale.exp(), lambda_s=page.config.lambda_s, weights=page.config.weights != "none",
    )  # fmt: skip
    out = page(batch)
    for name, value in expected.items():
        torch.testing.assert_close(out[name], value, rtol=1e-12, atol=1e-12)


def test_only_wanted_strings_are_encoded_and_each_once(batch):
    page = build(num_sentences=1)
    page(batch)
    texts = {t for case in TEXTS for k, t in case if k < 3} | {"a mole", "it grew", "one", "red"}
    assert page.model.text.encoded == len(texts)


def test_texts_that_it_reads_follow_the_settings():
    assert MAKE.texts_of(build().config) == ("caption", "disease_text", "concept_text", "sentences")
    assert MAKE.texts_of(build(**KNOWLEDGE_SET).config) == ("caption", "disease_text", "concept_text")


SETTINGS = [*ROWS, {"chunk": 2, "siblings": "soft", "duplicates": "negatives"}, {"ontology": "default"}]


def with_ontology_steps(page):
    page.start_training(10, 6)
    page.after_step(3)
    return page


@pytest.mark.parametrize("settings", [*SETTINGS, {"as_released": True}], ids=str)
def test_the_loss_of_concatenated_slices_is_the_whole_loss(settings, batch):
    page = build(**settings)
    whole = page(batch)["loss"]
    parts = [page.embed(part) for part in slices(batch, 4)]
    together = {key: torch.cat([part[key] for part in parts]) for key in parts[0]}
    torch.testing.assert_close(page.loss(together, batch)["loss"], whole, rtol=1e-12, atol=1e-12)


def test_the_order_of_occurrences_does_not_matter_beyond_that_of_sentences(batch):
    whole = build()(batch)["loss"]
    order = torch.argsort(-batch["kind_T"] * 10 - batch["owner_T"], stable=True)
    shuffled = batch | {key: batch[key][order] for key in ("text_of_T", "owner_T", "kind_T")}
    torch.testing.assert_close(build()(shuffled)["loss"], whole)


def test_soft_labels_fade_over_the_training(batch):
    page = build(ontology="default")
    labels = page.labels(DIAGNOSES)
    assert labels[0] == labels[2] != labels[1]
    assert labels[3] == -1
    batch["label_B"] = torch.tensor(labels)
    page.start_training(10, 6)
    course = []
    for step in (-1, 4, 9):
        page.after_step(step)
        course.append(page(batch)["ontology"].item())
    plain = build()(batch)["loss"].item()
    assert len(set(course)) == 3
    assert page(batch)["loss"].item() == pytest.approx(plain + course[-1])
    assert "ontology.done" in page.state_dict()
    with pytest.raises(ValueError, match="knows none of the training cases' diagnoses"):
        page.labels(["lesion 17", None])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_sentences": 0}, "without sentences"),
        ({"lambda_s": -1.0}, "0 or more"),
        ({"weigh": ["i2i"]}, "term to weigh"),
        ({"weights": "none", "weigh": ["i2t"]}, "weigh has no effect with weights: none"),
        ({"as_released": True, "siblings": "soft"}, "siblings has no effect with as_released"),
        ({"as_released": True, "chunk": 8}, "chunk has no effect with as_released"),
        ({"as_released": True, "weights": "exp"}, "weighs as the release does"),
        ({"i2t": "images", "siblings": "soft"}, "has no effect with i2t: images"),
        ({"ontology_beta": 0.2}, "ontology_beta has no effect with ontology: null"),
        ({"ontology": "default", "ontology_beta": 2.0}, "share"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        MAKEConfig(**settings)


@pytest.mark.parametrize(
    ("settings", "start", "after"),
    [
        ({}, -1.0, -1.0),
        ({"as_released": True}, -1.0, 0.0),
        ({"as_released": True}, 9.0, math.log(100)),
        ({"max_logit_scale": 20.0}, 9.0, math.log(20)),
        ({"learn_scale": False}, 9.0, 9.0),
    ],
)
def test_the_scale_stays_in_its_range(settings, start, after):
    page = build(**settings)
    with torch.no_grad():
        page.model.logit_scale.fill_(start)
    page.after_step(0)
    assert page.model.logit_scale.item() == pytest.approx(after)


@pytest.mark.parametrize("settings", [{}, {"as_released": True}, {"chunk": 2}], ids=str)
def test_the_loss_is_computed_in_full_precision_under_autocast(batch, settings):
    page = build(**settings).float()
    batch["image_BVCHW"] = batch["image_BVCHW"].float()
    with torch.autocast("cpu", torch.bfloat16):
        embeddings = page.embed(batch)
        loss = page.loss(embeddings, batch)["loss"]
    assert all(x.dtype == torch.float32 for x in (*embeddings.values(), loss))
    exact = page.double().loss({key: x.double() for key, x in embeddings.items()}, batch)["loss"]
    torch.testing.assert_close(loss.double(), exact, rtol=1e-5, atol=0)


def test_stored_embeddings_have_no_patches(batch):
    page = build()
    page.model.image.requires_grad_(False)
    features = page.model.image.features(batch["image_BVCHW"][:, 0]).pooled_BD
    stored = {key: value for key, value in batch.items() if key != "image_BVCHW"} | {"stored_BD": features}
    with pytest.raises(ValueError, match="needs pictures, not stored embeddings"):
        page(stored)
    no_patches = build(lambda_s=0)
    no_patches.model.image.requires_grad_(False)
    torch.testing.assert_close(no_patches(stored)["loss"], no_patches(batch)["loss"])


def gradients(page):
    return {key: p.grad.clone() for key, p in page.named_parameters()}


def _worker(number):
    found = {}
    for settings in SETTINGS:
        page = with_ontology_steps(build(**settings))
        loss = page(list(slices(make_batch(), 2))[number])["loss"]
        loss.backward()
        found[str(settings)] = {"loss": loss.detach(), **gradients(page)}
    return found


def test_two_ranks_give_the_value_and_gradient_of_one(two_ranks, batch):
    ranks = two_ranks(_worker)
    for settings in SETTINGS:
        page = with_ontology_steps(build(**settings))
        loss = page(batch)["loss"]
        loss.backward()
        for key, expected in {"loss": loss.detach(), **gradients(page)}.items():
            mean = sum(r[str(settings)][key] for r in ranks) / 2
            torch.testing.assert_close(mean, expected, rtol=1e-10, atol=1e-12, msg=lambda m, k=key: f"{k}: {m}")
