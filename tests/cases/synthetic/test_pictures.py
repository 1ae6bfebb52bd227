"""Pictures show the latent: masks in the right place and size, structures where sentences put them, pairs alike."""

import re
from dataclasses import replace

import cv2
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from dermis.cases.synthetic import latent_cases
from dermis.cases.synthetic.render import clinical, dermoscopic, mask
from dermis.cases.synthetic.texts import sentences
from dermis.cases.synthetic.wordings import FINDINGS

SIDES = ("right", "lower right", "bottom", "lower left", "left", "upper left", "top", "upper right")
LOCATED = (
    ("blue_whitish_veil", "present"),
    ("streaks", "irregular"),
    ("pigmentation", "localized irregular"),
    ("regression_structures", "white areas"),
    ("dots_and_globules", "irregular"),
)
NEVI = ("Clark nevus", "dermal nevus", "blue nevus", "Spitz nevus")


@pytest.fixture(scope="module")
def cases():
    return latent_cases(patients=300, seed=8)


def without(case, **findings):
    return replace(case, lesion=replace(case.lesion, findings=case.lesion.findings | findings))


def test_pictures_are_square_rgb_and_neither_black_nor_burnt(cases):
    for case in cases[:60]:
        for picture in (clinical(case, 48), dermoscopic(case, 48)):
            assert picture.shape == (48, 48, 3)
            assert picture.dtype == np.uint8
        photograph = clinical(case, 48)
        assert 25 < photograph.mean() < 235
        red, green, blue = photograph.reshape(-1, 3).mean(0)
        assert red > green  # skin
        assert red > blue


def test_the_masks_area_is_the_diameters_disc(cases):
    for case in cases[:80]:
        inside = mask(case, case.clinical, 256) > 0
        area = inside.mean() * case.clinical.field_mm**2
        assert area == pytest.approx(np.pi * (case.lesion.diameter_mm / 2) ** 2, rel=0.008)


def test_the_mask_is_where_a_threshold_finds_a_dark_sharp_lesion(cases):
    overlaps = []
    for case in cases:
        lesion = case.lesion
        if lesion.melanin > 1 and lesion.softness < 0.2 and case.patient.melanin < 0.5 and case.patient.hair < 0.3:
            grey = cv2.GaussianBlur(
                clinical(replace(case, clinical=replace(case.clinical, ruler=False)), 96), (0, 0), 1
            )[..., 0]
            _, dark = cv2.threshold(grey, 0, 1, cv2.THRESH_BINARY_INV | cv2.THRESH_OTSU)
            inside = mask(case, case.clinical, 96) > 0
            overlaps.append((inside & (dark > 0)).sum() / (inside | (dark > 0)).sum())
    assert len(overlaps) > 25
    assert np.median(overlaps) > 0.8


def test_the_same_lesion_at_two_sizes_is_the_same_picture(cases):
    for case in cases[:20]:
        large = cv2.resize(dermoscopic(case, 192), (48, 48), interpolation=cv2.INTER_AREA)
        assert np.abs(large.astype(int) - dermoscopic(case, 48)).mean() < 9


def test_structures_lie_where_the_sentences_say(cases):
    """A structure is taken away: the picture changes on the side of the lesion that the sentence names."""
    off, checked = [], set()
    for case in cases:
        for criterion, kind in LOCATED:
            words = "|".join(FINDINGS[criterion, kind])
            said = re.search(rf"(?:{words}) (?:at|on) the ([a-z ]+)\.", " ".join(sentences(case)))
            if not said:
                continue
            change = np.abs(
                dermoscopic(case, 64).astype(float) - dermoscopic(without(case, **{criterion: "absent"}), 64)
            ).sum(-1)
            y, x = np.mgrid[:64, :64] - 31.5
            cx, cy = ((c - 0.5) * 64 for c in case.dermoscopic.centre)
            angle = np.arctan2((change * (y - cy)).sum(), (change * (x - cx)).sum())
            named = SIDES.index(said[1]) * np.pi / 4
            off.append(np.abs((angle - named + np.pi) % (2 * np.pi) - np.pi))
            checked.add(criterion)
    assert len(checked) == 5
    assert len(off) > 150
    # 22.5 degrees are due to naming eight sides; the rest to ragged patches and what lies beyond the outline.
    assert np.mean(np.array(off) < np.radians(50)) > 0.93


