"""A suite: each row is what `evaluate` says, is measured once, and says why where it is not measured."""

from dataclasses import replace

import pytest

from dermis import torchvision_operators  # noqa: F401 (before timm and open_clip)
from dermis.cases.catalogue import READERS
from dermis.cases.manifest import Manifest
from dermis.cases.split import split
from dermis.commands.list import lines
from dermis.evaluation import suite as page
from dermis.evaluation.evaluate import evaluate
from dermis.evaluation.suite import measure_suite
from dermis.evaluation.suite_markdown import markdown
from dermis.evaluation.suite_row import Measured
from dermis.evaluation.suites import Suite, suite
from tests.evaluation.test_comparison import Named, embed, manifest, named

OURS = suite("derm")
HOW = {row.protocol: row for row in OURS.rows}
N = 120
TORN = ["train", "test"] * 60


def row(protocol, name="some", **changes):
    """A row of the suite, about a set of ours."""
    plain = {"notes": "", "picture": "image", "split": None, "official": False}
    return replace(HOW[protocol], name=f"{name}-{protocol}", set=name, **plain | changes)


def of(*rows, version=1):
    return Suite("small", version, "rows of a test", rows)


SMALL = of(row("prompts"), row("knn"))
THREE = of(*SMALL.rows, row("linear_probe"))


def cases(wrong=30, **columns):
    """Pairs of cases are patients; the first ``wrong`` diagnoses are not what the picture shows."""
    return manifest(named(N, wrong), patient_id=[f"p{i // 2}" for i in range(N)], **columns)


def measured(out, suite=SMALL, model=None, n_boot=10, **sets):
    ready = {name: lambda part=part: part for name, part in sets.items()}
    return measure_suite(model or Named(), suite, ready, out, n_boot=n_boot, name="ours", embed=embed)


@pytest.fixture
def calls(monkeypatch):
    """The protocols that are really evaluated."""
    found = []

    def counted(model, manifest, config, **options):
        found.extend(config.protocols)
        return evaluate(model, manifest, config, **options)

    monkeypatch.setattr(page, "evaluate", counted)
    return found


def test_each_row_of_ours_is_about_a_set_that_can_be_imported_and_has_valid_settings():
    assert set(OURS.sets) <= set(READERS)
    for one in OURS.rows:
        config = one.config("test" if one.learns else "all")
        assert config.protocols == [one.kind]
        assert config.pictures == 0
        assert not any(word in one.metric for word in ("rank", "ECE", "loss", "Brier"))  # more is better
        assert " " not in one.name
    assert [one.name for one in OURS.rows if one.official] == [
        f"dermamnist-{p}" for p in ("prompts", "knn", "linear_probe")
    ]
    with pytest.raises(ValueError, match=r"unknown suite 'dern'\. Did you mean 'derm'"):
        suite("dern")
    listed = lines("suites")
    assert listed[0].startswith(
        f"derm            version {OURS.version}, {len(OURS.rows)} rows on {len(OURS.sets)} sets: "
    )
    assert "  skincon         concepts" in listed


def test_numbers_are_those_of_a_direct_evaluation(tmp_path):
    some = cases()
    found = measured(tmp_path, THREE, some=some)
    dealt = split(some, seed=0)
    how = {"prompts": (some, "all"), "knn": (dealt, "test"), "linear_probe": (dealt, "test")}
    for one in THREE.rows:
        part, scored = how[one.kind]
        truth = evaluate(Named(), part, one.config(scored, n_boot=10), embed=embed).value(
            one.entry, "balanced accuracy"
        )
        got = found.rows[one.name]
        numbers = (truth.value, truth.low, truth.high, truth.n, truth.patients)
        assert (got.value, got.low, got.high, got.n, got.patients) == numbers
        assert 0 < got.value < 1
        assert Measured.read(tmp_path / "rows" / f"{one.name}.json") == got
        assert {"metric": "balanced accuracy", "value": truth.value}.items() <= got.entries[
            [e["metric"] for e in got.entries].index("balanced accuracy")
        ].items()
        assert not any(e["class_name"] or e["subgroup"] for e in got.entries)
        assert (tmp_path / "reports" / one.name / "report.html").is_file()
    assert found.rows["some-prompts"].n == N
    assert found.rows["some-knn"].n == int((dealt.table["split"] == "test").sum())


def test_a_set_with_a_split_is_scored_on_test_by_every_protocol(tmp_path):
    some = split(cases(), seed=5)
    found = measured(tmp_path, some=some)
    test = int((some.table["split"] == "test").sum())
    assert [got.n for got in found.rows.values()] == [test] * 2
    assert not any("dealt" in note for got in found.rows.values() for note in got.notes)
    assert any("dealt" in note for note in measured(tmp_path / "b", some=cases()).rows["some-knn"].notes)
    valid = measured(tmp_path / "c", of(row("prompts", split="valid")), some=some).rows["some-prompts"]
    assert valid.n == int((some.table["split"] == "valid").sum())


def test_what_was_measured_is_not_measured_again(tmp_path, calls):
    some = cases()
    first = measured(tmp_path, some=some)
    assert calls == ["prompts", "knn"]
    again = measured(tmp_path, some=some)
    assert len(calls) == 2
    assert again.rows == first.rows
    assert again.kept == tuple(first.rows)
    (tmp_path / "rows" / "some-knn.json").unlink()
    (tmp_path / "rows" / "some-prompts.json").write_text('{"version": 1, "suite_ver')
    assert measured(tmp_path, some=some).rows == first.rows
    assert calls[2:] == ["prompts", "knn"]


