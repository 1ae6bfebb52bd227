"""SimCLR, MoCo v2, SM3's contrast and the multi-label classifier: losses by hand, slices, two ranks."""

from copy import deepcopy

import pytest
import torch
import torch.nn.functional as F

from dermis.batch.slices import slices
from dermis.losses.contrastive import nt_xent
from dermis.losses.multi_label import multi_label
from dermis.methods import methods
from dermis.towers.branches import Branches
from tests.methods.test_sm3 import Pixels, pairs

TARGETS = {"diagnosis": ["a", "b", "c"], "finding.x": ["absent", "present"]}
LABELS = torch.tensor([[0, 1], [2, -1], [1, 0], [-1, 1], [0, 0], [2, 1]])
PAGES = {
    "simclr": {"projection": 5},
    "moco": {"projection": 5, "queue": 16},
    "sm3": {"projection": 5},
    "multi_label": {"targets": TARGETS, "relation": "tel", "width": 8, "dropout": 0.0},
}


def build(name, **settings):
    torch.manual_seed(0)
    page = methods()[name]
    model = Branches({"dermoscopy": Pixels(), "image": Pixels()})
    return page(model, page.Config(**PAGES[name] | settings)).double()


def six() -> dict[str, torch.Tensor]:
    return pairs(6) | {"label_BL": LABELS}


def test_simclr_is_nt_xent_of_each_picture_s_projections():
    page, batch = build("simclr"), six()
    expected = 0.0
    for name, head in page.heads.items():
        h = [page.model.encode(name, view) for view in batch[f"{name}_BVCHW"].unbind(1)]
        expected = expected + nt_xent(*head(torch.cat(h)).chunk(2), 0.1)
    out = page(batch)
    torch.testing.assert_close(out["loss"], expected)
    torch.testing.assert_close(out["loss"], out["image"] + out["dermoscopy"])
    torch.testing.assert_close(build("simclr", chunk=3)(batch)["loss"], expected)


def test_moco_asks_a_queue_of_old_keys_and_its_keys_follow_slowly():
    page, batch = build("moco", momentum=0.9), six()
    queue, oldest = page.queue("image").clone(), []
    key_before = deepcopy(page.key_towers["image"].layer.weight)
    for step in range(4):
        first, second = batch["image_BVCHW"].unbind(1)
        q = F.normalize(page.heads["image"](page.model.encode("image", first)), dim=1)
        k = F.normalize(page.key_heads["image"](page.key_towers["image"].features(second).pooled_BD), dim=1)
        terms = []
        for i in range(6):
            logits = torch.cat([(q[i] @ k[i])[None], q[i] @ F.normalize(queue, dim=0)]) / 0.2
            terms.append(F.cross_entropy(logits[None], torch.tensor([0])))
        out = page(batch)
        torch.testing.assert_close(out["image"], torch.stack(terms).mean().detach())
        out["loss"].backward()
        assert page.key_towers["image"].layer.weight.grad is None
        with torch.no_grad():
            for p in page.model.parameters():
                p -= 0.1 * p.grad
        page.zero_grad()
        own = page.model.picture_towers["image"].layer.weight
        expected = 0.9 * key_before + 0.1 * own.detach()
        page.after_step(step)
        torch.testing.assert_close(page.key_towers["image"].layer.weight, expected)
        key_before = page.key_towers["image"].layer.weight.clone()
        for j in range(6):  # the keys of this batch stand where the oldest stood
            queue[:, (6 * step + j) % 16] = page.queue("image")[:, (6 * step + j) % 16]
            torch.testing.assert_close(F.normalize(queue[:, (6 * step + j) % 16], dim=0), k[j].detach())
        torch.testing.assert_close(page.queue("image"), queue)
        oldest.append(int(page.oldest))
    assert oldest == [6, 12, 2, 8]


def test_a_queue_smaller_than_the_batch_and_a_wild_momentum_are_sentences():
    with pytest.raises(ValueError, match="a queue of 4 keys cannot hold a batch of 6"):
        build("moco", queue=4)(six())
    with pytest.raises(ValueError, match="momentum lies in"):
        build("moco", momentum=1.0)


