"""M2CG's page: its three losses as loops in both readings, its modules' switches, ranks, slices; it learns to speak."""

import pytest
import torch
from torch import Tensor, nn

from dermis.batch.slices import slices
from dermis.batch.texts import ragged
from dermis.cases.columns import TEXT_KINDS
from dermis.methods import methods
from dermis.methods.m2cg import M2CG, M2CGConfig
from dermis.model import load, save
from dermis.towers import Features, Transform
from dermis.towers.build import ImageTowerConfig, TextTowerConfig, TwoTowerConfig, build_two_tower
from dermis.towers.text import small_text_tower
from dermis.towers.trained_text import trained_text_tower
from dermis.towers.trained_tokenizer import train_tokenizer
from dermis.towers.two_tower import TwoTower
from tests.methods.conftest import assert_two_ranks_are_one

DIALOGUES = [
    "doctor: what is it?\npatient: a mole on my back",
    "patient: it itches",
    "doctor: since when?\npatient: for 3 months, it has grown",
    "patient: it itches",
    "patient: a red patch",
    "patient: it bled",
]
COMPLAINTS = ["a mole on my back", "it itches", "a mole that has grown for 3 months", "an itch", "a patch", "it bled"]
TOKENIZER = train_tokenizer([*DIALOGUES, *COMPLAINTS], vocabulary=90)
SETTINGS = [
    {},
    {"denominator": "others", "second": "printed", "reduction": "sequence_sum", "weight": 0.3},
    {"text_visible": False, "fusion": False, "fusion_layers": None, "single_modal": 0.5, "multi_modal": 3.0},
    {"max_tokens": 6, "chunk": 2},
]


class Patches(nn.Module):
    """An image tower: one layer over the cells of the picture."""

    dim = 8
    transform = Transform((4, 4), (0.0,) * 3, (1.0,) * 3, "bicubic", 1.0)

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, self.dim)

    def features(self, image_BCHW: Tensor) -> Features:
        patch_BPD = torch.tanh(self.layer(image_BCHW.flatten(2).transpose(1, 2).to(self.layer.weight.dtype)))
        return Features(patch_BPD.mean(1), patch_BPD, (4, 4))


def build(**settings):
    torch.manual_seed(0)
    text = trained_text_tower(TOKENIZER, width=8, layers=1, heads=2, context_length=40)
    small = {"fusion_layers": 1, "decoder_layers": 2, "heads": 2, "dropout": 0.0}
    page = M2CG(TwoTower(Patches(), text, embed_dim=5, head="convirt"), M2CGConfig(**(small | settings)))
    for parameter in page.parameters():  # BERT's start is too near 0 to show a mix-up
        parameter.data += 0.2 * torch.randn_like(parameter)
    return page.double()


def make_batch(cases: int = 6):
    generator = torch.Generator().manual_seed(1)
    tokenizer = build().model.text.tokenizer
    texts = [[(TEXT_KINDS["dialogue"], DIALOGUES[i]), (TEXT_KINDS["complaint"], COMPLAINTS[i])] for i in range(cases)]
    pictures = torch.randn(cases, 2, 3, 4, 4, generator=generator, dtype=torch.float64)
    return {"row_B": torch.arange(cases), "image_BVCHW": pictures, **ragged(texts, tokenizer)}


@pytest.fixture
def batch():
    return make_batch()


def cosine(a, b):
    return (a @ b) / (a.norm() * b.norm())


