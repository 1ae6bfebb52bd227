"""The published tables: every share is a count of the cases it is said to be of, averages are the printed ones."""

import math
import re
from dataclasses import replace

import pytest

from dermis.cases.catalogue import READERS
from dermis.evaluation.config import EvaluationConfig
from dermis.evaluation.finetune import protocol_name
from dermis.evaluation.published import published_table, published_tables, settings_of
from dermis.evaluation.target_classes import AVERAGE, METRICS, TARGETS
from dermis.language.prompts import class_list

COUNTS = [
    (name, i, column)
    for name in published_tables()
    for i, column in enumerate(published_table(name).columns)
    if "AUROC" not in column.metric and "rank" not in column.metric and not published_table(name).blocks
    if not published_table(name).per_cent  # M2CG's, means over runs
]
NOT_COUNTS = {  # of the source, as far as anybody can tell
    ("dermfm-10-percent-probe", "BiomedCLIP", "pad"),
    ("dermfm-10-percent-probe", "PanDerm", "sd"),
}
AVERAGES = {  # printed by the sources
    "make-1": {
        "CLIP (CLIP400M)": (0.1604, 0.6118),
        "BiomedCLIP": (0.1869, None),
        "PMC-CLIP": (0.1353, 0.6036),
        "MONET": (0.2280, 0.7196),
        "CLIP (Derm1M)": (0.3648, 0.6970),
        "SigLIP (Derm1M)": (0.3570, 0.7258),
        "CoCa (Derm1M)": (0.3115, 0.6360),
        "CLIP (Derm1M†)": (0.3466, 0.7124),
        "SigLIP (Derm1M†)": (0.3423, 0.6281),
        "CoCa (Derm1M†)": (0.3144, 0.6562),
        "MAKE": (0.4095, 0.7369),
    },
    "make-2": {"CLIP (CLIP400M)": (0.1981,), "SigLIP (Derm1M†)": (0.3523,), "MAKE": (0.4032,)},
    "make-3": {"CLIP": (0.3648,), "mkcl with three texts": (0.3851,), "mkcl": (0.3947,), "mkcl + slra": (0.4023,)},
    "derm1m-zero-shot": {"MONET": (0.4001,), "DermLIP ViT-GPT77": (0.5607,), "DermLIP PanDerm-PMB256": (0.5879,)},
    "o-make": {"CLIP": (0.219,), "MONET": (0.350,), "O-MAKE": (0.544,)},
    "dermfm-zero-shot": {"MAKE": (0.6082,), "DermFM-Zero": (0.7320,), "DermFM-Zero-Open": (0.7319,)},
    "dermfm-10-percent-probe": {"MAKE": (0.6712,), "DermFM-Zero": (0.6991,), "DermFM-Zero-Open": (0.7490,)},
}


@pytest.mark.parametrize(("name", "i", "column"), COUNTS)
def test_a_published_share_is_a_count_of_its_cases(name, i, column):
    unit = {"o-make": 1e-3, "sm3-3": 1e-2}.get(name, 1e-4)
    for model, values in published_table(name).models.items():
        nearest = min(abs(k / column.n - values[i]) for k in around(values[i] * column.n))
        assert (nearest > 0.51 * unit) == ((name, model, column.data.name) in NOT_COUNTS), (model, values[i])


def test_a_set_is_made_by_a_reader_that_there_is():
    data = {c.data.name: c.data.get for name in published_tables() for c in published_table(name).columns}
    named = {name: set(re.findall(r"dermis import (\S+)", get)) for name, get in data.items()}
    assert set().union(*named.values()) <= set(READERS)
    assert named["snu"] == {"snu134"}
    # its own reader tells copies from photographs, and copies are never scored; the tables score all
    assert named["daffodil"] == {"csv"}


def around(x):
    return math.floor(x), math.ceil(x)


def test_the_check_would_notice_the_other_protocol():
    """PAD's column of the whole sets is no column of counts of the test split."""
    values = [row[0] for row in published_table("make-1").models.values()]
    fits = [min(abs(k / 461 - value) for k in around(value * 461)) < 0.51e-4 for value in values]
    assert sum(fits) < len(fits) / 2
    assert round(1368 / 2298, 4) == published_table("make-1").models["MAKE"][0]
    assert round(270 / 461, 4) == published_table("dermfm-zero-shot").models["MAKE"][1]


@pytest.mark.parametrize("name", AVERAGES)
def test_averages_are_the_printed_ones(name):
    table = published_table(name)
    for model, printed in AVERAGES[name].items():
        for which, value in zip(table.averages, printed, strict=True):
            if value is not None:
                values = table.models[model][which]
                assert sum(values) / len(values) == pytest.approx(
                    value, abs=0.51 * 10 ** -(3 if name == "o-make" else 4)
                )


