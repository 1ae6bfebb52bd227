"""FusionM4Net's second stage: metadata beside what the first stage says (Tang et al., MedIA 76, 102307, 2022).

Release pixixiaonaogou/MLSDR at 2f5f2eb (no licence), second_stage_fusion.ipynb. The first stage is
``dermis.methods.fusionm4net``, or any classifier of the same labels. Its probabilities P_1 of all labels side by side
with one-hot metadata are the features of a "cluster" of support vector machines, one for each label; their
probabilities P_2 and those of the first stage are mixed with a share that is searched on validation cases, the same for
all labels ("Fusion Scheme 2"):

    x = [P_11, …, P_1L, metadata],    P_2l = svm_l(x)                                                 (1)
    P_3l = s P_1l + (1 - s) P_2l,     s = argmax mean_l accuracy(P_3l, y_l)                           (2)

The machines must learn from cases that the first stage has not seen, or they learn that it is always right: the release
trains a first stage of its own on the first half of the training split and lets them learn from the second half.

Differs from the release: probabilities come from scikit-learn's calibration (one class against the others), because its
``SVC(probability=True)``, pairwise coupling, is going away; C = 1, the kernel and five folds are the same. Metadata
there include management and the difficulty of the diagnosis, which somebody wrote who knew the diagnosis; our reader
of Derm7pt has neither.

Shapes: N cases of a split, C classes of a label, L labels, M metadata columns, D features.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dermis.cases.label_proxies import refuse_label_proxies
from dermis.cases.manifest import Manifest
from dermis.cases.targets import UNKNOWN
from dermis.registry import unknown

FOLDS = 5


@dataclass(frozen=True)
class FirstStage:
    """What is known of some cases. Raises ValueError if its parts are not about the same cases and labels."""

    probabilities: Sequence[np.ndarray]
    """P_1 of each label, (N, C)"""
    metadata: np.ndarray
    """(N, M), as ``one_hot`` makes them"""
    labels: np.ndarray | None = None
    """true classes (N, L), -1 unknown; not needed of cases that are only to be predicted"""

    def __post_init__(self) -> None:
        """See the class."""
        parts = (*self.probabilities, self.metadata, *(() if self.labels is None else (self.labels,)))
        if len(counts := {len(part) for part in parts}) > 1:
            raise ValueError(f"the first stage's parts are about different numbers of cases: {sorted(counts)}.")
        if self.labels is not None and self.labels.shape[1:] != (len(self.probabilities),):
            raise ValueError(f"labels of {len(self.probabilities)} columns are needed, not {self.labels.shape}.")

    @property
    def features(self) -> np.ndarray:
        """x of equation (1), (N, D)."""
        return np.concatenate([*self.probabilities, self.metadata], axis=1)


@dataclass(frozen=True)
class SecondStage:
    """What the second stage says of the cases asked for: each label's probabilities (N, C)."""

    probabilities: list[np.ndarray]
    """P_3, the result"""
    machines: list[np.ndarray]
    """P_2, the machines alone"""
    share: float
    """s, the first stage's share of P_3"""


def one_hot(manifest: Manifest, columns: Sequence[str] = ()) -> np.ndarray:
    """Categories of ``columns`` (none: all of lesion.* and patient.*) as 0 and 1, side by side; missing: all 0.

    The order is that of the manifest's own lists, so that its splits agree. Raises ValueError for a column that is no
    category, if there is none, and for a label proxy that nobody asked for.
    """
    if not columns:
        columns = [c for c in manifest.categories if c.startswith(("lesion.", "patient."))]
        refuse_label_proxies(columns, "evaluation.metadata")
    if not columns:
        raise ValueError("the manifest has no categories lesion.NAME or patient.NAME to learn from.")
    blocks = []
    for column in columns:
        if column not in manifest.categories:
            raise unknown("category", column, manifest.categories)
        values = manifest.table[column]
        said_N = values.notna().to_numpy(dtype=bool)
        equal_NM = values.astype(str).to_numpy()[:, None] == np.array(manifest.categories[column])
        blocks.append(said_N[:, None] & equal_NM)
    return np.concatenate(blocks, axis=1).astype(np.float64)


def second_stage(learn: FirstStage, valid: FirstStage, test: FirstStage) -> SecondStage:
    """Machines that learn from ``learn``, the share searched on ``valid``, and what both say of ``test``.

    Raises ValueError if ``learn`` or ``valid`` has no labels.
    """
    if learn.labels is None or valid.labels is None:
        raise ValueError("the second stage needs labels of the cases that it learns from and of those for validation.")
    said = [
        machine(learn.features, label_N, p_NC.shape[1], np.concatenate([valid.features, test.features]))
        for p_NC, label_N in zip(learn.probabilities, learn.labels.T, strict=True)
    ]
    valid_2, test_2 = zip(*(np.split(p_NC, [len(valid.metadata)]) for p_NC in said), strict=True)
    share = search_share(valid.probabilities, valid_2, valid.labels)
    return SecondStage(mixed(test.probabilities, test_2, share), list(test_2), share)


def machine(feature_ND: np.ndarray, label_N: np.ndarray, classes: int, query_MD: np.ndarray) -> np.ndarray:
    """One label's P_2 (M, C): a support vector machine (C = 1, radial kernel) with calibrated probabilities.

    Cases whose label is unknown are left out, and so are classes of a single case, which cannot be calibrated: they get
    probability 0. Raises ValueError if no class is left.
    """
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.svm import SVC

    count_C = np.bincount(label_N[label_N != UNKNOWN], minlength=classes)
    present = np.flatnonzero(count_C >= 2)
    said_MC = np.zeros((len(query_MD), classes))
    if not len(present):
        raise ValueError("no class has two cases for the second stage to learn from.")
    if len(present) == 1:
        said_MC[:, present] = 1.0
        return said_MC
    kept_N = np.isin(label_N, present)
    folds = min(FOLDS, int(count_C[present].min()))
    calibrated = CalibratedClassifierCV(SVC(C=1.0), ensemble=False, cv=folds).fit(feature_ND[kept_N], label_N[kept_N])
    said_MC[:, present] = calibrated.predict_proba(query_MD)
    return said_MC


def search_share(
    first: Sequence[np.ndarray], second: Sequence[np.ndarray], label_NL: np.ndarray, steps: int = 100
) -> float:
    """s of equation (2), among ``steps`` values from 0 to 1; the smallest of equals, as released.

    Accuracy is over the cases whose label is known; a label that nobody knows is left out. Raises ValueError if none is
    known.
    """
    known_NL = label_NL != UNKNOWN
    labels = np.flatnonzero(known_NL.any(axis=0))
    if not len(labels):
        raise ValueError("no label of the validation cases is known, so there is nothing to search the share by.")
    shares, accuracy = np.linspace(0.0, 1.0, steps), np.zeros(steps)
    for at, share in enumerate(shares):
        said = [p_NC.argmax(axis=1) for p_NC in mixed(first, second, share)]
        accuracy[at] = np.mean([(said[i] == label_NL[:, i])[known_NL[:, i]].mean() for i in labels])
    return float(shares[np.argmax(accuracy >= accuracy.max() - 1e-9)])  # sums of equal accuracies may round apart


def mixed(first: Sequence[np.ndarray], second: Sequence[np.ndarray], share: float) -> list[np.ndarray]:
    """P_3 of equation (2): each label's probabilities, ``share`` of them the first's."""
    return [share * p1_NC + (1 - share) * p2_NC for p1_NC, p2_NC in zip(first, second, strict=True)]
