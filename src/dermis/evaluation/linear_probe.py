"""Linear probe: multinomial logistic regression on frozen features, ours and the published one.

``linear_probe`` standardises the features by the training set, penalises ½‖W‖² and chooses C by the log loss on the
valid split, or by cross-validation over patients where there is none. ``panderm_probe`` is the solver behind the
published tables of PanDerm and Derm1M, for comparisons with them.

Shapes: M training cases, N cases to score, D features, C classes.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

T = TypeVar("T")
GRID = tuple(10.0**power for power in range(-5, 3))
"""candidates for C, the inverse of the penalty's weight"""


@dataclass(frozen=True)
class Probe:
    """A fitted linear classifier: probabilities are softmax(((x − shift) / spread) · weightᵀ + bias).

    ``weight`` (C, D), ``bias`` (C,), ``shift`` and ``spread`` (D,). A class without training cases has bias −inf and
    thus probability 0. ``c`` is the penalty that was used.
    """

    weight: np.ndarray
    bias: np.ndarray
    shift: np.ndarray
    spread: np.ndarray
    c: float

    def logits(self, feature_ND: np.ndarray) -> np.ndarray:
        """What the softmax is taken of (N, C), float64."""
        x_ND = (np.asarray(feature_ND, dtype=np.float64) - self.shift) / self.spread
        return x_ND @ self.weight.T + self.bias

    def scores(self, feature_ND: np.ndarray) -> np.ndarray:
        """Class probabilities (N, C), float64."""
        logit_NC = self.logits(feature_ND)
        odds_NC = np.exp(logit_NC - logit_NC.max(axis=1, keepdims=True))
        return odds_NC / odds_NC.sum(axis=1, keepdims=True)


def linear_probe(
    train_MD: np.ndarray,
    train_label_M: np.ndarray,
    classes: int,
    *,
    valid: tuple[np.ndarray, np.ndarray] | None = None,
    groups_M: np.ndarray | None = None,
    seed: int = 0,
    grid: tuple[float, ...] = GRID,
    moments: tuple[np.ndarray, np.ndarray] | None = None,
) -> Probe:
    """The standard probe, fitted on the training cases only.

    C comes from ``grid``, tried upwards until the log loss has risen twice: on ``valid`` = (features, labels), else in
    a 5-fold cross-validation that keeps ``groups_M`` (patients) together. A grid of one value needs neither.
    ``moments``: mean and standard deviation (D,) to standardise by, where the training cases are too few to tell.
    Raises ValueError with one class only.
    """
    train_MD, train_label_M = np.asarray(train_MD), np.asarray(train_label_M)
    if len(grid) == 1:
        return next(_path(train_MD, train_label_M, classes, grid, moments))
    if valid is not None:
        return _best(
            _path(train_MD, train_label_M, classes, grid, moments), lambda probe: _total_log_loss(probe, *valid)
        )
    if groups_M is None:
        raise ValueError("choosing C needs a valid split, or the groups for a cross-validation by patients.")
    folds = _folds(train_label_M, groups_M, seed)
    paths = [_path(train_MD[fit], train_label_M[fit], classes, grid, moments) for fit, _ in folds]

    def held_out_loss(probes: tuple[Probe, ...]) -> float:
        return sum(
            _total_log_loss(probe, train_MD[rows], train_label_M[rows])
            for probe, (_, rows) in zip(probes, folds, strict=True)
        )

    chosen = _best(zip(*paths, strict=True), held_out_loss)[0].c
    return next(_path(train_MD, train_label_M, classes, (chosen,), moments))


def _best(candidates: Iterable[T], loss: Callable[[T], float]) -> T:
    """The candidate of least loss among those up to the second rise in a row; the path is not walked further."""
    best, least, last, rises = None, np.inf, np.inf, 0
    for candidate in candidates:
        value = loss(candidate)
        if best is None or value < least:
            best, least = candidate, value
        rises = rises + 1 if value > last else 0
        last = value
        if rises == 2:
            break
    assert best is not None
    return best


