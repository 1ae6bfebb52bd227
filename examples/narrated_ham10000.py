"""HAM10000 with one narrated caption a picture, as a manifest that `dermis knowledge` can read: real facts, our words.

python examples/narrated_ham10000.py HAM10000 ham.parquet
"""

import sys
from pathlib import Path

from dermis.cases.catalogue import import_set
from dermis.language.narrate import narrate

if __name__ == "__main__":
    root, out = map(Path, sys.argv[1:])
    splits = {"split": "split_lesion_grouped.csv"} if (root / "split_lesion_grouped.csv").is_file() else {}
    cases = import_set("ham10000", root, **splits)
    fields = ["diagnosis", "patient.age", "patient.sex", "lesion.localization"]
    narrate(cases, seed=0, drop=0.5, fields=fields).write(out)
