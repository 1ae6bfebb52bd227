"""SLIMP and its flat rivals: the equations as loops, ragged patients, two ranks, what continual training moves."""

import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dermis.batch.slices import slices
from dermis.batch.tables import LevelRows
from dermis.cases.manifest import Manifest
from dermis.experiment import experiment_of
from dermis.methods.continual import keep_attention
from dermis.methods.slimp import SLIMP, SLIMPConfig, first_of_each
from dermis.methods.table_clip import TableCLIP
from dermis.methods.tables import add_tables, learn_tables
from dermis.model import load, save
from dermis.run import build_method
from dermis.towers import Features
from dermis.towers.branches import Branches
from dermis.towers.build import BranchesConfig, ImageTowerConfig, build_branches
from dermis.towers.pooling import OwnerPooling

PATIENT = [5, 5, 5, 2, 9, 9, 4]
TABLE = pd.DataFrame(
    {
        "case_id": list("abcdefg"),
        "image": [f"{name}.jpg" for name in "abcdefg"],
        "patient_id": [str(p) for p in PATIENT],
        "lesion.size": [1.0, 2.5, None, 4.0, 0.5, None, 3.0],
        "lesion.site": ["arm", "leg", "arm", None, "leg", "arm", "back"],  # lesions 2 and 5 read alike
        "patient.age": [40.0, 40.0, 40.0, 65.0, 30.0, 30.0, 65.0],  # as do patients 2 and 4
        "patient.sex": ["f", "f", "f", "m", "f", "f", "m"],
    }
)
MANIFEST = Manifest.build(TABLE, "/nowhere")
LEVELS = ("nested", "flat", "lesion", "patient")


class Pixels(nn.Module):
    dim = 6

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3 * 4 * 4, self.dim)

    def features(self, image_BCHW):
        return Features(torch.tanh(self.layer(image_BCHW.flatten(1))))


def tables_of(page, config):
    return learn_tables(MANIFEST, page.table_levels(config))


def build(page=SLIMP, **settings):
    torch.manual_seed(0)
    config = page.Config(width=8, projection=5, **settings)
    config.tables = tables_of(page, config)
    return page(Branches({"image": Pixels()}), config).double()


def batch(rows=slice(None)):
    pixels = torch.randn(7, 1, 3, 4, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = {"row_B": torch.arange(7), "image_BVCHW": pixels, "patient_B": torch.tensor(PATIENT)}
    for level in ("lesion", "patient", "case"):
        found |= LevelRows(learn_tables(MANIFEST, [level])[level], TABLE, level).tensors
    return {k: v[rows].double() if v.dtype == torch.float32 else v[rows] for k, v in found.items()}


def contrast(x, y, tau, equal=None, owner=None):
    """Symmetric InfoNCE as loops; equal rows share positives, rows of one owner may be left out."""
    x, y = F.normalize(x, dim=1), F.normalize(y, dim=1)
    total, n = 0.0, len(x)
    for a, b in ((x, y), (y, x)):
        for i in range(n):
            alike = [j for j in range(n) if (equal[i] == equal[j] if equal is not None else i == j)]
            seen = [j for j in range(n) if owner is None or owner[i] != owner[j] or j in alike]
            bottom = sum(torch.exp(a[i] @ b[j] / tau) for j in seen)
            total = total - sum(torch.log(torch.exp(a[i] @ b[j] / tau) / bottom) for j in alike) / len(alike) / n / 2
    return total


def by_hand(page, levels, shared, excluded, weight):
    given, model, c = batch(), page.model, page.config
    tables, spaces = model.parts["tables"], model.parts["spaces"]
    f = torch.stack([model.encode("image", x)[0] for x in given["image_BVCHW"]])
    level = "case" if levels == "flat" else "lesion"
    t = None if levels == "patient" else tables.encode(level, given)
    if levels != "patient":
        u, v = spaces.heads["image"](f), spaces.heads[level](t)
        site = [("arm", None) if i in (2, 5) else i for i in range(7)]
        alike = (list(range(7)) if levels == "flat" else site) if shared else None
        lesion = contrast(u, v, c.temperature, alike, PATIENT if excluded else None)
        if levels != "nested":
            return lesion
    both = f if levels == "patient" else torch.cat([f, t], 1)
    people = sorted(set(PATIENT))
    w = torch.stack([both[[i for i in range(7) if PATIENT[i] == p]].mean(0) for p in people])
    first = [PATIENT.index(p) for p in people]
    q = tables.encode("patient", {k: v[first] for k, v in given.items() if k.startswith("patient_")})
    alike = [{2: "65m", 4: "65m"}.get(p, p) for p in people] if shared else None
    patient = contrast(spaces.heads["phenotype"](w), spaces.heads["patient"](q), c.temperature, alike)
    return patient if levels == "patient" else weight * lesion + (1 - weight) * patient


@pytest.mark.parametrize("levels", LEVELS)
@pytest.mark.parametrize("equal_rows", ["soft", "literal"])
@pytest.mark.parametrize("same_patient", ["negatives", "excluded"])
def test_the_loss_is_the_equations_as_loops(levels, equal_rows, same_patient):
    if levels == "patient" and same_patient == "excluded":
        pytest.skip("refused: lesions are not contrasted")
    weight = 0.3 if levels == "nested" else 0.5
    page = build(levels=levels, equal_rows=equal_rows, same_patient=same_patient, weight=weight)
    expected = by_hand(page, levels, equal_rows == "soft", same_patient == "excluded", weight)
    out = page(batch())
    torch.testing.assert_close(out["loss"], expected, rtol=0, atol=1e-9)
    weights = list(page.parameters())
    for mine, theirs in zip(
        torch.autograd.grad(out["loss"], weights, allow_unused=True),
        torch.autograd.grad(expected, weights, allow_unused=True),
        strict=True,
    ):
        assert (mine is None) == (theirs is None)
        if mine is not None:
            torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-8)


