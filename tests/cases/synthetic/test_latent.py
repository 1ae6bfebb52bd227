"""The latent's own structure: what patients share, what modalities add, draws that are what they claim."""

import numpy as np
import pytest
from scipy import stats

from dermis.cases.seven_point import CLASSES
from dermis.cases.synthetic import latent_cases
from dermis.cases.synthetic.diseases import DISEASES
from dermis.cases.synthetic.draws import Draws
from dermis.cases.synthetic.latent import COMMON_NEVI, disease_weights
from dermis.cases.synthetic.mimicry import MIMICS
from dermis.cases.synthetic.ontology import BRANCHES, CONCEPTS, SITES


@pytest.fixture(scope="module")
def cases():
    return latent_cases(patients=2000, seed=11)


def test_draws_follow_their_distributions():
    draws = Draws(1, 2, 3)
    assert stats.kstest(draws.uniforms(2000), "uniform").pvalue > 0.01
    assert stats.kstest([draws.normal(3, 2) for _ in range(2000)], "norm", args=(3, 2)).pvalue > 0.01
    chosen = [draws.choose({"a": 1, "b": 3}) for _ in range(2000)]
    assert abs(chosen.count("b") / 2000 - 0.75) < 0.04


def test_draws_are_the_first_bits_of_pcg64():
    """numpy's own conversion of the same stream: pinned values, so that a frozen set is the same everywhere."""
    generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence((4, 5))))
    np.testing.assert_array_equal(Draws(4, 5).uniforms(10), generator.random(10))


def test_the_ontology_is_whole():
    assert len(DISEASES) == 12
    assert {d.branch for d in DISEASES.values()} == set(BRANCHES)
    assert set(MIMICS) == set(DISEASES)
    for d in DISEASES.values():
        assert set(d.sites) <= set(SITES)
        assert set(d.concepts) <= set(CONCEPTS)
        assert sum(d.elevation) == pytest.approx(1)
        for criterion, kinds in d.findings.items():
            assert set(kinds) <= {kind for group in CLASSES[criterion].values() for kind in group}
            assert sum(kinds.values()) <= 1


def test_every_class_and_finding_occurs_often_enough_to_learn(cases):
    diseases = [c.lesion.disease for c in cases]
    for name in DISEASES:
        assert 0.02 < diseases.count(name) / len(cases) < 0.35
    for criterion, classes in CLASSES.items():
        kinds = [c.lesion.findings[criterion] for c in cases]
        for group in classes.values():
            assert sum(kind in group for kind in kinds) / len(cases) > 0.03


def test_age_and_sun_shift_the_diseases(cases):
    young = next(c.patient for c in cases if c.patient.age < 20)
    old = next(c.patient for c in cases if c.patient.age > 75 and c.patient.sun_damage > 0.5)
    assert disease_weights(young)["Spitz nevus"] > disease_weights(old)["Spitz nevus"]
    assert disease_weights(old)["actinic keratosis"] > 10 * disease_weights(young)["actinic keratosis"]


def test_the_nevi_of_a_patient_resemble_one_another_and_melanomas_do_not_join(cases):
    """A patient's signature: pigment of two nevi correlates; it is what makes an ugly duckling visible."""

    def pairs(first, second):
        by_patient = {}
        for c in cases:
            by_patient.setdefault(c.patient.index, []).append(c.lesion)
        return np.array(
            [
                (a.melanin, b.melanin)
                for lesions in by_patient.values()
                for i, a in enumerate(lesions)
                for b in lesions[i + 1 :]
                if a.body_of == first and b.body_of == second
            ]
        )

    nevi = pairs("Clark nevus", "Clark nevus")
    mixed = pairs("Clark nevus", "melanoma")
    assert len(nevi) > 200
    assert len(mixed) > 60
    assert 0.15 < np.corrcoef(nevi.T)[0, 1] < 0.7
    assert abs(np.corrcoef(mixed.T)[0, 1]) < 0.25


def test_patients_with_many_moles_have_more_nevi(cases):
    proneness = np.array([c.patient.nevus_proneness for c in cases])
    nevus = np.array([c.lesion.disease in COMMON_NEVI for c in cases])
    assert nevus[proneness > 0.65].mean() > 1.5 * nevus[proneness < 0.25].mean()


def test_a_fifth_of_the_lesions_look_like_something_else_and_dermoscopy_sees_through_half(cases):
    body = np.array([c.lesion.body_of != c.lesion.disease for c in cases])
    structures = np.array([c.lesion.structures_of != c.lesion.disease for c in cases])
    assert 0.15 < body.mean() < 0.25
    assert structures[body].mean() == pytest.approx(0.5, abs=0.06)
    assert structures[~body].mean() == pytest.approx(0.05, abs=0.015)
