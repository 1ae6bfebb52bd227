"""What was dropped and why, as JSON for programs and Markdown for people."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import pandas as pd

from dermis.cases.corpus.build import RULES, Corpus, CorpusConfig
from dermis.cases.corpus.leakage import KINDS
from dermis.cases.manifest import Manifest

EXAMPLES = 3
VERSION = 1


def report(
    corpus: Corpus, collected: Manifest, config: CorpusConfig, evaluations: Mapping[str, Manifest], command: str
) -> dict[str, Any]:
    """The record: counts per rule with examples, and per evaluation how many cases on both sides were shared."""
    hits = pd.concat([corpus.dropped[["case_id", "rule", "reason"]], corpus.flagged], ignore_index=True)
    return {
        "version": VERSION,
        "command": command,
        "config": asdict(config),
        "collected": len(collected),
        "dropped": len(corpus.dropped),
        "kept": len(corpus.kept),
        "flagged": int(corpus.flagged["case_id"].nunique()),
        "rules": [
            applied._asdict()
            | {
                "about": RULES[applied.rule],
                "examples": hits[hits["rule"] == applied.rule][["case_id", "reason"]].head(EXAMPLES).to_dict("records"),
            }
            for applied in corpus.applied
        ],
        "evaluations": [
            _evaluation(corpus.leaks[corpus.leaks["evaluation"] == name], name, manifest)
            for name, manifest in evaluations.items()
        ],
        "sources": _sources(collected, corpus.kept),
    }


def _evaluation(shared: pd.DataFrame, name: str, manifest: Manifest) -> dict[str, Any]:
    kinds = {kind: int((shared["kind"] == kind).sum()) for kind in KINDS}
    return {
        "name": name,
        "cases": len(manifest),
        "corpus_cases_shared": kinds,
        "first_matches": int(shared["case"].nunique()),
    }


def _sources(collected: Manifest, kept: Manifest) -> list[dict[str, Any]]:
    if "source" not in collected:
        return []
    before = collected.table["source"].fillna("(none)").value_counts(sort=False)
    after = kept.table["source"].fillna("(none)").value_counts().reindex(before.index, fill_value=0)
    return [{"source": name, "collected": int(n), "kept": int(after[name])} for name, n in before.items()]


def markdown(record: Mapping[str, Any]) -> str:
    """The record as a page."""
    lines = [
        "# Corpus report",
        "",
        f"`{record['command']}`",
        "",
        f"{record['collected']} cases were collected, {record['dropped']} dropped, {record['kept']} kept; "
        f"{record['flagged']} of these are flagged. Each rule sees the cases that those above it left.",
        "",
        "| rule | what | cases seen | dropped | flagged |",
        "|---|---|---|---|---|",
    ]
    for rule in record["rules"]:
        seen = rule["not_applied"] or rule["cases"]
        lines.append(f"| {rule['rule']} | {rule['about']} | {seen} | {rule['dropped']} | {rule['flagged']} |")
    if record["evaluations"]:
        lines += [
            "",
            "## Shared with evaluations",
            "",
            "Cases of the corpus that the filters left, before the leaks were dropped; one may count several times.",
            "",
            f"| evaluation | its cases | {' | '.join(kind.removeprefix('leak-') for kind in KINDS)} |",
            "|---|---|" + "---|" * len(KINDS),
        ]
        for found in record["evaluations"]:
            counts = " | ".join(str(found["corpus_cases_shared"][kind]) for kind in KINDS)
            lines.append(f"| {_cell(found['name'])} | {found['cases']} | {counts} |")
    if record["sources"]:
        lines += ["", "## Sources", "", "| source | collected | kept |", "|---|---|---|"]
        lines += [f"| {_cell(s['source'])} | {s['collected']} | {s['kept']} |" for s in record["sources"]]
    examples = [(rule["rule"], example) for rule in record["rules"] for example in rule["examples"]]
    if examples:
        lines += ["", "## Examples", "", "| rule | case | reason |", "|---|---|---|"]
        lines += [f"| {rule} | {_cell(e['case_id'])} | {_cell(e['reason'])} |" for rule, e in examples]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return str(text).replace("|", "\\|").replace("\n", " ")
