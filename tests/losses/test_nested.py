"""nested and info_nce: against the equations as loops, cross-entropy and clip; groups, padding, chunks, ranks."""

import math
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F

from dermis.losses import clip
from dermis.losses.nested import info_nce, nested

CHUNKS = pytest.mark.parametrize("chunk", [None, 1, 3, 100])
# eight lesions of four patients, one of them with a single lesion; two pairs of patients have the same table
PATIENT = torch.tensor([0, 0, 0, 1, 2, 2, 3, 3])
GROUP = torch.tensor([5, 9, 5, 9])
OPTIONS = [
    {},
    {"weight": 0.2},
    {"same_patient": "excluded"},
    {"patient_group_P": GROUP},
    {"patient_group_P": torch.tensor([1, 1, 1, 1]), "same_patient": "excluded"},
    {"patient_group_P": torch.tensor([4, 4, 7, 4])},
]
NAMES = ("lesion", "patient", "loss")


@pytest.fixture
def levels(det):
    """Pictures and tables of the lesions, phenotypes and tables of the patients, and the temperature."""
    lesion, patient = det((8, 6), 1), det((4, 5), 2)
    vectors = (lesion + 0.5 * det((8, 6), 3), lesion + 0.5 * det((8, 6), 4), patient, patient + 0.5 * det((4, 5), 5))
    return *(z.requires_grad_() for z in vectors), torch.tensor(0.3, dtype=torch.float64, requires_grad=True)


def call(levels, **options):
    image, table, phenotype, patient_table, temperature = levels
    return nested(image, table, options.pop("patient_N", PATIENT), phenotype, patient_table, temperature, **options)


def one_way(anchors, others, temperature, positives, left_out):
    """Mean over anchors, one exponential at a time; ``positives[i]`` and ``left_out[i]`` are sets of rows."""

    def e(a, b):
        return torch.exp(a @ b / (a.norm() * b.norm()) / temperature)

    total = 0.0
    for i, anchor in enumerate(anchors):
        denominator = sum(e(anchor, others[k]) for k in range(len(others)) if k not in left_out[i])
        for j in positives[i]:
            total = total - torch.log(e(anchor, others[j]) / denominator) / len(positives[i])
    return total / len(anchors)


def both_ways(x, y, temperature, shared=None, excluded=None):
    rows = range(len(x))
    positives = [{j for j in rows if (i == j if shared is None else shared[i] == shared[j])} for i in rows]
    left_out = [
        set() if excluded is None else {j for j in rows if excluded[i] == excluded[j]} - positives[i] for i in rows
    ]
    forth = one_way(x, y, temperature, positives, left_out)
    return 0.5 * forth + 0.5 * one_way(y, x, temperature, positives, left_out)


def equation(levels, weight=0.5, patient_group_P=None, same_patient="negatives", patient_N=PATIENT):
    image, table, phenotype, patient_table, temperature = levels
    excluded = patient_N.tolist() if same_patient == "excluded" else None
    shared = None if patient_group_P is None else patient_group_P.tolist()
    lesion = both_ways(image, table, temperature, excluded=excluded)
    patient = both_ways(phenotype, patient_table, temperature, shared=shared)
    return {"lesion": lesion, "patient": patient, "loss": weight * lesion + (1 - weight) * patient}


def assert_same(ours, theirs, inputs, value=1e-9, gradient=1e-8):
    torch.testing.assert_close(ours, theirs, atol=value, rtol=0)
    gradients = (torch.autograd.grad(x, inputs, retain_graph=True, allow_unused=True) for x in (ours, theirs))
    for mine, other in zip(*gradients, strict=True):
        assert (mine is None) == (other is None)
        if mine is not None:
            torch.testing.assert_close(mine, other, atol=gradient, rtol=0)


@CHUNKS
@pytest.mark.parametrize("options", OPTIONS)
def test_equals_the_equations_as_loops(levels, options, chunk):
    ours, loops = call(levels, **options, chunk=chunk), equation(levels, **options)
    assert tuple(ours) == NAMES
    for name in NAMES:
        assert_same(ours[name], loops[name], levels)


@CHUNKS
def test_info_nce_shares_what_it_would_exclude(levels, chunk):
    """Rows 0, 1 share and are of patient 0, whose row 2 is excluded for them; rows 3, 4 share over two patients."""
    shared, inputs = torch.tensor([0, 0, 2, 3, 3, 5, 6, 7]), (*levels[:2], levels[4])
    ours = info_nce(*inputs, shared_N=shared, excluded_N=PATIENT, chunk=chunk)
    assert_same(ours, both_ways(*inputs, shared.tolist(), PATIENT.tolist()), inputs)