@pytest.mark.parametrize(
    "what", ["label", "case", "patient", "split", "weights", "version", "draws", "seed", "setting"]
)
def test_what_changed_is_measured_anew(tmp_path, calls, what):
    some, one, model, version, n_boot, seed = split(cases(), seed=1), row("knn"), Named(), 1, 10, 0
    measured(tmp_path, of(one), model, some=some)
    if what == "label":
        some = split(cases(wrong=31), seed=1)
    elif what == "case":
        some = some.select(range(1, N))
    elif what == "patient":
        own = some.table["patient_id"].mask(some.table["split"] == "test", some.table["case_id"])
        some = replace(some, table=some.table.assign(patient_id=own))
    elif what == "split":
        some = split(cases(), seed=2)
    elif what == "weights":
        model.logit_scale.data += 0.5
    elif what == "version":
        version = 2
    elif what == "draws":
        n_boot = 11
    elif what == "seed":
        seed = 1
    elif what == "setting":
        one = replace(one, settings=one.settings | {"neighbours": 7})
    options = {"n_boot": n_boot, "seed": seed, "name": "ours", "embed": embed}
    for _ in range(2):
        found = measure_suite(model, of(one, version=version), {"some": lambda: some}, tmp_path, **options)
        assert calls == ["knn", "knn"]
        replaced = what == "weights" and not found.kept
        assert ("- 1 rows took the place of those of an earlier model 'ours'." in markdown(found)) == replaced


def test_pictures_that_turn_up_are_looked_at(tmp_path, calls):
    some = Manifest.build(cases().table, tmp_path)
    measured(tmp_path, some=some)
    (tmp_path / "3.png").write_bytes(b"a picture")
    measured(tmp_path, some=some)
    assert len(calls) == 4
    measured(tmp_path, some=some)
    assert len(calls) == 4


def test_another_name_is_written_without_measuring(tmp_path, calls):
    measured(tmp_path, some=cases())
    ready = {"some": cases}
    found = measure_suite(Named(), SMALL, ready, tmp_path, n_boot=10, name="theirs", embed=embed)
    assert len(calls) == 2
    assert {got.model for got in found.rows.values()} == {"theirs"}
    got = Measured.read(tmp_path / "rows" / "some-knn.json")
    assert {got.model, *(e["model"] for e in got.entries)} == {"theirs"}
    measure_suite(Named(), SMALL, {}, tmp_path, n_boot=10, name="whose", embed=embed)  # the set is not there now
    assert Measured.read(tmp_path / "rows" / "some-knn.json").model == "whose"


def test_rows_of_another_model_are_not_overwritten(tmp_path, calls):
    measured(tmp_path, some=cases())
    model = Named()
    model.logit_scale.data += 1
    with pytest.raises(ValueError, match=r"some-knn.json is of the model 'ours': give each model a folder of its own"):
        measure_suite(model, SMALL, {"some": cases}, tmp_path, n_boot=10, name="theirs", embed=embed)
    assert len(calls) == 2


def test_an_interruption_loses_nothing_that_was_measured(tmp_path, calls, monkeypatch):
    counted = page.evaluate

    def interrupted(*arguments, **options):
        if len(calls) == 1:
            raise KeyboardInterrupt
        return counted(*arguments, **options)

    monkeypatch.setattr(page, "evaluate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        measured(tmp_path, some=cases())
    assert [path.name for path in (tmp_path / "rows").iterdir()] == ["some-prompts.json"]
    monkeypatch.setattr(page, "evaluate", counted)
    assert len(measured(tmp_path, some=cases()).rows) == 2
    assert calls == ["prompts", "knn"]


def test_a_row_without_a_number_stops_no_other(tmp_path):
    rows = of(row("knn", name="absent"), row("concepts"), row("prompts"), row("knn", official=True))
    torn = cases(split=TORN)
    found = measured(tmp_path, rows, some=torn)
    assert list(found.rows) == ["some-prompts", "some-knn"]
    assert any("The official split tears 60 of 60 groups" in note for note in found.rows["some-knn"].notes)
    assert found.missing["absent-knn"] == (
        "missing: dermis import absent FOLDER --out sets/absent.parquet (where to get FOLDER: dermis import absent)"
    )
    text = markdown(found)
    assert "2 of 4 rows were measured." in text
    assert text.split("\n## Not measured\n")[1].count("\n- ") == len(found.missing) == 2
    assert f"| some-prompts | balanced accuracy | {found.rows['some-prompts'].text()} | 60 |" in text


def test_an_undefined_number_is_no_number(tmp_path):
    one = replace(row("prompts"), metric="macro AUPR", entry="no such entry")
    assert "has no macro AUPR of 'no such entry'" in measured(tmp_path, of(one), some=cases()).missing["some-prompts"]
    nothing = replace(evaluate(Named(), cases(), row("prompts").config("all", n_boot=5), embed=embed))
    empty = replace(nothing, entries=[replace(e, value=float("nan")) for e in nothing.entries])
    with pytest.raises(ValueError, match="balanced accuracy is undefined"):
        page.headline(empty, row("prompts"))


def test_what_is_left_of_an_older_model_is_said(tmp_path):
    one = of(row("prompts"))
    measured(tmp_path, one, some=cases())
    assert measured(tmp_path, one).missing["some-prompts"].endswith("some-prompts.json, measured before, stays")
    changed = Named()
    changed.logit_scale.data += 1
    assert "is of another model or suite version: remove it" in measured(tmp_path, one, changed).missing["some-prompts"]


def test_vectors_of_a_set_are_asked_for_once(tmp_path):
    asked = []

    def counted(part):
        asked.append(len(part))
        return embed(part)

    measure_suite(Named(), THREE, {"some": lambda: split(cases(), seed=0)}, tmp_path, n_boot=5, embed=counted)
    assert len(asked) == 3  # test, train, valid
