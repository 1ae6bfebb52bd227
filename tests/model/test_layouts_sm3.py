"""SM3's checkpoints, small ones with random weights, against the modules that they were taken of."""

import logging

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.testing import assert_close
from torchvision import models, transforms

from dermis import load
from dermis.model import save
from dermis.model.look import evaluation_view
from dermis.towers import Transform
from dermis.towers.build import (
    BranchesConfig,
    ImageTowerConfig,
    TextTowerConfig,
    TwoTowerConfig,
    build_branches,
    build_image_tower,
    build_two_tower,
)
from dermis.towers.image import create_trunk
from dermis.towers.layouts import sm3

CLASSES = {
    "diagnosis": ["basal cell carcinoma", "nevus", "melanoma", "miscellaneous", "seborrheic keratosis"],
    "finding.pigment_network": ["absent", "typical", "atypical"],
    "finding.blue_whitish_veil": ["absent", "present"],
    "finding.vascular_structures": ["absent", "regular", "irregular"],
    "finding.pigmentation": ["absent", "regular", "irregular"],
    "finding.streaks": ["absent", "regular", "irregular"],
    "finding.dots_and_globules": ["absent", "regular", "irregular"],
    "finding.regression_structures": ["absent", "present"],
}
COUNTS = [5, 3, 2, 3, 3, 3, 3, 2]
SEEN = Transform((224, 224), (0.7833, 0.6712, 0.6026), (0.2139, 0.2472, 0.2571), "bilinear", 1.0, "squash")
EXACT = {"rtol": 1e-9, "atol": 1e-9}


def head():
    """The release's projection head: three layers without biases, each normalised, the last without scale and shift."""
    hidden = [m for _ in range(2) for m in (nn.Linear(512, 512, bias=False), nn.BatchNorm1d(512), nn.ReLU())]
    return nn.Sequential(*hidden, nn.Linear(512, 128, bias=False), nn.BatchNorm1d(128, affine=False))


class Backbone(nn.Module):
    """A ResNet under the name ``encoder``; in the first stage a head beside it."""

    def __init__(self, contrast):
        super().__init__()
        self.encoder = models.resnet18()
        self.encoder.fc = nn.Identity()
        if contrast:
            self.projector = head()


class Towers(nn.Module):
    """The first stage (``cross``: the heads that pair the modalities), and the extractor of the others."""

    def __init__(self, cross=None):
        super().__init__()
        self.derm_backbone, self.clinic_backbone = Backbone(cross is not None), Backbone(cross is not None)
        if cross is not None:
            self.cross_proj = cross


class Labels(nn.Module):
    """The later stages: a layer a label, a Transformer layer whose sequence is the labels, a head a label."""

    def __init__(self, bias):
        super().__init__()
        self.extractor, self.projectors = Towers(), nn.Module()
        self.projectors.projectors = nn.ModuleList(nn.Sequential(nn.Linear(1024, 512)) for _ in COUNTS)
        self.mlc_sa = nn.TransformerEncoderLayer(512, 1, 128, 0.1)
        self.prototypes = nn.ModuleList(nn.Linear(512, count, bias=bias) for count in COUNTS)

    def forward(self, derm_BCHW, clinic_BCHW):
        towers = self.extractor.derm_backbone.encoder, self.extractor.clinic_backbone.encoder
        h_BD = torch.cat([towers[0](derm_BCHW), towers[1](clinic_BCHW)], dim=1)
        e_LBW = self.mlc_sa(torch.stack([project(h_BD) for project in self.projectors.projectors]))
        return [prototype(e_BW) for prototype, e_BW in zip(self.prototypes, e_LBW, strict=True)]


def trained(model):
    """``model`` with no weight, shift or statistic of it where it started, for evaluation in double precision."""
    for name, tensor in model.state_dict().items():
        if name.endswith("num_batches_tracked"):
            tensor += 7
        else:
            tensor += torch.rand_like(tensor) if name.endswith("running_var") else 0.05 * torch.randn_like(tensor)
    return model.eval().double()


def write(path, model, rename=lambda name: name, **changes):
    """``model`` as the release's training writes it, the optimizer's state beside; ``changes`` to its tensors."""
    some = [p for name, p in model.named_parameters() if "backbone" not in name]
    optimizer = torch.optim.AdamW(some, lr=0.0, eps=1e-5)
    sum(p.sum() for p in some).backward()
    optimizer.step()
    assert optimizer.state_dict()["state"]
    scaler = {"scale": 65536.0, "growth_factor": 2.0, "backoff_factor": 0.5, "growth_interval": 2000}
    state = model.float().state_dict()  # in place: an OrderedDict with versions of its modules beside
    for name in list(state):
        state[rename(name)] = state.pop(name)
    for name, tensor in changes.items():
        state.pop(name) if tensor is None else state.update({name: tensor})
    more = {"optimizer": optimizer.state_dict(), "scaler": scaler | {"_growth_tracker": 3}, "best_val_auc": 0.829}
    path.parent.mkdir(exist_ok=True)
    torch.save({"epoch": 42, "state_dict": state} | more, path)
    model.double()
    return path


