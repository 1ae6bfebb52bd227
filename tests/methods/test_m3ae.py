"""M3AE's page: its losses case by case, what is hidden stays hidden, ranks, slices, resuming, the paper's size."""

from dataclasses import replace

import pytest
import torch

from dermis.batch.slices import slices
from dermis.batch.texts import ragged
from dermis.cases.synthetic import make_cases
from dermis.experiment import read_experiment
from dermis.methods import methods
from dermis.methods.m3ae import M3AE, Drawn, M3AEConfig, draw_shown
from dermis.recipes import find_recipe
from dermis.run import build_method, with_tokenizer
from dermis.towers.image import ImageTower, create_trunk, transform_of
from dermis.towers.text import small_text_tower
from dermis.towers.trained_text import TrainedTextTower, trained_text_tower
from dermis.towers.trained_tokenizer import train_tokenizer
from dermis.towers.two_tower import TwoTower
from dermis.towers.visible_patches import masked_of, visible_tokens
from dermis.training.accumulate import backward
from dermis.training.loop import train
from dermis.training_data import batches_of, cases_of, texts_read, texts_said, training_cases

CAPTIONS = [
    "a mole", "melanoma on the back", "a mole", "basal cell carcinoma of the nose",
    "hyperkeratosis", "melanoma on the back", "an itchy red plaque", "scar",
]  # fmt: skip
SMALL = {"width": 16, "layers": 2, "heads": 2, "pixel_layer": 1, "dropout": 0.0, "mask_words": 0.4}
DECODER = {"decoder_width": 16, "decoder_layers": 1, "decoder_heads": 2}


def image_tower(**settings):
    import timm  # after dermis, which makes it importable in the processes of two ranks too

    tiny = {"img_size": 16, "patch_size": 4, "embed_dim": 24, "depth": 2, "num_heads": 2}
    trunk = timm.create_model("test_vit", num_classes=0, **tiny | settings)
    return ImageTower(trunk, transform_of(trunk))


def two_tower(image=None, text=None, head="linear"):
    torch.manual_seed(0)
    text = text or trained_text_tower(train_tokenizer(CAPTIONS, vocabulary=60), 12, layers=1, heads=2)
    return TwoTower(image or image_tower(), text, embed_dim=5, head=head)


def build(model=None, **settings):
    page = M3AE(model or two_tower(), M3AEConfig(**SMALL | DECODER | settings)).double()
    torch.manual_seed(1)
    for parameter in page.parameters():  # far enough from 0 and 1 to show a mix-up
        parameter.data += 0.1 * torch.randn_like(parameter)
    return page


def make_batch():
    generator = torch.Generator().manual_seed(1)
    texts = [[(0, text), *([(1, "disease")] if i % 2 else [])] for i, text in enumerate(CAPTIONS)]
    pictures = torch.randn(len(CAPTIONS), 1, 3, 16, 16, generator=generator, dtype=torch.float64)
    return {
        "row_B": torch.arange(len(CAPTIONS)),
        "image_BVCHW": pictures,
        **ragged(texts, two_tower().text.tokenizer),
    }


@pytest.fixture
def batch():
    return make_batch()


def drawn_by_row(page, batch):
    """Draws that depend on the row alone, however the batch is cut into even parts: pictures are swapped in twos."""
    told, hidden, visible = [], [], []
    for part in slices(batch, len(batch["row_B"])):
        torch.manual_seed(30 + int(part["row_B"]))
        caption = part["tokens"][slice(*part["offsets_S1"][part["text_of_T"][part["kind_T"] == 0] + torch.arange(2)])]
        told_n, hidden_n = page.mask_words(caption, torch.tensor([0, len(caption)]))
        told.append(told_n)
        hidden.append(hidden_n)
        visible.append(torch.rand(16).argsort()[:4].sort().values)
    row = batch["row_B"]
    shown = torch.where(row % 4 < 2, row ^ 1, row) - row[0]
    return Drawn(torch.cat(told), torch.cat(hidden), torch.stack(visible), shown)


