"""What learns and what does not: patterns, adapters, rates by layer, heads that are gone on from."""

import sys

import pytest
import timm
import torch
from timm.optim import param_groups_layer_decay

from dermis.evaluation.finetune_config import FineTuneConfig
from dermis.evaluation.finetune_method import FineTuneMethod
from dermis.towers import lora
from dermis.towers.branches import Branches
from dermis.towers.build import BranchesConfig, ImageTowerConfig, build_branches
from dermis.towers.layer_decay import lr_factors
from dermis.towers.open_clip import OpenClipImageTower
from dermis.training.config import TrainingConfig
from dermis.training.optimiser import adamw

TARGETS = {"diagnosis": ["a", "b", "c"], "finding.x": ["absent", "present"]}
HEADS_ONLY = ["picture_towers.*"]


def small(name="test_vit", paired=False) -> Branches:
    return build_branches(BranchesConfig(image=ImageTowerConfig(name=name, size=32), paired=paired), 3)


def batch_for(model, cases=6):
    images = {f"{column}_BVCHW": torch.randn(cases, 1, 3, 32, 32) for column in model.pictures}
    images["row_B"] = torch.arange(cases)
    return images | {"label_BL": torch.stack([torch.arange(cases) % 3, torch.arange(cases) % 2], dim=1)}


def steps(method, count=2, lr=1e-2):
    """Some steps as the loop takes them; names of the tensors that changed."""
    before = {name: tensor.clone() for name, tensor in method.state_dict().items()}
    optimiser = adamw(method, TrainingConfig(lr=lr))
    method.train()
    for _ in range(count):
        method(batch_for(method.model))["loss"].backward()
        optimiser.step()
        optimiser.zero_grad()
    return {name for name, tensor in method.state_dict().items() if not torch.equal(tensor, before[name])}


def test_relation_mlp_is_one_hidden_layer_with_relu():
    """M2CG's classifier: W2 relu(W1 h + b1) + b2 of the width asked for, and nothing random."""
    config = FineTuneConfig(relation="mlp", width=5, dropout=0.0)
    method = FineTuneMethod(small(), config, {"diagnosis": ["a", "b", "c"]}).train()
    w1, b1, w2, b2 = method.model.parts["labels"].parameters()
    assert [tuple(p.shape) for p in (w1, b1, w2, b2)] == [(5, method.model.dim), (5,), (3, 5), (3,)]
    h_BD = torch.randn(4, method.model.dim)
    (logits_BC,) = method.model.parts["labels"](h_BD)
    torch.testing.assert_close(logits_BC, (h_BD @ w1.T + b1).clamp(min=0) @ w2.T + b2)


@pytest.mark.parametrize(
    "freeze, frozen",
    [
        (HEADS_ONLY, "model.picture_towers."),
        (["picture_towers.dermoscopy.*"], "model.picture_towers.dermoscopy."),
        (["picture_towers.image.trunk.layer1.*"], "model.picture_towers.image.trunk.layer1."),
        (["picture_towers.image.trunk.[!l]*", "*.layer[12].*"], "model.picture_towers.image.trunk.bn1."),
        (["parts.labels.*"], "model.parts.labels."),
    ],
)
def test_frozen_weights_and_batch_statistics_stay_to_the_bit_and_all_others_move(freeze, frozen):
    torch.manual_seed(0)
    method = FineTuneMethod(small("test_resnet", paired=True), FineTuneConfig(freeze=freeze), TARGETS)
    held = {name for name in method.state_dict() if name.startswith(frozen)}
    assert held
    moved = steps(method)
    assert not held & moved
    if len(freeze) == 1:
        assert moved == method.state_dict().keys() - held


def test_a_block_with_frozen_weights_is_in_evaluation_mode_and_its_neighbours_are_not():
    method = FineTuneMethod(small("test_resnet"), FineTuneConfig(freeze=["*.layer1.*"]), TARGETS).train()
    trunk = method.model.picture_towers["image"].trunk
    assert not any(m.training for m in trunk.layer1.modules())
    assert all(m.training for m in trunk.layer2.modules())


@pytest.mark.parametrize("name", ["test_vit", "test_resnet", "resnet10t", "test_convnext", "vit_tiny_patch16_224"])
def test_rates_by_layer_are_timms_own_on_a_model_with_its_classifier(name):
    whole = timm.create_model(name, num_classes=5)
    named = {p: n for n, p in whole.named_parameters()}
    theirs = {named[p]: g["lr_scale"] for g in param_groups_layer_decay(whole, layer_decay=0.7) for p in g["params"]}
    ours = lr_factors(small(name).picture_towers["image"], 0.7)
    assert len(set(ours.values())) > 3
    for parameter, factor in ours.items():
        assert factor == pytest.approx(theirs[parameter.removeprefix("trunk.")]), parameter


