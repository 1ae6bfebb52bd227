"""What the texts say, as columns of the manifest: only cells that are null are filled."""

from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd

from dermis.cases.manifest import Manifest
from dermis.language.knowledge import Knowledge, concept_text, disease_text
from dermis.language.ontology import Ontology
from dermis.language.sentences import sub_texts

SITE, SYMPTOMS, AGE, SEX = "lesion.localization", "lesion.symptoms", "patient.age", "patient.sex"


def fill(
    manifest: Manifest, knowledge: Sequence[Knowledge | None], ontology: Ontology, origin: str, text: str = "caption"
) -> tuple[Manifest, dict[str, int]]:
    """``manifest`` with the columns below, and how many cells of each were filled; given values stay.

    disease_text, concept_text (their TEXT_origin is ``origin``), sentences (those of the column ``text``, where it has
    several; their origin is the text's own), lesion.localization, lesion.symptoms, patient.age, patient.sex. A column
    of numbers is not filled with categories nor the reverse. ``knowledge``: one per row, None where nothing is known.
    """
    assert len(knowledge) == len(manifest)
    table, categories = manifest.table.copy(), dict(manifest.categories)
    told = pd.Series(list(knowledge), index=table.index, dtype=object)
    values = {column: _each(told, of) for column, of in _columns(ontology).items()}
    values["sentences"] = _each(table[text].astype(object).where(table[text].notna(), None), sub_texts)
    counts: dict[str, int] = {}
    for column, found in values.items():
        before = table[column].astype(object) if column in table else _each(told, lambda _: None)
        fitting = column not in table or (column == AGE) != (column in categories) or "." not in column
        new = before.isna() & found.notna() & fitting
        counts[column] = len(found[new])
        if not counts[column]:
            continue
        table[column] = before.where(~new, found)
        if column == AGE:
            table[column] = table[column].astype(float)
        elif "." in column:
            listed = categories.get(column, [])
            categories[column] = [*listed, *sorted({*found[new]} - {*listed})]
        else:
            whose = table.get(f"{text}_origin", pd.Series("given", table.index)) if column == "sentences" else origin
            table[f"{column}_origin"] = _origins(table, column, before, new, whose)
    return Manifest.build(table, manifest.root, categories), counts


def _columns(ontology: Ontology) -> dict[str, Callable[[Knowledge], Any]]:
    return {
        "disease_text": lambda k: disease_text(k.disease, ontology) if k.disease else None,
        "concept_text": lambda k: concept_text(k.concepts) if k.concepts else None,
        SITE: lambda k: k.body_site,
        SYMPTOMS: lambda k: ", ".join(k.symptoms) or None,
        AGE: lambda k: k.age,
        SEX: lambda k: k.sex,
    }


def _each(values: Any, of: Callable[[Any], Any]) -> pd.Series:
    found = [None if value is None else of(value) for value in values]
    return pd.Series(found, index=values.index, dtype=object)


def _origins(table: pd.DataFrame, column: str, before: Any, new: Any, whose: Any) -> Any:
    given = before.map(lambda value: None if value is None else "given").where(before.notna(), None)
    origins = table[f"{column}_origin"].astype(object) if f"{column}_origin" in table else given
    return origins.mask(new, whose)
