"""The manifest: what it accepts, what comes back from disk, and the sentence for each broken input."""

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dermis.cases.manifest import Manifest, sidecar_of


def cases(**columns) -> pd.DataFrame:
    """Three cases with these columns; ``lesion__age`` stands for ``lesion.age``."""
    table = {"case_id": ["a", "b", "c"], "image": ["1.jpg", "2.jpg", "3.jpg"]}
    return pd.DataFrame(table | {name.replace("__", "."): values for name, values in columns.items()})


@pytest.fixture
def full() -> pd.DataFrame:
    return cases(
        patient_id=["007", None, "8"],
        caption=['said "no", then\r\nleft', None, " ; tab\there"],
        sentences=[["one", "two, three"], None, []],
        diagnosis=["nevus", "melanoma", None],
        finding__streaks=["absent", None, "regular"],
        concept__ulcer=[0.0, 1.0, np.nan],
        lesion__site=pd.Categorical(["back", None, "arm"], categories=["back", "leg", "arm"]),
        lesion__itch=[True, None, False],
        lesion__code=["01", "02", None],
        patient__age=[30.0, np.nan, 41.5],
        patient__visits=[1, 2, 3],
        skin_tone=["1", "3-4", None],
        split=["train", "valid", None],
        fold=[0, 1, 2],
    )


def assert_same(a: Manifest, b: Manifest) -> None:
    pd.testing.assert_frame_equal(a.table, b.table)
    assert a.root.resolve() == b.root.resolve()
    assert a.categories == b.categories


@pytest.mark.parametrize("name", ["cases.parquet", "cases.csv", "CASES.CSV"])
def test_what_is_written_is_read_again_exactly(full, tmp_path, name):
    manifest = Manifest.build(full, tmp_path / "pictures")
    again = Manifest.read(manifest.write(tmp_path / name))
    assert_same(manifest, again)
    assert again.table["sentences"].tolist() == [["one", "two, three"], None, []]
    assert again.table["patient_id"][0] == "007"
    assert again.categories["lesion.site"] == ["back", "leg", "arm"]
    assert again.categories["lesion.itch"] == ["False", "True"]
    assert again.table["lesion.itch"].tolist()[::2] == ["True", "False"]


text = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1).filter(str.strip)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(st.none() | text, st.none() | st.lists(text), st.none() | st.floats(-1e9, 1e9)), min_size=1))
@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_any_text_list_and_number_survives_both_formats(tmp_path_factory, suffix, rows):
    captions, sentences, ages = zip(*rows, strict=True)
    ids = [f"case {i}" for i in range(len(rows))]
    table = pd.DataFrame({"case_id": ids, "image": ids, "caption": pd.Series(captions, dtype="str")})
    table["sentences"] = pd.Series(list(sentences), dtype=object)
    table["patient.age"] = pd.Series(ages, dtype=float)
    folder = tmp_path_factory.mktemp("cases")
    manifest = Manifest.build(table, folder)
    assert_same(manifest, Manifest.read(manifest.write(folder / f"cases.{suffix}")))


def write_csv(tmp_path, content: str | bytes):
    path = tmp_path / "cases.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_a_csv_is_read_whatever_its_delimiter_mark_and_line_ends(tmp_path, delimiter, encoding, newline):
    lines = ["case_id|image|caption|patient.age", '007|1.jpg|"a, b; c\nd"|30', "8|2.jpg|é|"]
    content = newline.join(line.replace("|", delimiter) for line in lines)
    manifest = Manifest.read(write_csv(tmp_path, content.encode(encoding)))
    assert manifest.table["case_id"].tolist() == ["007", "8"]
    assert manifest.table["caption"].tolist() == ["a, b; c\nd", "é"]
    assert manifest.table["patient.age"][0] == 30
    assert np.isnan(manifest.table["patient.age"][1])


def test_blank_lines_before_the_header_make_no_number_of_an_id(tmp_path):
    manifest = Manifest.read(write_csv(tmp_path, "\r\n\ncase_id,image\n007,1.jpg\n"))
    assert manifest.table["case_id"].tolist() == ["007"]


def test_the_delimiter_is_the_one_that_finds_the_ids_not_the_commonest(tmp_path):
    manifest = Manifest.read(write_csv(tmp_path, "case_id,image,lesion.a;b;c;d\n1,1.jpg,2"))
    assert manifest.table.columns.tolist() == ["case_id", "image", "lesion.a;b;c;d"]


