"""SkinCon: concepts annotated on pictures of Fitzpatrick17k and DDI (Daneshjou et al. 2022)."""

import pandas as pd

from dermis.cases.catalogue.ddi import ROW as OF_DDI
from dermis.cases.catalogue.ddi import ddi
from dermis.cases.catalogue.files import Files
from dermis.cases.catalogue.fitzpatrick17k import ROW as OF_FITZPATRICK17K
from dermis.cases.catalogue.fitzpatrick17k import fitzpatrick17k
from dermis.cases.catalogue.missing import numbers
from dermis.cases.catalogue.reader import Reading, reader
from dermis.cases.catalogue.release import unlike_published
from dermis.cases.catalogue.table import find_tables, tables_with
from dermis.registry import unknown

ROW = ("ImageID", "Papule", "Plaque", "Nodule", "Erythema")
UNUSABLE = "Do not consider this image"
PARTS = ("all", "fitzpatrick17k", "ddi")
PUBLISHED = {"fitzpatrick17k": 3230, "ddi": 636, "concepts": 48}


@reader("skincon")
def skincon(files: Files, part: str = "all") -> Reading:
    """SkinCon: 48 concepts of lesion and colour, annotated by dermatologists on 3,866 clinical photographs.

    Source: Daneshjou et al., NeurIPS 2022 datasets and benchmarks; skincon-dataset.github.io.

    Licence: none is stated for the annotations; the pictures keep those of Fitzpatrick17k and DDI.

    Obtain: download both tables from skincon-dataset.github.io (`files/annotations_fitzpatrick17k.csv`,
    `files/annotations_ddi.csv`), no account is needed; the pictures as told for `fitzpatrick17k` and `ddi`.

    On disk: either table or both; pictures `<md5hash>.jpg` and `000001.png` anywhere below. `fitzpatrick17k.csv` and
    `ddi_metadata.csv` are read as well where they are there.

    Columns: concept.NAME (each column but the index, ImageID and "Do not consider this image"; 0 or 1), case_id (the
    picture's name, as in `fitzpatrick17k` and `ddi`), source with the set that the picture is from. With the other
    sets' tables beside: diagnosis, skin_tone, finding.nine_partition, finding.three_partition, finding.malignancy.
    `part="fitzpatrick17k"` or `part="ddi"` leaves the other set out.

    Counts: 3,230 pictures of Fitzpatrick17k and 636 of DDI that are usable, of 3,690 and 656 rows; 22 of the concepts
    are on 50 pictures of Fitzpatrick17k or more.

    Group key: none, as in the sets that the pictures are from.

    Traps: rows marked "Do not consider this image" are left out, and a note says how many; tables of 2022 came without
    them and without that column. The two tables have the concepts in different orders. Every picture is in
    Fitzpatrick17k or DDI, too, and many are in SkinCAP: look for overlap before testing. MAKE's benchmark is another
    file, of 32 concepts on 3,855 pictures.
    """
    if part not in PARTS:
        raise unknown("part", part, PARTS)
    table = pd.concat(find_tables(files, ROW, "SkinCon").values(), ignore_index=True)
    origin = table["ImageID"].str.contains(r"^[0-9a-f]{32}\b", case=False).map({True: "fitzpatrick17k", False: "ddi"})
    unusable = numbers(table[UNUSABLE]).eq(1) if UNUSABLE in table else pd.Series(False, index=table.index)
    wanted = origin.isin(PARTS) if part == "all" else origin == part
    if not wanted.any():
        raise ValueError(f"no row of the tables of SkinCon is from {part}: part={part} leaves nothing.")
    marked = int((unusable & wanted).sum())
    table, origin = table[wanted & ~unusable], origin[wanted & ~unusable]
    concepts = [c for c in table if c not in ("ImageID", UNUSABLE) and not c.startswith("Unnamed")]
    cases = {
        "case_id": table["ImageID"].str.rsplit(".", n=1).str[0],
        "image": files.find_all(table["ImageID"], "{}"),
        "modality": "clinical",
        **{f"concept.{c}": numbers(table[c]) for c in concepts},
        "source": "skincon/" + origin,
        "licence": "none stated (annotations)",
    }
    notes = [f'{marked} rows marked "{UNUSABLE}" are left out.'] if marked else []
    found = origin.value_counts().to_dict() | {"concepts": len(concepts)}
    notes += unlike_published(found, {name: PUBLISHED[name] for name in PUBLISHED if name in found})
    return Reading(with_diagnosis(pd.DataFrame(cases), files), notes)


def with_diagnosis(cases: pd.DataFrame, files: Files) -> pd.DataFrame:
    """``cases`` with what the tables of Fitzpatrick17k and DDI say of the pictures, where these tables are there."""
    sets = ((OF_FITZPATRICK17K, fitzpatrick17k), (OF_DDI, ddi))
    tables = [read(files).table for row, read in sets if tables_with(files, row)]
    if not tables:
        return cases
    said = pd.concat(tables, ignore_index=True).set_index("case_id")
    columns = [c for c in said if c in ("diagnosis", "skin_tone") or c.startswith("finding.")]
    return cases.join(said[columns], on="case_id")
