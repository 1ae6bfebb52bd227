"""The tables' codes and their names: diagnoses as the published class lists write them, sexes, skin types, origins."""

from collections.abc import Mapping

import pandas as pd

from dermis.cases.catalogue.missing import numbers
from dermis.registry import unknown

ISIC_CLASSES = {
    "AKIEC": "actinic keratosis",
    "AK": "actinic keratosis",
    "BCC": "basal cell carcinoma",
    "BKL": "benign keratosis",
    "DF": "dermatofibroma",
    "MEL": "melanoma",
    "NV": "nevus",
    "SCC": "squamous cell carcinoma",
    "VASC": "vascular",
}
"""codes of HAM10000 and of the ISIC challenges -> names of the zero-shot lists of Derm1M and MAKE"""

ROMAN = {"I": "1", "II": "2", "III": "3", "IV": "4", "V": "5", "VI": "6"}
SEXES = {"male": "male", "female": "female", "m": "male", "f": "female", "man": "male", "woman": "female"}


def named(column: pd.Series, names: Mapping[str, str], kind: str) -> pd.Series:
    """Codes -> names, in any case; null stays null. Raises ValueError for a code that ``names`` does not know."""
    folded = {code.casefold(): name for code, name in names.items()}
    for code in column.dropna().unique():
        if str(code).casefold() not in folded:
            raise unknown(kind, code, names)
    return column.map(lambda code: None if pd.isna(code) else folded[str(code).casefold()]).astype(object)


def sex(column: pd.Series) -> pd.Series:
    """male, female, or null for everything else."""
    return column.map(lambda value: None if pd.isna(value) else SEXES.get(str(value).casefold())).astype(object)


def readable(column: pd.Series) -> pd.Series:
    """``HEAD_NECK`` -> ``head neck``; null stays null."""
    return column.map(lambda value: None if pd.isna(value) else str(value).replace("_", " ").casefold()).astype(object)


def one_hot(table: pd.DataFrame, names: Mapping[str, str]) -> pd.Series:
    """One-hot columns (those of ``names`` that the table has) -> one name per row; rows without any 1 are null.

    Raises ValueError if a row claims two classes.
    """
    codes = [code for code in names if code in table]
    flags = table[codes].apply(numbers).fillna(0) > 0.5
    if (twice := flags.sum(axis=1) > 1).any():
        raise ValueError(
            f"row {int(twice.idxmax())} of the table of labels claims more than one of {', '.join(codes)}."
        )
    return flags.idxmax(axis=1).map(names).astype(object).where(flags.any(axis=1), None)


def fitzpatrick(column: pd.Series) -> pd.Series:
    """ "3.0" or "III" -> "3"; whatever is not one of the six types -> null."""
    types = numbers(column.replace(ROMAN))
    return types.map(lambda t: str(int(t)) if 1 <= t <= 6 else None, na_action="ignore").astype(object)


def given(texts: pd.Series, how: str = "given") -> pd.Series:
    """The TEXT_origin column of a text column: ``how`` where there is a text, else null."""
    return texts.map(lambda text: None if pd.isna(text) else how).astype(object)
