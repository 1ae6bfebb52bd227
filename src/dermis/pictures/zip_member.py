"""Where a member of a zip begins, so that it is read by offset."""

import os
import struct
import zipfile
from io import FileIO

from dermis.pictures import PictureError

HEADER = 30  # bytes of a local header before the name


def first_byte(file: FileIO, info: zipfile.ZipInfo, where: str) -> int:
    """The offset of the first packed byte of ``info`` in the zip ``file``; PictureError if no member begins there."""
    # The length of the local header is only in the local header, and may differ from the directory's.
    local = os.pread(file.fileno(), HEADER, info.header_offset)
    if len(local) < HEADER or local[:4] != b"PK\x03\x04":
        raise PictureError(f"{where} has no local header: the zip is damaged.")
    return info.header_offset + HEADER + sum(struct.unpack("<HH", local[26:30]))
