"""A model on the rows of a suite: each measured once, written when it is, gone on from the next time.

What was measured under the same suite version, model, cases, pictures and settings is not measured again. A row that
cannot be measured is said with the reason, writes nothing, and is tried again the next time.
"""

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import dermis
from dermis.cases.manifest import Manifest
from dermis.evaluation.evaluate import evaluate
from dermis.evaluation.report import Entry, Report, nulls
from dermis.evaluation.setting import Embed
from dermis.evaluation.suite_cases import RowCases, cases_key, pictures_key, row_cases
from dermis.evaluation.suite_row import Measured
from dermis.evaluation.suites import Suite, SuiteRow

KEPT = 4
"""splits whose vectors are held for the next row of the set"""


@dataclass(frozen=True)
class SuiteFound:
    """What a suite says of a model: row -> its number, and row -> why it has none."""

    suite: Suite
    model: str
    rows: dict[str, Measured]
    missing: dict[str, str]
    said: dict[str, list[str]]
    """row -> what to know of its cases; the rest is in the row's file"""
    kept: tuple[str, ...]
    """rows that were measured before"""
    command: str = ""
    notes: tuple[str, ...] = ()

    def write(self, folder: Path) -> Path:
        """Write suite.md; returns its path."""
        from dermis.evaluation.suite_markdown import markdown

        folder.mkdir(parents=True, exist_ok=True)
        (folder / "suite.md").write_text(markdown(self), encoding="utf-8")
        return folder / "suite.md"


def measure_suite(
    model: Any,
    suite: Suite,
    sets: Mapping[str, Callable[[], Manifest]],
    out: Path,
    *,
    seed: int = 0,
    n_boot: int = 1000,
    name: str = "model",
    where: Path = Path("sets"),
    embed: Embed | None = None,
    cache: Path | None = None,
    command: str = "",
    progress: Callable[[str], None] = lambda line: None,
) -> SuiteFound:
    """Measure ``model`` on those of ``sets`` (name -> a function that reads the manifest) that the suite has.

    Each row leaves OUT/rows/ROW.json, whole or not at all, and its report in OUT/reports/ROW, so an interruption loses
    the row that it interrupts. ``embed``, ``cache``: as in ``evaluate``. ``where``: the folder of the sets, for what is
    said of the absent ones. ``progress`` hears of each row. Raises ValueError if OUT holds rows of another model.
    """
    from dermis.model.cache import model_key
    from dermis.model.embed import embed_cases

    whose = {"suite": suite.name, "suite_version": suite.version, "model_key": model_key(model)}
    _refuse_another_model(out / "rows", name, whose["model_key"])
    options = {"seed": seed, "n_boot": n_boot}
    embed = once(embed or (lambda manifest: embed_cases(model, manifest, cache=cache)))
    shared: dict[str, Any] = {"name": name, "embed": embed, "cache": cache, "command": command}
    manifest_of = lru_cache(maxsize=1)(lambda name: sets[name]())
    rows, missing, said, kept, replaced = {}, dict[str, str](), dict[str, list[str]](), [], 0
    for place, row in enumerate(suite.rows, start=1):
        at, file = f"row {place} of {len(suite.rows)}: {row.name}", out / "rows" / f"{row.name}.json"
        if row.set not in sets:
            missing[row.name] = f"missing: {row.get(where)}{_left_over(file, whose, name)}"
            continue
        try:
            cases = row_cases(row, manifest_of(row.set), model)
            keys = whose | options | _keys(row, cases)
            if (found := _measured(file)) is not None and found.is_current(keys):
                kept.append(row.name)
                progress(f"{at}: measured before")
                found = _called(found, name, file)
            else:
                progress(at)
                replaced += found is not None and found.model_key != whose["model_key"]
                found = _measure(model, row, cases, keys, shared, out)
            rows[row.name], said[row.name] = found, cases.notes
        except ValueError as error:
            progress(f"{at}: cannot be measured")
            reason = " ".join(str(error).split())
            missing[row.name] = f"cannot be measured: {reason}{_left_over(file, whose, name)}"
    notes = [f"{replaced} rows took the place of those of an earlier model {name!r}"] if replaced else []
    return SuiteFound(suite, name, rows, missing, said, tuple(kept), command, tuple(notes))


