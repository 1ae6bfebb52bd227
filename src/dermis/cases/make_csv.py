"""A manifest as MAKE's training table, for the released code and whatever else reads it.

The columns of github.com/SiyuanYan1/MAKE @ ded1959 (``open_clip_train/data.py``, ``assets/MAKE_training_example.csv``);
``catalogue/make.py`` reads them back.
"""

import json
from pathlib import Path

import pandas as pd

from dermis.cases.exported import cells, file_names, write_rows
from dermis.cases.manifest import Manifest

SUBCAPTIONS = tuple(f"subcaption_{k}" for k in range(1, 9))


def write_make_csv(manifest: Manifest, path: Path | str, filename: str = "image") -> list[str]:
    """Write the table; returns sentences about what did not fit.

    knowledge_masks is [raw, ontology, visual], the order of the release's loader and not of its documentation; masks
    are JSON lists; a missing text is an empty cell with mask 0; the first eight sentences are the sub-captions, and
    sub_captions is their number. caption and truncated_caption are the same text: the tokenizer truncates. The
    release opens ``filename`` as it stands, so run it in the image root.

    Raises ValueError for a manifest without captions and for pictures inside archives, which the release cannot open
    (``filename``: the column to take names from instead of `image`).
    """
    manifest.require(["caption"], "MAKE's table")
    caption, disease, concept = (cells(manifest, column) for column in ("caption", "disease_text", "concept_text"))
    lists = [sentences or [] for sentences in cells(manifest, "sentences")]
    padded = [[*kept, *[None] * (8 - len(kept))] for kept in (sentences[:8] for sentences in lists)]
    rows = {
        "filename": file_names(manifest, filename, "MAKE"),
        "caption": caption,
        "truncated_caption": caption,
        "visual_concept_caption": concept,
        "ontology_caption": disease,
        "sub_captions": [_told(sentences).count(1) for sentences in padded],
        **{name: [sentences[k] for sentences in padded] for k, name in enumerate(SUBCAPTIONS)},
        "sub_caption_mask": [json.dumps(_told(sentences)) for sentences in padded],
        "knowledge_masks": [json.dumps(_told(texts)) for texts in zip(caption, disease, concept, strict=True)],
        "standardized_disease": cells(manifest, "diagnosis"),
        "body_location": cells(manifest, "lesion.localization"),
        "symptoms": cells(manifest, "lesion.symptoms"),
        "age": [None if age is None else f"{age:g}" for age in cells(manifest, "patient.age", number=True)],
        "gender": cells(manifest, "patient.sex"),
        "source": [source and source.removeprefix("make/") for source in cells(manifest, "source")],
    }
    write_rows(pd.DataFrame(rows), path)
    cut = sum(len(sentences) > 8 for sentences in lists)
    return [f"{cut} cases have more than eight sentences; the first eight were written."] if cut else []


def _told(texts: tuple[str | None, ...] | list[str | None]) -> list[int]:
    return [int(text is not None) for text in texts]