def test_in_a_csv_numbers_are_numbers_codes_are_text_and_lists_are_lists(tmp_path):
    rows = [
        "case_id,image,patient_id,lesion.size,lesion.code,lesion.site,lesion.none,sentences",
        '1,1.jpg,0017,2.5,007,arm,,"[""a"", ""b""]"',
        '2,2.jpg,3e5,nan,12,NA,,"[\'it\'\'s\', ""c""]"',
    ]
    manifest = Manifest.read(write_csv(tmp_path, "\n".join(rows)))
    assert manifest.table["patient_id"].tolist() == ["0017", "3e5"]
    assert manifest.table["lesion.size"].dtype == float
    assert manifest.categories == {"lesion.code": ["007", "12"], "lesion.site": ["NA", "arm"]}
    assert manifest.table["sentences"].tolist() == [["a", "b"], ["its", "c"]]


def test_code_in_a_csv_is_never_run(tmp_path):
    code = '"[__import__(""os"").system(""touch ' + str(tmp_path / "ran") + '"")]"'
    with pytest.raises(ValueError, match="sentences must be a list of strings"):
        Manifest.read(write_csv(tmp_path, f"case_id,image,sentences\n1,1.jpg,{code}"))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("", "is empty"),
        ("case_id,image\n", "the manifest has no cases"),
        ("case_id,image\n1\n", "Expected 2 columns, got 1"),
        ("case_id,image\n1,1.jpg,x\n", "comma-separated.*Expected 2 columns, got 3"),
        ('case_id,image\n1,"1.jpg\n2,2.jpg\n', "quotation mark that is never closed"),
        ("case_id,image,image\n1,2,3\n", "the column 'image' more than once"),
        ("case_id image\n1 1.jpg\n", "does not know the column 'case_id image'"),
        (
            "case_id,image,caption\n1,1.jpg,x\n2,2.jpg,caf\xe9".encode("latin-1"),
            r"not UTF-8 text \(byte 0xe9 in line 3\)",
        ),
        (b"\xff\xd8\xff\xe0" + bytes(range(256)), "is not UTF-8 text"),
        ("case_id,image\n1,1.jpg\n1,2.jpg", "case_id must be unique; '1' occurs 2 times"),
        (f"case_id,image,{'x' * 140_000}\n1,1.jpg,2", "has no header: its first line is one of 140,014 characters"),
        ("case_id,picture\n1,1.jpg", "needs the column 'image'; it has case_id, picture"),
        ("case_id,image\n1,1.jpg\n2,", "image must not be missing; 1 row.*row 2, case '2'"),
        ('case_id,image\n1,1.jpg\n2,"  "', "image must not be empty"),
    ],
)
def test_a_broken_csv_gets_one_sentence(tmp_path, content, sentence):
    with pytest.raises(ValueError, match=sentence):
        Manifest.read(write_csv(tmp_path, content))


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        ({"patientid": "x"}, "does not know the column 'patientid'. Did you mean one of 'patient_id'"),
        ({"Diagnosis ": "x"}, "'diagnosis'"),
        ({"age": 3}, "'patient.age'"),
        (
            {"split": ["train", "val", "test"]},
            "split must be one of train, valid, test; 1 .*'val' .*Did you mean 'valid'",
        ),
        ({"skin_tone": ["1", "VII", "1-2"]}, "skin_tone must be a Fitzpatrick type.*'VII' in row 2, case 'b'"),
        ({"concept__ulcer": [0, 1, -1]}, "concept.ulcer must lie in 0 to 1; 1 .*-1.0 in row 3"),
        ({"concept__ulcer": ["yes", "no", None]}, "concept.ulcer must hold numbers from 0 to 1"),
        ({"lesion__size": [1.0, np.inf, 2.0]}, "lesion.size must be finite; 1 .*inf in row 2"),
        ({"caption": ["x", b"y", None]}, "caption must hold text; 1 .*b'y' in row 2"),
        ({"sentences": ["no list", None, ["x"]]}, "sentences must be a list of strings; 1 .*'no list' in row 1"),
        ({"sentences": [[1], None, ["x"]]}, "sentences must be a list of strings"),
        ({"case_id": ["a", None, "a"]}, "(?s)case_id must not be missing.*case_id must be unique"),
    ],
)
def test_a_broken_column_gets_one_sentence(columns, sentence):
    with pytest.raises(ValueError, match=sentence):
        Manifest.build(cases(**columns), ".")


def test_everything_wrong_is_told_at_once():
    with pytest.raises(ValueError) as error:
        Manifest.build(cases(split="val", skin_tone="7", lesion__size=np.inf), ".")
    assert len(str(error.value).splitlines()) == 3


def test_a_value_outside_the_given_categories_is_refused():
    with pytest.raises(ValueError, match=r"lesion.site must be one of its categories arm, leg; 1 .*'back' in row 3"):
        Manifest.build(cases(lesion__site=["arm", None, "back"]), ".", {"lesion.site": ["arm", "leg"]})