@pytest.mark.parametrize("name", published_tables())
def test_every_column_has_settings_or_a_reason(name):
    for column in published_table(name).columns:
        if column.data.name in ("isic2020", "ph2"):
            with pytest.raises(ValueError, match="not measured"):
                settings_of(column.data, column.protocol)
            continue
        settings = settings_of(column.data, column.protocol)
        assert settings.split in ("all", "train", "test", "valid")
        if settings.classes is not None:
            assert isinstance(settings.classes, str)
            assert class_list(settings.classes)


def test_protocols_are_those_of_the_papers():
    pad, skincon = published_table("make-1").columns[0], published_table("make-1").columns[4]
    plain = {"subgroups": [], "pictures": 0}
    assert settings_of(pad.data, pad.protocol) == EvaluationConfig(
        protocols=["make"], split="all", classes="pad-ufes-20", **plain
    )
    concepts = settings_of(skincon.data, skincon.protocol)
    assert (concepts.scale, concepts.concept_templates) == (pytest.approx(math.exp(4.5944)), "make-concepts")
    hold_out = published_table("derm1m-retrieval").columns[0]
    assert settings_of(hold_out.data, hold_out.protocol) == EvaluationConfig(
        protocols=["retrieval"], split="valid", recall_at=[1, 5, 10, 50, 200], diagonal=True, **plain
    )
    with pytest.raises(ValueError, match="Did you mean 'make-1'"):
        published_table("make1")


# SM3's Table I, of which a share is a count of one class's cases or of the others.
N = 395
POSITIVES = {"BWV": 75, "DaG": 177, "PIG": 124, "PN": 93, "RS": 106, "STR": 94, "VS": 30, "DIAG": 101}
"""cases of the target class in Derm7pt's test split"""
FOOTNOTES = {
    "HcCNN (supervised)": {"BWV", "RS", "DIAG"},
    "GIIN (supervised)": set(POSITIVES),
    "AMFAM (supervised)": set(POSITIVES),
    "FM4-FS + SM3": {"STR"},
}
LAST_DIGIT = {("HcCNN (supervised)", "PIG"): (69, 0.557), ("FM4-FS (supervised)", "RS"): (50, 0.471)}
"""sensitivities that are a count but for the rounding: 69 of 124 is .55645, 50 of 106 is .4717"""


def cells_of(name):
    """(model, target) -> {metric: value}"""
    table, cells = published_table(name), {}
    for block in table.blocks:
        for model in block.models:
            values, columns = table.models[model][block.columns], table.columns[block.columns]
            for i, (column, value) in enumerate(zip(columns, values, strict=True)):
                cells.setdefault((model, block.targets[i % len(block.targets)]), {})[column.metric] = value
    return cells


def counts(share, n):
    """The counts of n that are printed as this share."""
    return [k for k in around(share * n) if abs(k / n - share) < 0.501e-3]


def share(part, whole):
    return part / whole if whole else 0  # as the release's torchmetrics has it


def fits(sens, spec, prec, positives):
    """Are the three of one confusion matrix of N cases, ``positives`` of them of the class?"""
    return any(
        abs(share(true, true + N - positives - others) - prec) < 0.501e-3
        for true in counts(sens, positives)
        for others in counts(spec, N - positives)
    )


def of_cell(cell):
    return cell["Sens"], cell["Spec"], cell["Prec"]


def test_what_breaks_the_counts_of_the_test_split_is_exactly_what_the_footnotes_name():
    table, cells = published_table("sm3-1"), cells_of("sm3-1")
    broken = {key for key, cell in cells.items() if key[1] != AVERAGE and not fits(*of_cell(cell), POSITIVES[key[1]])}
    assert broken - set(LAST_DIGIT) == {(model, name) for model, names in FOOTNOTES.items() for name in names}
    for (model, name), (count, printed) in LAST_DIGIT.items():
        _, spec, prec = of_cell(cells[model, name])
        assert cells[model, name]["Sens"] == printed
        assert fits(count / POSITIVES[name], spec, prec, POSITIVES[name])
    assert set(table.notes) == set(FOOTNOTES)
    for model, names in FOOTNOTES.items():
        note = table.notes[model]
        assert "every label" in note if names == set(POSITIVES) else all(name in note for name in names)


@pytest.mark.data
def test_derm7pts_test_split_has_these_counts(shared_data):
    from dermis.cases.catalogue import import_set

    cases = import_set("derm7pt", shared_data / "derm7pt_tables")
    assert len(cases.split("train")) == published_table("sm3-3").columns[0].n
    table = cases.split("test").table
    assert len(table) == N
    assert {t.name: int((table[t.column] == t.target).sum()) for t in TARGETS} == POSITIVES
    assert set(published_table("sm3-1").columns[0].protocol.settings["finetune"]["targets"]) == {
        c for c in cases.table if c == "diagnosis" or c.startswith("finding.")
    }


