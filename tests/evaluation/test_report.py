"""The report's three forms: nothing lost in JSON, everything escaped and self-contained in HTML."""

import io
import json
import math
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from dermis.evaluation.bootstrap import Interval
from dermis.evaluation.plots import confusion_plot, roc_plot
from dermis.evaluation.report import Entry, Example, Report, Section, entries
from dermis.evaluation.report_html import html
from dermis.evaluation.report_markdown import markdown
from dermis.evaluation.report_tables import SPREAD, meaning

NASTY = "<script>alert('x')</script> & \"quoted\" | $x$"


def entry(**changes):
    plain = {
        "protocol": "prompt classification",
        "metric": "macro AUROC",
        "value": 0.9204,
        "low": 0.9061,
        "high": 0.9333,
        "n": 2015,
        "patients": 1497,
        "model": "trained",
        "dataset": "HAM10000",
        "split": "test",
        "seed": 0,
    }
    return Entry(**plain | changes)


def report(**changes):
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), "brown").save(buffer, "JPEG")
    rng = np.random.default_rng(0)
    label = rng.integers(2, size=40)
    score = np.eye(2)[label] * 0.5 + 0.25
    classes = ["nevus", NASTY]
    section = Section(
        "trained",
        "prompt classification",
        f"About {NASTY}",
        classes,
        [[3, 1], [0, 4]],
        [
            Example("case-1", "nevus", NASTY, 0.91, buffer.getvalue()),
            Example("case-2", "nevus", "nevus", 0.8, buffer.getvalue()),
        ],
        score,
        label,
    )
    plain = {
        "title": "Evaluation of trained",
        "dataset": "HAM10000",
        "split": "test",
        "cases": 2015,
        "patients": 1497,
        "synthetic": False,
        "entries": [
            entry(),
            entry(metric="AUROC", class_name=NASTY, value=math.nan, low=math.nan, high=math.nan, notes="no cases"),
            entry(metric="accuracy", subgroup="patient.sex = female", n=900),
        ],
        "sections": [section],
        "bad_pictures": ["ISIC_1", "ISIC_2"],
        "notes": [NASTY],
        "command": "dermis evaluate runs/x --split test",
    }
    return Report(**plain | changes)


VOID = {"meta", "img", "br", "use", "path", "line", "circle", "rect", "link", "image"}


