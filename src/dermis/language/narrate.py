"""Captions from real table columns: real facts, our wording, marked as narrated.

Each telling draws one wording, the diagnosis's spoken name and the picture's name, and leaves out fields at random: so
that no caption says everything, and the image cannot be matched by its age and sex alone.
"""

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from typing import Protocol, TypeVar

import numpy as np
import pandas as pd

from dermis.language.phrases import (
    FIELDS,
    PROXIES,
    fact,
    known,
    narratable,
    number,
    person,
    pictures,
    site,
    with_article,
    wordings,
)
from dermis.language.spoken import spoken
from dermis.language.wording import check_wording, fill
from dermis.registry import unknown

SLOTS = ("picture", "a_picture", "diagnosis", "bare", "site", "person")


class HasTable(Protocol):
    """A manifest, as far as this room knows it: a dataclass with a table."""

    table: pd.DataFrame


M = TypeVar("M", bound=HasTable)


class Narrator:
    """A row of the manifest and random numbers -> one caption; the same row tells differently each time.

    ``fields``: the columns that may be told, and no others; ``drop``: the probability that a field is left out, each
    for itself; ``keep``: fields that are never left out (the diagnosis, if it is among them); ``templates``: wordings
    (``wording.fill``) instead of the built-in ones.

    Raises ValueError for a field that cannot be told, for a proxy of the label (dx_type, …), for a ``drop`` outside 0
    to 1, or for a wording with a wrong slot.
    """

    def __init__(
        self,
        fields: Sequence[str] = FIELDS,
        drop: float = 0.0,
        keep: Sequence[str] | None = None,
        templates: Sequence[str] | None = None,
    ) -> None:
        for name in fields:
            if name.rsplit(".", 1)[-1] in PROXIES:
                raise ValueError(
                    f"{name!r} tells how the diagnosis was found, and so the diagnosis: it is not narrated."
                )
            if name not in narratable():
                raise unknown("field to narrate", name, narratable())
        if wrong := [name for name in keep or () if name not in fields]:
            raise ValueError(f"keep={wrong[0]!r} is not among the fields that are told: {', '.join(fields)}.")
        if not 0 <= drop <= 1:
            raise ValueError(f"drop={drop} should be a probability, 0 to 1.")
        self.fields, self.drop = tuple(fields), drop
        self.keep = tuple(keep) if keep is not None else tuple({"diagnosis"} & set(fields))
        self.wordings = tuple(templates) if templates is not None else wordings()
        if not self.wordings:
            raise ValueError("a narrator needs at least one wording.")
        for wording in self.wordings:
            check_wording(wording, SLOTS)

    def __call__(self, row: Mapping[str, object], rng: np.random.Generator) -> str | None:
        """A caption for ``row``; None where the row knows nothing of ``fields`` but the modality.

        Raises ValueError for an age or a measure that is no number.
        """
        there = {f: value for f in self.fields if (value := known(row, f)) is not None}
        facts = [f for f in there if f != "modality"]
        if not facts:
            return None
        # one draw per field, present or not, so that a missing value does not shift the draws of the others
        stays = dict(zip(self.fields, rng.random(len(self.fields)) >= self.drop, strict=True))
        kept = {f for f in there if stays[f] or f in self.keep}
        if not kept & set(facts):
            kept.add(facts[int(rng.integers(len(facts)))])
        return self._tell({f: there[f] for f in self.fields if f in kept}, rng)

    def _tell(self, told: Mapping[str, object], rng: np.random.Generator) -> str:
        def one_of(options: Sequence[str]) -> str:
            return options[int(rng.integers(len(options)))]

        wording, picture = one_of(self.wordings), one_of(pictures(told.get("modality")))
        diagnosis = one_of(spoken(str(told["diagnosis"]))) if "diagnosis" in told else None
        age, sex, place = (told.get(c) for c in ("patient.age", "patient.sex", "lesion.localization"))
        values = {
            "picture": picture,
            "a_picture": with_article(picture),
            "diagnosis": diagnosis,
            "bare": diagnosis and diagnosis.removeprefix("a ").removeprefix("an "),
            "site": site(str(place)) if place is not None else None,
            "person": person(None if age is None else number("patient.age", age), sex),
        }
        more = [said for f, value in told.items() if f not in FIELDS and (said := fact(f, value))]
        caption = fill(wording, values)
        return caption + (f" {more[0][:1].upper()}{'; '.join(more)[1:]}." if more else "")


def case_rng(seed: int, epoch: int, case_id: str) -> np.random.Generator:
    """Random numbers that belong to a case and an epoch, whatever the order of the rows or the number of workers."""
    digest = hashlib.blake2b(f"{seed}/{epoch}/{case_id}".encode(), digest_size=16).digest()
    return np.random.default_rng(int.from_bytes(digest, "big"))


def narrate(
    manifest: M,
    *,
    seed: int,
    epoch: int = 0,
    drop: float = 0.0,
    fields: Sequence[str] = FIELDS,
    keep: Sequence[str] | None = None,
    templates: Sequence[str] | None = None,
) -> M:
    """``manifest`` with a caption for every case that tells something; ``caption_origin`` is "narrated".

    Captions of another origin stay as they are. Deterministic per seed, epoch and case_id. Raises ValueError as
    ``Narrator`` does, and if not one of ``fields`` is in the table.
    """
    table = manifest.table
    if not set(fields) & set(table.columns):
        raise ValueError(f"nothing to narrate: the manifest has none of {', '.join(fields)}.")
    narrator = Narrator(fields, drop, keep, templates)
    rows = table[[c for c in fields if c in table]].to_dict("records")
    told = [narrator(row, case_rng(seed, epoch, case)) for row, case in zip(rows, table["case_id"], strict=True)]
    return dataclasses.replace(manifest, table=with_texts(table, "caption", told))


def with_texts(table: pd.DataFrame, column: str, told: Sequence[str | None]) -> pd.DataFrame:
    """``table`` with ``told``, a text or None a row, where ``column`` is empty or was narrated before.

    TEXT_origin is "narrated" there, and "given" for a text whose origin nobody noted.
    """
    ours = pd.Series(told, index=table.index, dtype=object)
    text, origin = (
        table[c].astype(object) if c in table else ours.map(lambda _: None) for c in (column, f"{column}_origin")
    )
    tell = text.isna() | (origin == "narrated")
    text = text.mask(tell, ours).where(lambda texts: texts.notna(), None)
    origin = origin.mask(tell, "narrated").fillna("given").where(text.notna(), None)
    return table.assign(**{column: text, f"{column}_origin": origin})