def test_the_footnotes_are_right():
    cells = cells_of("sm3-1")

    def of(model):
        return {name: of_cell(cells[model, name]) for name in POSITIVES}

    absent = of("HcCNN (supervised)")
    for name in ("BWV", "RS"):
        assert fits(*absent[name], N - POSITIVES[name])
    assert [p for p in range(1, N) if fits(*absent["DIAG"], p)] == [80]
    note = published_table("sm3-1").notes["GIIN (supervised)"]
    other = {name: int(count) for count, name in (part.split() for part in note.split(": ")[1].split(","))}
    assert set(other) == set(POSITIVES)
    assert all(fits(*of("GIIN (supervised)")[name], count) for name, count in other.items())
    for name, (ppv, npv, sens) in of("AMFAM (supervised)").items():
        p, q = POSITIVES[name], N - POSITIVES[name]
        assert any(
            abs(share(true, true + wrong) - ppv) < 0.501e-3
            and abs((q - wrong) / (q - wrong + p - true) - npv) < 0.501e-3
            for true in counts(sens, p)
            for wrong in range(q)
        ), name
    row = of("FM4-FS + SM3")
    assert row["STR"][1:] == row["PIG"][1:]
    assert not counts(row["STR"][1], 301)
    assert [round(35 / (35 + 301 - k), 3) for k in around(0.919 * 301)] == [0.583, 0.593]
    rest = sum(prec for name, (_, _, prec) in row.items() if name != "STR")
    assert [round((rest + prec) / 8, 3) for prec in (0.583, 0.593)] == [0.741, 0.742]


def test_the_check_of_counts_would_notice_another_split():
    """One case more of each class, and the three numbers are of no confusion matrix."""
    cells = cells_of("sm3-1")
    passes = [fits(*of_cell(cells["SM3-finetune", name]), p + 1) for name, p in POSITIVES.items()]
    assert sum(passes) <= 1


