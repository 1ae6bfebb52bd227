"""docs/data.md: the readers' docstrings as one document."""

import inspect
import re

from dermis.cases.catalogue.reader import READERS

PARAGRAPHS = ("Source", "Licence", "Obtain", "On disk", "Columns", "Counts", "Group key", "Traps")
"""what every reader's docstring says, each in a paragraph that begins with the word and a colon"""

PREFACE = """# Data sets

One section per reader, below, and each is the docstring of that reader; `dermis list datasets` names them with
their licences and how to obtain them, `dermis import NAME` prints the page. Nothing is ever downloaded by dermis.

    dermis import ham10000 path/to/HAM10000 --out cases.parquet

What holds for all of them:

- A data set is read as it was downloaded: zip, tar, HDF5 and NumPy files stay packed, releases may be nested, pictures
  may be spread over part folders, names and extensions may differ in case. Tables are known by their header, not by
  their name; .csv, .tab and .tsv in UTF-8 (with or without byte-order mark) or Windows-1252, and the first sheet of an
  .xlsx where openpyxl is installed.
- What these pages write as `NAME=VALUE` is an option of the reader: `--options NAME VALUE` on the command line,
  `import_set(…, NAME=VALUE)` in Python.
- An import never loses what an older manifest of that name holds (a split, narrated texts, other columns, values or
  cases) without being told `--replace`; the same import again, or one with more columns, needs no telling.
- Every row of the table becomes a case, also when its picture is not on disk: the path is then where the picture
  would lie, and a note says how many there are. `missing=drop` leaves those cases out, and a note says how many.
- `split=TABLE` takes a published split: any table with a column `split` and a column of picture names. If it tears
  a patient or a lesion apart, or has a name on two sides, a note says so.
- What tables write where they know nothing ("unknown", "UNK", "No visual concepts", -1, ...) is null. Columns that
  tell how the label was found (dx_type, biopsed, diagnosis_confirm_type) are never imported.
- The anatomical site is `lesion.localization` in every set, age is `patient.age` in years, sex `patient.sex` (male,
  female). Diagnoses carry the names of the published class lists.
- Any set's pictures may be DICOM (.dcm, `pip install 'dermis[dicom]'`) or HEIC (.heic, .heif, `dermis[heic]`). Of DICOM
  only the elements that describe the pixels are read, none about the patient; the reader `dicom` below takes what it is
  asked for, and `dermis serve` takes no DICOM at all. A HEIC stands as its own rotation says, whatever EXIF adds.

## Augmented copies

Some sets bring rotated, cropped and recoloured copies of their own pictures. A case is an augmented copy if its
`origin_id` is the `case_id` of another case; its original has none, or its own `case_id`.

- Copies stay with their original, whatever else links it: splits and folds never put them on two sides, and
  `dermis check`, training and evaluation refuse a split that does. Shares of a split are those of the originals.
- Training and probes learn from originals and copies. Only originals choose the epoch of a fine-tuning, and only
  originals are scored; the report says how many copies there are.
- Nothing tells copies whose originals are not in the manifest. The readers count them in a note.

Five folds of MSLD as M2CG has them, each scored once on its originals:

    dermis import msld path/to/MSLD --out msld.parquet
    dermis evaluate MODEL msld.parquet --protocol finetune --evaluation.split all --evaluation.finetune.folds 5 \\
        --evaluation.finetune.targets diagnosis

## A set without a reader

A hospital's own pictures, such as M2CG's Skin64 (64 classes, 70:10:20), need a table with a row per picture, or a
folder per class. With a split in a column (`train`, `val` and `test`, or however `split` is spelled there):

    dermis import csv skin64.csv --out skin64.parquet \\
        --options columns "image=file, diagnosis=label, patient_id=patient, split=set" source skin64

A note says so if that split tears a patient apart. Without one, leave out `split=set` and cut it, by patient and class:

    dermis split skin64.parquet --valid 0.1 --test 0.2
"""


def pages() -> str:
    """The whole document, in Markdown."""
    sections = [f"## {name}\n\n{inspect.getdoc(READERS[name])}\n" for name in READERS]
    text = "\n".join([PREFACE, *sections])
    for word in PARAGRAPHS:
        text = text.replace(f"\n{word}: ", f"\n**{word}.** ")
    return text


def paragraphs(page: str) -> dict[str, str]:
    """The paragraphs of a reader's docstring that begin with a word of PARAGRAPHS: word -> text, in one line."""
    blocks = [" ".join(block.split()) for block in page.split("\n\n")]
    return {word: b.removeprefix(f"{word}: ") for b in blocks for word in PARAGRAPHS if b.startswith(f"{word}: ")}


def first_sentence(text: str) -> str:
    """Up to the first full stop before a new sentence, without it: that in a number or an address is none."""
    return re.split(r"\.(?=\s+[A-Z`]|$)", text, maxsplit=1)[0]
