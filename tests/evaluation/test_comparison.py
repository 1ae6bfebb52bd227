"""A model beside a published table: the right cases, the right number, and what is missing is said."""

import json
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from dermis import torchvision_operators  # noqa: F401 (before timm and open_clip)
from dermis.cases.manifest import Manifest
from dermis.commands.evaluate import Evaluate, run
from dermis.commands.evaluate import table as measured
from dermis.evaluation import comparison
from dermis.evaluation.comparison import compare
from dermis.evaluation.comparison_markdown import markdown
from dermis.evaluation.published import published_table
from dermis.evaluation.report import Entry
from dermis.language.prompts import class_list
from dermis.towers.branches import Branches
from tests.methods.test_sm3 import Pixels

PAD = class_list("pad-ufes-20")


class Named(torch.nn.Module):
    """A sentence about a class of PAD points along that class, a picture along whatever its vector says."""

    def __init__(self):
        super().__init__()
        self.logit_scale = torch.nn.Parameter(torch.tensor(2.0))
        self.text = SimpleNamespace(tokenizer=self.tokenizer)

    def tokenizer(self, texts):
        return [[next((i for i, name in enumerate(PAD) if name in text), len(PAD))] for text in texts]

    def encode_text(self, tokens, offsets_S1, normalize=False):
        return torch.eye(len(PAD) + 1)[tokens]

    def project_image(self, pooled_ND, normalize=False):
        return pooled_ND


def manifest(diagnosis, **columns):
    """Case i shows class i mod 6, whatever it is called."""
    n = len(diagnosis)
    ids = {"case_id": [f"c{i}" for i in range(n)], "image": [f"{i}.png" for i in range(n)]}
    return Manifest.build(pd.DataFrame(ids | {"diagnosis": diagnosis} | columns), ".")


def embed(part):
    shown = part.table["case_id"].str[1:].astype(int).to_numpy() % 6
    return np.eye(len(PAD) + 1, dtype=np.float32)[shown], np.ones(len(part), dtype=bool)


def beside(table, sets, **options):
    ready = {name: lambda part=part: part for name, part in sets.items()}
    return compare(Named(), published_table(table), ready, n_boot=10, name="ours", **{"embed": embed} | options)


def named(count, wrong=0):
    """Diagnoses of ``count`` cases, the first ``wrong`` of them not what the picture shows."""
    return [PAD[(i + (i < wrong)) % 6] for i in range(count)]


def test_a_whole_set_is_comparable_and_the_others_are_named_with_how_to_get_them():
    found = beside("make-1", {"pad": manifest(named(2298, wrong=930), split=["train"] * 2298)})
    pad, f17k = found.cells[:2]
    assert pad.entry.value == pytest.approx(1368 / 2298)  # train cases too: the protocol takes the whole set
    assert pad.comparable
    assert [entry.metric for entry in pad.beside] == ["balanced accuracy", "macro AUROC"]
    assert f17k.entry is None
    assert "missing: dermis import fitzpatrick17k" in f17k.why
    page = markdown(found)
    ours = next(line for line in page.splitlines() if line.startswith("| **ours**"))
    assert ours.startswith("| **ours** | 0.5953 [")
    assert ours.endswith("| – | – | – | – | – | – | – |")
    assert "| MAKE | 0.5953 | 0.3242 | 0.3914 | 0.3270 | 0.7873 | 0.6864 | 0.4095 | 0.7369 |" in page
    assert "SNU-134 (snu.parquet): missing" in page
    assert "not comparable" not in page


def test_a_subset_is_marked_and_in_no_average():
    found = beside("make-3", {"pad": manifest(named(60))})
    assert not found.cells[0].comparable
    assert r"1.0000 [1.0000, 1.0000] \*" in markdown(found)
    assert r"\* PAD-UFES-20: measured on 60 cases, published on 2298: not comparable." in markdown(found)


def test_an_average_needs_all_sets_on_the_published_cases(monkeypatch):
    table = published_table("dermfm-10-percent-probe")
    plain = {"value": 0.5, "low": 0.4, "high": 0.6, "notes": "", "deviation": None}
    full = [SimpleNamespace(n=column.n, **plain) for column in table.columns]
    cells = [comparison.Cell(column, entry) for column, entry in zip(table.columns, full, strict=True)]
    row = partial(comparison.Comparison, table, "ours", notes=[], reports={})
    assert markdown(row(cells=cells)).split("**ours**")[1].split("\n")[0].endswith("| 0.5000 |")
    full[1].n = 7
    assert markdown(row(cells=cells)).split("**ours**")[1].split("\n")[0].endswith("| – |")


