"""SSD-KD: each term and its gradient against the page's equations as loops, the teacher's part, what is refused."""

import copy
import json
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import dermis
from dermis.cli import main
from dermis.evaluation.report import Report
from dermis.methods import methods, ssd_kd
from dermis.methods.ssd_kd import WEIGHTS, SSDKDConfig, read_teacher
from dermis.model import load, save
from dermis.towers import Features, Transform
from dermis.towers.branches import Branches
from dermis.towers.build import BranchesConfig, ImageTowerConfig, build_branches
from dermis.towers.freeze import freeze

CLASSES = ["basal cell carcinoma", "melanoma", "nevus"]
TRAINING_LABELS = [0, 1, 1, 2, 2, 2, 2, -1]
LABELS = [2, 0, 1]


class Cells(nn.Module):
    """An image tower of one convolution: a map of 2 x 2 cells, and their mean."""

    def __init__(self, dim, patches=True, size=4):
        super().__init__()
        self.dim, self.patches = dim, patches
        self.trunk = nn.Sequential(nn.Conv2d(3, dim, 2, stride=2), nn.BatchNorm2d(dim), nn.Tanh())
        self.transform = Transform((size, size), (0.5, 0.5, 0.5), (0.2, 0.2, 0.2))

    def features(self, image_BCHW):
        map_BDHW = self.trunk(image_BCHW)
        return Features(map_BDHW.mean((2, 3)), map_BDHW.flatten(2).transpose(1, 2) if self.patches else None, (2, 2))


def branches(dim, pictures=("image",), classes=None, **settings):
    model = Branches({name: Cells(dim, **settings) for name in pictures}).double()
    if classes:
        model.add("labels", classes=classes, relation="no_proj")
    return model


@pytest.fixture
def teacher():
    torch.manual_seed(1)
    model = branches(4, classes={"finding.streaks": ["absent", "regular"], "diagnosis": CLASSES}).double()
    for p in model.parts.parameters():
        p.data = torch.randn_like(p)  # with an opinion
    model.picture_towers["image"].trunk[1].running_mean += torch.randn(4)
    return freeze(model)


@pytest.fixture
def build(teacher, monkeypatch):
    """A student of width 3 on that teacher, in training, with the class weights of TRAINING_LABELS."""
    monkeypatch.setattr(ssd_kd, "read_teacher", lambda source, label: (teacher, CLASSES))

    def page(model=None, **settings):
        torch.manual_seed(2)
        model = branches(3) if model is None else model
        method = methods()["ssd_kd"](model, SSDKDConfig(teacher="folder", **settings)).double()
        for p in method.model.parts.parameters():
            p.data = torch.randn_like(p)
        per_row = {"label_BL": torch.tensor(TRAINING_LABELS)[:, None]}
        method.start_epoch(0, SimpleNamespace(dataset=SimpleNamespace(per_row=per_row)))
        return method.train()

    return page


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(5)
    picture = torch.randn(3, 1, 3, 4, 4, generator=generator, dtype=torch.float64)
    views = picture + 0.4 * torch.randn(3, 4, 3, 4, 4, generator=generator, dtype=torch.float64)
    return {"row_B": torch.arange(3), "image_BVCHW": views, "label_BL": torch.tensor(LABELS)[:, None]}


def quarter_turns(picture_CHW, times):
    """Turned to the left, a pixel at a time."""
    for _ in range(times):
        side = picture_CHW.shape[1]
        turned = torch.empty_like(picture_CHW)
        for y in range(side):
            for x in range(side):
                turned[:, side - 1 - x, y] = picture_CHW[:, y, x]
        picture_CHW = turned
    return picture_CHW


