"""docs/data.md: the readers' docstrings as one document."""

import inspect

from dermis.cases.catalogue.reader import READERS

PREFACE = """# Data sets

One section per reader, and each is the docstring of that reader; `dermis list readers` prints their first lines,
`dermis import NAME` the page.

    dermis import ham10000 path/to/HAM10000 --out cases.parquet

What holds for all of them:

- A data set is read as it was downloaded: zip and HDF5 files stay packed, releases may be nested, pictures may be
  spread over part folders, names and extensions may differ in case. Tables are known by their header, not by their
  name; .csv, .tab and .tsv in UTF-8 (with or without byte-order mark) or Windows-1252, and .xlsx where openpyxl is
  installed.
- Every row of the table becomes a case, also when its picture is not on disk: the path is then where the picture
  would lie, and a note says how many there are. `missing=drop` leaves those cases out, and a note says how many.
- `split=TABLE` takes a published split: any table with a column `split` and a column of picture names. If it tears
  a patient or a lesion apart, a note says so.
- What tables write where they know nothing ("unknown", "UNK", "No visual concepts", -1, ...) is null. Columns that
  tell how the label was found (dx_type, biopsed, diagnosis_confirm_type) are never imported.
- The anatomical site is `lesion.localization` in every set, age is `patient.age` in years, sex `patient.sex` (male,
  female). Diagnoses carry the names of the published class lists.
"""


def pages() -> str:
    """The whole document, in Markdown."""
    sections = [f"## {name}\n\n{inspect.getdoc(READERS[name])}\n" for name in READERS]
    text = "\n".join([PREFACE, *sections])
    for word in ("Source", "Licence", "On disk", "Columns", "Counts", "Group key", "Traps"):
        text = text.replace(f"\n{word}: ", f"\n**{word}.** ")
    return text