def test_the_test_protocol_scores_the_test_split_only():
    split = ["test"] * 461 + ["train"] * 1837
    found = beside("derm1m-zero-shot", {"pad": manifest(named(2298, wrong=181), split=split)})
    pad = found.cells[2]
    assert (pad.entry.n, pad.entry.value) == (461, pytest.approx(280 / 461))
    assert pad.comparable


def test_an_official_split_that_tears_lesions_is_scored_and_said():
    split = ["train"] * 400 + ["test"] * 461
    lesion = [f"l{i}" for i in [*range(400), *range(390, 851)]]
    cases = manifest(named(861), split=split, lesion_id=lesion)
    probe = beside("dermfm-10-percent-probe", {"pad": cases})
    (cell,) = [cell for cell in probe.cells if cell.entry is not None]
    assert cell.comparable
    (note,) = probe.notes
    assert note.startswith("PAD-UFES-20: The official split tears 10 of 851 groups")
    assert f"- {note}" in markdown(probe)
    assert note.removeprefix("PAD-UFES-20: ") in next(iter(probe.reports.values())).notes
    zero_shot = beside("derm1m-zero-shot", {"pad": cases})
    assert zero_shot.cells[2].comparable
    assert zero_shot.notes == []


def test_a_manifest_without_splits_is_the_test_split_if_its_size_or_a_list_says_so(tmp_path):
    found = beside("derm1m-zero-shot", {"pad": manifest(named(461))})
    assert found.cells[2].comparable
    assert any("as many cases as were published" in note for note in found.notes)
    other = beside("derm1m-zero-shot", {"pad": manifest(named(462))})
    assert other.cells[2].entry is None
    assert "no column `split`" in other.cells[2].why
    (tmp_path / "pad.csv").write_text("image_path\n" + "\n".join(f"{i}.png" for i in range(461)))
    kept = beside("derm1m-zero-shot", {"pad": manifest(named(462))}, keep={"pad": tmp_path / "pad.csv"})
    assert kept.cells[2].comparable
    assert any("461 of 462 cases are on the list pad.csv" in note for note in kept.notes)


def test_numbers_are_positions_in_the_class_list():
    numbers = [str(i % 6) for i in range(24)]
    assert beside("make-3", {"pad": manifest(numbers)}).cells[0].entry.value == 1
    wrong = beside("make-3", {"pad": manifest([*numbers, "9", "10"]), "f17k": manifest(numbers)})
    assert "has 6 classes, numbered from 0; a diagnosis is 10" in wrong.cells[0].why
    assert "numbered in more than one way" in wrong.cells[1].why


def test_a_set_that_cannot_be_measured_does_not_stop_the_others():
    found = beside("make-3", {"pad": manifest(named(12)), "sd": manifest(["no such disease"] * 4)})
    assert found.cells[0].entry.value == 1
    assert "unknown value of diagnosis" in found.cells[2].why


def test_retrieval_prints_both_directions():
    cases = manifest([None] * 120, caption=[f"{PAD[i % 6]} {i}" for i in range(120)])
    found = beside("make-2", {"skincap": cases})
    assert [cell.entry.protocol for cell in found.cells] == ["image-to-text retrieval"] * 3 + [
        "text-to-image retrieval"
    ] * 3
    assert [cell.entry.metric for cell in found.cells] == ["recall@10", "recall@50", "recall@100"] * 2
    assert len(found.reports) == 1
    few = beside("make-2", {"skincap": cases.select(range(60))})
    assert few.cells[1].entry is not None
    assert "too few cases for recall@100" in few.cells[2].why


def test_what_is_written_holds_both_rows(tmp_path):
    found = beside("make-3", {"pad": manifest(named(12))}, command="dermis evaluate x")
    page = found.write(tmp_path)
    assert "dermis evaluate x" in page.read_text()
    pad, f17k = json.loads((tmp_path / "table.json").read_text())["columns"][:2]
    assert (pad["ours"]["value"], pad["ours"]["n"], pad["n"], pad["comparable"]) == (1, 12, 2298, False)
    assert pad["published"]["mkcl + slra + dkw (MAKE)"] == 0.5953
    assert f17k["ours"] is None
    assert (tmp_path / "pad-make-full" / "report.html").is_file()


def made_up(column, value=0.25, n=None, **changes):
    """Our number for a column, as an evaluation would have it."""
    shared = {"model": "ours", "dataset": column.data.title, "split": "test", "seed": 0, "patients": 3}
    numbers = {"value": value, "low": value - 0.125, "high": value + 0.125, "n": n or column.n}
    what = {"metric": column.metric, "class_name": column.class_name, "protocol": column.entry}
    return comparison.Cell(column, Entry(**(shared | numbers | what | changes)))