@pytest.mark.parametrize("relation", ["no_proj", "mlp", "tel"])
def test_the_classifier_s_loss_counts_the_labels_that_are_known(relation):
    plain = {"width": 512, "dropout": 0.1} if relation == "no_proj" else {}
    page, batch = build("multi_label", relation=relation, **plain), six()
    logits = page.model.parts["labels"](
        torch.cat([page.model.encode(n, batch[f"{n}_BVCHW"][:, 0]) for n in page.model.pictures], 1)
    )
    terms = []
    for k, rows in enumerate(logits):
        known = [-F.log_softmax(rows[i], 0)[LABELS[i, k]] for i in range(6) if LABELS[i, k] >= 0]
        terms.append(torch.stack(known).mean())
    torch.testing.assert_close(page(batch)["loss"], torch.stack(terms).mean())
    nobody = batch | {"label_BL": torch.where(torch.arange(2) == 1, -1, LABELS)}
    torch.testing.assert_close(page(nobody)["loss"], terms[0] / 2)
    once = torch.where(torch.arange(6)[:, None] == 0, LABELS, -1)
    alone = [-F.log_softmax(rows[0], 0)[LABELS[0, k]] for k, rows in enumerate(logits)]
    torch.testing.assert_close(page(batch | {"label_BL": once})["loss"], torch.stack(alone).mean())
    predicted = page.eval().model.predict(torch.randn(4, 12).double())
    assert {name: p.shape for name, p in predicted.items()} == {"diagnosis": (4, 3), "finding.x": (4, 2)}
    assert all(torch.allclose(p.sum(1), torch.ones(4).double()) for p in predicted.values())


def test_labels_and_heads_must_be_of_one_number():
    with pytest.raises(ValueError, match=r"labels must be \(cases, 2\)"):
        multi_label([torch.zeros(3, 2), torch.zeros(3, 2)], torch.zeros(3, 3, dtype=torch.int64))


def test_the_classifier_goes_on_from_the_heads_of_a_pre_training():
    torch.manual_seed(1)
    model = Branches({"image": Pixels()})
    before = model.add("labels", classes=[3, 2], relation="tel", width=8, bias=False).state_dict()
    page = methods()["multi_label"]
    settings = PAGES["multi_label"] | {"dropout": 0.1}
    kept = page(deepcopy(model), page.Config(**settings)).model.parts["labels"].state_dict()
    fresh = page(deepcopy(model), page.Config(new_heads=True, **settings)).model.parts["labels"].state_dict()
    other = page(deepcopy(model), page.Config(targets=TARGETS, relation="no_proj")).model.parts["labels"].state_dict()
    assert all(torch.equal(kept[name], value) for name, value in before.items())
    assert torch.equal(fresh["projections.0.weight"], before["projections.0.weight"])
    assert not torch.equal(fresh["heads.0.weight"], before["heads.0.weight"])
    assert other["heads.0.weight"].shape == (3, 6)  # another relation has nothing to go on from


@pytest.mark.parametrize("name", ["simclr", "moco", "sm3"])
def test_the_loss_of_concatenated_slices_is_the_whole_loss(name):
    """Heads come after embed (MoCo's have no batch statistics), so theirs are the whole batch's."""
    page, batch = build(name), six()
    whole = page(batch)["loss"]
    parts = [page.embed(part) for part in slices(batch, 3)]
    together = {key: torch.cat([part[key] for part in parts]) for key in parts[0]}
    torch.testing.assert_close(page.loss(together, batch)["loss"], whole, rtol=1e-12, atol=1e-12)


def _worker(number):
    found = {}
    for name in PAGES:
        page = build(name).eval()  # heads by their running statistics: those of a batch are each rank's own
        loss = page(list(slices(six(), 2))[number])["loss"]
        loss.backward()
        found[name] = {"loss": loss.detach(), **{k: p.grad for k, p in page.named_parameters() if p.grad is not None}}
        if name == "moco":
            page.after_step(0)
            found[name]["queue"] = page.queue("image")
    return found


def test_two_ranks_give_the_value_and_gradient_of_one(two_ranks):
    ranks = two_ranks(_worker)
    for name in PAGES:
        page = build(name).eval()
        loss = page(six())["loss"]
        loss.backward()
        expected = {"loss": loss.detach(), **{k: p.grad for k, p in page.named_parameters() if p.grad is not None}}
        if name == "moco":
            page.after_step(0)
            expected["queue"] = page.queue("image")
        assert expected.keys() == ranks[0][name].keys()
        for key, value in expected.items():
            mean = sum(r[name][key] for r in ranks) / 2
            torch.testing.assert_close(mean, value, rtol=1e-6, atol=1e-9, msg=lambda m, k=f"{name} {key}": f"{k}: {m}")
