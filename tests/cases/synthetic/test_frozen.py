"""The evaluation sets are frozen: latents, texts and tables to the letter, pictures up to rounding.

The fingerprint of a set is the SHA-256 of its latents and rows as JSON; they are drawn from raw PCG64 bits and rounded,
so they are the same on every platform. Pictures go through FFT, exp and OpenCV, which differ in the last bits between
builds: frozen_v1.png holds 8 x 8 thumbnails of the first twelve pairs of each set, before JPEG, and may differ by two
grey levels. Sets may be added; a change of these needs a new VERSION, which keeps the old numbers from being compared
with new ones.
"""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np
import pytest

from dermis.cases.synthetic import EVALUATION_SETS, VERSION, latent_cases, make_evaluation_set
from dermis.cases.synthetic.evaluation_sets import FIRST_RESERVED_SEED, EvaluationSet
from dermis.cases.synthetic.make import split_of
from dermis.cases.synthetic.render import clinical, dermoscopic
from dermis.cases.synthetic.tables import row

THUMBNAILS = Path(__file__).with_name("frozen_v1.png")
FROZEN = {
    "small": (
        1,
        EvaluationSet(seed=9001, patients=150, size=64),
        348,
        "ed48d2c9dfbaef244811e1d0fa0706c412dddc892897f2ab4c68a9efb84a60aa",
    ),
    "standard": (
        1,
        EvaluationSet(seed=9002, patients=1200, size=96),
        2859,
        "8830c619bc3b83c33fdc3b196cc81a1b96c0530fd01eb24565087bd7992b427d",
    ),
    "fine": (
        1,
        EvaluationSet(seed=9003, patients=600, size=224),
        1412,
        "1e80181dcae0691ef0815d7443199765fba2c1cc8b0dc5e14cecc8840cbe6c5f",
    ),
}
"""set -> version, definition, number of cases, fingerprint"""


def fingerprint(cases):
    rows = [[asdict(c), row(c, "", "", split_of(c, (0.7, 0.1, 0.2)))] for c in cases]
    return hashlib.sha256(json.dumps(rows, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def thumbnails(chosen):
    """(8 * 12, 16, 3) of the first twelve cases: photograph left, dermoscopy right."""
    cases = latent_cases(cases=12, seed=chosen.seed)
    pairs = [np.hstack([pooled(view(c, chosen.size)) for view in (clinical, dermoscopic)]) for c in cases]
    return np.vstack(pairs)


def pooled(picture):
    side = len(picture) // 8
    return picture.reshape(8, side, 8, side, 3).mean((1, 3)).round().astype(np.uint8)


@pytest.mark.parametrize("name", FROZEN)
def test_latents_texts_and_tables_are_frozen(name):
    version, chosen, number, digest = FROZEN[name]
    assert version == VERSION
    assert EVALUATION_SETS[name] == chosen
    cases = latent_cases(patients=chosen.patients, seed=chosen.seed)
    assert len(cases) == number
    assert fingerprint(cases) == digest


@pytest.mark.parametrize("name", FROZEN)
def test_pictures_are_frozen(name):
    frozen = cv2.imread(str(THUMBNAILS))[..., ::-1].astype(int)
    column = list(FROZEN).index(name) * 16
    difference = np.abs(thumbnails(EVALUATION_SETS[name]) - frozen[:, column : column + 16])
    assert difference.max() <= 2
    assert difference.mean() < 0.25


def test_every_set_is_frozen_and_has_a_seed_of_its_own():
    assert set(FROZEN) == set(EVALUATION_SETS)
    seeds = [chosen.seed for chosen in EVALUATION_SETS.values()]
    assert len(set(seeds)) == len(seeds)
    assert min(seeds) >= FIRST_RESERVED_SEED


def test_an_unknown_set_is_refused_with_the_nearest(tmp_path):
    with pytest.raises(ValueError, match="Did you mean 'standard'"):
        make_evaluation_set("standart", tmp_path)