def test_a_grid_has_a_line_per_metric_and_each_model_in_its_own_block():
    table = published_table("sm3-1")
    missing = list(table.models["SM3-finetune"])
    missing[36] = None
    table = replace(table, models=table.models | {"SM3-finetune": tuple(missing)})
    linear, tuned, own = (table.columns[i : i + 36] for i in (0, 36, 72))
    cells = [made_up(c, i / 100) for i, c in enumerate(linear)] + [made_up(c, n=7) for c in tuned]
    cells += [made_up(c, 0.5) for c in own]
    cells[35] = made_up(linear[-1], notes="undefined, counted as 0: VS")
    found = comparison.Comparison(table, "ours", cells, [], {})
    page = markdown(found)
    first, second, third = page.split("## ")[1:]
    lines = first.splitlines()
    assert lines[0] == "SSL + linear probing (Derm7pt, sm3-linear, n = 395)"
    assert lines[2] == "| | | BWV | DaG | PIG | PN | RS | STR | VS | DIAG | AVG |"
    assert lines[4].startswith("| **ours** | AUC | 0.000 [-0.125, 0.125] | 0.010 [")
    assert lines[5].startswith("|  | Sens | 0.090 [-0.035, 0.215] | 0.100 [")
    assert lines[8] == "| SimCLR | AUC | 0.856 | 0.761 | 0.770 | 0.754 | 0.787 | 0.728 | 0.762 | 0.836 | 0.782 |"
    assert lines[18] == "|  | Spec | 0.959 | 0.899 | 0.945 | 0.894 | 0.993 | 0.860 | 1.000 | 0.939 | 0.936 |"
    assert "| HcCNN" not in first
    assert "| SimCLR |" not in second
    assert second.count(r"0.250 [0.125, 0.375] \*") == 36
    assert "| Baseline-50-ImageNet (supervised) | AUC |" in second
    assert third.startswith("supervised methods, by their own heads (Derm7pt, sm3-own, n = 395)")
    assert third.count("0.500 [0.375, 0.625]") == 36
    assert "| HcCNN (supervised) ‡ | AUC | 0.898 |" in third
    assert "| HcCNN" not in second
    assert "| SM3-finetune | AUC | – | 0.819 |" in second
    assert "- ‡ GIIN (supervised): every label is of another test split" in third
    assert third.count("measured on 7 cases, published on 395: not comparable") == 1
    assert "- Derm7pt, sm3-linear, Prec: undefined, counted as 0: VS." in third
    column = json.loads(found.json())["columns"]
    assert list(column[0]["published"]) == ["SimCLR", "SSD-KD", "SM3-linear"]
    assert column[0]["metric"] == "Derm7pt AUC, BWV present"


