"""Distillation: each relation against its equation as loops, SSD-KD's selection step by step, equal rows."""

import pytest
import torch
import torch.nn.functional as F

from dermis.losses.distillation import (
    most_reliable,
    relation_angle,
    relation_distance,
    relation_gram,
    rotation_similarity,
    soft_target,
)

RELATIONS = (relation_distance, relation_angle, relation_gram)


@pytest.fixture
def rows(det):
    """Six cases: a student of width 4 and a teacher of width 7."""
    return det((6, 4), 1).requires_grad_(), det((6, 7), 2)


@pytest.fixture
def maps(det):
    """Feature maps of three cases and four channels, 3 x 2 positions for the student and 2 x 4 for the teacher."""
    return det((3, 4, 3, 2), 1).requires_grad_(), det((3, 4, 2, 4), 2)


@pytest.fixture
def turned(det):
    """Five pictures in four rotations: a student of width 4; a teacher of width 7 that mostly knows them again."""
    picture = det((5, 1, 7), 3)
    return det((5, 4, 4), 1).requires_grad_(), 0.7 * picture + det((5, 4, 7), 2)


def huber(e):
    return e**2 / 2 if abs(e) < 1 else abs(e) - 0.5


def distances(x):
    size = range(len(x))
    d = [[(x[i] - x[j]).square().sum().sqrt() if i != j else x.new_zeros(()) for j in size] for i in size]
    positive = [v for row in d for v in row if v > 0]
    return [[v / (sum(positive) / len(positive)) for v in row] for row in d]


def distance_loops(student, teacher):
    s, t = distances(student), distances(teacher)
    size = range(len(student))
    return sum(huber(s[i][j] - t[i][j]) for i in size for j in size) / len(student) ** 2


def cosine(x, i, j, k):
    a, b = x[i] - x[j], x[k] - x[j]
    return a @ b / (a.norm() * b.norm()) if i != j and k != j else x.new_zeros(())


def angle_loops(student, teacher):
    size = range(len(student))
    corners = [(i, j, k) for i in size for j in size for k in size]
    return sum(huber(cosine(student, *c) - cosine(teacher, *c)) for c in corners) / len(corners)


def gram_loops(student, teacher):
    squares = []
    if student.ndim == 2:
        for i in range(len(student)):
            for j in range(len(student)):
                squares.append((student[i] @ student[j] - teacher[i] @ teacher[j]) ** 2)
        return (sum(squares) / len(squares)).sqrt()
    for s, t in zip(student, teacher, strict=True):
        for c in range(len(s)):
            for d in range(len(s)):
                squares.append(((s[c] * s[d]).sum() / s.numel() - (t[c] * t[d]).sum() / t.numel()) ** 2)
    return (sum(squares) / len(squares)).sqrt()


def divergence(student_logits, teacher_logits, temperature):
    """Of one row, one answer at a time."""
    p, q = (torch.exp(x / temperature) / torch.exp(x / temperature).sum() for x in (teacher_logits, student_logits))
    return sum(p[c] * torch.log(p[c] / q[c]) for c in range(len(p))) * temperature**2


def kept_rows(teacher, target, keep):
    """SSD-KD's error-level ranking: sort each row, find the target's place, sort the rows by it."""
    places = [sorted(range(len(row)), key=lambda c: -row[c]).index(t) for row, t in zip(teacher, target, strict=True)]
    wrong = sum(place > 0 for place in places)
    order = sorted(range(len(places)), key=lambda row: places[row])
    return sorted(order[: len(places) - wrong + int(wrong * keep)])


def similarities(features):
    """Of each turned copy (copies of one picture in a row) to each upright picture."""
    copies = [features[b, r] for b in range(len(features)) for r in range(1, features.shape[1])]
    return torch.stack([torch.stack([F.cosine_similarity(a, x[0], dim=0) for x in features]) for a in copies])