def test_literal_is_clip(levels):
    image, table, _, _, temperature = levels
    theirs = clip(F.normalize(image, dim=-1), F.normalize(table, dim=-1), 1 / temperature)
    assert_same(call(levels)["lesion"], theirs, (image, table, temperature), 1e-12, 1e-12)


def test_shared_is_cross_entropy_with_a_uniform_target(levels):
    _, _, phenotype, table, temperature = levels
    logits = F.normalize(phenotype, dim=-1) @ F.normalize(table, dim=-1).T / temperature
    target = (GROUP[:, None] == GROUP).double() / 2
    theirs = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
    assert_same(call(levels, patient_group_P=GROUP)["patient"], theirs, (phenotype, table, temperature))


def test_a_group_is_content_when_its_phenotypes_meet(levels):
    """All tables alike: equal phenotypes are the optimum."""
    phenotype, same = levels[2], levels[3][:1].expand(4, -1)
    met = phenotype.mean(0, keepdim=True).expand(4, -1)
    shared = [info_nce(z, same, 0.1, shared_N=torch.zeros(4)).item() for z in (met, phenotype)]
    literal = [info_nce(z, same, 0.1).item() for z in (met, phenotype)]
    assert shared[0] == pytest.approx(literal[0]) == pytest.approx(math.log(4))
    assert shared[1] > shared[0] + 0.1


def test_soft_targets_change_nothing_where_the_tables_of_a_group_are_one_vector(levels):
    """The literal loss already treats them alike; counted once they are another loss."""
    z, group = levels[2], [0, 1, 0, 2]
    tables = levels[3].detach()[:3].requires_grad_()
    table = tables[group]
    literal, soft = (info_nce(z, table, 0.3, shared_N=ids) for ids in (None, torch.tensor(group)))
    assert_same(soft, literal, (z, tables))
    once = info_nce(z, table, 0.3, shared_N=torch.tensor(group), shared="once")
    assert not torch.isclose(once, literal)


@CHUNKS
@pytest.mark.parametrize("own", [(0, None), (1, 2)])
def test_once_counts_a_table_once_and_asks_for_one_of_its_owners(levels, own, chunk):
    z, group, (first, rows) = levels[2], [0, 1, 0, 2], own
    tables = levels[3].detach()[:3].requires_grad_()
    x, y = F.normalize(z, dim=1), F.normalize(tables, dim=1)
    total, anchors = 0.0, range(first, 4 if rows is None else first + rows)
    for i in anchors:
        e_x = [torch.exp(x[i] @ y[g] / 0.3) for g in range(3)]
        e_y = [torch.exp(x[j] @ y[group[i]] / 0.3) for j in range(4)]
        owners = [j for j in range(4) if group[j] == group[i]]
        total = total - torch.log(e_x[group[i]] / sum(e_x)) / 2
        total = total - torch.log(sum(e_y[j] for j in owners) / len(owners) / sum(e_y)) / 2
    ours = info_nce(
        z, tables[group], 0.3, shared_N=torch.tensor(group), shared="once", first=first, rows=rows, chunk=chunk
    )
    assert_same(ours, total / len(anchors), (z, tables))
    with pytest.raises(ValueError, match="Did you mean 'once'"):
        info_nce(z, z, 0.3, shared="onces")


@CHUNKS
@pytest.mark.parametrize("padding", [0.0, 1e6, float("nan")])
@pytest.mark.parametrize("options", OPTIONS)
def test_padding_is_as_if_it_were_not_there(levels, options, padding, chunk):
    image, table, *rest = levels
    mask = torch.tensor([1, 1, 0, 1, 1, 0, 0, 1]).bool()
    padded = [torch.where(mask[:, None], z, padding) for z in (image, table)]
    ours = call((*padded, *rest), **options, mask_N=mask, chunk=chunk)
    loops = equation((image[mask], table[mask], *rest), **options, patient_N=PATIENT[mask])
    for name in NAMES:
        assert_same(ours[name], loops[name], levels)


@pytest.mark.parametrize("chunk", [None, 3])
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("mask", [None, [1, 1, 1, 1, 1, 0, 1, 1], [1, 0, 1, 0, 0, 0, 0, 1]])
@pytest.mark.parametrize("bounds", [(0, 4, 8), (0, 3, 8), (0, 1, 2, 3, 8)])
def test_shares_of_the_ranks_average_to_the_whole(levels, options, mask, bounds, chunk):
    """Ranks have equally many patients; of lesions unequally many, or nothing but padding."""
    options = options | {"mask_N": mask if mask is None else torch.tensor(mask).bool()}
    patients = 4 // (len(bounds) - 1)
    ranks = [
        call(
            levels,
            **options,
            chunk=chunk,
            lesion_first=first,
            lesion_rows=last - first,
            patient_first=rank * patients,
            patient_rows=patients,
        )
        for rank, (first, last) in enumerate(pairwise(bounds))
    ]
    whole = call(levels, **options)
    for name in NAMES:
        assert_same(torch.stack([rank[name] for rank in ranks]).mean(), whole[name], levels, 1e-12, 1e-12)


