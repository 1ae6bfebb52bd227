"""Fitzpatrick17k (Groh et al. 2021)."""

import pandas as pd

from dermis.cases.catalogue.files import Files
from dermis.cases.catalogue.labels import fitzpatrick
from dermis.cases.catalogue.reader import Reading, reader
from dermis.cases.catalogue.table import find_table

ROW = ("md5hash", "fitzpatrick_scale", "label", "nine_partition_label", "three_partition_label", "url")


@reader("fitzpatrick17k")
def fitzpatrick17k(files: Files) -> Reading:
    """Fitzpatrick17k: 16,577 clinical photographs from two online atlases, 114 conditions, with skin types.

    Source: Groh et al., CVPR 2021 workshops (arXiv:2104.09957); github.com/mattgroh/fitzpatrick17k @ fac223a.

    Licence: CC BY-NC-SA 3.0 for the annotations; the pictures belong to the atlases.

    Obtain: the table is in the repository; for the pictures fill in the form that its README links to, or fetch them
    from their urls.

    On disk: `fitzpatrick17k.csv`, pictures `<md5hash>.jpg` anywhere below (on request from the authors, or by their
    urls).

    Columns: diagnosis (label), skin_tone (fitzpatrick_scale), finding.nine_partition, finding.three_partition; source
    with the atlas of the url.

    Counts: 16,577 pictures; types 1 to 6: 2947, 4808, 3308, 2781, 1533, 635; unknown (-1) 565; 41 without url; 12,631
    from dermaamin.com, 3,905 from atlasdermatologico.com.br.

    Group key: none, each picture is a group of its own, though the atlases show some patients more than once.

    Traps: the skin types are from annotators who saw the picture only; fitzpatrick_centaur, a second opinion, is not
    imported. Labels are the atlases' own: a dermatologist who looked at 504 found 17 wrongly labelled (column qc).
    Near-duplicates are known (Abhishek et al. 2025): run `dermis check` on any split.
    """
    table = find_table(files, ROW, "Fitzpatrick17k")
    notes = []
    if "qc" in table and (wrong := int(table["qc"].eq("3 Wrongly labelled").sum())):
        notes.append(
            f"{wrong} pictures are marked as wrongly labelled by the authors' own check (column qc); they are kept."
        )
    atlas = table["url"].str.extract(r"//(?:www\.)?([^./]+)", expand=False)
    cases = {
        "case_id": table["md5hash"],
        "image": files.find_all(table["md5hash"], "{}.jpg"),
        "modality": "clinical",
        "diagnosis": table["label"],
        "finding.nine_partition": table["nine_partition_label"],
        "finding.three_partition": table["three_partition_label"],
        "skin_tone": fitzpatrick(table["fitzpatrick_scale"]),
        "source": ("fitzpatrick17k/" + atlas).fillna("fitzpatrick17k"),
        "licence": "CC BY-NC-SA 3.0 (annotations)",
    }
    return Reading(pd.DataFrame(cases), notes)