def test_a_network_shows_in_dermoscopy_only_and_relief_in_the_photograph_only(cases):
    networks = [c for c in cases if c.lesion.findings["pigment_network"] != "absent"][:25]
    for case in networks:
        bare = without(case, pigment_network="absent")
        np.testing.assert_array_equal(clinical(case, 48), clinical(bare, 48))
    seen = [
        np.abs(dermoscopic(c, 48).astype(int) - dermoscopic(without(c, pigment_network="absent"), 48)).mean()
        for c in networks
    ]
    assert np.median(seen) > 1.5
    shaded = []
    for case in cases[:25]:
        flat, nodular = (replace(case, lesion=replace(case.lesion, elevation=e)) for e in ("flat", "nodular"))
        np.testing.assert_array_equal(dermoscopic(flat, 48), dermoscopic(nodular, 48))
        shaded.append(np.abs(clinical(flat, 48).astype(int) - clinical(nodular, 48)).mean())
    assert np.median(shaded) > 1


def test_two_views_of_a_lesion_have_closer_shapes_than_views_of_two(cases):
    def shape(case, shot):
        moments = cv2.HuMoments(
            cv2.moments((mask(case, replace(shot, field_mm=1.8 * case.lesion.diameter_mm), 128) > 0).astype(np.float32))
        ).ravel()
        return np.sqrt(np.abs(moments[:3]))  # elongation and triangularity: do not know turn, scale and shift

    chosen = cases[:150]
    photograph = np.array([shape(c, c.clinical) for c in chosen])
    dermoscopy = np.array([shape(c, c.dermoscopic) for c in chosen])
    scale = photograph.std(0)
    distance = np.linalg.norm((photograph[:, None] - dermoscopy[None]) / scale, axis=-1)
    own = np.diag(distance)
    others = distance[~np.eye(len(chosen), dtype=bool)]
    assert np.median(own) < 0.15 * np.median(others)


@pytest.fixture(scope="module")
def melanoma_or_nevus():
    cases = [c for c in latent_cases(patients=500, seed=9) if c.lesion.disease in ("melanoma", *NEVI)]
    train = np.array([c.patient.index < 330 for c in cases])
    return cases, np.array([c.lesion.disease == "melanoma" for c in cases]), train


def held_out_auroc(features, melanoma, train):
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=500)).fit(
        features[train], melanoma[train]
    )
    return roc_auc_score(melanoma[~train], probe.predict_proba(features[~train])[:, 1])


def test_lesion_colours_tell_melanoma_from_nevus_but_not_all(melanoma_or_nevus):
    cases, melanoma, train = melanoma_or_nevus
    features = []
    for case in cases:
        picture, inside = dermoscopic(case, 48), mask(case, case.dermoscopic, 48) > 0
        features.append(np.concatenate([picture[inside].mean(0), picture[inside].std(0), picture[~inside].mean(0)]))
    assert 0.65 < held_out_auroc(np.array(features), melanoma, train) < 0.97
    shuffled = [held_out_auroc(np.array(features), np.roll(melanoma, 10 * i), train) for i in range(1, 8)]
    assert 0.42 < np.mean(shuffled) < 0.58


def test_the_camera_knows_nothing_of_the_disease():
    """Settings are drawn without regard to it; the field of a photograph alone has limits that small lesions reach."""
    cases = [c for c in latent_cases(patients=1800, seed=10) if c.lesion.disease in ("melanoma", *NEVI)]
    melanoma = np.array([c.lesion.disease == "melanoma" for c in cases])
    train = np.array([c.patient.index < 900 for c in cases])
    settings = []
    for c in cases:
        d = c.dermoscopic
        settings.append([d.field_mm / c.lesion.diameter_mm, d.vignette, d.glare, c.clinical.ruler])
        for shot in (c.clinical, d):
            settings[-1] += [*shot.balance, *shot.centre, shot.exposure, shot.blur, shot.noise, shot.angle, shot.light]
    assert 0.45 < held_out_auroc(np.array(settings, float), melanoma, train) < 0.55
