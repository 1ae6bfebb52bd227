"""What learning protocols see: the picture, the table, both, the table of the most similar case, another case's."""

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from dermis.cases.manifest import Manifest
from dermis.evaluation.config import INPUTS, LEARNING, EvaluationConfig
from dermis.evaluation.evaluate import evaluate
from dermis.evaluation.inputs import others
from dermis.evaluation.knn import knn_scores, side_by_side
from dermis.evaluation.setting import Setting
from dermis.model.embed_tables import embed_tables

CLASSES = ["melanoma", "nevus", "wart"]
METADATA = ["lesion.size", "lesion.site", "patient.age", "patient.sex"]


def config(*protocols, **changes):
    base = {"probe_features": "trunk", "n_boot": 5, "subgroups": [], "pictures": 0}
    return EvaluationConfig(protocols=list(protocols), **base | changes)


def setting(model, lesions, vectors, **changes):
    return Setting(model, lesions, config("linear_probe", **changes), vectors, None)


def by_hand(train: pd.DataFrame, table: pd.DataFrame) -> np.ndarray:
    """The plain columns as scikit-learn makes them: numbers standardised and marked where missing, one-hot the rest."""
    parts = []
    for column in METADATA:
        if column in ("lesion.size", "patient.age"):
            scaled = StandardScaler().fit(train[[column]]).transform(table[[column]])
            parts += [np.nan_to_num(scaled), table[[column]].isna().to_numpy(float)]
        else:
            known = OneHotEncoder(handle_unknown="ignore").fit(train[[column]].dropna().to_numpy(object))
            parts.append(known.transform(table[[column]].fillna("?").to_numpy(object)).toarray())
    return np.concatenate(parts, axis=1)


def nearest_of_others(lesions, vectors, split):
    """For each case of the split the position of the training case that looks most like it, by loops."""
    train, query = lesions.split("train"), lesions.split(split)
    x, q = (v[0].astype(float) for v in (vectors(train), vectors(query)))
    found = []
    for i, case in query.table.iterrows():
        allowed = [
            (q[i] @ x[j] / np.linalg.norm(q[i]) / np.linalg.norm(x[j]), j)
            for j, other in train.table.iterrows()
            if other["patient_id"] != case["patient_id"]
            and not (case["image"] == "3.png" and other["patient_id"] == "p1")
        ]
        found.append(max(allowed)[1])
    return found


def test_blocks_of_a_model_without_table_towers_are_the_plain_columns(lesions, vectors):
    seen = setting(None, lesions, vectors, inputs=["both"]).inputs
    picture, table = seen.blocks("both", "test")
    assert np.array_equal(picture, vectors(lesions.split("test"))[0])
    expected = by_hand(lesions.split("train").table, lesions.split("test").table)
    # the same columns in another order, and for categories one more for what is missing
    for column in expected.T:
        assert np.isclose(table, column[:, None], atol=1e-5).all(axis=0).any()
    assert len(seen.blocks("table", "test")) == 1
    assert np.array_equal(seen.blocks("table", "test")[0], table)
    assert "4 plain columns" in seen.about("both")


def test_blocks_of_a_model_with_table_towers_are_its_towers(branches, lesions, vectors):
    model = branches("lesion", "patient")
    seen = setting(model, lesions, vectors, inputs=["table"]).inputs
    (table,) = seen.blocks("table", "valid")
    assert table.shape == (30, 16)
    assert np.array_equal(table, embed_tables(model, lesions.split("valid").table))
    assert seen.about("table") == "the table (the model's towers of lesion and patient: 4 of 4 columns known)"


def test_extrapolated_blocks_hold_the_nearest_cases_table(branches, lesions, vectors):
    model = branches("lesion", "patient")
    seen = setting(model, lesions, vectors, inputs=["extrapolated"]).inputs
    train = embed_tables(model, lesions.split("train").table)
    for split in ("train", "valid", "test"):
        picture, table = seen.blocks("extrapolated", split)
        source = nearest_of_others(lesions, vectors, split)
        assert np.allclose(table, train[source], atol=1e-6), split
        assert np.array_equal(picture, vectors(lesions.split(split))[0])
    # case 120 shows case 3's picture under another name: it takes from neither it nor its patient
    assert seen.copies["test"].sources()["source_id"][20] not in ("case-2", "case-3")