def test_ids_that_pandas_made_numbers_become_text_without_a_point():
    manifest = Manifest.build(cases(patient_id=[1765.0, None, 3.0], lesion_id=[1, 2, 3], diagnosis=[1, 0, 1]), ".")
    assert manifest.table["patient_id"].tolist()[::2] == ["1765", "3"]
    assert manifest.table["lesion_id"].tolist() == ["1", "2", "3"]
    assert manifest.table["diagnosis"].tolist() == ["1", "0", "1"]


@pytest.mark.parametrize(
    "values", [[True, None, False], pd.array([True, None, False], dtype="boolean"), ["True", None, "False"]]
)
def test_booleans_are_categories_of_metadata_and_numbers_of_concepts(values):
    manifest = Manifest.build(cases(lesion__itch=values, concept__itch=pd.Series([True, None, False])), ".")
    assert manifest.categories == {"lesion.itch": ["False", "True"]}
    assert manifest.table["lesion.itch"].tolist()[::2] == ["True", "False"]
    assert manifest.table["concept.itch"].tolist()[::2] == [1.0, 0.0]


def test_a_categorical_of_whole_numbers_with_gaps_has_categories_without_a_point():
    grades = pd.Series([3, None, 1]).astype("category")  # whose categories are 1.0 and 3.0
    manifest = Manifest.build(cases(lesion__grade=grades), ".")
    assert manifest.categories == {"lesion.grade": ["1", "3"]}
    assert manifest.table["lesion.grade"].tolist()[::2] == ["3", "1"]


@pytest.mark.parametrize(
    "values", [[1, None, 3], pd.array([1, None, 3], dtype="Int64"), pd.Series([1, None, 3], dtype=object)]
)
def test_numbers_with_gaps_stay_numbers(values):
    manifest = Manifest.build(cases(patient__age=values), ".")
    assert manifest.table["patient.age"].dtype == np.float64
    assert manifest.table["patient.age"].isna().tolist() == [False, True, False]
    assert manifest.categories == {}


def test_building_leaves_the_callers_table_alone(full):
    before = full.copy(deep=True)
    Manifest.build(full, ".")
    pd.testing.assert_frame_equal(full, before)


def test_the_image_root_moves_with_the_table(tmp_path):
    manifest = Manifest.build(cases(), tmp_path / "old" / "set" / "pictures")
    path = manifest.write(tmp_path / "old" / "tables" / "cases.parquet")
    assert json.loads(sidecar_of(path).read_text())["image_root"] == "../set/pictures"
    (tmp_path / "old").rename(tmp_path / "new")
    assert Manifest.read(tmp_path / "new/tables/cases.parquet").root == tmp_path / "new/set/pictures"