class Seen:
    """What the terms are made of: each copy's features, map and logits, by student and teacher."""

    def __init__(self, page, batch):
        cases, copies = range(len(batch["row_B"])), range(4)
        self.places = [(b, r) for b in cases for r in copies]
        pictures = torch.stack([quarter_turns(batch["image_BVCHW"][b, r], r) for b, r in self.places])
        student, teacher = page.model.picture_towers["image"], page.teacher.picture_towers["image"]
        s_map, t_map = student.trunk(pictures), teacher.trunk(pictures).detach()
        self.s, self.t = ({at: m.mean((1, 2)) for at, m in zip(self.places, x, strict=True)} for x in (s_map, t_map))
        self.t_map = dict(zip(self.places, t_map, strict=True))
        if hasattr(page, "regressor"):
            channels, norm = page.regressor[0], page.regressor[1]
            x = torch.einsum("nchw,dc->ndhw", s_map, channels.weight[..., 0, 0]) + channels.bias[:, None, None]
            x = (x - x.mean((0, 2, 3), True)) / (x.var((0, 2, 3), unbiased=False, keepdim=True) + norm.eps).sqrt()
            x = (x * norm.weight[:, None, None] + norm.bias[:, None, None]).clamp_min(0)
            self.s_map = dict(zip(self.places, x, strict=True))
        student_head, teacher_head = page.model.parts["labels"].heads[0], page.teacher.parts["labels"].heads[1]
        self.s_logits = {at: student_head(x) for at, x in self.s.items()}
        self.t_logits = {at: teacher_head(x).detach() for at, x in self.t.items()}
        self.labels, self.config = batch["label_BL"][:, 0].tolist(), page.config
        self.turned = [(b, r) for b, r in self.places if r]


def hard(seen):
    known = [b for b, y in enumerate(seen.labels) if y >= 0]
    counts = [TRAINING_LABELS.count(c) for c in range(3)]
    w = {b: sum(counts) / counts[seen.labels[b]] if seen.config.class_weights else 1 for b in known}
    answers = {b: torch.exp(seen.s_logits[b, 0]) / torch.exp(seen.s_logits[b, 0]).sum() for b in known}
    return sum(-w[b] * torch.log(answers[b][seen.labels[b]]) for b in known) / sum(w.values())


def divergence(student, teacher, temperature):
    p, q = (torch.exp(x / temperature) / torch.exp(x / temperature).sum() for x in (teacher, student))
    return temperature**2 * sum(p[c] * torch.log(p[c] / q[c]) for c in range(len(p)))


def kept(teacher, right, share):
    """The places of a dictionary of answers whose right one is first, and the share of the others with least error."""
    error = {at: sum(v > answer[right[at]] for v in answer.tolist()) for at, answer in teacher.items()}
    wrong = sorted((at for at in error if error[at]), key=lambda at: error[at])
    return [at for at in error if not error[at]] + wrong[: int(share * len(wrong))]


def soft(seen):
    return sum(divergence(seen.s_logits[b, 0], seen.t_logits[b, 0], 4) for b in range(3)) / 3


def turned_kept(seen):
    right = {(b, r): y if (y := seen.labels[b]) >= 0 else seen.t_logits[b, r].argmax() for b, r in seen.turned}
    return kept({at: seen.t_logits[at] for at in seen.turned}, right, seen.config.keep_turned)


def turned(seen):
    places = turned_kept(seen)
    return sum(divergence(seen.s_logits[at], seen.t_logits[at], 4) for at in places) / len(places)


def resemblance(features, at):
    return torch.stack([F.cosine_similarity(features[at], features[i, 0], dim=0) for i in range(3)])


def similar_kept(seen):
    right = {(b, r): b for b, r in seen.turned}
    return kept({at: resemblance(seen.t, at) for at in seen.turned}, right, seen.config.keep_similar)


def similar(seen):
    places = similar_kept(seen)
    return sum(divergence(resemblance(seen.s, at), resemblance(seen.t, at), 0.5) for at in places) / len(places)


def huber(e):
    return e**2 / 2 if abs(e) < 1 else abs(e) - 0.5


def distance(seen):
    def over_mean(x):
        d = {(i, j): (x[i] - x[j]).square().sum().sqrt() for i in seen.places for j in seen.places if i != j}
        mean = sum(d.values()) / len(d)
        return {pair: v / mean for pair, v in d.items()}

    s, t = over_mean(seen.s), over_mean(seen.t)
    return sum(huber(s[pair] - t[pair]) for pair in s) / len(seen.places) ** 2