def test_equal_tables_are_shared_and_only_where_rows_are_alike():
    soft, once, literal = (build(equal_rows=kind)(batch()) for kind in ("soft", "once", "literal"))
    torch.testing.assert_close(soft, literal)  # towers without dropout give equal tables equal vectors
    assert not torch.isclose(once["lesion"], literal["lesion"])
    assert not torch.isclose(once["patient"], literal["patient"])
    corrupted = batch()
    corrupted["lesion_num_BF"][2] += 1
    corrupted["lesion_missing_BF"][2] = False
    corrupted["patient_num_BF"][3] -= 1
    soft, literal = (build(equal_rows=kind)(corrupted) for kind in ("soft", "literal"))
    assert not torch.isclose(soft["lesion"], literal["lesion"])
    assert not torch.isclose(soft["patient"], literal["patient"])
    apart = [0, 1, 3, 4]  # no two lesions, and no two patients, read alike
    once, literal = (build(equal_rows=kind)(batch(apart)) for kind in ("once", "literal"))
    torch.testing.assert_close(once, literal)


@pytest.mark.parametrize("levels", LEVELS)
def test_one_lesion_of_one_patient_is_finite(levels):
    page = build(levels=levels)
    page(batch([3]))["loss"].backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in page.parameters())


@pytest.mark.parametrize("levels", LEVELS)
def test_the_loss_of_concatenated_slices_is_the_whole_loss(levels):
    """Slices tear patients apart; their phenotypes are pooled afterwards."""
    page = build(levels=levels)
    parts = [page.embed(part) for part in slices(batch(), 3)]
    together = {key: torch.cat([part[key] for part in parts]) for key in parts[0]}
    torch.testing.assert_close(page.loss(together, batch())["loss"], page(batch())["loss"], rtol=1e-12, atol=1e-12)


