"""Reading somebody's table: encoding and delimiter are recognised; a table is known by its header, not by its name."""

import csv
import importlib.util
import zipfile
from difflib import get_close_matches
from pathlib import Path

import pandas as pd

from dermis.cases.catalogue.files import Files
from dermis.cases.catalogue.missing import null_missing
from dermis.registry import unknown

DELIMITERS = ",\t;|"
PARTS = ("train", "test")
"""parts that a release keeps in tables of their own"""


def read_table(path: Path, also_missing: tuple[str, ...] = ()) -> pd.DataFrame:
    """A .csv, .tab, .tsv, .txt or .xlsx table as strings, null where it says that it does not know.

    The first row is the header. UTF-8 with or without byte-order mark, else Windows-1252; the delimiter is the one most
    frequent in the header. Of an .xlsx the first sheet is read. Raises ValueError, with a sentence, for a broken or
    empty table, and for .xlsx where openpyxl is not installed.
    """
    if path.suffix.lower() == ".xlsx":
        table = _sheet(path)
    else:
        try:
            table = pd.read_csv(
                path,
                dtype=str,
                keep_default_na=False,
                sep=_delimiter(path),
                encoding=_encoding(path),
                skipinitialspace=True,
            )
        except UnicodeDecodeError:
            raise ValueError(f"{path} is not a table that can be read: it is no text. Save it as .csv.") from None
        except (pd.errors.ParserError, pd.errors.EmptyDataError, csv.Error) as wrong:
            raise ValueError(f"{path} is not a table that can be read: {str(wrong).strip()}") from None
    table.columns = [str(column).strip() for column in table.columns]
    return table.apply(null_missing, also=also_missing)


def find_table(
    files: Files,
    columns: tuple[str, ...],
    what: str,
    part: str | None = None,
    usually: str = "",
    also_missing: tuple[str, ...] = (),
) -> pd.DataFrame:
    """The table of ``files`` whose header has all of ``columns`` (in any case; they come back spelled as asked).

    ``part`` ("train" or "test") must be in its name; without it a "train" table comes first. Of several, one with
    ``usually`` in its name wins, then the shortest name. Raises ValueError naming the nearest table and what it lacks.
    """
    if part not in (None, *PARTS):
        raise unknown("part", part, PARTS)
    chosen = min(
        _fitting(files, columns, what, part),
        key=lambda p: (*(word not in p.name.casefold() for word in (part or "train", usually)), len(p.name), str(p)),
    )
    return _spelled(read_table(chosen, also_missing), columns)


def find_tables(
    files: Files, columns: tuple[str, ...], what: str, also_missing: tuple[str, ...] = ()
) -> dict[Path, pd.DataFrame]:
    """All tables that ``find_table`` chooses from, by path; raises what it raises."""
    return {
        path: _spelled(read_table(path, also_missing), columns) for path in _fitting(files, columns, what, part=None)
    }


def tables_with(files: Files, columns: tuple[str, ...], part: str | None = None) -> list[Path]:
    """The tables (of ``part``, if given) whose header has all of ``columns``."""
    wanted = {c.casefold() for c in columns}
    return [path for path in _of_part(files, part) if wanted <= set(_header(path))]


def column(table: pd.DataFrame, name: str) -> pd.Series:
    """A column that the table may lack: all null then."""
    return table[name] if name in table else pd.Series(None, index=table.index, dtype=object, name=name)


def by_id(table: pd.DataFrame, column: str, what: str) -> pd.DataFrame:
    """``table`` indexed by ``column``; raises ValueError if one of its values occurs twice."""
    if (twice := table[column].duplicated()).any():
        raise ValueError(f"{what}: {column} {table[column][twice].iloc[0]!r} occurs more than once.")
    return table.set_index(column)


def _fitting(files: Files, columns: tuple[str, ...], what: str, part: str | None) -> list[Path]:
    if fitting := tables_with(files, columns, part):
        return fitting
    headers = {path: _header(path) for path in _of_part(files, part)}
    for path in (p for p, header in headers.items() if not header and p.suffix.lower() == ".xlsx"):
        _sheet(path)  # it may be the table that is looked for: what is wrong with it is the answer then
    raise ValueError(_nearest_table(headers, columns, what, files.root))


def _spelled(table: pd.DataFrame, columns: tuple[str, ...]) -> pd.DataFrame:
    asked = {c.casefold(): c for c in columns}
    return table.rename(columns={c: asked[c.casefold()] for c in table.columns if c.casefold() in asked})


def _of_part(files: Files, part: str | None) -> list[Path]:
    return [path for path in files.tables if (part or "") in path.name.casefold()]


def _header(path: Path) -> list[str]:
    """The names of the columns in lower case; none of a broken .xlsx, which may be no table of the set."""
    if path.suffix.lower() == ".xlsx":
        try:
            return [str(c).strip().casefold() for c in _sheet(path, rows=0).columns]
        except ValueError:
            return []
    line = _first_line(path)
    return [c.strip().casefold() for c in next(csv.reader([line], delimiter=_delimiter(path)), [])]


def _sheet(path: Path, rows: int | None = None) -> pd.DataFrame:
    """The first sheet, or its first ``rows`` rows."""
    if importlib.util.find_spec("openpyxl") is None:
        raise ValueError(f"{path} needs openpyxl (pip install openpyxl), or save it as .csv.")
    try:
        return pd.read_excel(path, dtype=str, keep_default_na=False, nrows=rows, engine="openpyxl")
    except (ValueError, KeyError, zipfile.BadZipFile) as wrong:
        raise ValueError(f"{path} is not a workbook that can be read: {wrong}") from None


def _first_line(path: Path) -> str:
    with path.open("rb") as file:
        start = file.read(1 << 16)
    lines = start.decode("utf-16" if _is_utf16(start) else "utf-8-sig", errors="replace").splitlines()
    return lines[0] if lines else ""


def _is_utf16(start: bytes) -> bool:
    return start.startswith((b"\xff\xfe", b"\xfe\xff"))


def _encoding(path: Path) -> str:
    with path.open("rb") as file:
        if _is_utf16(file.read(2)):
            return "utf-16"
    try:
        with path.open(encoding="utf-8-sig") as file:
            while file.read(1 << 20):
                pass
    except UnicodeDecodeError:
        return "cp1252"
    return "utf-8-sig"


def _delimiter(path: Path) -> str:
    line = _first_line(path)
    return max(DELIMITERS, key=line.count)


def _nearest_table(headers: dict[Path, list[str]], columns: tuple[str, ...], what: str, root: Path) -> str:
    wanted = [c.casefold() for c in columns]
    sentence = f"no table of {what} under {root}: one with the columns {', '.join(columns)} is needed."
    near = max(headers, key=lambda p: len(set(wanted) & set(headers[p])), default=None)
    if near is None or not set(wanted) & set(headers[near]):
        return f"{sentence} Tables there: {', '.join(p.name for p in headers) or 'none'}."
    hints = []
    for column in (c for c in wanted if c not in headers[near]):
        similar = get_close_matches(column, headers[near], n=1, cutoff=0.6)
        hints.append(f"{column} (is it {similar[0]!r}?)" if similar else column)
    return f"{sentence} {near.name} comes nearest but lacks {', '.join(hints)}."