def angle(seen):
    def unit(x):
        return {(i, j): (x[i] - x[j]) / (x[i] - x[j]).norm() for i in seen.places for j in seen.places if i != j}

    s, t = unit(seen.s), unit(seen.t)
    corners = [(i, j, k) for j in seen.places for i in seen.places for k in seen.places if j not in (i, k)]
    total = sum(huber(s[i, j] @ s[k, j] - t[i, j] @ t[k, j]) for i, j, k in corners)
    return total / len(seen.places) ** 3


def gram(seen):
    def product(x, c, d):
        return (x[c] * x[d]).sum() / x.numel()

    entries = [(seen.s_map[at], seen.t_map[at], c, d) for at in seen.places for c in range(4) for d in range(4)]
    return (sum((product(s, c, d) - product(t, c, d)) ** 2 for s, t, c, d in entries) / len(entries)).sqrt()


LOOPS = {f.__name__: f for f in (hard, soft, turned, similar, distance, angle, gram)}


def gradients(page, loss):
    weights = dict(page.named_parameters())
    found = torch.autograd.grad(loss, list(weights.values()), allow_unused=True, materialize_grads=True)
    return dict(zip(weights, found, strict=True))


def assert_same(page, ours, theirs):
    torch.testing.assert_close(ours, theirs, atol=1e-9, rtol=0)
    mine, other = gradients(page, ours), gradients(page, theirs)
    assert any(g.abs().max() > 1e-6 for g in other.values())
    torch.testing.assert_close(mine, other, atol=1e-8, rtol=0)


@pytest.mark.parametrize("term", WEIGHTS)
def test_a_term_equals_its_equation_as_loops(build, batch, term):
    page = build(**dict.fromkeys(WEIGHTS, 0.0) | {term: 1.0})
    out = page(batch)
    assert_same(page, out["loss"], LOOPS[term](Seen(page, batch)))
    assert out[term].item() == out["loss"].item()


def test_the_loss_is_the_weighted_sum(build, batch):
    page = build()
    out, seen = page(batch), Seen(page, batch)
    relation = 25 * distance(seen) + 50 * angle(seen) + 1000 * gram(seen)
    total = 0.1 * hard(seen) + 0.9 * soft(seen) + 2.7 * turned(seen) + 10 * similar(seen) + relation
    assert_same(page, out["loss"], total)
    assert [name for name, value in out.items() if value.requires_grad] == ["loss"]
    assert set(out) == {"loss", *WEIGHTS}


@pytest.mark.parametrize(
    "setting, term",
    [({"class_weights": False}, "hard"), ({"keep_turned": 0.5}, "turned"), ({"keep_similar": 0.0}, "similar")],
)
def test_a_setting_changes_its_term_alone(build, batch, setting, term):
    page = build(**setting)
    seen, was, now = Seen(page, batch), build()(batch), page(batch)
    assert len(similar_kept(seen)) < 9  # else no test here would see whether errors are ranked
    assert len(turned_kept(seen)) < 9 or setting.get("keep_turned", 1) == 1
    torch.testing.assert_close(now[term], LOOPS[term](seen).detach(), atol=1e-9, rtol=0)
    assert {name for name in WEIGHTS if not torch.isclose(was[name], now[name], rtol=1e-9)} == {term}


def test_a_case_without_a_label_counts_for_all_but_the_first_term(build, batch):
    batch["label_BL"][1] = -1
    page = build(keep_turned=0.5)
    seen, out = Seen(page, batch), page(batch)
    for name in WEIGHTS:
        torch.testing.assert_close(out[name], LOOPS[name](seen).detach(), atol=1e-9, rtol=0)
    batch["label_BL"][:] = -1
    assert page(batch)["hard"] == 0
    assert page(batch)["loss"].isfinite()


