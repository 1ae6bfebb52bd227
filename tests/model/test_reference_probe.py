"""The real weights on real skin: logistic regression on frozen features reaches the published reference."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from dermis.cases.catalogue import import_set
from dermis.model.embed import embed_pictures
from dermis.model.look import evaluation_view
from dermis.pictures.store import read_bytes
from dermis.towers import Transform
from dermis.towers.build import ImageTowerConfig, build_image_tower

# balanced accuracy and macro AUROC of the weights' own documentation, 140 pixels, to be met within 0.03; it does not
# name its 1,500 + 800 pictures, so ours are drawn like them: lesion-grouped, common classes capped
PIXELS, LITE0, DINOV2 = (0.467, 0.825), (0.554, 0.866), (0.644, 0.902)


def subset(manifest, split, total):
    """About ``total`` cases, at most so many of a class that the rarest classes are all there."""
    cases = manifest.split(split)
    rng = np.random.default_rng(0)
    diagnoses = cases.table["diagnosis"].to_numpy()
    rows_of = {d: rng.permutation(np.flatnonzero(diagnoses == d)) for d in sorted(set(diagnoses))}
    cap = next(c for c in range(1, len(cases)) if sum(min(len(r), c) for r in rows_of.values()) >= total)
    return cases.select(np.sort(np.concatenate([r[:cap] for r in rows_of.values()])))


@pytest.fixture(scope="module")
def ham10000(shared_data):
    manifest = import_set("ham10000", shared_data / "ham10000_200x150", split="split_lesion_grouped.csv")
    return tuple(subset(getattr(manifest, "manifest", manifest), s, n) for s, n in (("train", 1500), ("test", 800)))


def probe(train, test, train_ND, test_ND):
    solver = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, class_weight="balanced", max_iter=2000))
    solver.fit(train_ND, train.table["diagnosis"])
    truth, score_NC = test.table["diagnosis"], solver.predict_proba(test_ND)
    return balanced_accuracy_score(truth, solver.predict(test_ND)), roc_auc_score(truth, score_NC, multi_class="ovr")


@pytest.mark.data
def test_pixels_alone_reach_the_floor(ham10000):
    see = Transform(size=(16, 16), mean=(0, 0, 0), std=(1, 1, 1), resize_mode="squash")
    pixels = [
        np.stack([evaluation_view(read_bytes(c.root, path), see).ravel() for path in c.table["image"]])
        for c in ham10000
    ]
    assert probe(*ham10000, *pixels) == pytest.approx(PIXELS, abs=0.03)


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize(
    "config, reference",
    [
        ({"name": "tf_efficientnet_lite0", "weights": "efficientnet_lite0.safetensors"}, LITE0),
        (
            {
                "name": "vit_small_patch14_dinov2.lvd142m",
                "weights": "vit_small_patch14_dinov2.safetensors",
                "pool": "token+avg",
            },
            DINOV2,
        ),
    ],
    ids=["lite0", "dinov2"],
)
def test_real_weights_reach_their_reference(ham10000, shared_weights, config, reference):
    weights = str(shared_weights / config["weights"])
    tower = build_image_tower(ImageTowerConfig(**config | {"weights": weights}, size=140, freeze=True))
    vectors = [embed_pictures(tower, cases)[0] for cases in ham10000]
    assert probe(*ham10000, *vectors) == pytest.approx(reference, abs=0.03)