def by_hand(page, batch):
    """Equations (4), (6) and (9), one case after the other, each text alone."""
    config, model, cases = page.config, page.model, len(batch["row_B"])
    views, texts, said = [], [], []
    for i in range(cases):
        seen = [model.image.features(batch["image_BVCHW"][i, k][None]) for k in range(2)]
        views.append([model.image_head(s.pooled_BD[0]) for s in seen])
        tokens = torch.tensor(model.text.tokenizer([DIALOGUES[i]])[0])
        state = model.text.token_states(tokens, torch.tensor([0, len(tokens)]))
        texts.append(model.text_head(state.mean(0)))
        told = (state, torch.tensor([0, len(tokens)])) if config.text_visible else ()
        memory = model.generator.look(seen[0].patch_BPD, *told)
        complaint = model.text.tokenizer([COMPLAINTS[i]])[0]
        if len(complaint) > config.max_tokens:
            complaint = [*complaint[: config.max_tokens - 1], model.text.tokenizer.end]
        log_p = model.generator.generator(torch.tensor([complaint]), *memory).log_softmax(-1)[0]
        said.append([log_p[place, token] for place, token in enumerate(complaint[1:])])

    single = 0.0
    for i in range(cases):
        for k in range(2):
            among = [
                views[j][m]
                for j in range(cases)
                for m in range(2)
                if j != i or (m != k and config.denominator == "all")
            ]
            total = sum(torch.exp(cosine(views[i][k], z) / 0.1) for z in among)
            single = single - torch.log(torch.exp(cosine(*views[i]) / 0.1) / total) / (2 * cases)
    multi = 0.0
    for i in range(cases):
        for k in range(2):
            paired = cosine(views[i][k], texts[i])
            unit = [z / z.norm() for z in views[i]]
            second = paired if config.second == "views" else cosine(unit[0] + unit[1], texts[i])
            to_text = sum(torch.exp(cosine(views[i][k], u) / 0.1) for u in texts)
            to_view = sum(torch.exp(cosine(views[j][k], texts[i]) / 0.1) for j in range(cases))
            share = config.weight * (paired / 0.1 - to_text.log()) + (1 - config.weight) * (
                second / 0.1 - to_view.log()
            )
            multi = multi - share / (2 * cases)
    counted = sum(map(len, said)) if config.reduction == "token" else cases
    generation = -sum(sum(case) for case in said) / counted
    return single, multi, generation


@pytest.mark.parametrize("settings", SETTINGS)
def test_losses_are_the_equations_as_loops(settings, batch):
    page = build(**settings)
    out, expected = page(batch), by_hand(page, batch)
    for name, value in zip(("single_modal", "multi_modal", "generation"), expected, strict=True):
        torch.testing.assert_close(out[name], value.detach(), rtol=0, atol=1e-9)
    weights = [getattr(page.config, name) for name in ("single_modal", "multi_modal", "generation")]
    whole = sum(weight * value for weight, value in zip(weights, expected, strict=True))
    torch.testing.assert_close(out["loss"], whole, rtol=0, atol=1e-9)
    learnt = [p for p in page.parameters() if p.requires_grad]
    for own, loops in zip(
        torch.autograd.grad(out["loss"], learnt, allow_unused=True),
        torch.autograd.grad(whole, learnt, allow_unused=True),
        strict=True,
    ):
        assert (own is None) == (loops is None)
        if own is not None:
            torch.testing.assert_close(own, loops, rtol=0, atol=1e-8)


def test_the_papers_weights_are_the_default():
    config = M2CGConfig()
    assert (config.single_modal, config.multi_modal, config.generation, config.weight) == (2, 1, 1, 0.75)
    assert (config.single_temperature, config.multi_temperature, config.max_tokens) == (0.1, 0.1, 60)


def test_a_module_left_out_leaves_its_term_and_its_weights_out(batch):
    none = {"fusion_layers": None, "decoder_layers": None, "heads": None}
    whole = set(build()(batch))
    for name in ("single_modal", "multi_modal", "generation"):
        page = build(**{name: 0.0}, **(none if name == "generation" else {}))
        out = page(batch)
        assert whole - set(out) == {name}
        out["loss"].backward()
        idle = {n for n, p in page.named_parameters() if p.grad is None and p.requires_grad}
        assert idle == ({"model.text_head." + n for n in ("0.weight", "0.bias", "2.weight", "2.bias")}
                        if name == "multi_modal" else set())  # fmt: skip
    assert page.model.generator is None
    alone = build(single_modal=0.0, multi_modal=0.0)(batch)
    assert set(alone) == {"loss", "generation"}
    torch.testing.assert_close(alone["loss"], build()(batch)["generation"])
    assert len(build(fusion=False, fusion_layers=None).model.generator.fusion.layers) == 0