def test_shuffled_blocks_hold_other_cases_tables(lesions, vectors):
    seen = setting(None, lesions, vectors, inputs=["table", "shuffled"]).inputs
    (own,) = seen.blocks("table", "test")
    _, other = seen.blocks("shuffled", "test")
    assert np.array_equal(np.sort(own, axis=0), np.sort(other, axis=0))
    assert not np.array_equal(own, other)
    assert np.array_equal(seen.blocks("shuffled", "test")[1], other)
    again = setting(None, lesions, vectors, inputs=["shuffled"], seed=1).inputs
    assert not np.array_equal(again.blocks("shuffled", "test")[1], other)


@pytest.mark.parametrize("cases", [2, 3, 50])
def test_nobody_is_shuffled_onto_itself(cases):
    for seed in range(20):
        other = others(cases, seed)
        assert sorted(other) == list(range(cases))
        assert (other != np.arange(cases)).all()
    with pytest.raises(ValueError, match="at least two cases"):
        others(1, 0)


@pytest.mark.parametrize("kind", ["table", "both", "extrapolated", "shuffled"])
def test_a_probe_on_tables_is_scikit_learns(kind, branches, lesions, vectors):
    model = branches("case")
    shots = {"low_shot_fractions": [1.0], "shot_seeds": 2}
    found = evaluate(model, lesions, config("low_shot", inputs=[kind], **shots), embed=vectors)
    train, test = (lesions.split(s).table for s in ("train", "test"))
    table = {"train": train, "test": test}
    if kind == "extrapolated":
        table = {s: train.iloc[nearest_of_others(lesions, vectors, s)] for s in table}
    if kind == "shuffled":
        table = {s: t.iloc[others(len(t), 0)] for s, t in table.items()}
    x = {s: embed_tables(model, t.reset_index(drop=True)) for s, t in table.items()}
    if kind != "table":
        x = {s: np.concatenate([vectors(lesions.split(s))[0], t], axis=1) for s, t in x.items()}
    scaler = StandardScaler().fit(x["train"].astype(float))
    probe = LogisticRegression(C=0.01, max_iter=2000).fit(scaler.transform(x["train"]), train["diagnosis"])
    p = probe.predict_proba(scaler.transform(x["test"]))
    expected = np.mean([roc_auc_score(test["diagnosis"] == c, p[:, i]) for i, c in enumerate(CLASSES)])
    entry = found.value(f"low-shot, 100% of training, {INPUTS[kind]}", "macro AUROC")
    assert entry.value == pytest.approx(expected, abs=2e-3)


def test_neighbours_compare_the_mean_of_both_cosines(lesions, vectors, branches):
    model = branches("lesion")
    label = {s: lesions.split(s).table["diagnosis"].map(CLASSES.index).to_numpy() for s in ("train", "test")}
    blocks = {s: [vectors(lesions.split(s))[0], embed_tables(model, lesions.split(s).table)] for s in label}
    centre = [b.astype(float).mean(axis=0) for b in blocks["train"]]
    right = []
    for i in range(50):
        cosine = np.zeros(70)
        for part, c in enumerate(centre):
            q, x = blocks["test"][part][i] - c, blocks["train"][part] - c
            cosine += x @ q / np.linalg.norm(x, axis=1) / np.linalg.norm(q) / 2
        nearest = np.argsort(-cosine)[:7]
        vote = np.bincount(label["train"][nearest], weights=np.exp(cosine[nearest] / 0.07), minlength=3)
        right.append(vote.argmax() == label["test"][i])
    found = evaluate(model, lesions, config("knn", inputs=["both"], neighbours=7), embed=vectors)
    assert found.value("kNN, image and table", "accuracy").value == pytest.approx(np.mean(right))
    train, query = side_by_side(blocks["train"], blocks["test"])
    assert np.mean(knn_scores(train, label["train"], query, 3, k=7).argmax(1) == label["test"]) == np.mean(right)


