"""Metadata columns that say the diagnosis or how it was come by: no inputs, unless somebody asks for them by name."""

import re
from collections.abc import Iterable

_WORDS = (
    r"(gold_?standard_?)?(dx|diagnos\w*|diseases?|label|target|class|iddx\w*|nevus_type|melanocytic)(_\w+)?",
    r"(benign|malignan\w*|melanoma|biops\w*|pathreport|path|patholog\w*|histo\w*|excis\w*)(_\w+)?",
    r"(concomitant_|benign_or_|benign_|midas_)\w+",
    r"confirm\w*|mel_\w+|breslow\w*|clark_level|clinical_impression\w*|management|seven_point_score",
    r"\w*dnn_lesion_confidence",
    r"icd(_?(9|10|11|o|code)\w*)?",
)
PROXIES = re.compile(r"(lesion|patient)\.(" + "|".join(_WORDS) + ")")
"""names of the diagnosis, of how it was confirmed (only what looked suspicious was cut out), of what was done about it,
and of what a network had said of the lesion, in the ISIC archive, HAM10000, PAD-UFES-20, Derm7pt and MIDAS; codes of
diagnoses, as hospitals keep them"""


def is_label_proxy(column: str) -> bool:
    """Whether LEVEL.NAME gives the diagnosis away, however it is spelt: `dxType`, `DX-type` and `dx_type` are one."""
    spelt = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|[\s-]+", "_", column).lower()
    return PROXIES.fullmatch(spelt) is not None


def refuse_label_proxies(columns: Iterable[str], where: str = "method.columns") -> None:
    """Raise ValueError for the first column that gives the diagnosis away; ``where`` it could be asked for by name."""
    if found := next(filter(is_label_proxy, columns), None):
        raise ValueError(
            f"{found} gives the diagnosis away: as an input it would make every number meaningless. Take it out of the "
            f"manifest, or, if you mean it, list the columns to use by name in {where}."
        )