def test_the_image_root_is_relative_to_the_table_not_to_where_one_stands(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = Manifest.build(cases(), "pictures").write("tables/cases.csv")
    monkeypatch.chdir("/")
    assert Manifest.read(tmp_path / path).root == tmp_path / "pictures"


def test_an_image_root_far_away_is_absolute(tmp_path):
    path = Manifest.build(cases(), "/elsewhere/pictures").write(tmp_path / "cases.parquet")
    assert json.loads(sidecar_of(path).read_text())["image_root"] == os.path.abspath("/elsewhere/pictures")


def test_without_a_sidecar_the_root_is_the_tables_folder_and_an_argument_wins(tmp_path):
    path = write_csv(tmp_path, "case_id,image\n1,1.jpg")
    assert Manifest.read(path).root == tmp_path
    assert str(Manifest.read(path, "/pictures").root) == "/pictures"


@pytest.mark.parametrize(
    ("sidecar", "sentence"),
    [
        ("{", "not a readable sidecar"),
        ("[1]", "not a readable sidecar"),
        ('{"version": 2}', "has version 2; this dermis reads version 1"),
        ('{"version": 2, "image_root": ["a", "b"]}', "has version 2; this dermis reads version 1"),
        ('{"image_root": 3}', "must hold a string `image_root`"),
        ('{"categories": {"lesion.site": "arm"}}', "must hold a string `image_root` and `categories`"),
        ('{"categories": ["lesion.site"]}', "must hold a string `image_root` and `categories`"),
    ],
)
def test_a_broken_sidecar_gets_one_sentence(tmp_path, sidecar, sentence):
    path = write_csv(tmp_path, "case_id,image\n1,1.jpg")
    sidecar_of(path).write_text(sidecar)
    with pytest.raises(ValueError, match=sentence):
        Manifest.read(path)


@pytest.mark.parametrize("content", ["file,label\n1.jpg,nevus\n", "image,diagnosis\n1.jpg,nevus\n"])
def test_of_a_table_of_ones_own_it_is_said_first_how_it_becomes_a_manifest(tmp_path, content):
    path = write_csv(tmp_path, content)
    with pytest.raises(ValueError) as error:
        Manifest.read(path)
    first, *others = str(error.value).splitlines()
    command = f"`dermis import csv {path} --out {path.with_suffix('.parquet')} --options columns"
    assert first.startswith(f"{path} is no manifest yet; {command}")
    assert any("needs the column 'case_id'" in line for line in others)
    with pytest.raises(
        ValueError, match=r"cases\.xlsx is none; `dermis import csv .*cases\.xlsx --out .*cases\.parquet"
    ):
        Manifest.read(tmp_path / "cases.xlsx")
    with pytest.raises(ValueError) as error:
        Manifest.read(write_csv(tmp_path, "case_id,image,diagnosys\n1,1.jpg,x\n"))
    assert "dermis import" not in str(error.value)


def test_files_that_are_no_manifest_get_one_sentence(tmp_path):
    with pytest.raises(ValueError, match=r"no manifest at .*cases\.parquet"):
        Manifest.read(tmp_path / "cases.parquet")
    with pytest.raises(ValueError, match=r"\.parquet or \.csv"):
        Manifest.read(tmp_path / "cases.xlsx")
    with pytest.raises(ValueError, match=r"\.parquet or \.csv"):
        Manifest.build(cases(), ".").write(tmp_path / "cases")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(ValueError, match="is not a file"):
        Manifest.read(tmp_path / "folder.csv")
    for content in (b"", b"case_id,image\n1,1.jpg", b"PAR1" + bytes(100)):
        (tmp_path / "text.parquet").write_bytes(content)
        with pytest.raises(ValueError, match="not a readable Parquet file"):
            Manifest.read(tmp_path / "text.parquet")


def test_a_group_is_the_patient_else_the_lesion_else_the_origin_else_the_case():
    manifest = Manifest.build(
        cases(patient_id=["p", None, None], lesion_id=["l", "l2", None], origin_id=[None, "o", None]), "."
    )
    assert manifest.groups().tolist() == ["patient_id:p", "lesion_id:l2", "case_id:c"]


def test_rows_that_share_any_id_are_one_group():
    table = cases(patient_id=["p2", "p1", None], lesion_id=["l1", "l1", None], origin_id=[None, None, "a"])
    assert Manifest.build(table, ".").groups().tolist() == ["patient_id:p1"] * 3
    table = cases(patient_id=["p", None, None], lesion_id=["l", "l", "m"])
    assert Manifest.build(table, ".").groups().tolist() == ["patient_id:p", "patient_id:p", "lesion_id:m"]


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(*[st.none() | st.sampled_from("abcde")] * 3), min_size=1, max_size=9),
    st.randoms(use_true_random=False),
)
def test_groups_are_the_closure_of_sharing_an_id(ids, random):
    """Against the definition: merge any two rows that share an id until nothing changes."""
    names = [f"case{i}" for i in range(len(ids))]
    group = list(range(len(ids)))
    for _ in ids:
        for i, first in enumerate(ids):
            for j, second in enumerate(ids):
                if any(x is not None and x == y for x, y in zip(first, second, strict=True)):
                    group[i] = group[j] = min(group[i], group[j])
    table = pd.DataFrame(ids, columns=["patient_id", "lesion_id", "origin_id"], dtype="str")
    manifest = Manifest(table.assign(case_id=names, image=names), Path("."))
    found = manifest.groups()
    assert [[a == b for b in group] for a in group] == [[a == b for b in found] for a in found]
    order = random.sample(range(len(ids)), len(ids))
    assert manifest.select(order).groups().tolist() == found.iloc[order].tolist()


def test_a_split_is_asked_for_by_name():
    manifest = Manifest.build(cases(split=["train", None, "test"]), ".")
    assert manifest.split("test").table["case_id"].tolist() == ["c"]
    with pytest.raises(ValueError, match=r"unknown split 'val'. Did you mean 'valid'"):
        manifest.split("val")
    with pytest.raises(ValueError, match="no case of the manifest is in split 'valid'"):
        manifest.split("valid")
    with pytest.raises(ValueError, match="no column `split`"):
        Manifest.build(cases(), ".").split("train")


def test_a_column_of_nulls_is_not_there():
    manifest = Manifest.build(cases(caption=[None, None, None], diagnosis=["x", None, None]), ".")
    assert "diagnosis" in manifest
    with pytest.raises(ValueError, match=r"training by captions needs the column.s. caption; the manifest has"):
        manifest.require(["caption"], "training by captions")