def test_each_input_is_a_protocol_of_its_own_beside_the_plain_one(lesions, vectors):
    small = {"few_shot": {"shots": [2], "shot_seeds": 2}, "low_shot": {"low_shot_fractions": [1.0], "shot_seeds": 2}}
    for protocol in LEARNING:
        settings = small.get(protocol, {}) | ({"fractions": [1.0]} if protocol == "panderm" else {})
        found = evaluate(None, lesions, config(protocol, inputs=list(INPUTS), **settings), embed=vectors)
        plain = evaluate(None, lesions, config(protocol, **settings), embed=vectors)
        (name,) = {e.protocol for e in plain.entries}
        names = list(dict.fromkeys(e.protocol for e in found.entries))
        assert names == [name, *(f"{name}, {said}" for said in INPUTS.values() if said), "extrapolation"]
        mine = [e for e in found.entries if e.protocol == name]
        assert [e.text() for e in mine] == [e.text() for e in plain.entries]


def test_copies_are_measured_where_the_truth_is_known(lesions, vectors):
    found = evaluate(None, lesions, config("knn", inputs=["extrapolated"]), embed=vectors)
    train, test = lesions.split("train").table, lesions.split("test").table
    copied = train["lesion.site"].iloc[nearest_of_others(lesions, vectors, "test")].reset_index(drop=True)
    (entry,) = [e for e in found.entries if (e.class_name, e.metric) == ("lesion.site", "accuracy")]
    known = test["lesion.site"].notna()
    assert (entry.n, entry.protocol) == (known.sum(), "extrapolation")
    assert entry.value == pytest.approx((copied == test["lesion.site"])[known].mean())
    assert [s.protocol for s in found.sections] == ["kNN, image and extrapolated table", "extrapolation"]


def test_valid_can_be_scored_as_training_watches_it(branches, lesions, vectors):
    model, protocols = branches("lesion", "patient"), ("linear_probe", "knn", "similar", "table_retrieval")
    found = evaluate(model, lesions, config(*protocols, inputs=list(INPUTS), split="valid"), embed=vectors)
    for said in INPUTS.values():
        assert found.value(f"linear probe, {said}".removesuffix(", "), "accuracy").n == 30
    on_valid = setting(model, lesions, vectors, inputs=["extrapolated"], split="valid").inputs
    on_test = setting(model, lesions, vectors, inputs=["extrapolated"]).inputs
    for block, same in zip(*(seen.blocks("extrapolated", "valid") for seen in (on_valid, on_test)), strict=True):
        assert np.array_equal(block, same)


def test_only_copied_values_are_seen(lesions, vectors):
    """Whatever the scored cases know themselves, extrapolated inputs are the same; so are those without it."""
    blank = lesions.table.copy()
    blank.loc[blank["split"] != "train", METADATA] = None
    some = [
        setting(None, m, vectors, inputs=["extrapolated"]).inputs.blocks("extrapolated", "test")
        for m in (lesions, Manifest.build(blank, lesions.root, lesions.categories))
    ]
    assert np.array_equal(some[0][1], some[1][1])


def test_inputs_that_need_metadata_are_refused_without(branches, lesions, vectors):
    def without(columns, split=None):
        table = lesions.table.copy()
        table.loc[(table["split"] == split) | (split is None), columns] = None
        return Manifest.build(table.dropna(axis=1, how="all"), lesions.root)

    for kind in ("table", "both", "extrapolated", "shuffled"):
        with pytest.raises(ValueError, match=r"need a column lesion.NAME or patient.NAME, and the manifest has none"):
            setting(None, without(METADATA), vectors, inputs=[kind])
    with pytest.raises(ValueError, match="in the split `train`, and its cases have none"):
        setting(None, without(METADATA, "train"), vectors, inputs=["table"])
    with pytest.raises(ValueError, match=r"know the columns lesion.size, lesion.site; the manifest has patient.age"):
        setting(branches("lesion"), without(METADATA[:2]), vectors, inputs=["table"])
    with pytest.raises(ValueError, match=r"in the split `train`, and its cases have none in lesion.size, lesion.site"):
        setting(branches("lesion"), without(METADATA[:2], "train"), vectors, inputs=["table"])


