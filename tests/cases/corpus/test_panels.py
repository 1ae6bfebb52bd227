"""Separators: drawn figures with known lines, and real photographs, which have none."""

import cv2
import numpy as np
import pytest

from dermis.cases.corpus.panels import separators
from dermis.pictures.decode import decode
from dermis.pictures.store import members, read_bytes


def figure(picture, columns=2, rows=1, gap=8, colour=255, margin=0):
    lines = [np.concatenate([picture(10 * r + c, 200, 240) for c in range(columns)], axis=1) for r in range(rows)]
    whole = np.concatenate(lines)
    for c in range(1, columns):
        whole[:, 240 * c - gap // 2 : 240 * c + gap // 2] = colour
    for r in range(1, rows):
        whole[200 * r - gap // 2 : 200 * r + gap // 2] = colour
    return cv2.copyMakeBorder(whole, *[margin] * 4, cv2.BORDER_CONSTANT, value=(255, 255, 255))


@pytest.mark.parametrize("colour", [255, 0])
@pytest.mark.parametrize(("columns", "rows"), [(2, 1), (1, 2), (2, 2), (3, 1)])
def test_lines_of_a_grid_are_found_where_they_are(picture, columns, rows, colour):
    found = separators(figure(picture, columns, rows, colour=colour))
    expected = [("row", 200 * r - 4, 200 * r + 3) for r in range(1, rows)]
    assert found == expected + [("column", 240 * c - 4, 240 * c + 3) for c in range(1, columns)]


def test_a_margin_is_no_separator(picture):
    assert separators(figure(picture, 1, 1, margin=30)) == []
    assert len(separators(figure(picture, 2, 1, margin=30))) == 1


def test_a_line_survives_jpeg_and_shrinking(picture):
    done, data = cv2.imencode(".jpg", cv2.resize(figure(picture), None, fx=0.6, fy=0.6, interpolation=cv2.INTER_AREA))
    assert done
    assert len(separators(decode(data.tobytes()))) == 1


def test_what_is_no_figure(picture):
    one = picture(0)
    bar = one.copy()
    bar[20:26] = 255  # too near to the edge for a panel above
    assert separators(one) == []
    assert separators(bar) == []
    assert separators(np.full((100, 100, 3), 90, np.uint8)) == []
    half = one.copy()
    half[:150, 198:206] = 255  # does not reach the lower edge
    assert separators(half) == []


@pytest.mark.data
def test_real_photographs_have_none(shared_data):
    archive = next(iter(sorted((shared_data / "ham10000_200x150").glob("*.zip"))))
    names = [name for name in members(archive) if name.endswith(".jpg")][::100]
    flagged = [name for name in names if separators(decode(read_bytes(archive.parent, f"{archive.name}!/{name}")))]
    assert len(names) >= 90
    assert len(flagged) <= 1