def rotation_loops(student, teacher, temperature, keep):
    s, t = similarities(student), similarities(teacher)
    kept = kept_rows(t.tolist(), [b for b in range(5) for _ in range(3)], keep)
    return sum(divergence(s[a], t[a], temperature) for a in kept) / len(kept)


def assert_same(ours, theirs, inputs, value=1e-9, gradient=1e-8):
    torch.testing.assert_close(ours, theirs, atol=value, rtol=0)
    mine, other = (torch.autograd.grad(loss, inputs)[0] for loss in (ours, theirs))
    torch.testing.assert_close(mine, other, atol=gradient, rtol=0)


@pytest.mark.parametrize("stretch", [1.0, 4.0], ids=["alike", "outlier"])
@pytest.mark.parametrize(
    ("relation", "loops"),
    [(relation_distance, distance_loops), (relation_angle, angle_loops), (relation_gram, gram_loops)],
)
def test_relations_equal_the_equations_as_loops(rows, relation, loops, stretch):
    student, teacher = rows
    teacher[0] *= stretch  # beyond the quadratic part of H
    assert_same(relation(student, teacher), loops(student, teacher), student)


def test_gram_of_feature_maps_equals_the_equation_as_loops(maps):
    assert_same(relation_gram(*maps), gram_loops(*maps), maps[0])


@pytest.mark.parametrize("relation", [relation_distance, relation_angle])
def test_relations_see_neither_place_nor_size_nor_orientation(rows, relation):
    student = rows[1]
    turn = torch.linalg.qr(torch.arange(49.0).double().reshape(7, 7).sin()).Q
    moved = (3 * student @ turn + 5).requires_grad_()
    loss = relation(moved, student)
    assert loss.item() == pytest.approx(0, abs=1e-12)
    assert torch.autograd.grad(loss, moved)[0].abs().max() < 1e-9


@pytest.mark.parametrize("relation", RELATIONS)
def test_equal_rows_and_equal_sides_have_finite_gradients(rows, relation):
    student, teacher = (x.detach().clone() for x in rows)
    student[1] = student[0]
    for rows_of_student in (student, student[:1].expand(6, -1), teacher):
        leaf = rows_of_student.float().requires_grad_()
        loss = relation(leaf, teacher.float())
        loss.backward()
        assert loss.isfinite()
        assert leaf.grad.isfinite().all()
        assert leaf.grad.abs().max() < 1e3


def test_angles_of_rows_close_together_are_right_in_float32(rows):
    """The rotations of one picture lie close together, far from the origin."""
    teacher = rows[1].float()
    close = (100 + 0.01 * rows[1]).float()
    exact = angle_loops(close.double(), teacher.double())
    assert relation_angle(close, teacher).item() == pytest.approx(exact.item(), rel=1e-4, abs=1e-9)


@pytest.mark.parametrize("relation", [relation_distance, relation_angle])
def test_features_in_half_precision_lose_nothing_on_the_way(rows, relation):
    half = [x.detach().bfloat16() for x in rows]
    loss = relation(*half)
    assert loss.dtype == torch.float32
    assert loss == relation(*(x.double() for x in half)).float()


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_soft_target_equals_the_equation_and_torch(det, temperature):
    student, teacher = det((6, 5), 1).requires_grad_(), 3 * det((6, 5), 2)
    ours = soft_target(student, teacher, temperature)
    loops = sum(divergence(s, t, temperature) for s, t in zip(student, teacher, strict=True)) / 6
    assert_same(ours, loops, student)
    log_q, p = F.log_softmax(student / temperature, 1), F.softmax(teacher / temperature, 1)
    theirs = F.kl_div(log_q, p, reduction="batchmean") * temperature**2
    assert_same(soft_target(student, teacher, temperature), theirs, student)