def spelt(lesions, splits, **values):
    """The cases of these splits with other words for the same things; columns LEVEL__NAME."""
    table = lesions.table.copy()
    rows = table["split"].isin(splits)
    for column, words in values.items():
        name = column.replace("__", ".")
        table.loc[rows, name] = table.loc[rows, name].replace(words)
    return Manifest.build(table, lesions.root)


def test_categories_that_the_model_does_not_know_are_counted_and_named(branches, lesions, vectors):
    model = branches("lesion", "patient")
    splits = ["train", "test"]
    other = spelt(lesions, splits, patient__sex={"f": "F", "m": "M"}, lesion__site={"hand": "palm"})
    looked = other.table[other.table["split"].isin(splits)]
    sexes, palms = looked["patient.sex"].dropna(), int((looked["lesion.site"] == "palm").sum())
    found = evaluate(model, other, config("knn", inputs=["both"]), embed=vectors)
    assert "3 of 4 columns known" in found.sections[0].about
    (unknown,) = [note for note in found.notes if "count as missing" in note]
    assert f"patient.sex, all {len(sexes)} values, such as '{sexes.mode()[0]}' (known: f, m)" in unknown
    assert f"lesion.site, {palms} of {looked['lesion.site'].notna().sum()} values, such as 'palm'" in unknown
    assert "(known: back, face, hand)" in unknown
    # cases 140 and 141 have nothing; nobody else lost all that is known
    assert "Cases without any value that is known to the model's towers: 2 of 50 in split test." in found.notes
    same = evaluate(model, lesions, config("knn", inputs=["both"]), embed=vectors)
    assert not [note for note in same.notes if "count as missing" in note]


def test_a_split_of_which_the_model_knows_nothing_is_refused(branches, lesions, vectors):
    model = branches("patient")
    bare = lesions.table.assign(**{"patient.age": None})
    for splits, name in ((["train", "test"], "train"), (["test"], "test")):
        other = spelt(Manifest.build(bare, lesions.root), splits, patient__sex={"f": "F", "m": "M"})
        sentence = rf"no metadata of the split `{name}` are known to the model's towers.*patient\.sex, all \d+ values"
        for kind in ("table", "both", "shuffled"):
            with pytest.raises(ValueError, match=rf"{sentence}, such as '[FM]' \(known: f, m\)\."):
                setting(model, other, vectors, inputs=[kind])
    # only copies are seen, and the training cases' values are known
    seen = setting(model, other, vectors, inputs=["extrapolated"])
    assert seen.notes == []


def test_plain_columns_say_what_the_training_cases_never_had(lesions, vectors):
    other = spelt(lesions, ["test"], lesion__site={"hand": "palm"})
    palms = int((other.table["lesion.site"] == "palm").sum())
    (unknown, without) = setting(None, other, vectors, inputs=["table"]).notes
    known = other.table[other.table["split"] != "valid"]["lesion.site"].notna().sum()
    assert f"not known to the training split's schema count as missing: lesion.site, {palms} of {known}" in unknown
    assert "2 of 50 in split test" in without


def test_what_gives_the_diagnosis_away_is_refused_or_not_looked_at(branches, lesions, vectors):
    proxied = Manifest.build(lesions.table.assign(**{"lesion.dx_type": "histo"}), lesions.root)
    with pytest.raises(ValueError, match="when a model with table towers is trained: one without them is given all"):
        setting(None, proxied, vectors, inputs=["both"])
    copies = setting(branches("lesion"), proxied, vectors, inputs=["extrapolated"]).inputs.copies
    assert copies["test"].columns == METADATA[:2]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"inputs": ["imge"]}, "unknown input 'imge'. Did you mean 'image'"),
        ({"inputs": []}, "inputs names each of what is seen once"),
        ({"inputs": ["both", "both"]}, "inputs names each of what is seen once"),
        ({"inputs": ["both"], "protocols": ["prompts"]}, "inputs has no effect: it belongs to `knn`"),
    ],
)
def test_wrong_inputs_are_answered_with_a_sentence(settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        EvaluationConfig(**{"protocols": ["knn"]} | settings)
