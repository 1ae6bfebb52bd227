"""A manifest as Derm1M v2's table (Yan et al., ICCV 2025); ``catalogue/derm1m.py`` reads it back."""

from pathlib import Path

import pandas as pd

from dermis.cases.exported import cells, file_names, write_rows
from dermis.cases.manifest import Manifest
from dermis.language.knowledge import named_concepts, named_diseases

SENTINELS = {
    "disease_label": "No definitive diagnosis",
    "hierarchical_disease_label": "No definitive diagnosis",
    "skin_concept": "No visual concepts",
    "body_location": "No body location information",
    "symptoms": "No symptom information",
    "age": "No age information",
    "gender": "No gender information",
}
"""what Derm1M writes where it knows nothing"""


def write_derm1m_csv(manifest: Manifest, path: Path | str, filename: str = "image") -> list[str]:
    """Write the table with Derm1M's sentences for missing; returns sentences about what did not fit.

    hierarchical_disease_label and skin_concept are taken out of disease_text and concept_text, where they have the
    wording of ``language.knowledge``; disease_label is the diagnosis, else the leaf of the hierarchical label. The
    sentences of a case have no column there: a reader splits the caption. caption and truncated_caption are the same.

    Raises ValueError for a manifest without captions and for pictures inside archives (``filename``: the column to
    take names from instead of `image`).
    """
    manifest.require(["caption"], "Derm1M's table")
    caption, disease, concept = (cells(manifest, column) for column in ("caption", "disease_text", "concept_text"))
    hierarchy, concepts = [named_diseases(text) for text in disease], [named_concepts(text) for text in concept]
    diagnosis = cells(manifest, "diagnosis")
    leaves = [names and names.rsplit(", ", 1)[-1] for names in hierarchy]
    source = [source and source.removeprefix("derm1m/") for source in cells(manifest, "source")]
    known = {
        "disease_label": [given or leaf for given, leaf in zip(diagnosis, leaves, strict=True)],
        "hierarchical_disease_label": hierarchy,
        "skin_concept": concepts,
        "body_location": cells(manifest, "lesion.localization"),
        "symptoms": cells(manifest, "lesion.symptoms"),
        "age": [None if age is None else f"{age:g}" for age in cells(manifest, "patient.age", number=True)],
        "gender": cells(manifest, "patient.sex"),
    }
    rows = {
        "filename": file_names(manifest, filename, "Derm1M"),
        "caption": caption,
        "truncated_caption": caption,
        "source": source,
        "source_type": None,
        **{column: [SENTINELS[column] if v is None else v for v in values] for column, values in known.items()},
    }
    write_rows(pd.DataFrame(rows), path)
    notes = []
    for column, texts, taken in (("disease_text", disease, hierarchy), ("concept_text", concept, concepts)):
        if lost := sum(t is not None and k is None for t, k in zip(texts, taken, strict=True)):
            notes.append(f"{lost} cells of {column} are worded otherwise and were left out.")
    return notes
