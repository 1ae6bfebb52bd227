"""What a reader of a public data set is: a function from the files on disk to a table in the manifest's columns."""

from collections.abc import Callable
from typing import NamedTuple

import pandas as pd

from dermis.registry import Registry


class Reading(NamedTuple):
    """``table`` in the manifest's columns, one row per case, and sentences that whoever imports it should read."""

    table: pd.DataFrame
    notes: list[str]


READERS: Registry[Callable[..., Reading]] = Registry("data set")
reader = READERS
"""``@reader("ham10000")`` registers a function ``(files, **options) -> Reading``; its docstring is the set's page"""