@pytest.mark.parametrize("name", ["sm3-1", "sm3-2"])
def test_a_grid_has_the_targets_of_our_report_and_the_printed_averages(name):
    table = published_table(name)
    for block in table.blocks:
        columns = table.columns[block.columns]
        assert list(block.targets) == [t.name for t in TARGETS] + [AVERAGE]
        assert [c.class_name for c in columns[:9]] == [f"{t.name} {t.target}" for t in TARGETS] + [""]
        assert [c.metric for c in columns[::9]] == list(METRICS)[: len(columns) // 9]
        assert {c.n for c in columns} == {N}
    cells = cells_of(name)
    for model, target in cells:
        for metric, average in cells[model, target].items() if target == AVERAGE else ():
            values = [cells[model, label][metric] for label in POSITIVES]
            assert sum(values) / 8 == pytest.approx(average, abs=1.001e-3), (model, metric)  # of rounded numbers


def test_the_ablation_has_the_rows_of_table_i():
    one, two = cells_of("sm3-1"), cells_of("sm3-2")
    assert len({model for model, _ in two}) == 10
    for name in [*POSITIVES, AVERAGE]:
        assert two["MLSSL tel (SM3)", name]["AUC"] == one["SM3-linear", name]["AUC"]
        assert two["SimCLR", name]["AUC"] == one["SimCLR", name]["AUC"]


@pytest.mark.parametrize(
    ("model", "released"),  # linear_results.csv and finetune_results.csv of the release @ 58adaf4, AUC in per cent
    [
        ("SM3-linear", [90.367, 76.512, 80.440, 78.238, 77.430, 75.426, 79.434, 85.000, 80.356]),
        ("SM3-finetune", [91.142, 81.854, 82.820, 78.042, 82.467, 79.794, 81.196, 86.058, 82.922]),
    ],
)
def test_the_papers_own_rows_are_those_of_its_release(model, released):
    cells = cells_of("sm3-1")
    printed = [cells[model, name]["AUC"] for name in [*POSITIVES, AVERAGE]]
    assert printed == pytest.approx([value / 100 for value in released], abs=0.501e-3)


def test_fine_tuning_of_sm3_is_built_strictly_each_protocol_in_a_folder_of_its_own(tmp_path):
    linear, tuned, own = (published_table("sm3-1").columns[i] for i in (0, 36, 72))
    one = settings_of(linear.data, linear.protocol, runs=tmp_path, seed=5)
    other = settings_of(tuned.data, tuned.protocol, runs=tmp_path)
    assert (one.protocols, one.split, one.undefined) == (["finetune"], "test", "zero")
    assert (one.seed, one.finetune.seeds, other.finetune.seeds) == (5, [5], [0])
    assert [c.finetune.out for c in (one, other)] == [tmp_path / f"derm7pt-sm3-{how}" for how in ("linear", "finetune")]
    assert [c.finetune.freeze for c in (one, other)] == [["picture_towers.*"], []]
    loops = [(c.training.epochs, c.training.batch_size, c.training.lr) for c in (one.finetune, other.finetune)]
    assert loops == [(50, 128, 1e-3), (50, 64, 1e-4)]
    assert set(one.finetune.targets) == {t.column for t in TARGETS}
    as_it_is = EvaluationConfig(protocols=["labels"], undefined="zero", subgroups=[], pictures=0)
    assert settings_of(own.data, own.protocol) == as_it_is
    wrong = replace(linear.protocol, settings={"protocols": ["finetune"], "finetune": {"epochs": 3}})
    with pytest.raises(ValueError, match=r"protocols.sm3-linear.finetune"):
        settings_of(linear.data, wrong)


@pytest.mark.parametrize("name", ["m2cg-1", "m2cg-2"])
def test_m2cgs_figures_are_shares_of_the_printed_per_cents_with_deviations(name):
    table = published_table(name)
    assert table.per_cent
    assert len(table.models) == 8
    assert list(table.models) == list(table.deviations)
    for model, values in table.models.items():
        assert all(0.4 < value < 1 for value in values)
        assert all(0 < deviation < 0.03 for deviation in table.deviations[model])
        if name == "m2cg-2":
            assert all(values[i + 1] > values[i] for i in (0, 5))  # accuracy@3
    assert published_table("make-1").deviations == {}
    assert published_table("m2cg-3").models["M2CG"] == published_table("m2cg-2").models["M2CG"][5:]


def test_m2cgs_msld_rows_are_counts_of_100_monkeypox_and_125_others():
    """F1 follows from precision and recall, and accuracy from the counts; of MSID's macro means nothing follows."""
    table = published_table("m2cg-1")
    for model, (accuracy, precision, recall, f1, *msid) in table.models.items():
        found = 100 * recall
        alarms = found / precision - found
        assert 2 * precision * recall / (precision + recall) == pytest.approx(f1, abs=1.1e-3), model
        assert (found + 125 - alarms) / 225 == pytest.approx(accuracy, abs=1.1e-3), model
        wrong = 2 * msid[1] * msid[2] / (msid[1] + msid[2]) - msid[3]
        assert abs(wrong) > 2e-4, model
    runs = {model: 2 if (100 * row[2] * 2) % 2 == pytest.approx(1) else 3 for model, row in table.models.items()}
    assert {model for model, count in runs.items() if count == 2} == {"CLIP", "ConVIRT"}
    assert all(
        abs(300 * table.models[m][2] - round(300 * table.models[m][2])) < 0.016 for m, n in runs.items() if n == 3
    )
    ahead = 225 * (table.models["M2CG"][0] - table.models["GLoRIA"][0])
    assert round(ahead) == 6
    assert "6 pictures" in table.remarks[0]


def test_m2cgs_fine_tuning_is_that_of_the_paper(tmp_path):
    msld, msid = (published_table("m2cg-1").columns[i] for i in (0, 4))
    folds, macro = (settings_of(c.data, c.protocol, runs=tmp_path, seed=3) for c in (msld, msid))
    dermnet = published_table("m2cg-2").columns[0]
    split = settings_of(dermnet.data, dermnet.protocol, runs=tmp_path)
    assert (folds.split, folds.positive, folds.undefined) == ("all", "monkeypox", "zero")
    assert (macro.split, macro.positive, macro.undefined) == ("all", None, "zero")
    assert (split.split, split.positive, split.finetune.folds) == ("test", None, None)
    assert (folds.finetune.seeds, split.finetune.seeds) == ([3, 4, 5], [0, 1, 2])
    for c, one in ((msld, folds), (msid, macro), (dermnet, split)):
        tuned, loop = one.finetune, one.finetune.training
        assert (tuned.relation, tuned.width, tuned.dropout, tuned.targets) == ("mlp", 512, 0, ["diagnosis"])
        assert (tuned.augmentation, tuned.protocol, tuned.freeze) == ("m2cg", "clean", [])
        assert (loop.epochs, loop.batch_size, loop.lr, loop.schedule) == (100, 32, 1e-5, "cosine")
        assert protocol_name(tuned) == c.entry
        assert tuned.out == tmp_path / f"{c.data.name}-{c.protocol.name}"