@pytest.fixture
def views():
    contrast_B111 = torch.tensor([0.2, 1, 5], dtype=torch.float64)[:, None, None, None]
    return {name: contrast_B111 * torch.randn(3, 3, 64, 64) for name in ("dermoscopy", "image")}


def encoded(model, views):
    return model.double().encode_case(views)


@pytest.mark.parametrize("spelling", ["encoder.", ""])
@torch.no_grad()
def test_a_released_checkpoint_predicts_what_the_release_predicts(spelling, views, tmp_path):
    with torch.enable_grad():
        release = trained(Labels(bias=True))
        file = write(tmp_path / "r" / "best_finetune.pth", release, lambda name: name.replace("encoder.", spelling))
    before = torch.get_rng_state()
    ours = load(file)
    assert torch.get_rng_state().equal(before)
    assert not any(module.training for module in ours.modules())
    if spelling:  # a recipe may name the file
        started = build_branches(BranchesConfig(image=ours.config.image, weights=str(file)))
        assert_close(started.state_dict(), ours.state_dict())
        assert started.settings == ours.settings
    logits = release(views["dermoscopy"], views["image"])
    assert min(rows.std(0).min() for rows in logits) > 1e-3  # they depend on the pictures
    for model in (ours, load(file.parent), load(save(tmp_path / "again", load(file)))):
        assert model.transform == SEEN
        assert model.picture_towers["image"].transform == SEEN
        h_BD = encoded(model, views)
        assert_close(model.parts["labels"](h_BD), logits, **EXACT)
        predicted = model.predict(h_BD)
        assert list(predicted) == list(CLASSES)
        assert_close(list(predicted.values()), [rows.softmax(1) for rows in logits], **EXACT)
        assert model.parts["labels"].classes == CLASSES
        assert model.picture_towers["image"].trunk.bn1.num_batches_tracked == 7


@torch.no_grad()
def test_heads_without_biases_were_taught_clusters(views, tmp_path):
    with torch.enable_grad():
        release = trained(Labels(bias=False))
        file = write(tmp_path / "ckp_149.pth", release)
    for model in (load(file), load(save(tmp_path / "again", load(file)))):
        h_BD = encoded(model, views)
        assert_close(model.parts["labels"](h_BD), release(views["dermoscopy"], views["image"]), **EXACT)
        with pytest.raises(ValueError, match="heads that were taught clusters only"):
            model.predict(h_BD)


@pytest.mark.parametrize("shared", [False, True], ids=["sep_sep", "sep_shared"])
@torch.no_grad()
def test_the_first_stage_brings_the_heads_that_pair(shared, views, tmp_path, caplog):
    with torch.enable_grad():
        release = trained(Towers(head() if shared else nn.ModuleList([head(), head()])))
        file = write(tmp_path / "ckp_399.pth", release)
    with caplog.at_level(logging.WARNING):
        ours = load(file)
    assert "left out, heads of the contrast within a modality: projector" in caplog.text
    cross = [release.cross_proj] * 2 if shared else release.cross_proj
    for model in (ours, load(save(tmp_path / "again", ours))):
        assert list(model.parts) == ["pair"]
        h = model.apart(encoded(model, views))
        assert_close(h["dermoscopy"], release.derm_backbone.encoder(views["dermoscopy"]), **EXACT)
        assert_close(h["image"], release.clinic_backbone.encoder(views["image"]), **EXACT)
        for picture, one in zip(("dermoscopy", "image"), cross, strict=True):
            assert_close(model.parts["pair"](picture, h[picture]), one(h[picture]), **EXACT)


def test_what_the_model_sees_is_what_the_release_showed_it():
    """Of a picture that has been trimmed already; the frame of 25 pixels is Derm7pt's."""
    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 255, (40, 60, 3), dtype=np.uint8)).resize((718, 462))
    released = [transforms.Resize((224, 224)), transforms.ToTensor(), transforms.Normalize(SEEN.mean, SEEN.std)]
    shown = transforms.Compose(released)(picture)
    assert_close(torch.from_numpy(evaluation_view(np.asarray(picture), SEEN)), shown, rtol=0, atol=1e-5)


