"""SkinCAP: captions by dermatologists for pictures of Fitzpatrick17k and DDI (Zhou et al. 2024)."""

from dataclasses import replace

import pandas as pd

from dermis.cases.catalogue.ddi import bands, malignancy
from dermis.cases.catalogue.files import Files
from dermis.cases.catalogue.labels import fitzpatrick, given
from dermis.cases.catalogue.missing import numbers
from dermis.cases.catalogue.reader import Reading, reader
from dermis.cases.catalogue.skincon import UNUSABLE
from dermis.cases.catalogue.table import column, find_table, read_table, tables_with
from dermis.language.concept_terms import concept_terms, plain
from dermis.registry import unknown

ROW = ("skincap_file_path", "ori_file_path", "disease", "source")
CAPTIONS = ("caption_zh_polish_en", "caption_en", "caption_zh_polish", "caption_zh")
PUBLISHED = 4000


@reader("skincap")
def skincap(files: Files, caption: str = "caption_zh_polish_en", usable: bool = False) -> Reading:
    """SkinCAP: 4,000 clinical photographs of Fitzpatrick17k and DDI, each with a caption by a dermatologist.

    Source: Zhou et al. 2024 (arXiv:2405.18004; its version 2 is SkinCaRe, Shen et al. 2025);
    huggingface.co/datasets/joshuachou/SkinCAP @ 4119044.

    Licence: CC BY-NC-SA 4.0, and a use agreement with KAUST that forbids copies for others; the pictures keep the terms
    of Fitzpatrick17k and DDI.

    Obtain: accept the agreement on huggingface.co/datasets/joshuachou/SkinCAP (an account is needed), then `hf download
    joshuachou/SkinCAP --repo-type dataset --local-dir FOLDER`.

    On disk: `skincap_v240623.csv` or `skincap_v240715.xlsx` (whose header is its second row), pictures
    `skincap/<number>.png`.

    Columns: caption (`caption=`: of the .csv caption_zh_polish_en, an English translation by GPT-4, caption_zh_polish
    and caption_zh; of the .xlsx caption_en, by Google Translate, and caption_zh), diagnosis (disease), origin_id
    (ori_file_path: the picture's name in its own set), concept.NAME (SkinCon's, 0 or 1), skin_tone (fitzpatrick_scale;
    for DDI its band), finding.nine_partition, finding.three_partition, finding.malignancy; source with the set.
    `usable=True` leaves out rows marked "Do not consider this image".

    Counts: 4,000 pictures: 3,345 of Fitzpatrick17k, 655 of DDI; 187 spellings of diseases, 178 diseases by the paper;
    439 rows are marked.

    Group key: origin_id, the same as the case_id of `fitzpatrick17k`, `ddi` and `skincon`.

    Traps: captions tell the answer: a search for words found a diagnosis, a test or a treatment in 3,306 of 3,318.
    `skincap/not_include` holds 346 more pictures, which are not read. The mark is of SkinCon, so marked rows keep their
    captions and lose their concepts. Spellings of a disease differ between the two sets. DermFM-Zero's authors found
    83.58 % of the pictures in what they had trained on. The benchmarks' own table has 3,989 rows and is read by `csv`.
    """
    if caption not in CAPTIONS:
        raise unknown("caption of SkinCAP", caption, CAPTIONS)
    table = captioned(files, caption)
    files = replace(files, pictures=[p for p in files.pictures if "not_include" not in p.casefold().split("/")])
    marked = numbers(table[UNUSABLE]).eq(1) if UNUSABLE in table else pd.Series(False, index=table.index)
    notes = [f"{len(table)} rows (published: {PUBLISHED})."] if len(table) != PUBLISHED else []
    if marked.any():
        what = "are left out" if usable else "are without concepts (usable=True leaves them out)"
        notes.append(f'{int(marked.sum())} rows marked "{UNUSABLE}" {what}.')
    if usable:
        table, marked = table[~marked], marked[~marked]
    known = {plain(name) for name in concept_terms()}
    of_ddi = table["source"].str.casefold() == "ddi"
    disease = table["disease"].str.casefold()
    cases = {
        "case_id": stem(table["skincap_file_path"]),
        "origin_id": stem(table["ori_file_path"]),
        "image": files.find_all(table["skincap_file_path"], "{}"),
        "modality": "clinical",
        "caption": table[caption],
        "caption_origin": given(table[caption]),
        "diagnosis": disease.mask(of_ddi, disease.str.replace("-", " ")),
        "finding.nine_partition": table.get("nine_partition_label"),
        "finding.three_partition": table.get("three_partition_label"),
        "finding.malignancy": malignancy(table.get("malignant")),
        "skin_tone": fitzpatrick(column(table, "fitzpatrick_scale")).fillna(bands(column(table, "skin_tone"))),
        **{f"concept.{c}": numbers(table[c]).mask(marked) for c in table if plain(str(c)) in known},
        "source": ("skincap/" + table["source"].str.casefold()).fillna("skincap"),
        "licence": "CC BY-NC-SA 4.0 (use agreement)",
    }
    return Reading(pd.DataFrame(cases), notes)


def captioned(files: Files, caption: str) -> pd.DataFrame:
    """The table that has this column of captions, be its header in the first row or in the second."""
    columns = {*ROW, caption}
    if not tables_with(files, tuple(columns)):
        for path in (p for p in files.tables if p.suffix.casefold() == ".xlsx"):
            table = read_table(path)
            if len(table) and columns <= set(table.iloc[0]):
                return table[1:].set_axis([str(name) for name in table.iloc[0]], axis=1).reset_index(drop=True)
    return find_table(files, (*ROW, caption), "SkinCAP", usually="skincap")


def stem(names: pd.Series) -> pd.Series:
    """skincap/12.png -> 12."""
    return names.str.rsplit("/", n=1).str[-1].str.rsplit(".", n=1).str[0]