def value_and_gradients(page, out):
    return {"loss": out["loss"].detach(), **{n: p.grad for n, p in page.named_parameters() if p.grad is not None}}


def text_states(page, ids):
    return page.model.text.token_states(ids, torch.tensor([0, len(ids)]))


def image_states(page, picture, visible):
    return visible_tokens(page.model.image.trunk, picture[None], torch.as_tensor(visible)[None])


@pytest.mark.parametrize("weights", [(1, 1, 1), (0.5, 2, 0.25)])
def test_the_losses_are_the_equations_case_by_case(batch, weights):
    page = build(**dict(zip(("words_weight", "pixels_weight", "matching_weight"), weights, strict=True)))
    drawn, told = drawn_by_row(page, batch), 0
    words, hidden_tokens, pixels, matching = 0.0, 0, 0.0, 0.0
    vectors = page.model.text.token_embedding.weight
    for case, caption in enumerate(CAPTIONS):
        ids = torch.tensor(page.model.text.tokenizer([caption])[0])
        bounds, own = torch.tensor([0, len(ids)]), slice(told, told + len(ids))
        told += len(ids)
        picture = batch["image_BVCHW"][case, 0]

        streams = page.fusion(image_states(page, picture, range(16)), text_states(page, drawn.told_N[own]), bounds)
        for place in range(len(ids)):
            if drawn.hidden_N[own][place]:
                state = page.say_word.layer(streams.text_BLW[0, place])
                scores = torch.stack([state @ vector for vector in vectors]) + page.say_word.bias_V
                words = words - torch.log(scores[ids[place]].exp() / scores.exp().sum())
                hidden_tokens += 1

        visible = drawn.visible_BK[case].tolist()
        streams = page.fusion(image_states(page, picture, visible), text_states(page, ids), bounds, 1)
        said = page.say_pixels(streams.image_BPW, drawn.visible_BK[case][None], (4, 4))[0]
        for patch in set(range(16)) - set(visible):
            row, column = 4 * (patch // 4), 4 * (patch % 4)
            target = picture[:, row : row + 4, column : column + 4].permute(1, 2, 0).flatten()
            target = (target - target.mean()) / (target.var() + 1e-6).sqrt()
            pixels = pixels + sum((s - t) ** 2 for s, t in zip(said[patch], target, strict=True)) / 48 / 12 / 8

        shown = int(drawn.shown_B[case])
        beside = image_states(page, batch["image_BVCHW"][shown, 0], range(16))
        p = torch.sigmoid(page.match(page.fusion(beside, text_states(page, ids), bounds))[0])
        matching = matching - torch.log(p if shown == case else 1 - p) / 8
    out = page.loss(page.errors(batch, drawn), batch)
    words = words / hidden_tokens
    assert hidden_tokens > 8
    assert 0 < (drawn.shown_B != torch.arange(8)).sum() < 8
    for name, expected in {"words": words, "pixels": pixels, "matching": matching}.items():
        torch.testing.assert_close(out[name], expected.detach(), rtol=1e-9, atol=1e-12, msg=name)
    expected = weights[0] * words + weights[1] * pixels + weights[2] * matching
    torch.testing.assert_close(out["loss"], expected, rtol=1e-9, atol=1e-12)
    assert [key for key, value in out.items() if value.requires_grad] == ["loss"]
    learnt = [p for p in page.parameters() if p.requires_grad]
    for ours, theirs in zip(*(torch.autograd.grad(x, learnt) for x in (out["loss"], expected)), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-10)


def said(page, batch, drawn):
    """What the heads say in the three passes."""
    heads, found = {"words": page.say_word, "pixels": page.say_pixels, "matching": page.match}, {}
    hooks = [
        head.register_forward_hook(lambda _, __, out, name=name: found.update({name: out}))
        for name, head in heads.items()
    ]
    with torch.no_grad():
        page.errors(batch, drawn)
    for hook in hooks:
        hook.remove()
    return found


def test_what_is_hidden_is_not_seen_and_what_is_seen_matters(batch):
    page = build().eval()
    drawn = drawn_by_row(page, batch)
    before = said(page, batch, drawn)

    pixels_BP = masked_of(drawn.visible_BK, 16).view(8, 1, 1, 4, 4).repeat_interleave(4, 3).repeat_interleave(4, 4)
    other = torch.randn_like(batch["image_BVCHW"])
    after = said(page, batch | {"image_BVCHW": torch.where(pixels_BP, other, batch["image_BVCHW"])}, drawn)
    assert torch.equal(after["pixels"], before["pixels"])
    assert not torch.isclose(after["words"], before["words"]).all(1).any()  # that pass sees the whole picture
    after = said(page, batch | {"image_BVCHW": torch.where(pixels_BP, batch["image_BVCHW"], other)}, drawn)
    assert not torch.isclose(after["pixels"], before["pixels"]).all(2).any()

    # other words where some were hidden: the captions' own tokens change, what is told in their place does not
    tokens, offsets = batch["tokens"].clone(), batch["offsets_S1"]
    first, last = offsets[1], offsets[2]  # "melanoma on the back", cases 1 and 5
    tokens[first + 1 : last - 1] = tokens[first + 1 : last - 1].flip(0)
    after = said(page, batch | {"tokens": tokens}, drawn)
    assert torch.equal(after["words"], before["words"])
    changed = torch.tensor([False, True, False, False, False, True, False, False])
    for name in ("pixels", "matching"):  # these read the whole text
        same_B = torch.isclose(after[name].view(8, -1), before[name].view(8, -1)).all(1)
        assert torch.equal(same_B, ~changed), name

    told = drawn.told_N.clone()
    told[drawn.hidden_N] = 5 + (told[drawn.hidden_N] + 1) % 30
    after = said(page, batch, drawn._replace(told_N=told))
    assert torch.equal(after["pixels"], before["pixels"])
    assert torch.equal(after["matching"], before["matching"])
    assert not torch.isclose(after["words"], before["words"]).all(1).any()


def test_draws_follow_torch_s_generator_and_each_case_has_its_own(batch):
    page, found = build(), []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        found.append([page.draw(batch), page.draw(batch)])
    same, again, other = found
    for k in range(2):
        assert all(torch.equal(a, b) for a, b in zip(same[k], again[k], strict=True))
    for a, b in ((same[0], same[1]), (same[0], other[0])):
        assert not any(torch.equal(x, y) for x, y in zip(a, b, strict=True))
    assert len(same[0].visible_BK.unique(dim=0)) > 4
    both = same[0].hidden_N.split(lengths(page))
    assert not torch.equal(both[1], both[5]) or not torch.equal(both[0], both[2])  # one caption, two cases


def lengths(page):
    return [len(ids) for ids in page.model.text.tokenizer(CAPTIONS)]


def test_half_of_the_cases_see_the_picture_of_another_caption():
    torch.manual_seed(6)
    string = torch.tensor([0, 1, 0, 2, 3, 1])
    shown = torch.stack([draw_shown(string) for _ in range(6000)])
    own = torch.arange(6)
    assert (shown != own).sum(1).unique().tolist() == [3]
    for case in range(6):
        others = [other for other in range(6) if string[other] != string[case]]
        share = shown[:, case].bincount(minlength=6) / 6000
        expected = torch.tensor([0.5 / len(others) if c in others else 0.5 * (c == case) for c in range(6)])
        torch.testing.assert_close(share, expected, atol=0.03, rtol=0)
    assert torch.equal(draw_shown(torch.zeros(4, dtype=torch.int64)), torch.arange(4))


def test_everything_learns_but_the_heads_that_no_loss_reads(batch):
    page = build()
    page(batch)["loss"].backward()
    idle = [name for name, p in page.named_parameters() if p.grad is None]
    assert idle == ["model.logit_scale", "model.image_head.weight", "model.text_head.weight"]
    assert not any(page.get_parameter(name).requires_grad for name in idle)
    assert all(p.grad.abs().sum() > 0 for p in page.parameters() if p.requires_grad)
    slow, fast = page.param_groups()
    assert (slow.get("lr_factor", 1.0), fast["lr_factor"]) == (1.0, 5.0)
    grouped = [id(p) for group in (slow, fast) for p in group["params"]]
    assert sorted(grouped) == sorted(id(p) for p in page.parameters() if p.requires_grad)
    assert {id(p) for p in page.model.parameters() if p.requires_grad} == {id(p) for p in slow["params"]}
    assert page.mask_words.state_dict() == {}

    picture, ids = batch["image_BVCHW"][:2, 0], torch.tensor(page.model.text.tokenizer([CAPTIONS[1]])[0])
    pooled = page.model.image.features(picture).pooled_BD
    torch.testing.assert_close(page.encode_image(picture), page.model.image_head(pooled))
    assert page.encode_text(ids, torch.tensor([0, len(ids)]), normalize=True).norm().item() == pytest.approx(1)


def test_twenty_steps_lower_every_loss(batch):
    page, losses = build(), []
    optimiser = torch.optim.Adam([p for p in page.parameters() if p.requires_grad], lr=0.005)
    for _ in range(21):
        torch.manual_seed(7)
        found = page(batch)
        optimiser.zero_grad()
        found["loss"].backward()
        optimiser.step()
        losses.append({name: value.item() for name, value in found.items()})
    assert all(losses[-1][name] < 0.9 * losses[0][name] for name in losses[0])
    assert losses[-1]["words"] < 0.5 * losses[0]["words"]


@pytest.mark.parametrize("count", [2, 4])
def test_slices_give_the_gradient_of_the_whole_batch(monkeypatch, batch, count):
    monkeypatch.setattr(M3AE, "draw", drawn_by_row)
    found = []
    for slices_of in (1, count):
        page = build()
        out = backward(page, batch, slices_of, lambda: torch.autocast("cpu", enabled=False), lambda x: x)
        found.append(value_and_gradients(page, out))
    assert found[0].keys() == found[1].keys()
    for name, value in found[0].items():
        torch.testing.assert_close(found[1][name], value, rtol=1e-9, atol=1e-12, msg=name)


def test_the_losses_are_in_full_precision_under_autocast(monkeypatch, batch):
    page = build().float()
    batch["image_BVCHW"] = batch["image_BVCHW"].float()
    monkeypatch.setattr(M3AE, "draw", drawn_by_row)
    with torch.autocast("cpu", torch.bfloat16):
        found = page.embed(batch)
        loss = page.loss(found, batch)["loss"]
    assert {x.dtype for x in [*found.values(), loss]} == {torch.float32}
    assert all(x.shape == (8,) for x in found.values())
    torch.testing.assert_close(loss, page(batch)["loss"], rtol=0.05, atol=0)


def test_what_it_cannot_work_with_is_refused(batch):
    assert methods()["m3ae"] is M3AE
    convolutions = ImageTower(create_trunk("resnet10t"), transform_of(create_trunk("resnet10t")))
    with pytest.raises(ValueError, match=r"VisionTransformer only .*, not from ResNet"):
        build(two_tower(convolutions))
    with pytest.raises(ValueError, match="matches by class tokens"):
        build(two_tower(image_tower(class_token=False, global_pool="avg")))
    with pytest.raises(ValueError, match=r"model\.text\.name is trained or hf:…"):
        build(two_tower(text=small_text_tower(8, 1, 2)))
    for settings, sentence in [
        ({"mask_words": 0.0}, "mask_words is a share"),
        ({"mask_patches": 1.0}, "mask_patches is a share"),
        ({"pixel_layer": 3}, "pixel_layer is one of the 2 layers of co-attention, not 3"),
        ({"words_weight": 0, "pixels_weight": 0, "matching_weight": 0}, "not all 0"),
        ({"pixels_weight": -1}, "0 or more"),
        ({"heads": 3}, "3 does not divide 16"),
    ]:
        with pytest.raises(ValueError, match=sentence):
            build(**settings)
    page, alone = build(), next(slices(batch, 8))
    with pytest.raises(ValueError, match="batch_size / accumulate must be 2 or more"):
        page(alone)
    assert build(matching_weight=0.0)(alone)["loss"] > 0
    with pytest.raises(ValueError, match="needs pictures, not stored embeddings"):
        page({key: x for key, x in batch.items() if key != "image_BVCHW"} | {"stored_BD": torch.zeros(8, 24)})
    with pytest.raises(ValueError, match="masks 1 of a picture's 1 patches"):
        page(batch | {"image_BVCHW": batch["image_BVCHW"][..., :4, :4]})


def test_at_the_paper_s_sizes_it_has_334_million_parameters():
    class RoBERTa:
        """The sizes of roberta-base, without its vocabulary."""

        context_length, pad, start, end, mask = 514, 1, 0, 2, 50264

        def __len__(self):
            return 50265

        def begins_word(self, tokens):
            return [True for _ in tokens]

    with torch.device("meta"):
        image = create_trunk("vit_base_patch16_clip_224")
        text = TrainedTextTower(RoBERTa(), 768, layers=12, heads=12)
        page = M3AE(TwoTower(ImageTower(image, transform_of(image)), text, 768, head="none"), M3AEConfig())
    parts = {name: sum(p.numel() for p in part.parameters()) for name, part in page.named_children()}
    assert parts["fusion"] == 12 * 9_451_776 + 2 * 590_592 + 2 * 768
    assert round(sum(parts.values()) / 1e6, 1) == 334.0
    assert not [name for name, p in page.model.named_parameters() if not p.requires_grad and p.dim()]


def _worker(number):
    page, own = build(), list(slices(make_batch(), 2))[number]
    out = page.loss(page.errors(own, drawn_by_row(page, own)), own)
    out["loss"].backward()
    return value_and_gradients(page, out)


def test_two_ranks_give_the_value_and_gradient_of_one(two_ranks, batch):
    """With the draws given; their captions hide different numbers of tokens."""
    ranks = two_ranks(_worker)
    page = build()
    drawn = drawn_by_row(page, batch)
    half = sum(lengths(page)[:4])
    assert drawn.hidden_N[:half].sum() != drawn.hidden_N[half:].sum()
    out = page.loss(page.errors(batch, drawn), batch)
    out["loss"].backward()
    for key, expected in value_and_gradients(page, out).items():
        mean = sum(rank[key] for rank in ranks) / 2
        torch.testing.assert_close(mean, expected, rtol=1e-9, atol=1e-12, msg=lambda m, k=key: f"{k}: {m}")


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cases")
    make_cases(folder, cases=40, size=48, seed=5)
    return folder / "cases.parquet"


def run(cases, folder, die_at=None):
    given = ["--data.manifest", str(cases), "--training.epochs", "2", "--training.batch-size", "8"]
    given += ["--training.accumulate", "2", "--model.text.context-length", "40", "--model.image.size", "48"]
    experiment = read_experiment(find_recipe("m3ae"), given, smoke=True)
    experiment = replace(experiment, training=replace(experiment.training, checkpoint_steps=1))
    chosen, texts, _ = training_cases(cases_of(experiment.data, 0), experiment.data, 0, texts_read(experiment))
    experiment = with_tokenizer(experiment, texts_said(texts, len(chosen)), folder)
    page = build_method(experiment)
    assert page.config.dropout > 0

    def die(step):
        if step + 1 == die_at:
            raise InterruptedError

    page.after_step = die
    train(page, batches_of(experiment, page, chosen, texts, experiment.training), experiment.training, folder,
          torch.device("cpu"))  # fmt: skip
    return {name: value.clone() for name, value in page.state_dict().items()}


def test_resuming_gives_the_same_bits(cases, tmp_path):
    whole = run(cases, tmp_path / "whole")
    with pytest.raises(InterruptedError):
        run(cases, tmp_path / "cut", die_at=4)
    resumed = run(cases, tmp_path / "cut")
    assert resumed.keys() == whole.keys()
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())
