"""A CSV file as a table of strings and nulls: nothing guessed, nothing silently lost."""

import csv
import io
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.csv

DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}


def read_csv_table(path: Path, expect: str | None = None) -> pd.DataFrame:
    """Every cell as text, empty cells as null; ids such as "007" stay what they are.

    The delimiter is the one that finds the column ``expect`` in the header, else the one that finds most columns. A
    byte-order mark is dropped, UTF-16 is read, line breaks inside quotes belong to the cell. Raises ValueError with a
    sentence for another encoding, a quote that is never closed, a line with too many or too few cells, a repeated
    column and an empty file.
    """
    text = _decoded(path)
    if not text.strip():
        raise ValueError(f"{path} is empty.")
    if text.count('"') % 2:
        raise ValueError(f"{path} has a quotation mark that is never closed, so its lines cannot be told apart.")
    delimiter, header = _header(text, expect)
    if not header:
        raise ValueError(f"{path} has no header: its first line is one of {len(text.splitlines()[0]):,} characters.")
    if repeated := {name for name in header if header.count(name) > 1}:
        raise ValueError(f"{path} has the column {min(repeated)!r} more than once.")
    try:
        table = pyarrow.csv.read_csv(
            io.BytesIO(text.encode()),
            parse_options=pyarrow.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types=dict.fromkeys(header, pa.string()), strings_can_be_null=True, null_values=[""]
            ),
        )
    except pa.ArrowInvalid as error:
        raise ValueError(f"{path} (read as {DELIMITERS[delimiter]}-separated): {error}.") from None
    return table.to_pandas()


def _decoded(path: Path) -> str:
    data = path.read_bytes()
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ValueError(
            f"{path} is not {encoding.upper().removesuffix('-SIG')} text "
            f"(byte 0x{data[error.start]:02x} in line {line}): save it as UTF-8."
        ) from None


def _header(text: str, expect: str | None) -> tuple[str, list[str]]:
    headers = {delimiter: _first_row(text, delimiter) for delimiter in DELIMITERS}
    return max(headers.items(), key=lambda item: (expect in item[1], len(item[1])))


def _first_row(text: str, delimiter: str) -> list[str]:
    """The first line that is not blank, as pyarrow takes it for the header; empty if ``delimiter`` makes none of it."""
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)  # a lone \r ends a line too
    try:
        return next(row for row in rows if row)
    except csv.Error:  # a cell of more than 131,072 characters
        return []
