"""Features that know something of three classes, several pictures a patient, and a decision fitted on them."""

import numpy as np
import pytest

from dermis.decision.decision import Labelled, fit
from dermis.decision.rules import Rules

CLASSES = ["melanoma", "nevus", "wart"]


def labelled(patients, seed, shift=1.2):
    """Cases of ``patients`` patients with 1 to 3 pictures each; the classes are ``shift`` apart."""
    rng = np.random.default_rng(seed)
    patient_N = np.repeat(np.arange(patients), rng.integers(1, 4, size=patients))
    label_N = rng.integers(3, size=patients)[patient_N]
    feature_ND = 0.7 + shift * np.eye(3, 8)[label_N] + rng.normal(size=(len(label_N), 8))
    names_N = np.array([f"{seed}-{p}" for p in patient_N], dtype=object)
    return Labelled(feature_ND.astype(np.float32), label_N, names_N)


@pytest.fixture(scope="session")
def cases():
    """(patients, seed) -> cases."""
    return labelled


@pytest.fixture(scope="session")
def fitted():
    """A decision on 120 training and 120 valid patients, with these changes of the rules."""

    def make(tower="a-tower", **changes):
        return fit(labelled(120, 0), labelled(120, 1), CLASSES, Rules(**changes), tower)

    return make
