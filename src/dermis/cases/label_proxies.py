"""Metadata columns that say the diagnosis or how it was come by: no inputs, unless somebody asks for them by name."""

import re
from collections.abc import Iterable

PROXIES = re.compile(
    r"(lesion|patient)\.(dx|dx_type|diagnos\w*|biops\w*|concomitant_biopsy|histopathology\w*|confirm\w*|benign_malignant"
    r"|malignan\w*|melanocytic|target|iddx_\w+|mel_(class|type|mitotic_index|thick_mm|ulcer)|\w*dnn_lesion_confidence)",
    re.IGNORECASE,
)
"""columns of the ISIC archive, HAM10000 and PAD-UFES-20: the diagnosis under other names, how it was confirmed (only
what looked suspicious was cut out), and what a classifier had said of the lesion"""


def refuse_label_proxies(columns: Iterable[str], where: str = "method.columns") -> None:
    """Raise ValueError for the first column that gives the diagnosis away; ``where`` it could be asked for by name."""
    if found := next((column for column in columns if PROXIES.fullmatch(column)), None):
        raise ValueError(
            f"{found} gives the diagnosis away: as an input it would make every number meaningless. Take it out of the "
            f"manifest, or, if you mean it, list the columns to use by name in {where}."
        )
