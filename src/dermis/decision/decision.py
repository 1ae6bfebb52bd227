"""A fitted decision: from features of pictures to probabilities, sets of possible classes, strangeness and "not sure".

Three groups of patients, none in two of them, make it: ``train`` teaches a logistic probe (its penalty by 5 folds of
its patients) and is the bank of familiar pictures; a third of the patients of ``valid`` sets the temperature; the
others, one picture each, set the thresholds of the sets and the scale of strangeness. Only so has nothing that the sets
are made of seen the cases that the promise rests on (``conformal``).

Shapes: N cases, M training cases, C classes, D features, V calibration patients.
"""

from dataclasses import dataclass
from itertools import count

import numpy as np

from dermis.decision.conformal import fewest, nonconformity, one_for_each, thresholds
from dermis.decision.rules import Rules
from dermis.decision.temperature import fit_temperature, tempered
from dermis.decision.unfamiliar import neighbour_distance, p_values, training_bank
from dermis.evaluation.linear_probe import Probe, linear_probe

FOR_TEMPERATURE = 1 / 3
"""share of the valid patients that set the temperature: one number needs fewer than the thresholds do"""


@dataclass(frozen=True)
class Judgement:
    """What is decided of N cases: ``probability`` and ``possible`` (the sets) are (N, C), ``ood`` and ``sure`` (N,).

    ``ood`` is a p-value: small is strange.
    """

    probability: np.ndarray
    possible: np.ndarray
    ood: np.ndarray
    sure: np.ndarray

    @property
    def size(self) -> np.ndarray:
        """Classes in each set (N,)."""
        return self.possible.sum(axis=1)


@dataclass(frozen=True)
class Decision:
    """Fitted by ``fit``; kept in a model folder by ``stored.write``."""

    classes: tuple[str, ...]
    rules: Rules
    tower: str
    """which image tower the features are of (``decider.key_of``)"""
    probe: Probe
    temperature: float
    threshold: np.ndarray
    """(C,) a class is possible up to this nonconformity"""
    bank: np.ndarray
    """training cases (M, D), unit length, float32"""
    distance: np.ndarray
    """(V,) how far the calibration patients are from the bank, ascending"""

    @property
    def patients(self) -> int:
        """Calibration patients, on whom the promise rests."""
        return len(self.distance)

    def judge(self, feature_ND: np.ndarray) -> Judgement:
        """What is decided of cases with these features; raises ValueError for features of another width."""
        if np.ndim(feature_ND) != 2 or np.shape(feature_ND)[1] != self.bank.shape[1]:
            raise ValueError(f"features must be (cases, {self.bank.shape[1]}); they are {np.shape(feature_ND)}.")
        probability_NC = tempered(self.probe.logits(feature_ND), self.temperature)
        possible_NC = nonconformity(probability_NC, self.rules.score) <= self.threshold
        distance_N = neighbour_distance(feature_ND, self.bank, self.rules.neighbours)
        ood_N = p_values(distance_N, self.distance)
        size_N = possible_NC.sum(axis=1)
        few_N = (size_N >= 1) & (size_N <= self.rules.most_classes)
        return Judgement(probability_NC, possible_NC, ood_N, few_N & (ood_N > self.rules.ood_level))


@dataclass(frozen=True)
class Labelled:
    """Features (N, D), labels (N,) and patients (N,) of a split's cases; a patient stands in one split only."""

    feature: np.ndarray
    label: np.ndarray
    patient: np.ndarray

    def select(self, rows: np.ndarray) -> "Labelled":
        """The cases at these positions, or of a mask."""
        return Labelled(self.feature[rows], self.label[rows], self.patient[rows])


def fit(train: Labelled, valid: Labelled, classes: list[str], rules: Rules, tower: str) -> Decision:
    """The decision that these cases teach; the same for the same ``rules.seed``.

    Raises ValueError where a class has no case in a split, where ``valid`` has too few patients for ``alpha`` or
    ``ood_level``, both said at once, and for a setting without effect.
    """
    for name, part in {"train": train, "valid": valid}.items():
        if absent := [c for i, c in enumerate(classes) if not (part.label == i).any()]:
            raise ValueError(
                f"no case of split {name!r} is {' or '.join(absent)}: every class needs cases in both. "
                "Deal it more (`dermis split`), or name the classes to decide between (--classes)."
            )
    if rules.most_classes >= len(classes):
        raise ValueError(f"most_classes {rules.most_classes} has no effect: there are {len(classes)} classes.")
    for_temperature, others = _apart(valid, rules.seed)
    calibration = others.select(one_for_each(others.patient, rules.seed))
    _refuse_too_few(len(calibration.label), len(np.unique(valid.patient)), rules)
    probe = linear_probe(train.feature, train.label, len(classes), groups_M=train.patient, seed=rules.seed)
    temperature = fit_temperature(probe.logits(for_temperature.feature), for_temperature.label)
    score_VC = nonconformity(tempered(probe.logits(calibration.feature), temperature), rules.score)
    limit_C = thresholds(score_VC, calibration.label, rules.alpha, classwise=rules.classwise, names=classes)
    bank_MD = training_bank(train.feature, seed=rules.seed)
    return Decision(
        classes=tuple(classes),
        rules=rules,
        tower=tower,
        probe=probe,
        temperature=temperature,
        threshold=limit_C,
        bank=bank_MD,
        distance=np.sort(neighbour_distance(calibration.feature, bank_MD, rules.neighbours)),
    )


def _refuse_too_few(calibrating: int, patients: int, rules: Rules) -> None:
    """Raise ValueError where ``calibrating`` of the ``patients`` of valid are too few for the rules; it names all."""
    levels = {"alpha": rules.alpha} | ({"ood_level": rules.ood_level} if rules.ood_level else {})
    # the smallest p-value of n patients is 1 / (n + 1), and so is the smallest share that a set of theirs may miss
    needs = {f"{name} {level:g}": n for name, level in levels.items() if (n := fewest(level)) > calibrating}
    if needs:
        enough = next(n for n in count(patients) if n - _for_temperature(n) >= max(needs.values()))
        never = ", but ood_level may be 0: nothing is too strange" if rules.ood_level else ""
        raise ValueError(
            f"{calibrating} calibration patients are too few: "
            f"{' and '.join(f'{rule} needs at least {n}' for rule, n in needs.items())}. Split 'valid' has {patients} "
            f"patients of the classes, a third of whom set the temperature, and would need {enough}: deal it more "
            f"(`dermis split --valid 0.4`). With {calibrating} no level goes below {1 / (calibrating + 1):.3g}{never}."
        )


def _for_temperature(patients: int) -> int:
    return max(1, round(FOR_TEMPERATURE * patients))


def _apart(valid: Labelled, seed: int) -> tuple[Labelled, Labelled]:
    """The cases of a random third of the patients, and those of the others."""
    patients = np.unique(valid.patient)
    if len(patients) < 2:
        raise ValueError(f"a decision needs several patients in split 'valid'; there are {len(patients)}.")
    drawn = np.random.default_rng(seed).permutation(patients)[: _for_temperature(len(patients))]
    first = np.isin(valid.patient, drawn)
    return valid.select(first), valid.select(~first)