def two_pictures(n, image=None):
    """A model of dermoscopy and photograph, cases of it, and vectors by which each pair finds itself but the first."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    shape = rng.normal(size=(n, 6)).astype(np.float32)
    other = shape.copy()
    other[0] = -shape[0]
    cases = manifest([None] * n, dermoscopy=[f"d{i}.png" for i in range(n)], split=["train"] * n)
    vectors = np.concatenate([shape, other, np.ones((n, 2), np.float32)][: 2 if image is None else 3], axis=1)
    model = Branches({"dermoscopy": Pixels(), "image": image or Pixels()})
    return model, cases, lambda part: (vectors[: len(part)], np.ones(len(part), bool))


def test_pairs_stand_beside_table_iii_by_features_with_the_projections_too():
    model, cases, embed = two_pictures(413)
    model.add("pair", width=4)
    table = published_table("sm3-3")
    found = compare(model, table, {"derm7pt": lambda: cases}, n_boot=10, name="ours", embed=embed)
    assert [cell.entry.metric for cell in found.cells] == ["average rank", "acc@1", "acc@5"]
    assert all(cell.comparable for cell in found.cells)
    rank, first, fifth = (cell.entry.value for cell in found.cells)
    assert (first, fifth) == (pytest.approx(412 / 413), pytest.approx(412 / 413))
    assert rank == pytest.approx((412 + 413) / 413)
    assert {e.protocol for cell in found.cells for e in cell.beside} == {table.columns[0].protocol.beside}
    page = markdown(found)
    assert "| MMSSL sep_sep | 7.23 | 0.4200 | 0.7300 |" in page
    assert "average rank by pair matching, dermoscopy to clinical, projections " in page
    assert "- Derm7pt, average rank: by chance 207." in page
    written = json.loads(found.json())["columns"][1]
    assert list(written["beside"]) == ["acc@1 by pair matching, dermoscopy to clinical, projections"]


def test_pairs_of_a_model_that_has_no_common_space_or_one_picture_cannot_be_measured():
    wide = Pixels()
    wide.dim, wide.layer = 8, torch.nn.Linear(48, 8)
    model, cases, embed = two_pictures(20, image=wide)
    table = published_table("sm3-3")
    found = compare(model, table, {"derm7pt": lambda: cases}, n_boot=10, embed=embed)
    assert found.cells[0].why == (
        "cannot be measured: this model has no pair matching, dermoscopy to clinical, features."
    )
    one = compare(Named(), table, {"derm7pt": lambda: cases}, n_boot=10, embed=embed)
    assert "needs a model that looks at two pictures" in one.cells[0].why


def test_what_is_fine_tuned_lies_in_the_folder_of_the_table(tmp_path, monkeypatch):
    asked = {}
    monkeypatch.setattr(comparison, "compare", lambda *_, **options: asked.update(options) or stop())
    with pytest.raises(InterruptedError):
        measured(Evaluate(model="m", table="sm3-1", sets=tmp_path, out=tmp_path / "out"), None, {})
    assert asked["runs"] == tmp_path / "out" / "runs"


def stop():
    raise InterruptedError


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "give either a manifest, or --table"),
        (["cases.parquet", "--table", "make-1"], "give either a manifest, or --table"),
        (["--table", "make1"], "Did you mean 'make-1'"),
        (["--table", "make-1", "--root", "x"], "--root belongs to a single manifest"),
        (["--table", "make-2", "--terms", "x.json"], "make-2 has no concepts"),
        (["--table", "make-1", "--evaluation.split", "valid"], "--evaluation.split has no effect"),
        (["cases.parquet", "--terms", "x.json"], "--terms belongs to --table"),
        (["cases.parquet", "--sets", "x"], "--sets belongs to --table"),
    ],
)
def test_options_without_effect_stop_before_the_model_is_loaded(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        run(["nowhere", *arguments])


def test_the_command_prints_the_table(tmp_path, capsys):
    from PIL import Image

    from dermis.model import save
    from dermis.towers.build import ImageTowerConfig, TextTowerConfig, TwoTowerConfig, build_two_tower

    text = TextTowerConfig(width=16, layers=1, heads=2, context_length=16)
    image = ImageTowerConfig(name="test_vit", size=32)
    save(tmp_path / "model", build_two_tower(TwoTowerConfig(image=image, text=text, embed_dim=8), seed=0))
    rng = np.random.default_rng(0)
    for i in range(12):
        Image.fromarray(rng.integers(0, 255, (40, 40, 3), dtype=np.uint8)).save(tmp_path / f"{i}.png")
    cases = Manifest.build(manifest(named(12)).table, tmp_path)
    cases.write(tmp_path / "sets" / "pad.parquet")
    (tmp_path / "keep").mkdir()
    (tmp_path / "keep" / "pad.csv").write_text("filename\n" + "\n".join(f"a/{i}.jpg" for i in range(9)))
    common = [str(tmp_path / "model"), "--cache", str(tmp_path / "cache"), "--evaluation.n-boot", "10"]
    places = ["--sets", str(tmp_path / "sets"), "--keep", str(tmp_path / "keep"), "--out", str(tmp_path / "out")]
    assert run([*common, "--table", "make-1", *places]) == 0
    said = capsys.readouterr().out
    assert "measured on 9 cases, published on 2298" in said
    assert "9 of 12 cases are on the list pad.csv" in said
    assert "| MAKE | 0.5953 |" in said
    assert "Derm7pt (derm7pt.parquet): missing" in said

    single = [str(tmp_path / "sets" / "pad.parquet"), "--keep", str(tmp_path / "keep" / "pad.csv")]
    settings = ["--evaluation.protocols", "make", "--evaluation.split", "all", "--out", str(tmp_path / "one")]
    assert run([*common, *single, *settings]) == 0
    assert "accuracy" in capsys.readouterr().out
    assert "9 of 12 cases" in (tmp_path / "one" / "report.md").read_text()


@pytest.mark.data
def test_imported_tables_have_the_published_number_of_cases(shared_data):
    from dermis.cases.catalogue import import_set

    columns = {"image": "image_path", "diagnosis": "label"}
    splits = shared_data / "benchmark_splits_magen"
    no_pictures = {"embed": lambda part: (np.eye(len(part), len(PAD) + 1, dtype=np.float32), np.full(len(part), True))}
    sets = {
        "f17k": import_set("fitzpatrick17k", shared_data / "fitzpatrick17k_tables"),
        "snu": import_set("csv", splits / "SNU-LP.csv", columns=columns),
        "derm7pt": import_set("derm7pt", shared_data / "derm7pt_tables"),
    }
    terms = shared_data / "derm_vocab" / "ConceptTerms.json"
    found = beside("make-1", sets, concept_terms=terms, **no_pictures)
    assert [cell.column.data.name for cell in found.cells if cell.comparable] == ["f17k", "snu", "derm7pt"]
    pad = import_set("csv", splits / "PAD-LP.csv", columns=columns)
    assert beside("derm1m-zero-shot", {"pad": pad}, **no_pictures).cells[2].comparable