@pytest.mark.parametrize("mask", [[1, 1, 1, 1, 1, 1, 1, 1], [1, 0, 1, 1, 0, 1, 1, 1]])
def test_a_share_is_that_of_the_own_rows(levels, mask):
    """Rank 1 of 4 with two rows each; without padding its share is the mean over its rows."""
    mask = torch.tensor(mask).bool()
    x, y = levels[:2]
    logits = (F.normalize(x, dim=-1) @ F.normalize(y, dim=-1).T / 0.3)[mask][:, mask]
    both = [F.cross_entropy(z, torch.arange(len(z)), reduction="none") for z in (logits, logits.T)]
    loss = torch.zeros(8, dtype=torch.float64).masked_scatter(mask, (both[0] + both[1]) / 2)
    share = info_nce(x, y, 0.3, mask_N=mask, first=2, rows=2)
    assert_same(share, loss[2:4].sum() * 4 / mask.sum(), (x, y))


@pytest.mark.parametrize("chunk", [None, 1])
@pytest.mark.parametrize("same_patient", ["negatives", "excluded"])
def test_one_patient_with_one_lesion_is_finite(levels, same_patient, chunk):
    image, table, phenotype, patient_table, temperature = levels
    one = (image[:1], table[:1], phenotype[:1], patient_table[:1], temperature)
    options = {"patient_N": PATIENT[:1], "patient_group_P": GROUP[:1], "same_patient": same_patient, "chunk": chunk}
    loss = call(one, **options)["loss"]
    assert loss.item() == pytest.approx(0, abs=1e-12)
    for gradient in torch.autograd.grad(loss, levels):
        torch.testing.assert_close(gradient, torch.zeros_like(gradient), atol=1e-12, rtol=0)


@pytest.mark.parametrize("chunk", [None, 2])
def test_all_lesions_of_one_patient_leave_no_negatives(levels, chunk):
    loss = call(levels, patient_N=torch.zeros(8), same_patient="excluded", chunk=chunk)["lesion"]
    assert loss.item() == pytest.approx(0, abs=1e-12)
    assert all(g.isfinite().all() for g in torch.autograd.grad(loss, levels[:2]))


@pytest.mark.parametrize("options", OPTIONS)
def test_float32_is_close_to_float64(levels, options):
    single = call([z.detach().float() for z in levels], **options, chunk=3)["loss"]
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), call(levels, **options)["loss"].detach(), atol=1e-5, rtol=0)


@pytest.mark.parametrize("same_patient", ["negatives", "excluded"])
def test_chunks_keep_no_matrix_for_backward(det, kept_for_backward, same_patient):
    x, y, patient = det((300, 4), 1).requires_grad_(), det((300, 4), 2).requires_grad_(), torch.arange(300) // 3
    excluded = patient if same_patient == "excluded" else None
    assert kept_for_backward(lambda: info_nce(x, y, 0.1, excluded_N=excluded, chunk=50)) < 300 * 300 / 4
    assert kept_for_backward(lambda: info_nce(x, y, 0.1, excluded_N=excluded)) > 300 * 300


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"same_patient": "exclude"}, r"same_patient of nested 'exclude'. Did you mean 'excluded'\?"),
        ({"lesion_rows": 4}, "lesion_rows and patient_rows are given together"),
        ({"patient_rows": 2}, "lesion_rows and patient_rows are given together"),
        ({"lesion_first": 6, "lesion_rows": 4, "patient_rows": 2}, "own rows 6 to 9 do not lie in a batch of 8"),
        ({"patient_N": PATIENT[:7]}, r"patient_N must have one value for each of the 8 rows, not \(7,\)"),
        ({"patient_group_P": PATIENT}, r"patient_group_P must have one value for each of the 4 rows, not \(8,\)"),
        ({"mask_N": torch.ones(8, 1).bool()}, r"mask_N must have one value for each of the 8 rows, not \(8, 1\)"),
        ({"mask_N": torch.zeros(8).bool()}, "every row is padding"),
        ({"chunk": 0}, "chunk must be at least 1"),
    ],
)
def test_wrong_arguments_are_explained(levels, options, message):
    with pytest.raises(ValueError, match=message):
        call(levels, **options)


def test_sides_of_different_shape_are_explained(levels):
    with pytest.raises(ValueError, match=r"\(N, D\) alike, not \(8, 6\) and \(4, 5\)"):
        info_nce(levels[0], levels[2], 0.1)
