"""The published tables: every share is a count of the cases it is said to be of, averages are the printed ones."""

import math

import pytest

from dermis.evaluation.config import EvaluationConfig
from dermis.evaluation.published import published_protocols, published_table, published_tables, settings_of
from dermis.language.prompts import class_list

COUNTS = [
    (name, i, column)
    for name in published_tables()
    for i, column in enumerate(published_table(name).columns)
    if "AUROC" not in column.metric
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
    unit = 1e-3 if name == "o-make" else 1e-4
    for model, values in published_table(name).models.items():
        nearest = min(abs(k / column.n - values[i]) for k in around(values[i] * column.n))
        assert (nearest > 0.51 * unit) == ((name, model, column.data.name) in NOT_COUNTS), (model, values[i])


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
        assert settings.split in ("all", "test", "valid")
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
    assert {"make-full", "derm1m-test"} <= set(published_protocols())
    with pytest.raises(ValueError, match="Did you mean 'make-1'"):
        published_table("make1")
