"""Models side by side: like is ranked with like, ranks are scipy's, and nothing is left out in silence."""

import json
import os
import shutil

import numpy as np
import pytest
from scipy.stats import rankdata

from dermis.commands.evaluate import run as evaluate
from dermis.commands.leaderboard import run
from dermis.evaluation.leaderboard import leaderboard, places
from dermis.evaluation.leaderboard_markdown import markdown
from dermis.evaluation.suite_row import Measured


def measured(row, model, value, **changes):
    whose = {"suite": "derm", "suite_version": 1, "model": model, "model_key": f"key of {model}"}
    what = {"row": row, "set": "some", "protocol": "knn", "metric": "balanced accuracy", "dermis": "0.1"}
    numbers = {"value": value, "low": value - 0.05, "high": value + 0.05, "n": 40, "patients": 20, "unreadable": 0}
    keys = {"seed": 0, "n_boot": 10, "cases_key": f"cases of {row}", "pictures_key": "p", "settings_key": "s"}
    return Measured(**whose | what | numbers | keys | {"notes": [], "command": "", "entries": []} | changes)


def write(folder, *rows):
    for row in rows:
        row.write(folder / row.model / "rows" / f"{row.row}.json")
    return folder


VALUES = {"a": {"r1": 0.9, "r2": 0.5, "r3": 0.7}, "b": {"r1": 0.8, "r2": 0.6, "r3": 0.7}, "c": {"r1": 0.7, "r2": 0.1}}


@pytest.fixture
def three(tmp_path):
    """a, b and c; only a and b have r3."""
    return write(tmp_path / "in", *(measured(r, m, v) for m, own in VALUES.items() for r, v in own.items()))


def test_ranks_are_those_counted_by_hand(three):
    board = leaderboard([three])
    assert board.ranks == {
        "r1": {"a": 1, "b": 2, "c": 3},
        "r2": {"a": 2, "b": 1, "c": 3},
        "r3": {"a": 1.5, "b": 1.5},
    }
    assert board.shared == ["r1", "r2"]
    assert [board.mean_rank(name) for name in "abc"] == [1.5, 1.5, 3]
    assert [board.best(row) for row in ("r1", "r2", "r3")] == [["a"], ["b"], ["a", "b"]]


def test_places_are_those_of_scipy():
    rng = np.random.default_rng(0)
    for _ in range(200):
        value_M = rng.integers(0, 5, size=rng.integers(1, 9)) / 4
        assert places(list(value_M)) == rankdata(-value_M).tolist()


def test_a_line_per_row_with_the_best_in_bold(three):
    page = markdown(leaderboard([three])).splitlines()
    assert page[2] == "| row | metric | n | a | b | c |"
    assert page[4] == (
        "| r1 | balanced accuracy | 40 | **0.900** [0.850, 0.950] | 0.800 [0.750, 0.850] | 0.700 [0.650, 0.750] |"
    )
    assert page[6].endswith("| **0.700** [0.650, 0.750] | **0.700** [0.650, 0.750] | – |")
    assert page[7] == "| mean rank of 2 rows | | | 1.50 | 1.50 | 3.00 |"
    assert page[8] == "| rows measured | | | 3 | 3 | 2 |"
    alone = markdown(leaderboard([three / "a"]))
    assert "**" not in alone
    assert "| mean rank of 3 rows | | | 1.00 |" in alone


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"cases_key": "others"}, "cases or pictures of them"),
        ({"n": 39}, "numbers of cases"),
        ({"unreadable": 1}, "numbers of unreadable pictures"),
        ({"seed": 1}, "seeds"),
        ({"settings_key": "others"}, "settings"),
    ],
)
def test_a_number_on_other_cases_carries_an_asterisk_and_is_not_ranked(three, change, what):
    write(three, measured("r1", "c", 0.99, **change))
    board = leaderboard([three])
    assert board.ranks["r1"] == {"a": 1, "b": 2}
    assert board.shared == ["r2"]
    page = markdown(board)
    assert r"| **0.900** [0.850, 0.950] | 0.800 [0.750, 0.850] | 0.990 [0.940, 1.040] \* |" in page
    assert f"- \\* r1: not ranked, for the models were measured on different {what}." in page
    found = json.loads(board.json())
    assert found["rows"][0]["numbers"]["c"]["rank"] is None
    assert found["ranked_rows"] == ["r2"]


def test_a_name_stays_in_its_cell(three):
    write(three, measured("r1", "d | e\nf", 0.1))
    page = markdown(leaderboard([three]))
    assert page.splitlines()[2] == r"| row | metric | n | a | b | c | d \| e f |"


def test_where_no_cases_have_the_most_nobody_is_ranked(three):
    write(three, measured("r3", "b", 0.2, cases_key="others"))
    board = leaderboard([three])
    assert board.ranks["r3"] == {}
    assert markdown(board).count(r"\* |") == 2


def test_no_row_in_common_leaves_no_mean_rank(tmp_path):
    board = leaderboard([write(tmp_path, measured("r1", "a", 0.5), measured("r2", "b", 0.5))])
    assert "| mean rank of 0 rows | | | – | – |" in markdown(board)
    assert [model["mean_rank"] for model in json.loads(board.json())["models"]] == [None, None]