def test_pooling_as_loops():
    torch.manual_seed(0)
    x, owner = torch.randn(6, 4).double(), torch.tensor([1, 0, 1, 1, 2, 0])
    rows = [[i for i in range(6) if owner[i] == p] for p in range(3)]
    mean = torch.stack([sum(x[i] for i in r) / len(r) for r in rows])
    most = torch.stack([torch.stack([max(x[i, d] for i in r) for d in range(4)]) for r in rows])
    torch.testing.assert_close(OwnerPooling("mean", 4)(x, owner, 3), mean)
    torch.testing.assert_close(OwnerPooling("max", 4)(x, owner, 3), most)
    attention = OwnerPooling("attention", 4).double()
    torch.testing.assert_close(attention(x, owner, 3), mean)  # at the start
    nn.init.normal_(attention.score[2].weight)
    score = attention.score(x)[:, 0]
    weighted = torch.stack([sum(score[i].exp() * x[i] for i in r) / sum(score[i].exp() for i in r) for r in rows])
    torch.testing.assert_close(attention(x, owner, 3), weighted, rtol=1e-6, atol=1e-6)
    with pytest.raises(ValueError, match="Did you mean 'max'"):
        OwnerPooling("maxi", 4)
    first, place = first_of_each(torch.tensor(PATIENT))
    assert first.tolist() == [3, 6, 0, 4]
    assert place.tolist() == [2, 2, 2, 0, 3, 3, 1]


PAGES = {
    **{levels: (SLIMP, {"levels": levels}) for levels in LEVELS},
    "excluded": (SLIMP, {"same_patient": "excluded", "pooling": "attention"}),
    "once": (SLIMP, {"equal_rows": "once"}),
    "clip": (TableCLIP, {"loss": "clip", "equal_rows": "once"}),
    "siglip": (TableCLIP, {"loss": "siglip"}),
}
SHARES = {SLIMP: ([0, 1, 2, 3], [4, 5, 6]), TableCLIP: ([0, 1, 2], [3, 4, 5])}  # patients of unequal size


def _worker(number):
    found = {}
    for name, (page, settings) in PAGES.items():
        method = build(page, **settings)
        loss = method(batch(SHARES[page][number]))["loss"]
        loss.backward()
        found[name] = {"loss": loss.detach(), **{k: p.grad for k, p in method.named_parameters() if p.grad is not None}}
    return found


def test_two_ranks_with_unequal_patients_give_the_value_and_gradient_of_one(two_ranks):
    ranks = two_ranks(_worker)
    for name, (page, settings) in PAGES.items():
        method = build(page, **settings)
        loss = method(batch([i for share in SHARES[page] for i in share]))["loss"]
        loss.backward()
        expected = {"loss": loss.detach(), **{k: p.grad for k, p in method.named_parameters() if p.grad is not None}}
        assert expected.keys() == ranks[0][name].keys()
        for key, value in expected.items():
            mean = sum(r[name][key] for r in ranks) / 2
            torch.testing.assert_close(mean, value, rtol=1e-8, atol=1e-10, msg=lambda m, k=f"{name} {key}": f"{k}: {m}")


@pytest.mark.parametrize("loss", ["clip", "siglip"])
def test_clip_with_a_table_is_clip(loss):
    page, given = build(TableCLIP, loss=loss), batch()
    side = page.embed(given)
    logits = page.logit_scale.exp() * side["image"] @ side["table"].T
    if loss == "clip":
        target = torch.arange(7)
        expected = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
    else:
        sign = 2 * torch.eye(7).double() - 1
        expected = -F.logsigmoid(sign * (logits + page.logit_bias)).sum() / 7
    torch.testing.assert_close(page(given)["loss"], expected)
    page.logit_scale.data.fill_(9.0)
    page.after_step(0)
    assert page.logit_scale.exp().item() == pytest.approx(100.0)


def vit(**settings):
    return build_branches(BranchesConfig(image=ImageTowerConfig(name="test_vit", size=32), **settings, paired=False), 3)


@pytest.fixture
def trained(tmp_path):
    """A model that slimp has trained on this file's tables, as a folder."""
    torch.manual_seed(5)
    config = SLIMPConfig(width=8, projection=5)
    config.tables = tables_of(SLIMP, config)
    page = SLIMP(vit(), config)
    with torch.no_grad():
        for p in page.parameters():
            p += 0.1 * torch.randn_like(p)
    return save(tmp_path / "model", page.model)


def going_on(folder, manifest, tower="test_vit", **method):
    start = {"weights": f"local-dir:{folder}", "image": {"name": tower, "size": 32}, "paired": False}
    experiment = experiment_of({"name": "x", "model": start, "method": {"name": "slimp", "width": 8, "projection": 5}})
    config = experiment.method
    config.tables = learn_tables(manifest, ("lesion", "patient"))
    for name, value in method.items():
        setattr(config, name, value)
    return build_method(experiment)


