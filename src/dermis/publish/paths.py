"""Texts without the places of the machine that they were written on: of an absolute path its last name is kept.

No torch: `dermis doctor` uses it where torch does not load.
"""

import os
import re
from pathlib import Path, PurePosixPath, PureWindowsPath

PATH = re.compile(
    r"(?:(?<![\w.)\]<>}!/~-])(?:file://|~[\w.-]*)?/(?:[^\s/\"'`,;:<>|()]+/)*[^\s/\"'`,;:<>|()]+/?)"
    r"|(?<!\w)[A-Za-z]:[\\/][^\s\"'`,;<>|]+|\\\\[\w.-]+\\[^\s\"'`,;<>|]+"
)
"""an absolute path of Linux, macOS or Windows in a text; no URL, no fraction, no path inside an archive"""


def last_name(path: str) -> str:
    """The last part of a path, of Windows too; of somebody's home folder nothing."""
    if os.path.expanduser(path).rstrip("/\\") == str(Path.home()):
        return "."
    return PureWindowsPath(path).name if "\\" in path else PurePosixPath(path).name or "."


def clean_text(text: str, known: tuple[str, ...] = ()) -> str:
    """``text`` with each absolute path cut to its last name; ``known``: paths that may have spaces in them."""
    for place in known:
        text = text.replace(place, last_name(place))
    return PATH.sub(lambda found: last_name(found.group().removeprefix("file://")), text)