def test_soft_target_of_some_rows_is_their_mean(det):
    student, teacher = det((6, 5), 1).requires_grad_(), det((6, 5), 2)
    kept = torch.tensor([True, False, True, True, False, False])
    assert_same(soft_target(student, teacher, 4.0, kept_B=kept), soft_target(student[kept], teacher[kept], 4), student)
    none = soft_target(student, teacher, 4.0, kept_B=torch.zeros(6, dtype=torch.bool))
    assert none.item() == 0
    assert torch.autograd.grad(none, student)[0].abs().max() == 0


@pytest.mark.parametrize("keep", [1.0, 0.75, 0.29, 0.0])
def test_most_reliable_equals_the_release_step_by_step(det, keep):
    teacher = det((300, 4), 1)
    target = torch.arange(300) % 4
    ours = most_reliable(teacher, target, keep).nonzero().squeeze(1).tolist()
    assert ours == kept_rows(teacher.tolist(), target.tolist(), keep)


def test_most_reliable_rounds_as_the_release_does():
    """int(100 · 0.29) is 28 in double precision, and would be 29 in single."""
    teacher = torch.tensor([[0.0, 1.0]]).expand(100, -1)
    assert most_reliable(teacher, torch.zeros(100, dtype=torch.long), 0.29).nonzero().flatten().tolist() == list(
        range(28)
    )


@pytest.mark.parametrize("keep", [1.0, 0.75, 0.4])
def test_rotation_similarity_equals_the_release_step_by_step(turned, keep):
    wrong = (similarities(turned[1]).argmax(1) != torch.arange(5).repeat_interleave(3)).sum()
    assert 0 < wrong < 15
    assert_same(rotation_similarity(*turned, 0.5, keep=keep), rotation_loops(*turned, 0.5, keep), turned[0])


@pytest.mark.parametrize("relation", [*RELATIONS, lambda s, t: soft_target(s, t[:, :4], 4.0)])
def test_the_teacher_gets_no_gradient(rows, relation):
    student, teacher = (x.detach().requires_grad_() for x in rows)
    relation(student, teacher).backward()
    assert student.grad is not None
    assert teacher.grad is None


def test_the_teacher_of_rotations_gets_no_gradient(turned):
    student, teacher = (x.detach().requires_grad_() for x in turned)
    rotation_similarity(student, teacher, 0.5, keep=0.75).backward()
    assert student.grad is not None
    assert teacher.grad is None


def test_float32_is_close_to_float64(rows, maps, turned):
    for relation, inputs in (
        *((relation, rows) for relation in RELATIONS),
        (relation_gram, maps),
        (lambda s, t: soft_target(s, t[:, :4], 4.0), rows),
        (lambda s, t: rotation_similarity(s, t, 0.5, keep=0.75), turned),
    ):
        single = relation(*(x.detach().float() for x in inputs))
        assert single.dtype == torch.float32
        torch.testing.assert_close(single.double(), relation(*inputs).detach(), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda x: relation_distance(x, x[:2]), r"\(B, D\) with the same B, not \(4, 3\) and \(2, 3\)"),
        (lambda x: relation_angle(x[:, :, None], x), r"\(B, D\) with the same B"),
        (lambda x: relation_gram(x, x[:2]), r"\(B, D\) or \(B, C, H, W\)"),
        (lambda x: relation_gram(x[:, :, None, None], x[:, :2, None, None]), "with the same C"),
        (lambda x: soft_target(x, x[:, :2], 4.0), r"\(B, C\) alike, not \(4, 3\) and \(4, 2\)"),
        (lambda x: rotation_similarity(x[:, None], x[:, None], 0.5), "R of at least 2"),
        (lambda x: most_reliable(x, torch.zeros(3), 0.5), r"\(B, C\) with \(B,\), not \(4, 3\) and \(3,\)"),
        (lambda x: most_reliable(x, torch.zeros(4), 75), "keep is a share of the rows, 0 to 1, not 75"),
    ],
)
def test_wrong_arguments_are_explained(wrong, message):
    with pytest.raises(ValueError, match=message):
        wrong(torch.ones(4, 3))
