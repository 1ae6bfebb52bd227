"""What a student takes over from a teacher: its soft answers and the relations it sees between cases.

The terms of SSD-KD (arXiv 2203.11490; release enkiwang/Portable-Skin-Lesion-Diagnosis @ b8bf301), which adds up RKD's
two relations, Gram matrices, soft targets and, after SSKD (arXiv 2006.07114), the similarities of turned pictures.
B cases of width D; student and teacher may differ in width. The teacher never gets a gradient.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def relation_distance(student_BD: Tensor, teacher_BD: Tensor) -> Tensor:
    """RKD, distance-wise (Park et al. 2019, arXiv 1904.05068).

        mean_{i, j} H( d(s_i, s_j) - d(t_i, t_j) ),    d(x_i, x_j) = |x_i - x_j| / mean of the positive |x_k - x_l|
        H(e) = e²/2 for |e| < 1, else |e| - 1/2

    The mean is over all B² pairs, i = j included, as in the release; d is 0 where all rows are equal. Computed in
    float64, and float32 at least comes out. Raises ValueError for shapes that do not belong together.
    """
    _check_rows(student_BD, teacher_BD)
    loss = F.smooth_l1_loss(_over_their_mean(student_BD), _over_their_mean(teacher_BD.detach()))
    return loss.to(torch.promote_types(student_BD.dtype, torch.float32))


def relation_angle(student_BD: Tensor, teacher_BD: Tensor) -> Tensor:
    """RKD, angle-wise (Park et al. 2019, arXiv 1904.05068).

        mean_{i, j, k} H( cos∠(s_i, s_j, s_k) - cos∠(t_i, t_j, t_k) ),    H as in ``relation_distance``
        cos∠(x_i, x_j, x_k) = (x_i - x_j)·(x_k - x_j) / (|x_i - x_j| |x_k - x_j|),    0 where x_j is x_i or x_k

    The mean is over all B³ triplets, as in the release. There are B³ cosines by nature: fine for B up to some 128 (2
    million), while 1000 would take gigabytes. They come from inner products, not from B² differences of width D, and in
    float64, because the views of one picture lie close together. Raises ValueError as ``relation_distance`` does.
    """
    _check_rows(student_BD, teacher_BD)
    loss = F.smooth_l1_loss(_angles(student_BD), _angles(teacher_BD.detach()))
    return loss.to(torch.promote_types(student_BD.dtype, torch.float32))


def relation_gram(student: Tensor, teacher: Tensor) -> Tensor:
    """Root mean square difference of the Gram matrices G of student and teacher (SSD-KD's channel relation).

        sqrt( mean ( G(s) - G(t) )² )

    Feature maps (B, C, H, W), with as many channels on both sides: G of each case is C x C, the inner products of its
    channels over positions / (C·H·W), as released. Vectors (B, D): G is B x B, the inner products of the cases as they
    are. Equal matrices have the gradient 0. Raises ValueError for shapes that do not belong together.
    """
    if student.ndim != teacher.ndim or student.ndim not in (2, 4) or len(student) != len(teacher):
        raise _not_alike(student, teacher, "(B, D) or (B, C, H, W)")
    if student.ndim == 4 and student.shape[1] != teacher.shape[1]:
        raise _not_alike(student, teacher, "(B, C, H, W) with the same C")
    difference = _gram(student) - _gram(teacher.detach())
    return torch.linalg.vector_norm(difference) / difference.numel() ** 0.5


def soft_target(
    student_logits_BC: Tensor, teacher_logits_BC: Tensor, temperature: float, *, kept_B: Tensor | None = None
) -> Tensor:
    """KL divergence of a student's answers from its teacher's at a temperature (Hinton et al. 2015, arXiv 1503.02531).

        T² mean_b Σ_c p_bc log( p_bc / q_bc ),    p = softmax(teacher / T), q = softmax(student / T)

    ``kept_B`` (booleans, see ``most_reliable``): the mean is over these rows; 0 if there are none. Raises ValueError
    for logits that are not (B, C) alike.
    """
    if student_logits_BC.shape != teacher_logits_BC.shape or student_logits_BC.ndim != 2:
        raise _not_alike(student_logits_BC, teacher_logits_BC, "(B, C) alike")
    log_q_BC = (student_logits_BC / temperature).log_softmax(1)
    log_p_BC = (teacher_logits_BC.detach() / temperature).log_softmax(1)
    divergence_B = F.kl_div(log_q_BC, log_p_BC, reduction="none", log_target=True).sum(1)
    if kept_B is None:
        return divergence_B.mean() * temperature**2
    return (divergence_B * kept_B).sum() / kept_B.sum().clamp_min(1) * temperature**2


def rotation_similarity(student_BRD: Tensor, teacher_BRD: Tensor, temperature: float, *, keep: float = 1.0) -> Tensor:
    """How much each turned picture resembles each upright one, for the student as for the teacher (SSD-KD, after SSKD).

    R copies of each picture: ``[:, 0]`` upright, the others turned (the release: by 90, 180 and 270 degrees), through
    the projection of the self-supervised head. Each of the B (R - 1) turned copies a has the logits cos(a, upright_i)
    for i = 1 … B; the loss is their ``soft_target`` over the rows that are ``most_reliable`` for the teacher, whose
    right answer is the picture the copy was made from. The release has temperature 0.5 and keep 0.75.

    Raises ValueError for shapes that do not belong together and as ``most_reliable`` does.
    """
    if student_BRD.ndim != 3 or student_BRD.shape[:2] != teacher_BRD.shape[:2] or student_BRD.shape[1] < 2:
        raise _not_alike(student_BRD, teacher_BRD, "(B, R, D) with the same B and R of at least 2")
    student_AB, teacher_AB = (
        F.normalize(x_BRD[:, 1:], dim=-1).flatten(0, 1) @ F.normalize(x_BRD[:, 0], dim=-1).T
        for x_BRD in (student_BRD, teacher_BRD)
    )
    pictures, copies = student_BRD.shape[:2]
    origin_A = torch.arange(pictures, device=teacher_AB.device).repeat_interleave(copies - 1)
    return soft_target(student_AB, teacher_AB, temperature, kept_B=most_reliable(teacher_AB, origin_A, keep))


def most_reliable(teacher_BC: Tensor, target_B: Tensor, keep: float) -> Tensor:
    """The rows, as booleans (B,), from which to learn: those the teacher gets right, and some it gets nearly right.

    A row's error is the number of answers that the teacher scores higher than the target; right is 0. Of the wrong rows
    the share ``keep`` with the smallest error is kept, rounded down, the first of equal ones (SSKD's error-level
    ranking, as released with SSD-KD). Raises ValueError for a share outside 0 to 1 and for shapes that do not fit.
    """
    if not 0 <= keep <= 1:
        raise ValueError(f"keep is a share of the rows, 0 to 1, not {keep!r}.")
    if teacher_BC.ndim != 2 or target_B.shape != teacher_BC.shape[:1]:
        raise _not_alike(teacher_BC, target_B, "(B, C) with (B,)")
    error_B = (teacher_BC > teacher_BC.gather(1, target_B[:, None])).sum(1)
    place_B = error_B.argsort(stable=True).argsort()
    wrong = (error_B > 0).sum()
    return place_B < len(error_B) - wrong + (wrong.double() * keep).floor()


def _distances(x_BD: Tensor) -> Tensor:
    """Lengths of the differences, in float64 also for half precision: exactly 0 for equal rows, with gradient 0."""
    return torch.cdist(x_BD.double(), x_BD.double(), compute_mode="donot_use_mm_for_euclid_dist")


def _over_their_mean(x_BD: Tensor) -> Tensor:
    distance_BB = _distances(x_BD)
    mean = distance_BB.sum() / (distance_BB > 0).sum().clamp_min(1)
    return distance_BB / torch.where(mean > 0, mean, 1)


def _angles(x_BD: Tensor) -> Tensor:
    """[j, i, k]: the cosine at corner j between the ways to i and to k."""
    distance_BB = _distances(x_BD)
    x_BD = x_BD.double()
    gram_BB = x_BD @ x_BD.T
    # (x_i - x_j)·(x_k - x_j) = g_ik - g_ij - g_jk + g_jj
    dot_BBB = gram_BB - gram_BB[:, :, None] - gram_BB[:, None, :] + gram_BB.diagonal()[:, None, None]
    apart_BB = distance_BB > 0
    per_length_BB = apart_BB / distance_BB.masked_fill(~apart_BB, 1)
    return dot_BBB * per_length_BB[:, :, None] * per_length_BB[:, None, :]


def _gram(x: Tensor) -> Tensor:
    if x.ndim == 2:
        return x @ x.T
    channels_BCP = x.flatten(2)
    return channels_BCP @ channels_BCP.transpose(1, 2) / channels_BCP[0].numel()


def _check_rows(student_BD: Tensor, teacher_BD: Tensor) -> None:
    if student_BD.ndim != 2 or teacher_BD.ndim != 2 or len(student_BD) != len(teacher_BD):
        raise _not_alike(student_BD, teacher_BD, "(B, D) with the same B")


def _not_alike(x: Tensor, y: Tensor, expected: str) -> ValueError:
    return ValueError(f"expected {expected}, not {tuple(x.shape)} and {tuple(y.shape)}.")