def test_every_learning_parameter_is_in_one_group_and_heads_have_the_full_rate():
    method = FineTuneMethod(small(), FineTuneConfig(layer_decay=0.5), TARGETS)
    groups = adamw(method, TrainingConfig()).param_groups
    listed = [p for g in groups for p in g["params"]]
    assert len(listed) == len(set(listed)) == len(list(method.parameters()))
    factor = {p: g["lr_factor"] for g in groups for p in g["params"]}
    trunk = method.model.picture_towers["image"].trunk
    assert {factor[p] for p in method.model.parts["labels"].parameters()} == {1.0}
    assert {factor[p] for p in trunk.blocks[5].parameters()} == {factor[trunk.norm.weight]} == {0.5}
    assert {factor[p] for p in trunk.blocks[0].parameters()} == {0.5**6}
    assert factor[trunk.patch_embed.proj.weight] == 0.5**7


def open_clip_tower() -> OpenClipImageTower:
    """A small vision transformer of open_clip's own."""
    from open_clip.transformer import VisionTransformer

    from dermis.towers import Transform

    encoder = VisionTransformer(32, 16, 24, 3, 2, 2.0, output_dim=24)
    return OpenClipImageTower(encoder, Transform((32, 32), (0.5,) * 3, (0.2,) * 3, "bicubic"), 24)


def test_open_clips_own_transformer_has_rates_by_layer_and_adapters_where_it_calls_layers():
    tower = open_clip_tower()
    factors = lr_factors(tower, 0.5)
    blocks = [{f for n, f in factors.items() if f".resblocks.{i}." in n} for i in range(3)]
    assert blocks == [{0.125}, {0.25}, {0.5}]
    assert factors["encoder.conv1.weight"] == factors["encoder.positional_embedding"] == 0.0625
    method = FineTuneMethod(Branches({"image": tower}), FineTuneConfig(lora=2), TARGETS)
    assert method.adapters == 6  # attention uses its projections' weights without calling them
    moved = steps(method, count=3)
    assert len([name for name in moved if "lora_B" in name]) == 6


def test_an_unknown_network_has_no_rates_by_layer():
    tower = open_clip_tower()
    tower.encoder = torch.nn.Linear(2, 2)
    with pytest.raises(ValueError, match="layer_decay needs to know the layers of Linear"):
        lr_factors(tower, 0.5)


def test_adapters_alone_learn_and_merged_they_are_the_same_function():
    torch.manual_seed(0)
    method = FineTuneMethod(small(), FineTuneConfig(lora=2, freeze=["*.blocks.[0-4].*"], layer_decay=0.5), TARGETS)
    assert method.adapters == 4
    moved = steps(method, count=3)
    assert {"lora_A" in n or "lora_B" in n or "parts.labels" in n for n in moved} == {True}
    assert len([n for n in moved if "lora_" in n]) == 8
    assert set(method.factor.values()) == {0.5}
    batch = batch_for(method.model)
    method.eval()
    with torch.no_grad():
        before = method.embed(batch)["features"]
        model = method.finished_model()
        torch.testing.assert_close(method.embed(batch)["features"], before, rtol=1e-5, atol=1e-5)
    plain = small()
    plain.add("labels", **model.settings["labels"])
    plain.load_state_dict(model.state_dict())
    untouched = dict(small().state_dict())
    changed = [n for n, v in model.state_dict().items() if n in untouched and not torch.equal(v, untouched[n])]
    assert all(".blocks.5." in n and n.endswith("weight") for n in changed)
    assert len(changed) == 4


def test_accumulated_slices_give_the_step_of_the_whole_batch():
    from contextlib import nullcontext

    from dermis.training.accumulate import backward

    gradients = []
    for count in (1, 3):
        torch.manual_seed(0)
        method = FineTuneMethod(small(), FineTuneConfig(relation="tel", width=8, dropout=0.0), TARGETS).train()
        backward(method, batch_for(method.model), count, nullcontext, lambda loss: loss)
        gradients.append([p.grad for p in method.parameters()])
    for whole, sliced in zip(*gradients, strict=True):
        torch.testing.assert_close(sliced, whole, rtol=1e-4, atol=1e-6)


def pretrained(classes, relation="tel"):
    torch.manual_seed(5)
    model = small()
    model.add("labels", classes=classes, relation=relation, width=8, dropout=0.0, bias=False)
    return model, {n: v.clone() for n, v in model.parts["labels"].state_dict().items()}