def test_embedding_case_by_case_changes_nothing_without_batch_statistics(build, batch):
    page = build()
    page.model.picture_towers.eval()
    parts = [page.embed({k: v[i : i + 1] for k, v in batch.items()}) for i in range(3)]
    together = {key: torch.cat([part[key] for part in parts]) for key in parts[0]}
    torch.testing.assert_close(page.loss(together, batch)["loss"], page(batch)["loss"], rtol=1e-12, atol=1e-12)


def test_the_loss_is_computed_in_full_precision_under_autocast(build, batch):
    page = build().float()
    batch["image_BVCHW"] = batch["image_BVCHW"].float()
    with torch.autocast("cpu", torch.bfloat16):
        out = page(batch)
    assert {value.dtype for value in out.values()} == {torch.float32}
    torch.testing.assert_close(out, page(batch), rtol=0.1, atol=0.02)


def test_the_teacher_neither_learns_nor_moves(build, batch, teacher):
    page = build()
    before = copy.deepcopy(teacher.state_dict())
    optimiser = torch.optim.SGD(page.parameters(), lr=0.1)
    for _ in range(2):
        page.train()
        page(batch)["loss"].backward()
        optimiser.step()
    assert not any(module.training for module in teacher.modules())
    assert all(p.grad is None and not p.requires_grad for p in teacher.parameters())
    assert {k for k, v in teacher.state_dict().items() if not torch.equal(v, before[k])} == set()


def test_the_teacher_is_in_no_checkpoint_and_goes_where_the_method_goes(build, teacher):
    page = build()
    own = {id(x) for x in (*page.parameters(), *page.buffers())}
    assert not own & {id(x) for x in (*teacher.parameters(), *teacher.buffers())}
    assert {k.split(".")[0] for k in page.state_dict()} == {"model", "regressor", "weight_C"}
    assert {k.split(".")[0] for k in build(gram=0.0).state_dict()} == {"model", "weight_C"}
    assert {p.dtype for p in page.half().teacher.parameters()} == {torch.float16}
    assert {p.device.type for p in page.to("meta").teacher.parameters()} == {"meta"}


def test_the_student_has_the_teachers_classes_and_their_weights(build):
    page = build()
    assert page.targets == page.model.predicting.classes == {"diagnosis": CLASSES}
    assert page.views == 4
    torch.testing.assert_close(page.state_dict()["weight_C"], torch.tensor([7.0, 3.5, 1.75]).double())
    assert build(class_weights=False).weight_C.tolist() == [1, 1, 1]


def test_the_first_term_is_that_of_all_ranks(build, batch, monkeypatch):
    page = build()
    logits, label = torch.randn(5, 3).double(), torch.tensor([0, 2, 1, -1, 2])
    whole = page._hard(logits, label)
    weight = page.weight_C[label.clamp_min(0)] * (label >= 0)
    monkeypatch.setattr(ssd_kd, "all_reduce_mean", lambda _: weight.sum() / 2)
    torch.testing.assert_close((page._hard(logits[:2], label[:2]) + page._hard(logits[2:], label[2:])) / 2, whole)


