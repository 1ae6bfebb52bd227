"""What a check has to say, and how it is told."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

LEVELS = ("error", "warning", "note")


@dataclass(frozen=True)
class Finding:
    """One thing that a check found in a manifest.

    An error makes results wrong (a leak) or training stop (a missing file); a warning wants a decision; a note is worth
    knowing. ``count`` says of how many ids, cells, pictures or pairs the ``sentence`` speaks; ``examples`` are a few,
    or, where each has its own reason (pictures that cannot be opened), all.
    """

    level: Literal["error", "warning", "note"]
    rule: str
    column: str | None
    count: int
    sentence: str
    examples: tuple[str, ...] = ()


SHOWN = 3


def report_lines(findings: Sequence[Finding], everything: bool = False) -> list[str]:
    """Plain text, a line for each finding with its first examples (or all) below, and a last line that counts."""
    lines = []
    for finding in sorted(findings, key=lambda finding: LEVELS.index(finding.level)):
        lines.append(f"{finding.level:8}{finding.sentence} [{finding.rule}]")
        shown = finding.examples if everything else finding.examples[:SHOWN]
        lines += [f"        - {example}" for example in shown]
        if len(shown) < len(finding.examples):
            lines.append(f"        … and {len(finding.examples) - len(shown)} more (--everything)")
    counts = [(level, sum(finding.level == level for finding in findings)) for level in LEVELS]
    return [*lines, ", ".join(f"{count} {level}{'s' * (count != 1)}" for level, count in counts) + "."]


def exit_status(findings: Sequence[Finding]) -> int:
    """1 if there is an error among the findings, else 0."""
    return int(any(finding.level == "error" for finding in findings))
