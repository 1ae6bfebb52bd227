"""The training table of MAKE (Yan et al. 2025)."""

import ast

import pandas as pd

from dermis.cases.catalogue.derm1m import origin, who_and_where
from dermis.cases.catalogue.files import Files
from dermis.cases.catalogue.labels import given
from dermis.cases.catalogue.reader import Reading, reader
from dermis.cases.catalogue.table import column, find_table
from dermis.cases.derm1m_csv import SENTINELS

SUBCAPTIONS = tuple(f"subcaption_{k}" for k in range(1, 9))
ROW = ("filename", "truncated_caption", "ontology_caption", "visual_concept_caption", *SUBCAPTIONS)
RAW, ONTOLOGY, VISUAL = range(3)


@reader("make")
def make(files: Files) -> Reading:
    """MAKE's training table: Derm1M with a disease text, a concept text and up to eight sub-texts per picture.

    Source: Yan et al., MICCAI 2025 (arXiv:2505.09372); github.com/SiyuanYan1/MAKE @ ded1959,
    assets/MAKE_training_example.csv.

    Licence: that of Derm1M, CC BY-NC 4.0.

    Obtain: the example is in the repository; the authors' whole table is not published, the pictures are Derm1M's.

    On disk: one CSV with filename, truncated_caption, ontology_caption, visual_concept_caption, subcaption_1 to
    subcaption_8, sub_caption_mask (8 numbers), knowledge_masks (3 numbers); pictures by file name, whose leading
    folders (`/VL_Data/...`) are the authors' own and are dropped until something is found.

    Columns: caption (truncated_caption), disease_text (ontology_caption), concept_text (visual_concept_caption),
    sentences (sub-captions), diagnosis (standardized_disease), lesion.localization, lesion.symptoms, patient.age,
    patient.sex, source.

    Counts: 403,563 pictures in the authors' table; the public example has 10.

    Group key: origin_id from the file name, as for Derm1M.

    Traps: the three knowledge masks are [raw, ontology, visual], as the release's loader and example have it; its
    Prepare_ur_training_dataset.md says [caption, visual, ontology]. Masks are read as lists of numbers, never
    evaluated. Empty texts were trained on as the word "nan" by the release; null here. A sub-caption that is the
    caption without its full stop (9 of 10 rows of the example) says nothing new and is dropped. `sub_captions` is a
    count, not a text.
    """
    table = find_table(files, ROW, "MAKE", also_missing=tuple(SENTINELS.values()))
    knowledge = masks(table, "knowledge_masks", 3)
    subtexts = masks(table, "sub_caption_mask", 8)
    texts = {
        "caption": table["truncated_caption"].where(knowledge[RAW] == 1, None),
        "disease_text": table["ontology_caption"].where(knowledge[ONTOLOGY] == 1, None),
        "concept_text": table["visual_concept_caption"].where(knowledge[VISUAL] == 1, None),
    }
    empty = sum(int((knowledge[k] == 1).mul(text.isna()).sum()) for k, text in enumerate(texts.values()))
    notes = []
    if empty:
        notes.append(
            f"{empty} texts are empty though knowledge_masks, read as [raw, ontology, visual], says they are there."
        )
    cases = {
        "case_id": table["filename"],
        "origin_id": table["filename"].map(origin),
        "image": table["filename"].map(lambda name: found(files, name)),
        **texts,
        "sentences": sentences(table, subtexts),
        **{f"{column}_origin": given(text, how) for (column, text), how in zip(texts.items(), ORIGINS, strict=True)},
        "diagnosis": column(table, "standardized_disease").str.casefold(),
        **who_and_where(table),
        "source": ("make/" + column(table, "source")).fillna("make"),
        "licence": "CC BY-NC 4.0",
    }
    return Reading(pd.DataFrame(cases), notes)


ORIGINS = ("given", "llm:Qwen2-72B-Instruct", "llm:Qwen2-72B-Instruct")
"""who wrote the caption, the disease text and the concept text (arXiv:2505.09372; assets/prompt.md)"""


def masks(table: pd.DataFrame, column: str, length: int) -> pd.DataFrame:
    """A column of lists such as "[1, 0, 1]" -> one column of 0 and 1 per place; all 1 where the table has none.

    Raises ValueError for anything but a list of ``length`` numbers.
    """
    if column not in table:
        return pd.DataFrame(1, index=table.index, columns=range(length))
    return pd.DataFrame([_mask(cell, column, length) for cell in table[column]], index=table.index)


def _mask(cell: str | None, column: str, length: int) -> list[int]:
    try:
        values = ast.literal_eval(str(cell))
    except (ValueError, SyntaxError):
        values = None
    if not isinstance(values, list) or len(values) != length or any(v not in (0, 1) for v in values):
        raise ValueError(f"{column} should be a list of {length} zeros and ones; {cell!r} is not.")
    return values


def sentences(table: pd.DataFrame, mask: pd.DataFrame) -> pd.Series:
    """Per row the sub-captions that are there, in order, without repetitions and without the caption itself."""
    captions = table.reindex(columns=["caption", "truncated_caption"]).to_numpy()
    texts, told = table[list(SUBCAPTIONS)].to_numpy(), mask.to_numpy() == 1
    lists: list[list[str] | None] = []
    for row in range(len(table)):
        seen = {_bare(text) for text in captions[row] if not pd.isna(text)}
        kept: list[str] = []
        for text in texts[row][told[row]]:
            if not pd.isna(text) and _bare(text) not in seen:
                seen.add(_bare(text))
                kept.append(text)
        lists.append(kept or None)
    return pd.Series(lists, index=table.index, dtype=object)


def _bare(text: str) -> str:
    return " ".join(text.casefold().split()).rstrip(" .!?")


def found(files: Files, name: str) -> str:
    """The picture called ``name``, dropping as few leading folders as needed; the name itself if there is none."""
    parts = name.strip("/").split("/")
    tails = ("/".join(parts[k:]) for k in range(len(parts)))
    return next((path for tail in tails if (path := files.find(tail))), name.strip("/"))