def test_continual_training_moves_embeddings_and_projections_and_nothing_else(trained):
    before = load(trained)
    other = Manifest.build(
        TABLE.rename(columns={"lesion.site": "lesion.region"})
        .assign(**{"lesion.itch": ["yes", "no"] * 3 + ["yes"]})
        .replace({"patient.sex": {"f": "woman", "m": "man"}}),  # another schema of the same shape
        "/nowhere",
    )
    page = going_on(trained, other, continual=True)
    state, old = {k: v.clone() for k, v in page.model.state_dict().items()}, before.state_dict()
    kept = [k for k in old if k in state and state[k].shape == old[k].shape and torch.equal(state[k], old[k])]
    assert {k for k in old if ".blocks." in k or k.startswith(("picture_towers", "parts.spaces"))} <= set(kept)
    columns = {k for k in state if ".embeddings." in k}
    assert {k.split(".")[3] for k in columns if k in old and state[k].shape == old[k].shape} == {"lesion", "patient"}
    assert not columns & set(kept)
    given = {"row_B": torch.arange(7), "image_BVCHW": torch.randn(7, 1, 3, 32, 32), "patient_B": torch.tensor(PATIENT)}
    for level, schema in page.tables.items():
        given |= LevelRows(schema, other.table, level).tensors
    page.train()
    learns = [p for p in page.parameters() if p.requires_grad]
    optimiser = torch.optim.SGD(learns, lr=0.1)
    page(given)["loss"].backward()
    optimiser.step()
    moved = {k for k, v in page.model.state_dict().items() if not torch.equal(v, state[k])}
    assert not any(".blocks." in k or k.startswith("picture_towers.image.trunk.norm") for k in moved)
    assert columns | {k for k in state if k.startswith("parts.spaces")} <= moved
    assert {"picture_towers.image.trunk.patch_embed.proj.weight", "picture_towers.image.trunk.pos_embed"} <= moved
    [note] = page.notes
    assert f"{sum(p.numel() for p in learns):,} of {sum(p.numel() for p in page.model.parameters()):,} weights" in note
    assert "patch_embed" in note
    assert "tables.towers.lesion.embeddings" in note


def test_the_same_tables_are_gone_on_from_and_others_are_refused(trained):
    page = going_on(trained, MANIFEST)
    for key, value in load(trained).state_dict().items():
        assert torch.equal(page.model.state_dict()[key], value), key
    other = Manifest.build(TABLE.rename(columns={"lesion.site": "lesion.region"}), "/nowhere")
    with pytest.raises(ValueError, match=r"trained on other tables.*method\.continual"):
        going_on(trained, other)
    with pytest.raises(ValueError, match=r"give one as model\.weights"):
        build(continual=True)


def test_columns_of_a_finished_recipe_are_those_of_its_tables_also_where_they_turn():
    angle = {f"lesion.tbp_lv_symm_2axis_angle_{part}": [0.0, 0.5, 1, 0, -1, 0.2, 0] for part in ("sin", "cos")}
    turned = Manifest.build(TABLE.assign(**angle), "/nowhere")
    columns = ["lesion.site", *angle]
    tables = learn_tables(turned, ["lesion"], columns)
    assert tables["lesion"].circular
    SLIMPConfig(levels="lesion", columns=columns, tables=tables)


def test_going_on_with_other_settings_is_refused_even_where_the_shapes_fit(trained):
    for settings, sentence in (
        ({"heads": 4}, r"with heads 2 of its tables, and this recipe says 4"),
        ({"projection": 7}, r"with width 5 of its spaces, and this recipe says 7"),
        ({"pooling": "max"}, r"with pooling 'mean' of its spaces"),
    ):
        for continual in (False, True):
            with pytest.raises(ValueError, match=sentence):
                going_on(trained, MANIFEST, continual=continual, **settings)