def test_heads_of_pre_training_are_kept_with_their_relation_unless_new_ones_are_asked_for():
    model, before = pretrained([3, 2])
    own = FineTuneMethod(model, FineTuneConfig(), TARGETS).model.parts["labels"]
    assert own.relation == "tel"
    assert all(torch.equal(own.state_dict()[name], value) for name, value in before.items())
    model, before = pretrained([3, 2])
    own = FineTuneMethod(model, FineTuneConfig(new_heads=True), TARGETS).model.parts["labels"].state_dict()
    assert {name for name, value in before.items() if not torch.equal(own[name], value)} == {
        "heads.0.weight", "heads.1.weight"
    }  # fmt: skip


def test_settings_that_the_old_heads_have_no_use_for_are_not_taken_along():
    model = small()
    model.add("labels", classes=[3, 2], relation="proj", width=8, heads=2, feedforward=16, layers=3, dropout=0.0)
    method = FineTuneMethod(model, FineTuneConfig(), TARGETS)
    assert method.gone_on_from[0] == method.gone_on_from[1] == 8 * (model.dim + 1) * 2 + (8 + 1) * 5


def test_heads_that_were_taught_other_labels_are_not_gone_on_from():
    model, before = pretrained({"diagnosis": ["x", "y", "z"], "finding.x": ["absent", "present"]})
    own = FineTuneMethod(model, FineTuneConfig(), TARGETS).model.parts["labels"].state_dict()
    assert not torch.equal(own["heads.1.weight"], before["heads.1.weight"])
    assert torch.equal(own["projections.1.weight"], before["projections.1.weight"])


@pytest.mark.parametrize(
    "classes, settings, kept",
    [
        ([3, 2], {}, lambda name: True),
        ([3, 2], {"new_heads": True}, lambda name: not name.startswith("heads.")),
        ([3, 4], {}, lambda name: name != "heads.1.weight"),
        (
            {"other": ["x", "y", "z"], "finding.x": ["absent", "present"]},
            {},
            lambda name: not name.startswith("heads."),
        ),
        ([3, 2], {"relation": "no_proj"}, lambda name: False),
    ],
)
def test_it_counts_the_weights_that_are_gone_on_from(classes, settings, kept):
    model, before = pretrained(classes)
    method = FineTuneMethod(model, FineTuneConfig(**settings), TARGETS)
    assert method.gone_on_from == (
        sum(value.numel() for name, value in before.items() if kept(name)),
        sum(value.numel() for value in before.values()),
    )
    own = method.model.parts["labels"].state_dict()
    same = {name for name, value in before.items() if name in own and torch.equal(own[name], value)}
    assert same == {name for name in before if kept(name)}


def test_a_hidden_layer_and_linear_heads():
    mlp = FineTuneMethod(small(), FineTuneConfig(relation="mlp", width=7, dropout=0.3), TARGETS).model.parts["labels"]
    assert mlp.projections[0].out_features == 7
    assert mlp.mixer[1].p == 0.3
    assert FineTuneMethod(small(), FineTuneConfig(), TARGETS).model.parts["labels"].relation == "no_proj"


@pytest.mark.parametrize(
    "name, settings, sentence",
    [
        ("test_vit", {"freeze": ["picture_tower.*"]}, r"'picture_tower\.\*' matches no .*near it: picture_towers\.\*"),
        ("test_vit", {"freeze": ["q"]}, r"matches no parameter .*there are picture_towers\.\*, picture_towers\.image"),
        ("test_vit", {"freeze": ["*"]}, "nothing is left to learn"),
        ("test_vit", {"freeze": ["*.norm.*"], "lora": 2}, "what it matches would not learn anyway"),
        ("test_vit", {"freeze": HEADS_ONLY, "lora": 2}, "lora has nothing to adapt"),
        ("test_resnet", {"lora": 2}, "lora adapts linear layers, and ResNet has none"),
        ("test_vit", {"freeze": HEADS_ONLY, "layer_decay": 0.5}, "layer_decay has no effect: every tower is frozen"),
        ("test_vit", {"new_heads": True}, "new_heads has no effect"),
    ],
)
def test_settings_that_do_not_fit_the_model_are_one_sentence(name, settings, sentence):
    with pytest.raises(ValueError, match=sentence) as caught:
        FineTuneMethod(small(name), FineTuneConfig(**settings), TARGETS)
    assert str(caught.value).count("\n") == 0


def test_new_heads_have_no_effect_where_the_old_ones_have_other_shapes():
    model, _ = pretrained([4, 4])
    with pytest.raises(ValueError, match="new_heads has no effect"):
        FineTuneMethod(model, FineTuneConfig(new_heads=True), TARGETS)


def test_without_peft_lora_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ValueError, match=r"pip install 'dermis\[lora\]'"):
        lora.adapt(small().picture_towers, ["image.trunk.blocks.0.mlp.fc1"], 2)
