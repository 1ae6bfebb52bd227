"""Derm1M v2 (Yan et al. 2025)."""

import re

import pandas as pd

from dermis.cases.catalogue.files import Files
from dermis.cases.catalogue.labels import given, readable, sex
from dermis.cases.catalogue.reader import Reading, reader
from dermis.cases.catalogue.table import column, find_tables
from dermis.cases.derm1m_csv import SENTINELS
from dermis.language.sentences import split_sentences

ROW = ("filename", "caption", "source", "disease_label", "hierarchical_disease_label", "skin_concept")
CAPTIONS = ("truncated_caption", "caption")
UNITS = {"year": 1, "yr": 1, "y": 1, "month": 12, "mo": 12, "week": 52, "day": 365}


@reader("derm1m")
def derm1m(files: Files, caption: str = "truncated_caption") -> Reading:
    """Derm1M v2: about 423,000 skin pictures with captions, from YouTube, PubMed, forums, textbooks and public sets.

    Source: Yan et al., ICCV 2025 (arXiv:2503.14911); huggingface.co/datasets/redlessone/Derm1M (gated).

    Licence: CC BY-NC 4.0.

    Obtain: accept the terms on huggingface.co/datasets/redlessone/Derm1M (an account is needed), then `hf download
    redlessone/Derm1M --repo-type dataset --local-dir FOLDER`.

    On disk: `Derm1M_v2_pretrain.csv` and `Derm1M_v2_validation.csv`; the folders IIYI, edu, note, public, pubmed,
    reddit, twitter, validation_data, youtube, or the zip files of these names as downloaded.

    Columns: caption (truncated_caption, which DermLIP and MAKE train on; `caption="caption"` takes the full one; each
    stands in where the other is missing), sentences (of the caption, where it has two or more), disease_text ("This
    is a skin photo diagnosed as ..." with hierarchical_disease_label, root to leaf), concept_text ("This skin photo
    shows ..." with skin_concept), diagnosis (disease_label), lesion.localization (body_location), lesion.symptoms,
    patient.age, patient.sex; source with the table's source; split: the pretrain table is train, the
    validation table valid.

    Counts: the paper's v1 has 403,563 pictures, 1,029,761 pairs (403,563 captions, 403,563 ontology texts, 222,635
    concept texts) and 9,806 held out; the public v2 was cleaned and differs.

    Group key: origin_id, guessed from the file name: the video of a YouTube frame (`<video>_frame_<n>`), the article
    of a PubMed figure (`PMC<n>`), the forum case of an IIYI picture (`<case>_<n>`); the file itself otherwise.

    Traps: missing is a sentence ("No visual concepts", "No age information", ...), null here. Pictures are of every
    kind: modality is empty. Age is free text: read where it is one number with or without a unit. skin tone occurs in
    captions only. The part "public" is drawn from public sets: look for overlap before testing on one. 163 captions
    of v1 are the word "nan".
    """
    if caption not in CAPTIONS:
        raise ValueError(f"caption={caption!r}: allowed are {' and '.join(CAPTIONS)}.")
    sides = [
        table.assign(split="valid" if "valid" in path.name.casefold() else "train")
        for path, table in find_tables(files, ROW, "Derm1M", also_missing=tuple(SENTINELS.values())).items()
    ]
    table = pd.concat(sides, ignore_index=True)
    other = CAPTIONS[1 - CAPTIONS.index(caption)]
    captions = table[caption].fillna(table[other]) if {*CAPTIONS} <= {*table} else table["caption"]
    cases = {
        "case_id": table["filename"],
        "origin_id": table["filename"].map(origin),
        "image": files.find_all(table["filename"], "{}"),
        "caption": captions,
        "disease_text": "This is a skin photo diagnosed as " + table["hierarchical_disease_label"] + ".",
        "concept_text": "This skin photo shows " + table["skin_concept"] + ".",
        "sentences": captions.map(several_sentences),
        "caption_origin": given(captions),
        "diagnosis": table["disease_label"].str.casefold(),
        **who_and_where(table),
        "split": table["split"],
        "source": ("derm1m/" + table["source"]).fillna("derm1m"),
        "licence": "CC BY-NC 4.0",
    }
    cases["disease_text_origin"] = given(cases["disease_text"], "narrated")
    cases["concept_text_origin"] = given(cases["concept_text"], "narrated")
    return Reading(pd.DataFrame(cases), [])


def origin(filename: str) -> str:
    """The video, article or forum case that a file's name speaks of; the file itself where it speaks of none."""
    folder, _, name = filename.rpartition("/")
    stem = name.rsplit(".", 1)[0]
    if article := re.search(r"PMC\d+", stem, re.IGNORECASE):
        return article.group().upper()
    if "youtube" in folder.casefold():
        stem = stem.split("_frame_", 1)[0]
    elif "iiyi" in folder.casefold():
        stem = re.sub(r"_\d+$", "", stem)
    return f"{folder}/{stem}"


def who_and_where(table: pd.DataFrame) -> dict[str, pd.Series]:
    """body_location, symptoms, age and gender of a Derm1M or MAKE table, as far as it has them."""
    return {
        "lesion.localization": readable(column(table, "body_location")),
        "lesion.symptoms": readable(column(table, "symptoms")),
        "patient.age": column(table, "age").map(years).astype(float),
        "patient.sex": sex(column(table, "gender")),
    }


def years(text: str | None) -> float | None:
    """ "45", "45-year-old", "6 months" -> years; None for anything else ("adult", "30s", "20 to 40")."""
    if pd.isna(text):
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)[\s-]*([a-z]*?)s?(?:[\s-]*(?:old|of age))?\.?", str(text).casefold())
    if match is None or match[2] not in ("", *UNITS):
        return None
    return float(match[1]) / UNITS.get(match[2], 1) if match[2] or not str(text).endswith("s") else None


def several_sentences(text: str | None) -> list[str] | None:
    """The sentences of a text; None for one sentence alone, which would only repeat the text."""
    sentences = [] if pd.isna(text) else split_sentences(text)
    return sentences if len(sentences) > 1 else None