def test_continual_training_wants_a_plain_vit(tmp_path):
    """A Swin has patch embeddings too, but its attention is elsewhere."""
    config = SLIMPConfig(width=8, projection=5)
    config.tables = tables_of(SLIMP, config)
    for tower in ("swin_tiny_patch4_window7_224", "test_resnet"):
        image = ImageTowerConfig(name=tower, size=64)
        page = SLIMP(build_branches(BranchesConfig(image=image, paired=False)), config)
        with pytest.raises(ValueError, match=r"a plain ViT's blocks, and the tower of image is a (Swin|ResNet)"):
            keep_attention(page.model, add_tables(page.model, config, ("lesion", "patient"), width=5, pooling="mean"))


def test_what_has_no_effect_and_what_lacks_are_sentences():
    for settings, sentence in (
        ({"weight": 5.0}, r"weight is a share, 0 to 1, not 5\.0"),
        ({"temperature": 0.0}, r"temperature must be above 0, not 0\.0"),
        ({"layers": 0}, r"layers must be at least 1"),
        ({"columns": ["lesion.age"], "tables": learn_tables(MANIFEST, ["lesion"])}, "disagree about lesion"),
        ({"levels": "flat", "weight": 0.2}, "weight has no effect with levels flat"),
        ({"levels": "lesion", "pooling": "max"}, "pooling has no effect with levels lesion"),
        ({"levels": "patient", "same_patient": "excluded"}, "same_patient has no effect with levels patient"),
    ):
        with pytest.raises(ValueError, match=sentence):
            SLIMPConfig(**settings)
    with pytest.raises(ValueError, match=r"must describe the levels lesion, patient; it has none"):
        SLIMP(Branches({"image": Pixels()}), SLIMPConfig())
    gone = Manifest.build(TABLE.assign(**{"lesion.gone": None}), "/nowhere")
    with pytest.raises(
        ValueError, match=r"lesion\.gone of method\.columns has no value in any of the 7 training cases"
    ):
        learn_tables(gone, ["lesion"], ["lesion.gone"])
    with pytest.raises(ValueError, match=r"Did you mean 'lesion\.site'"):
        learn_tables(MANIFEST, ["lesion"], ["lesion.sit"])
    with pytest.raises(ValueError, match=r"patient\.age of method\.columns has no effect"):
        learn_tables(MANIFEST, ["lesion"], ["lesion.site", "patient.age"])
    with pytest.raises(ValueError, match=r"level patient needs at least one column patient\.NAME"):
        learn_tables(MANIFEST, ["patient"], ["lesion.site"])
    for proxy in ("lesion.dx_type", "lesion.biopsed", "lesion.iddx_full", "lesion.mel_thick_mm", "patient.diagnosis_1"):
        told = Manifest.build(TABLE.assign(**{proxy: ["a", "b"] * 3 + ["a"]}), "/nowhere")
        with pytest.raises(ValueError, match=rf"{proxy} gives the diagnosis away.*method\.columns"):
            learn_tables(told, ["lesion", "patient"])
        level = proxy.split(".")[0]
        assert learn_tables(told, [level], [proxy])[level].columns == [proxy]
    harmless = Manifest.build(TABLE.assign(**{"lesion.changed": ["a", "b"] * 3 + ["a"]}), "/nowhere")
    assert "lesion.changed" in learn_tables(harmless, ["lesion"])["lesion"].columns
    assert learn_tables(MANIFEST, ["case"])["case"].columns == [
        "lesion.size",
        "patient.age",
        "lesion.site",
        "patient.sex",
    ]


def test_a_saved_model_reads_tables_again(tmp_path):
    page = build().float()
    page.model.config = BranchesConfig(image=ImageTowerConfig(name="test_vit", size=32), paired=False)
    own = vit()
    own.add("tables", **page.model.settings["tables"])
    own.add("spaces", **page.model.settings["spaces"])
    again = load(save(tmp_path / "model", own))
    given = {k: v.float() if v.dtype == torch.float64 else v for k, v in batch().items()}
    for level in ("lesion", "patient"):
        own.eval()
        torch.testing.assert_close(again.parts["tables"].encode(level, given), own.parts["tables"].encode(level, given))
    assert again.parts["tables"].schemas == page.tables
    assert list(again.parts["spaces"].heads) == ["lesion", "image", "phenotype", "patient"]