def test_the_generator_that_shall_not_read_does_not(batch):
    swapped = batch | {"text_of_T": batch["text_of_T"].clone()}
    is_dialogue = swapped["kind_T"] == TEXT_KINDS["dialogue"]
    swapped["text_of_T"][is_dialogue] = swapped["text_of_T"][is_dialogue].flip(0)
    blind, seeing = build(text_visible=False), build()
    assert torch.equal(blind.embed(swapped)["missed"], blind.embed(batch)["missed"])
    assert not torch.allclose(seeing.embed(swapped)["missed"], seeing.embed(batch)["missed"])


@pytest.mark.parametrize("settings", SETTINGS)
def test_the_loss_of_concatenated_slices_is_the_whole_loss(settings, batch):
    page = build(**settings)
    parts = [page.embed(part) for part in slices(batch, 4)]
    together = {key: torch.cat([part[key] for part in parts]) for key in parts[0]}
    torch.testing.assert_close(page.loss(together, batch)["loss"], page(batch)["loss"], rtol=1e-12, atol=1e-12)


def test_a_picture_tower_of_few_pixels_a_bert_and_twenty_steps(tmp_path):
    """A tiny twin of the paper's sizes: ResNet, BERT-like tower, heads, fusion, generator; saved, loaded, speaking."""
    (tmp_path / "tokenizer.json").write_text(TOKENIZER)
    text = TextTowerConfig(name="trained", width=32, layers=2, heads=2, tokenizer=str(tmp_path / "tokenizer.json"))
    image = ImageTowerConfig(name="resnet10t", size=64)
    model = build_two_tower(TwoTowerConfig(image=image, text=text, embed_dim=16, head="convirt"))
    page = M2CG(model, M2CGConfig(fusion_layers=1, decoder_layers=2, dropout=0.0)).train()
    batch = make_batch()
    batch["image_BVCHW"] = torch.randn(6, 2, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    optimiser = torch.optim.AdamW([p for p in page.parameters() if p.requires_grad], lr=3e-3)
    found = []
    for _ in range(20):
        out = page(batch)
        optimiser.zero_grad()
        out["loss"].backward()
        optimiser.step()
        found.append({name: value.item() for name, value in out.items()})
    assert all(found[-1][name] < 0.7 * found[0][name] for name in ("loss", "multi_modal", "generation"))

    save(tmp_path / "model", page.model)
    again = load(tmp_path / "model")
    pictures = batch["image_BVCHW"][:, 0]
    page.eval()
    for dialogues in (None, DIALOGUES, [*DIALOGUES[:2], None, *DIALOGUES[3:]]):
        ours = page.model.generate(pictures, dialogues, strategy="greedy", max_tokens=12)
        assert again.generate(pictures, dialogues, strategy="greedy", max_tokens=12) == ours
        assert len(ours) == 6
        assert not any("[" in text for text in ours)
    alone = again.generate(pictures[2:3], strategy="greedy", max_tokens=12)
    assert alone[0] == ours[2], "a case without a dialogue says what it says by itself"
    alone = again.generate(pictures[4:5], DIALOGUES[4:5], strategy="greedy", max_tokens=12)
    assert alone[0] == ours[4], "nor do its neighbours' dialogues matter"


def test_what_it_cannot_work_with_is_refused(batch):
    with pytest.raises(ValueError, match="needs a text tower like BERT"):
        M2CG(TwoTower(Patches(), small_text_tower(8, 1, 2, 12), embed_dim=5), M2CGConfig())
    with pytest.raises(ValueError, match="needs pictures, not stored embeddings"):
        build()({k: v for k, v in batch.items() if k != "image_BVCHW"} | {"stored_BD": torch.zeros(6, 8)})
    with pytest.raises(ValueError, match="fusion, text_visible has no effect with generation 0"):
        M2CGConfig(generation=0, fusion=False, text_visible=False)
    with pytest.raises(ValueError, match="fusion_layers has no effect with fusion off"):
        M2CGConfig(fusion=False, fusion_layers=2)
    with pytest.raises(ValueError, match="one at least above 0"):
        M2CGConfig(generation=0, single_modal=0, multi_modal=0)
    with pytest.raises(ValueError, match="single_temperature must be above 0, not 0"):
        M2CGConfig(single_temperature=0)
    for settings, sentence in (
        ({"fusion_layers": 0}, "fusion_layers must be at least 1, not 0"),
        ({"decoder_layers": 0}, "decoder_layers must be at least 1, not 0"),
        ({"heads": 0}, "heads must be at least 1, not 0"),
        ({"generation": 0, "layers": "paper_literal"}, "layers has no effect with generation 0"),
        ({"single_modal": 0, "denominator": "others"}, "denominator has no effect with single_modal 0"),
        ({"multi_modal": 0, "weight": 0.5, "second": "printed"}, "weight, second has no effect with multi_modal 0"),
    ):
        with pytest.raises(ValueError, match=sentence):
            M2CGConfig(**settings)
    with pytest.raises(ValueError, match="a share, 0 to 1, not 2"):
        M2CGConfig(weight=2)
    blind = build(text_visible=False).model
    with pytest.raises(ValueError, match="sees pictures only: leave the dialogues out"):
        blind.generate(batch["image_BVCHW"][:, 0], DIALOGUES)
    with pytest.raises(ValueError, match="one dialogue, or None; 2 for 6"):
        build().model.generate(batch["image_BVCHW"][:, 0], DIALOGUES[:2])
    with pytest.raises(ValueError, match="says no texts"):
        TwoTower(Patches(), small_text_tower(8, 1, 2, 12), embed_dim=5).generate(batch["image_BVCHW"][:, 0])
    assert methods()["m2cg"] is M2CG


def test_two_ranks_give_the_value_and_gradient_of_one(two_ranks):
    assert_two_ranks_are_one(two_ranks, build, make_batch, SETTINGS)


def test_towers_and_generator_start_from_one_bert(tmp_path):
    """The paper's way: the text tower is a BERT's first layers, the generator starts from all of them."""
    transformers = pytest.importorskip("transformers")
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyz:?'", *map(str, range(10))]
    tokens += [f"##{letter}" for letter in "abcdefghijklmnopqrstuvwxyz"]
    (tmp_path / "vocab.txt").write_text("\n".join(tokens))
    transformers.BertTokenizerFast(vocab=str(tmp_path / "vocab.txt")).save_pretrained(tmp_path)
    config = transformers.BertConfig(
        vocab_size=len(tokens), hidden_size=16, num_hidden_layers=3, num_attention_heads=2, intermediate_size=64
    )
    bert = transformers.BertModel(config)
    bert.save_pretrained(tmp_path)
    text = TextTowerConfig(name=f"hf:{tmp_path}", layers=1)
    image = ImageTowerConfig(name="resnet10t", size=32)
    model = build_two_tower(TwoTowerConfig(image=image, text=text, embed_dim=8, head="convirt"))
    settings = {"fusion_layers": 1, "decoder_layers": 3, "heads": 2, "generator_weights": f"local-dir:{tmp_path}"}
    page = M2CG(model, M2CGConfig(**settings))
    layers = page.model.generator.generator.layers
    assert len(page.model.text.encoder.encoder.layer) == 1
    for ours, theirs in zip(layers, bert.encoder.layer, strict=True):
        assert torch.equal(ours.own.query.weight, theirs.attention.self.query.weight)
    assert isinstance(layers[0].feed.activation, nn.GELU)
    texts = [[(TEXT_KINDS["dialogue"], "it itches"), (TEXT_KINDS["complaint"], "an itch")]] * 2
    pictures = torch.randn(2, 2, 3, 32, 32)
    out = page({"row_B": torch.arange(2), "image_BVCHW": pictures, **ragged(texts, model.text.tokenizer)})
    out["loss"].backward()
    again = load(save(tmp_path / "model", page.model))
    page.eval()
    said = page.model.generate(pictures[:, 0], ["it itches", None], strategy="greedy", max_tokens=6)
    assert again.generate(pictures[:, 0], ["it itches", None], strategy="greedy", max_tokens=6) == said