def _refuse_another_model(folder: Path, name: str, key: str) -> None:
    """Raise ValueError where rows of a model of another name would be overwritten; one of this name has changed."""
    for file in sorted(folder.glob("*.json")):
        found = _measured(file)
        if found is not None and found.model != name and found.model_key != key:
            raise ValueError(f"{file} is of the model {found.model!r}: give each model a folder of its own (--out).")


def _keys(row: SuiteRow, cases: RowCases) -> dict[str, str]:
    """What decides, with suite, model, seed and draws, whether a number is still the row's."""
    settings = [row.settings, row.entry, row.metric, row.label, row.picture, row.official, cases.split]
    return {
        "cases_key": cases_key(row, cases),
        "pictures_key": pictures_key(cases),
        "settings_key": hashlib.blake2b(json.dumps(settings).encode(), digest_size=16).hexdigest(),
    }


def _measure(
    model: Any, row: SuiteRow, cases: RowCases, keys: dict[str, Any], shared: dict[str, Any], out: Path
) -> Measured:
    """Evaluate the row and write its report, then its number."""
    config = row.config(cases.split, seed=keys["seed"], n_boot=keys["n_boot"])
    report = evaluate(model, cases.manifest, config, dataset=row.set, official_split=row.official, **shared)
    report = replace(report, notes=[*cases.notes, *report.notes])
    entry = headline(report, row)
    report.write(out / "reports" / row.name)
    overall = [e for e in report.entries if not e.subgroup and not e.class_name]
    found = Measured(
        row=row.name,
        set=row.set,
        protocol=row.protocol,
        metric=row.metric,
        value=entry.value,
        low=entry.low,
        high=entry.high,
        n=entry.n,
        patients=entry.patients,
        unreadable=len(report.bad_pictures),
        model=shared["name"],
        notes=[*report.notes, *([entry.notes] if entry.notes else [])],
        command=shared["command"],
        dermis=dermis.__version__,
        entries=[nulls(asdict(e)) for e in overall],
        **keys,
    )
    found.write(out / "rows" / f"{row.name}.json")
    return found


def headline(report: Report, row: SuiteRow) -> Entry:
    """The entry of the report that is the row's number; raises ValueError if there is none, or it has no value."""
    found = [
        e
        for e in report.entries
        if (e.metric, e.split, e.subgroup, e.class_name) == (row.metric, report.split, "", "")
        and e.protocol.startswith(row.entry)
    ]
    if not found:
        raise ValueError(f"this model's report has no {row.metric} of {row.entry!r}.")
    if math.isnan(found[0].value):
        raise ValueError(f"{row.metric} is undefined: {found[0].notes or 'too few cases'}.")
    return found[0]


def once(embed: Embed) -> Embed:
    """The same, but what was asked last is remembered: the rows of a set ask about the same cases."""
    kept: dict[tuple[Any, ...], Any] = {}

    def ask(manifest: Manifest) -> Any:
        columns = [c for c in ("case_id", "image", "dermoscopy") if c in manifest.table]
        key = (manifest.root, *(tuple(manifest.table[c]) for c in columns))
        if key not in kept:
            found = embed(manifest)
            if len(kept) >= KEPT:
                del kept[next(iter(kept))]
            kept[key] = found
        return kept[key]

    return ask


def _measured(file: Path) -> Measured | None:
    """The row that the file holds; none if there is no such row."""
    try:
        return Measured.read(file)
    except ValueError:
        return None


def _called(found: Measured, name: str, file: Path) -> Measured:
    """The row under this name of its model, in the file too."""
    if found.model != name:
        found = found.called(name)
        found.write(file)
    return found


def _left_over(file: Path, whose: dict[str, Any], name: str) -> str:
    """What to know of an older number of a row that has none now."""
    found = _measured(file)
    if found is None:
        return ""
    if found.is_current(whose):
        _called(found, name, file)
        return f"; {file}, measured before, stays"
    return f"; {file} is of another model or suite version: remove it"