def test_files_that_are_no_rows_are_named(three):
    rows = three / "a" / "rows"
    (rows / "note.txt").write_text("mine")
    (rows / "broken.json").write_text("{")
    (rows / "other.json").write_text('{"version": 1}')
    (rows / "newer.json").write_text(json.dumps(json.loads((rows / "r1.json").read_text()) | {"version": 2}))
    (rows / "empty.json").write_text(json.dumps(json.loads((rows / "r1.json").read_text()) | {"value": None}))
    (rows / "short.json").write_text(json.dumps({"version": 1, "suite_version": 1}))
    (rows / "deep.json").write_text("[" * 100_000)
    (rows / "infinite.json").write_text(json.dumps(json.loads((rows / "r1.json").read_text()) | {"value": np.inf}))
    (rows / "list.json").write_text(json.dumps(json.loads((rows / "r1.json").read_text()) | {"suite": ["derm"]}))
    odd = {path.name for path in rows.iterdir()} - {"r1.json", "r2.json", "r3.json"}
    with pytest.raises(ValueError, match=r"no rows of a suite: remove them") as found:
        leaderboard([three, three / "a"])
    said = str(found.value).splitlines()[1:]
    assert len(odd) == len(said) == 9
    assert f"{rows / 'other.json'} is not a row of a suite." in said
    for name in odd:
        assert sum(str(rows / name) in line for line in said) == 1
    for name in odd:
        (rows / name).unlink()
    assert leaderboard([three]).notes == []


def test_what_is_there_twice_counts_once_and_is_said(three):
    again = leaderboard([three, three / "a"])
    assert again.rows == leaderboard([three]).rows
    assert len(again.notes) == 3
    assert "is given twice and counts once" in again.notes[0]
    shutil.copytree(three / "a", three / "copy" / "of" / "a")
    assert [note.split(" repeats ")[1] for note in leaderboard([three]).notes if " repeats " in note] == [
        f"{three / 'a' / 'rows' / f'{row}.json'} and counts once." for row in ("r1", "r2", "r3")
    ]


def wrong_version(three):
    write(three, measured("r2", "c", 0.1, suite_version=2))


def two_models_of_one_name(three):
    write(three / "other", measured("r1", "a", 0.3, model_key="another"))


def one_model_of_two_names(three):
    write(three, measured("r1", "d", 0.9, model_key="key of a"))


def two_numbers(three):
    write(three / "other", measured("r1", "a", 0.91))


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (wrong_version, r"derm, version 1 \(.*/a/rows/r1.json\) and derm, version 2 \(.*/c/rows/r2.json\): numbers of"),
        (two_models_of_one_name, r"two models are called 'a' .*: .*--name OTHER"),
        (one_model_of_two_names, r"'a' and 'd' are one model, bit for bit"),
        (two_numbers, r"are both r1 of a, with different numbers: remove the one"),
    ],
)
def test_what_cannot_be_set_side_by_side_is_refused(three, spoil, sentence):
    spoil(three)
    with pytest.raises(ValueError, match=sentence):
        leaderboard([three])


def test_folders_without_rows_are_refused(three, tmp_path):
    with pytest.raises(ValueError, match=r"no folder .*nowhere"):
        leaderboard([three, tmp_path / "nowhere"])
    (tmp_path / "empty" / "rows").mkdir(parents=True)
    (tmp_path / "empty" / "rows" / "x.json").write_text("[]")
    with pytest.raises(ValueError, match=r"no rows of a suite: .*\n.*x.json is not a row of a suite"):
        leaderboard([three, tmp_path / "empty"])
    (tmp_path / "empty" / "rows" / "x.json").unlink()
    with pytest.raises(ValueError, match=r"no row of a suite below .*empty: it should hold"):
        leaderboard([three, tmp_path / "empty"])
    with pytest.raises(ValueError, match="give at least one folder"):
        leaderboard([])


def test_a_file_half_written_is_no_row(three):
    (three / "a" / "rows" / f".r1.json.{os.getpid()}").write_text("{")
    assert leaderboard([three]).notes == []


def test_the_command_sets_measured_models_side_by_side(two_models_and_sets, tmp_path, capsys):
    folder = two_models_and_sets
    for seed in (0, 1):
        places = ["--sets", str(folder / "sets"), "--out", str(tmp_path / "suites" / str(seed))]
        common = ["--suite", "derm", "--evaluation.n-boot", "5", "--cache", str(tmp_path / "cache"), *places]
        assert evaluate([str(folder / f"seed-{seed}" / "model"), "--name", "mine", *common]) == 0
    with pytest.raises(ValueError, match="two models are called 'mine'"):
        run([str(tmp_path / "suites")])
    assert evaluate([str(folder / "seed-1" / "model"), *common]) == 0
    capsys.readouterr()
    assert run([str(tmp_path / "suites"), "--out", str(tmp_path / "board")]) == 0
    said = capsys.readouterr().out
    page = (tmp_path / "board" / "leaderboard.md").read_text()
    assert said == f"{page}\nleaderboard: {tmp_path / 'board' / 'leaderboard.md'}\n"
    found = json.loads((tmp_path / "board" / "leaderboard.json").read_text())
    assert [model["name"] for model in found["models"]] == ["mine", "seed-1"]
    assert found["ranked_rows"] == [row["row"] for row in found["rows"]]
    assert len(found["rows"]) >= 4
    for row in found["rows"]:
        numbers = [number["value"] for number in row["numbers"].values()]
        assert [number["rank"] for number in row["numbers"].values()] == rankdata([-x for x in numbers]).tolist()
    means = [np.mean([row["numbers"][m["name"]]["rank"] for row in found["rows"]]) for m in found["models"]]
    assert [model["mean_rank"] for model in found["models"]] == means
