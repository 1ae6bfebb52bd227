"""Where the texts of a case come from: the manifest's columns, a narrator, or (as a control) another case."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from dermis.cases.columns import TEXT_KINDS
from dermis.cases.manifest import Manifest
from dermis.language.narrate import Narrator

ENDS = (".", "!", "?", "。", "！", "？")
Texts = list[tuple[int, str]]
TextSource = Callable[[int, np.random.Generator], Texts]
"""(row, random numbers) -> the (kind, text) pairs of that case; none if it has no text"""


def from_columns(manifest: Manifest, columns: Sequence[str]) -> TextSource:
    """The texts that stand in the manifest's text columns; null and empty texts do not exist."""
    kept: list[Texts] = [[] for _ in range(len(manifest))]
    for column in columns:
        for row, value in enumerate(manifest.table[column]):
            several = value if isinstance(value, list | np.ndarray) else [value]
            kept[row] += [(TEXT_KINDS[column], text) for text in several if isinstance(text, str) and text.strip()]
    return lambda row, rng: kept[row]


def in_one_caption(manifest: Manifest, columns: Sequence[str], headings: Mapping[str, str] | None = None) -> TextSource:
    """One caption: the texts of the columns in their order, each ended by a full stop; missing ones are left out.

    ``headings``: column → what stands before each of its texts, with a colon.
    """
    apart = from_columns(manifest, columns)
    heading_of = {TEXT_KINDS[column]: f"{heading}: " for column, heading in (headings or {}).items()}

    def tell(row: int, rng: np.random.Generator) -> Texts:
        said = [heading_of.get(kind, "") + text.strip() for kind, text in apart(row, rng)]
        together = " ".join(text if text.endswith(ENDS) else f"{text}." for text in said)
        return [(TEXT_KINDS["caption"], together)] if said else []

    return tell


def from_narrator(manifest: Manifest, narrator: Narrator) -> TextSource:
    """A caption told afresh from the row's table columns each time it is asked for."""
    columns = [column for column in narrator.fields if column in manifest.table]
    rows = manifest.table[columns].to_dict("records")

    def tell(row: int, rng: np.random.Generator) -> Texts:
        caption = narrator(rows[row], rng)
        return [] if caption is None else [(TEXT_KINDS["caption"], caption)]

    return tell


def shuffled(source: TextSource, rows: int, seed: int) -> TextSource:
    """The control: each row has the texts of another, by one fixed permutation (which may leave a few)."""
    other = np.random.default_rng([seed, rows]).permutation(rows)
    return lambda row, rng: source(int(other[row]), rng)


def has_text(source: TextSource, rows: int, all_of: Sequence[str] = ()) -> np.ndarray:
    """(rows,) bool: has the case any text? With ``all_of``: has it one of each of these columns?"""
    kinds = {TEXT_KINDS[column] for column in all_of}
    told = (source(row, np.random.default_rng(row)) for row in range(rows))
    return np.array([bool(texts) and kinds <= {kind for kind, _ in texts} for texts in told], dtype=bool)
