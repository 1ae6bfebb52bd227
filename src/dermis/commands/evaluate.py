"""dermis evaluate"""

import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from dermis.commands.arguments import Model, loaded
from dermis.evaluation.config import EvaluationConfig

OF_TABLES = ("seed", "n_boot")
"""the settings of EvaluationConfig that a published table or a suite leaves open"""


@dataclass(kw_only=True)
class Evaluate:
    """Run evaluation protocols on a trained model and write report.html, report.md and report.json.

    --protocol NAME … is short for --evaluation.protocols NAME … (`dermis list protocols`).

    With --table: measure the model as a published table does, on every data set of the table that is there, and print
    its numbers beside the published ones (table.md, table.json and a report for each set).

    With --suite: measure the model on every row of a suite (`dermis list suites`) whose set is there. Each row leaves
    OUT/rows/ROW.json and OUT/reports/ROW, and is not measured again while model, cases and settings stay the same, so
    the same command goes on where it was interrupted. `dermis leaderboard OUT …` sets models side by side.
    """

    model: Model
    """a model folder (dermis or open_clip), local-dir:FOLDER or hf-hub:ORG/REPO"""
    manifest: Annotated[Path | None, tyro.conf.Positional, tyro.conf.arg(metavar="[MANIFEST]")] = None
    """cases.parquet or cases.csv with the columns `split` and `diagnosis`; not with --table or --suite"""
    root: Path | None = None
    """image root, if not the one the manifest records"""
    picture: Literal["image", "dermoscopy"] = "image"
    """the manifest's column that is the case's picture; not with --table or --suite"""
    table: str | None = None
    """a published table: make-1, make-2, make-3, o-make, derm1m-zero-shot, derm1m-retrieval, dermfm-zero-shot,
    dermfm-10-percent-probe, sm3-1, sm3-2, sm3-3, m2cg-1, m2cg-2 or m2cg-3"""
    suite: str | None = None
    """a suite of evaluations: derm"""
    sets: Path = Path("sets")
    """folder of the manifests NAME.parquet (or .csv) that `dermis import` made. With --table: pad, f17k, skincap, …;
    with --suite the names of `dermis list datasets`: pad-ufes-20, fitzpatrick17k, skincap, …"""
    keep: Path | None = None
    """list of the pictures to score, a CSV with image_path or filename; with --table: folder of such lists, NAME.csv;
    not with --suite"""
    terms: Path | None = None
    """with --table: JSON file of concept terms in MAKE's form, instead of ours"""
    out: Path = Path("report")
    """folder for the report; with --table also for what is fine-tuned (OUT/runs), with --suite for its rows; both are
    gone on from the next time"""
    name: str | None = None
    """what reports call the model; none: its folder's name, of RUN/model the run's, of the hub the repository's"""
    cache: Path = Path("runs/embeddings")
    """where embeddings of pictures are kept between runs"""
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    """protocols and their settings"""


def run(arguments: Sequence[str]) -> int:
    """`dermis evaluate`"""
    written_out = ["--evaluation.protocols" if a == "--protocol" else a for a in arguments]
    asked = tyro.cli(Evaluate, args=written_out, prog="dermis evaluate")
    check(asked)

    from dermis.model.embed import embed_cases
    from dermis.model.folder import name_of
    from dermis.progress import counting

    model = loaded(asked.model)
    with counting("embedding pictures") as progress:
        named = {
            "name": asked.name or name_of(asked.model),
            "embed": partial(embed_cases, model, cache=asked.cache, progress=progress),
            "cache": asked.cache,
            "command": shlex.join(["dermis", "evaluate", *arguments]),
        }
        measure = table if asked.table is not None else suite if asked.suite is not None else one_manifest
        lines = measure(asked, model, named)
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


def check(asked: Evaluate) -> None:
    """Raise ValueError for options that have no effect beside the others."""
    if sum(given is not None for given in (asked.manifest, asked.table, asked.suite)) != 1:
        raise ValueError("give either a manifest, or --table or --suite with a folder of manifests (--sets).")
    if asked.table is None and asked.terms is not None:
        raise ValueError("--terms belongs to --table, which is not given.")
    if asked.manifest is not None:
        if asked.sets != Path("sets"):
            raise ValueError("--sets belongs to --table or --suite, neither of which is given.")
        return
    from dermis.evaluation import suites

    if asked.table is not None:
        from dermis.evaluation.published import published_table

        columns = published_table(asked.table).columns
        names = dict.fromkeys(column.data.name for column in columns)
        if asked.terms is not None and not any(c.protocol.settings["protocols"] == ["concepts"] for c in columns):
            raise ValueError(f"--terms has no effect: {asked.table} has no concepts.")
        option, why = f"--table {asked.table}", "follows its published protocol"
    else:
        names = suites.suite(str(asked.suite)).sets
        option, why = f"--suite {asked.suite}", "has its own settings"
        if asked.keep is not None:
            raise ValueError(f"--keep has no effect: {option} scores the same cases of every model.")
    if asked.picture != "image":
        raise ValueError(f"--picture belongs to a single manifest; {option} says what it is about.")
    if asked.root is not None:
        raise ValueError("--root belongs to a single manifest; the manifests of --sets record their own roots.")
    for f in fields(EvaluationConfig):
        if f.name not in OF_TABLES and getattr(asked.evaluation, f.name) != getattr(EvaluationConfig(), f.name):
            setting = "--evaluation." + f.name.replace("_", "-")
            raise ValueError(f"{setting} has no effect: {option} {why}.")
    suites.sets_in(asked.sets, names)