@pytest.mark.parametrize(
    "settings, sentence",
    [
        ({"hard": -0.1}, "none below 0"),
        (dict.fromkeys(WEIGHTS, 0.0), "not all 0"),
        ({"hard": 0.0, "class_weights": False}, "class_weights has no effect where hard weigh"),
        ({"soft": 0.0, "turned": 0.0, "temperature": 2.0}, "temperature has no effect where soft and turned"),
        ({"similar": 0.0, "keep_similar": 0.5}, "keep_similar has no effect"),
        ({"similar": 0.0, "similarity_temperature": 0.1}, "similarity_temperature has no effect"),
        ({"turned": 0.0, "keep_turned": 0.5}, "keep_turned has no effect"),
    ],
)
def test_settings_that_cannot_be_meant(settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        SSDKDConfig(**settings)


def test_models_that_do_not_fit(build, batch, teacher, monkeypatch):
    with pytest.raises(ValueError, match=r"the student looks at two: set model\.paired false"):
        build(branches(3, ("dermoscopy", "image")))
    with pytest.raises(ValueError, match="must want the same pictures"):
        build(branches(3, size=8))
    with pytest.raises(ValueError, match=r"the student's tower has no feature map .* set method\.gram to 0"):
        build(branches(3, patches=False))(batch)
    assert build(branches(3, patches=False), gram=0.0)(batch)["loss"].isfinite()
    pair = branches(4, ("dermoscopy", "image"), {"diagnosis": CLASSES})
    monkeypatch.setattr(ssd_kd, "read_teacher", lambda source, label: (pair, CLASSES))
    with pytest.raises(ValueError, match="the teacher looks at two"):
        build()
    with pytest.raises(ValueError, match=r"set method\.teacher to the folder"):
        methods()["ssd_kd"](branches(3), SSDKDConfig())


def test_a_teacher_is_read_from_its_folder(tmp_path):
    model = build_branches(BranchesConfig(image=ImageTowerConfig(name="resnet10t", size=32), paired=False))
    (tmp_path / "empty").mkdir()
    save(tmp_path / "image", model.picture_towers["image"])
    save(tmp_path / "bare", model)
    model.add("labels", classes=[2, 3])
    save(tmp_path / "clusters", model)
    neither = "holds no image tower with label heads"
    refused = {"empty": neither, "image": neither, "bare": "allowed: none", "clusters": "allowed: none"}
    for name, sentence in refused.items():
        with pytest.raises(ValueError, match=f"(?i){sentence}"):
            read_teacher(str(tmp_path / name), "diagnosis")

    model.add("labels", classes={"finding.streaks": ["absent", "regular"], "diagnosis": CLASSES}, relation="tel")
    save(tmp_path / "model", model)
    state = torch.get_rng_state()
    teacher, classes = read_teacher(f"local-dir:{tmp_path / 'model'}", "diagnosis")
    assert torch.equal(torch.get_rng_state(), state)
    assert classes == CLASSES
    assert not any(p.requires_grad for p in teacher.parameters())
    h = torch.randn(2, model.dim)
    torch.testing.assert_close(teacher.predict(h), model.eval().predict(h))
    with pytest.raises(ValueError, match="Did you mean 'diagnosis'"):
        read_teacher(str(tmp_path / "model"), "diagnoses")


def status_of(arguments):
    with pytest.raises(SystemExit) as end:
        main(arguments)
    return end.value.code


def test_the_recipe_from_a_teacher_to_a_report(tmp_path, monkeypatch, capsys):
    """The commands that the recipe names, at its smoke size."""
    monkeypatch.chdir(tmp_path)
    dermis.make_cases(tmp_path / "cases", patients=40, size=64, seed=3)
    cases = ["--smoke", "--data.manifest", "cases/cases.parquet", "--data.cache", "cache"]
    learning = ["train", "ssd_kd", *cases, "--out", "runs/student"]
    assert status_of(learning) == 2
    assert "no folder at runs/teacher/model" in capsys.readouterr().err
    teaching = ["--model.no-paired", "--evaluation.protocols", "knn", "--evaluation.probe-features", "trunk"]
    assert status_of(["train", "multi_label", *cases, *teaching, "--out", "runs/teacher"]) == 0
    assert status_of(learning) == 0
    run = tmp_path / "runs" / "student"
    assert {e.model for e in Report.read(run / "report" / "report.json").entries} == {"untrained", "ssd_kd"}
    assert all(json.loads(line)["loss"] > 0 for line in (run / "log.jsonl").read_text().splitlines())
    taught = load("runs/teacher/model").parts["labels"].classes["diagnosis"]
    assert load(run / "model").predicting.classes == {"diagnosis": taught}
    steps = (run / "log.jsonl").read_text()
    assert status_of(["train", str(run / "recipe.yaml"), "--out", str(run)]) == 0
    assert (run / "log.jsonl").read_text() == steps