@pytest.fixture(scope="module")
def release():
    with torch.random.fork_rng():
        return trained(Labels(bias=True))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"prompt": torch.ones(1)}, r"1 left over \(prompt\)"),
        ({"mlc_sa.norm2.bias": None}, r"1 missing \(parts\.labels\.mixer\.norm2\.bias\)"),
        ({"extractor.derm_backbone.encoder.bn1.weight": torch.ones(3)}, r"1 of another shape .* \(3,\) for \(64,\)"),
        ({"extractor.derm_backbone.conv1.weight": torch.ones(1)}, r"left over \(extractor\.derm_backbone\.conv1"),
        ({"extractor.clinic_backbone.encoder.conv1.weight": None}, r"no checkpoint of SM3: expected extractor\.clinic"),
        ({"mlc_sa.linear1.weight": None}, r"no checkpoint of SM3: expected mlc_sa\.linear1"),
        ({"extractor.derm_backbone.encoder.layer1.2.x": torch.ones(1)}, "towers of 3-2-2-2 basic blocks; known are"),
        ({"prototypes.7.weight": torch.ones(4, 512)}, "heads of 5, 3, 2, 3, 3, 3, 3, 4 classes; Derm7pt's labels have"),
    ],
)
def test_what_does_not_fit_is_named(changes, sentence, release, tmp_path):
    file = write(tmp_path / "best_linear.pth", release, **changes)
    with pytest.raises(ValueError, match=sentence):
        load(file)


def test_other_files_are_refused_with_what_was_expected_and_found(tmp_path):
    names = ["features.0.weight", "features.0.bias", "classifier.weight", "classifier.bias"]
    torch.save({"state_dict": {name: torch.ones(1) for name in names}}, tmp_path / "vgg.pth")
    expected = r"expected derm_backbone\.conv1\.weight, clinic_.*; found features\.0\.weight, .*, classifier\.weight, …"
    for source in (tmp_path / "vgg.pth", tmp_path, f"local-dir:{tmp_path}/vgg.pth"):
        with pytest.raises(ValueError, match=f"no checkpoint of SM3: {expected}"):
            load(source)
        with pytest.raises(ValueError, match="whose activation quick_gelu could set; leave it out"):
            load(source, quick_gelu=True)
    with pytest.raises(ValueError, match=r"no checkpoint at .*best_finetune\.pth"):
        load(tmp_path / "best_finetune.pth")
    torch.save({}, tmp_path / "best_linear.pth")
    with pytest.raises(ValueError, match=r"several checkpoints \(best_linear\.pth, vgg\.pth\); give the path of one"):
        load(tmp_path)


class Runs:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return type(self.path).touch, (self.path,)


def test_code_in_a_checkpoint_is_not_run(tmp_path):
    torch.save({"state_dict": {"derm_backbone.conv1.weight": torch.ones(1)}, "more": Runs(tmp_path / "ran")},
               tmp_path / "best_finetune.pth")  # fmt: skip
    for source in (tmp_path / "best_finetune.pth", tmp_path):
        with pytest.raises(ValueError, match="holds more than tensors, which could run code; not opened"):
            load(source)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", sm3.ARCHITECTURES.values())
def test_timm_names_tensors_as_torchvision_does(name):
    with torch.device("meta"):
        theirs, ours = models.get_model(name), create_trunk(name, 224)
    theirs.fc = nn.Identity()
    shapes = {k: v.shape for k, v in theirs.state_dict().items()}
    assert {k: v.shape for k, v in ours.state_dict().items()} == shapes
    assert sm3._architecture(shapes, None) == name


def test_a_recipe_may_say_what_pictures_are_made_into(tmp_path):
    own = build_image_tower(ImageTowerConfig(name="test_efficientnet")).transform
    given = {"mean": (0.1, 0.2, 0.3), "std": (0.4, 0.5, 0.6), "interpolation": "bilinear"}
    tower = build_image_tower(ImageTowerConfig(name="test_efficientnet", **given))
    assert tower.transform == Transform(own.size, *given.values(), own.crop_ratio, "shortest")
    squashed = build_image_tower(ImageTowerConfig(name="test_efficientnet", resize_mode="squash"))
    assert squashed.transform == Transform(own.size, own.mean, own.std, own.interpolation, 1.0, "squash")
    for saved in (tower, squashed):
        assert load(save(tmp_path / "model", saved)).transform == saved.transform
    name = "open_clip:RN50"
    with pytest.raises(ValueError, match="mean, std, interpolation has an effect for timm models only"):
        build_two_tower(TwoTowerConfig(image=ImageTowerConfig(name=name, **given), text=TextTowerConfig(name=name)))