def one_manifest(asked: Evaluate, model: Any, named: dict[str, Any]) -> list[str]:
    """Measure the model on a manifest; returns what to say."""
    from dermis.cases.manifest import Manifest
    from dermis.evaluation.evaluate import evaluate
    from dermis.evaluation.keep_list import keep_listed
    from dermis.evaluation.label_tables import table_lines
    from dermis.evaluation.needs import with_possible_defaults

    assert asked.manifest is not None
    before = to_be_replaced(asked.out)
    manifest = Manifest.read(asked.manifest, asked.root).showing(asked.picture)
    config, notes = with_possible_defaults(model, asked.evaluation)
    if asked.keep is not None:
        manifest, note = keep_listed(manifest, asked.keep, config.split)
        notes.append(note)
    report = evaluate(model, manifest, config, **named)
    page = replace(report, notes=[*report.notes, *notes]).write(asked.out)
    overall = [e for e in report.entries if not e.subgroup and not e.class_name]
    lines = [f"{e.protocol}: {e.metric} {e.text()} (n = {e.n})" for e in overall]
    where = f"report: {page}" + (f" (in the place of: {before})" if before not in ("", report.title) else "")
    return [*lines, *table_lines(report.entries, named["name"]), *notes, where]


def to_be_replaced(folder: Path) -> str:
    """The title of the report that a new one in the folder takes the place of; empty where there is none.

    Raises ValueError for a report of another command, such as a training's, whose numbers would be lost.
    """
    file = folder / "report.json"
    if not file.is_file():
        return ""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        found = None
    report = found if isinstance(found, dict) else {}
    command = str(report.get("command", "")).split()[:2]
    if command != ["dermis", "evaluate"]:
        whose = f"`{' '.join(command)}`" if command else "something else than `dermis evaluate`"
        raise ValueError(f"{file} is of {whose}, and would be lost: choose another folder (--out).")
    return str(report.get("title", ""))


def table(asked: Evaluate, model: Any, named: dict[str, Any]) -> list[str]:
    """Measure the model on the sets of a published table that are there; returns the table."""
    from dermis.evaluation.comparison import compare
    from dermis.evaluation.comparison_markdown import markdown
    from dermis.evaluation.published import published_table
    from dermis.evaluation.suites import sets_in

    assert asked.table is not None
    published = published_table(asked.table)
    names = dict.fromkeys(column.data.name for column in published.columns)
    sets, notes = sets_in(asked.sets, names)
    keep = {} if asked.keep is None else {n: p for n in names if (p := asked.keep / f"{n}.csv").is_file()}
    if asked.keep is not None and not keep:
        raise ValueError(f"{asked.keep} holds none of the lists {', '.join(f'{name}.csv' for name in names)}.")
    found = compare(
        model,
        published,
        sets,
        keep=keep,
        concept_terms=asked.terms,
        seed=asked.evaluation.seed,
        n_boot=asked.evaluation.n_boot,
        runs=asked.out / "runs",
        **named,
    )
    return [markdown(found), *notes, f"table: {found.write(asked.out)}"]


def suite(asked: Evaluate, model: Any, named: dict[str, Any]) -> list[str]:
    """Measure the model on the rows of a suite whose sets are there; returns the page."""
    from dermis.evaluation import suites
    from dermis.evaluation.suite import measure_suite
    from dermis.evaluation.suite_markdown import markdown

    chosen = suites.suite(str(asked.suite))
    sets, notes = suites.sets_in(asked.sets, chosen.sets)
    found = measure_suite(
        model,
        chosen,
        sets,
        asked.out,
        seed=asked.evaluation.seed,
        n_boot=asked.evaluation.n_boot,
        where=asked.sets,
        progress=lambda line: sys.stderr.write(f"{line}\n"),
        **named,
    )
    found = replace(found, notes=(*found.notes, *notes))
    return [markdown(found), f"suite: {found.write(asked.out)}"]