def _path(
    train_MD: np.ndarray,
    label_M: np.ndarray,
    classes: int,
    grid: tuple[float, ...],
    moments: tuple[np.ndarray, np.ndarray] | None,
) -> Iterator[Probe]:
    """One probe per C, from small to large, each started from the one before (large ones take long alone)."""
    from sklearn.linear_model import LogisticRegression

    if len(present := np.unique(label_M)) < 2:
        raise ValueError("a linear probe needs training cases of at least two classes.")
    shift_D, spread_D = moments or (train_MD.mean(axis=0, dtype=np.float64), train_MD.std(axis=0, dtype=np.float64))
    spread_D = np.where(spread_D == 0, 1.0, spread_D)
    x_MD = ((train_MD - shift_D) / spread_D).astype(np.float32)  # half the time of float64, and the same to 1e-4
    solver = LogisticRegression(max_iter=2000, warm_start=True)
    for c in sorted(grid):
        solver.set_params(C=c).fit(x_MD, label_M)
        weight_CD, bias_C = np.zeros((classes, train_MD.shape[1])), np.full(classes, -np.inf)
        if len(present) == 2:  # scikit-learn keeps one row, the log odds of the second class
            weight_CD[present[1]], bias_C[present] = solver.coef_[0], [0.0, solver.intercept_[0]]
        else:
            weight_CD[present], bias_C[present] = solver.coef_, solver.intercept_
        yield Probe(weight_CD, bias_C, shift_D, spread_D, c)


def _folds(label_M: np.ndarray, groups_M: np.ndarray, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    from sklearn.model_selection import StratifiedGroupKFold

    folds = min(5, len(np.unique(groups_M)))
    if folds < 2:
        raise ValueError("cross-validation needs at least two patients in the training split.")
    splitter = StratifiedGroupKFold(n_splits=folds, shuffle=True, random_state=seed)
    return list(splitter.split(label_M, label_M, groups_M))


def _total_log_loss(probe: Probe, feature_ND: np.ndarray, label_N: np.ndarray) -> float:
    chosen_N = probe.scores(feature_ND)[np.arange(len(label_N)), label_N]
    # a class that the fit has not seen costs as much for every C, so it does not decide
    return float(-np.log(np.maximum(chosen_N, 1e-300)).sum())


def panderm_probe(train_MD: np.ndarray, train_label_M: np.ndarray, classes: int, *, seed: int = 0) -> Probe:
    """The solver of PanDerm @ 97e09d0 and Derm1M @ 92d8fa9 (logistic_regression.py), on features as they come.

    Minimises mean cross-entropy + (1/C) · ½ ‖W‖₂ with C = D · classes / 100 by L-BFGS (strong Wolfe, 1,000 iterations)
    from torch's default initialisation under ``seed``. The penalty is the norm, not its square; the bias is free;
    there is no standardisation and no search. ``classes`` counts the distinct training labels there, so a class
    without training cases is an error here.
    """
    import torch
    from torch import nn

    if len(np.unique(train_label_M)) != classes:
        raise ValueError(
            f"the PanDerm solver needs every class in training; {len(np.unique(train_label_M))} of {classes} are there."
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        linear = nn.Linear(train_MD.shape[1], classes)
    x_MD = torch.tensor(np.asarray(train_MD), dtype=torch.float32)
    label_M = torch.tensor(np.asarray(train_label_M), dtype=torch.int64)
    c = train_MD.shape[1] * classes / 100
    optimiser = torch.optim.LBFGS(linear.parameters(), line_search_fn="strong_wolfe", max_iter=1000)

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        loss = nn.functional.cross_entropy(linear(x_MD), label_M) + (1 / c) * 0.5 * linear.weight.norm()
        loss.backward()
        return loss

    with torch.enable_grad():
        optimiser.step(closure)
    weight, bias = (p.detach().double().numpy() for p in (linear.weight, linear.bias))
    return Probe(weight, bias, np.zeros(train_MD.shape[1]), np.ones(train_MD.shape[1]), c)