class Balance(HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.tags, self.sources = [], set(), []

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self.sources += [v for k, v in attributes if k in ("src", "href", "xlink:href") and v]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.add(tag)
        self.sources += [v for k, v in attributes if k in ("src", "href", "xlink:href") and v]

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag


def test_json_gives_the_report_back_without_plots_and_pictures(tmp_path):
    written = report()
    written.write(tmp_path)
    read = Report.read(tmp_path / "report.json")
    stripped = [replace(s, examples=[]) for s in written.sections]
    assert math.isnan(read.entries[1].value)
    assert str(read) == str(replace(written, sections=stripped))  # as strings, because NaN differs from itself


def test_json_has_no_nan():
    assert "NaN" not in report().json()
    assert '"value": null' in report().json()


def test_html_is_balanced_escaped_and_needs_nothing_else():
    page = html(report())
    parser = Balance()
    parser.feed(page)
    assert parser.open == []
    assert not parser.tags & {"script", "link", "iframe"}
    assert all(source.startswith(("data:image/", "#")) for source in parser.sources)
    assert not re.search(r"url\((?!#)", page)
    assert "<script" not in page
    assert "&lt;script&gt;" in page


def test_html_shows_what_a_reader_asks_for():
    page = html(report())
    for wanted in ("0.920", "0.906 to 0.933", "2015", "1497", "2 cases are in no number", "dermis evaluate runs/x"):
        assert wanted in page
    assert page.count("data:image/jpeg;base64,") == 2
    assert page.count("<svg role=") == 3
    assert "undefined" in page
    assert "#123457" not in page  # the ink follows the page


@pytest.mark.parametrize("synthetic", [True, False])
def test_synthetic_data_are_called_so(synthetic):
    one = report(synthetic=synthetic)
    assert ("Synthetic data" in html(one)) is synthetic
    assert ("Synthetic data" in markdown(one)) is synthetic


@pytest.mark.parametrize(("n_boot", "warned"), [(20, True), (199, True), (200, False), (None, False)])
def test_intervals_from_a_few_draws_are_called_rough(n_boot, warned, tmp_path):
    report(n_boot=n_boot).write(tmp_path)
    read = Report.read(tmp_path / "report.json")
    assert read.n_boot == n_boot
    for form in (html, markdown):
        assert (f"Intervals from {n_boot} bootstrap draws only" in form(read)) is warned


def test_models_with_different_notes_have_them_under_their_names():
    pair = {"subgroup": "patient.sex: {} minus {}", "notes": "best minus worst", "metric": "accuracy"}
    items = [
        entry(notes="3 draws had no value"),
        entry(model="other", notes="1 draw had no value"),
        entry(metric="ECE", notes="the same"),
        entry(metric="ECE", model="other", notes="the same"),
        entry(metric="AUPR", notes="alone"),
        entry(metric="AUPR", model="other"),
        entry(**pair | {"subgroup": "patient.sex: female minus male"}, value=0.1),
        entry(**pair | {"subgroup": "patient.sex: male minus other", "notes": "best minus worst; few"}, model="other"),
    ]
    both = report(entries=[replace(e, n=90) if e.model == "other" and e.subgroup else e for e in items])
    text = markdown(both)
    size = "2015 | 1497"
    assert f"{size} | trained: 3 draws had no value; other: 1 draw had no value |" in text
    assert f"{size} | the same |" in text
    assert f"{size} | trained: alone |" in text
    row = "| patient.sex: best minus worst | 0.100 [0.906, 0.933] | 0.920 [0.906, 0.933] | 2015 / 90 | 1497 / 1497 | "
    assert f"{row}trained: female minus male; other: male minus other; few |" in text
    assert "<td>2015 / 90</td>" in html(both)
    assert "trained: female minus male; other: male minus other; few" in html(both)


def test_markdown_has_every_number_with_its_interval():
    text = markdown(report())
    assert "| macro AUROC | 0.920 [0.906, 0.933] | 2015 | 1497 |" in text
    assert "| patient.sex = female | 0.920 [0.906, 0.933] | 900 |" in text
    assert "| undefined |" in text
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert all(len(re.findall(r"(?<!\\)\|", row)) == 6 for row in rows)  # a bar in a name breaks no table


def test_a_mean_over_seeds_says_its_deviation_in_every_form_and_what_that_is(tmp_path):
    over_seeds = report(entries=[entry(deviation=0.0042), entry(metric="accuracy")])
    assert "| macro AUROC | 0.920 ± 0.004 [0.906, 0.933] |" in markdown(over_seeds)
    assert "| accuracy | 0.920 [0.906, 0.933] |" in markdown(over_seeds)
    assert "<td>0.920 ± 0.004</td><td>0.906 to 0.933</td>" in html(over_seeds)
    for form in (html, markdown):
        assert (SPREAD in form(over_seeds), SPREAD in form(report())) == (True, False)
    over_seeds.write(tmp_path)
    assert [e.deviation for e in Report.read(tmp_path / "report.json").entries] == [0.0042, None]


def test_a_report_from_before_there_were_deviations_is_read(tmp_path):
    content = json.loads(report().json())
    for e in content["entries"]:
        del e["deviation"]
    (tmp_path / "report.json").write_text(json.dumps(content))
    assert Report.read(tmp_path / "report.json").entries[0] == entry()


def test_models_stand_beside_each_other():
    other = report(
        entries=[entry(model="untrained", value=0.5, low=0.45, high=0.55), entry(model="untrained", metric="accuracy")],
        sections=[],
    )
    both = report().beside(other)
    assert "| macro AUROC | 0.920 [0.906, 0.933] | 0.500 [0.450, 0.550] |" in markdown(both)
    assert "| accuracy | – | 0.920 [0.906, 0.933] |" in markdown(both)
    assert both.value("prompt classification", "macro AUROC", model="untrained").value == 0.5
    Balance().feed(html(both))


def test_reports_about_other_cases_are_not_put_together():
    with pytest.raises(ValueError, match="about different cases"):
        report().beside(report(cases=2014))
    with pytest.raises(ValueError, match="both reports call a model 'trained'"):
        report().beside(report())


def test_a_missing_number_is_answered_with_what_there_is():
    with pytest.raises(ValueError, match="0 entries for kNN: macro AUROC; the report has prompt classification"):
        report().value("kNN", "macro AUROC")


def test_dropped_draws_are_told():
    found = entries({"AUROC": Interval(0.9, 0.8, 1.0, 1000, 12)}, notes="few cases", **without_numbers(entry()))
    assert found[0].notes == "few cases; 12 of 1000 bootstrap draws had no value"


def without_numbers(one):
    return {k: getattr(one, k) for k in ("protocol", "n", "patients", "model", "dataset", "split", "seed")}


def test_metrics_explain_themselves():
    assert meaning("accuracy@3") == meaning("accuracy@5") != ""
    assert meaning("true recall@10") != meaning("recall@10")
    assert meaning("nonsense") == ""


def test_an_unknown_version_is_refused(tmp_path):
    (tmp_path / "report.json").write_text('{"version": 2}')
    with pytest.raises(ValueError, match="not a report of version 1"):
        Report.read(tmp_path / "report.json")


def test_plots_are_the_same_every_time():
    label = np.array([0, 1, 1, 0])
    assert confusion_plot(label, label, ["a", "b"]) == confusion_plot(label, label, ["a", "b"])
    assert "$x_1$</text>" in confusion_plot(label, label, ["a", "$x_1$"])  # a name is no formula
    many = [f"class {i}" for i in range(40)]
    spread = np.arange(40).repeat(2)
    assert "class 7" not in confusion_plot(spread, spread, many)
    assert "class 7" in roc_plot(np.eye(40)[spread], spread, many)
