"""Synthetic cases as files: pictures, masks and the manifest."""

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import accumulate, count
from pathlib import Path

import cv2
import pandas as pd
import simplejpeg

from dermis.cases.columns import SPLITS
from dermis.cases.manifest import Manifest
from dermis.cases.synthetic.latent import Case, sample_cases
from dermis.cases.synthetic.render import clinical, dermoscopic, mask
from dermis.cases.synthetic.tables import row

VERSION = 1
"""version of the whole generator; a change of what any seed gives is a new version, and the tests refuse it unnamed"""

SOURCE = f"synthetic skin v{VERSION}"
LICENCE = "Apache-2.0"


def make_cases(
    folder: Path | str,
    *,
    patients: int | None = None,
    cases: int | None = None,
    size: int = 96,
    seed: int = 0,
    split: Sequence[float] = (0.7, 0.1, 0.2),
    quality: int = 92,
    workers: int = 1,
) -> Manifest:
    """Write a synthetic data set: ``folder/cases.parquet``, its sidecar, and ``folder/images/``.

    Give ``patients`` or ``cases``. ``size`` is the side of the square pictures in pixels, ``split`` the shares of
    patients in train, valid and test, ``quality`` that of JPEG. The first n cases are the same however many are made
    and by however many ``workers``. Raises ValueError for settings that make no sense.
    """
    if not 1 <= quality <= 100:
        raise ValueError(f"quality is 1 to 100, not {quality}.")
    if workers < 1:
        raise ValueError(f"workers is 1 or more, not {workers}.")
    chosen = latent_cases(patients=patients, cases=cases, seed=seed)
    table = pd.DataFrame([row(c, LICENCE, SOURCE, split_of(c, split)) for c in chosen])
    folder = Path(folder)
    (folder / "images").mkdir(parents=True, exist_ok=True)
    draw = partial(write_pictures, folder=folder, size=size, quality=quality)
    if workers == 1:
        draw(chosen)
    else:
        with ProcessPoolExecutor(workers) as pool:
            list(pool.map(draw, [chosen[i : i + 64] for i in range(0, len(chosen), 64)]))
    manifest = Manifest.build(table, folder)
    manifest.write(folder / "cases.parquet")
    return manifest


def latent_cases(*, patients: int | None = None, cases: int | None = None, seed: int = 0) -> list[Case]:
    """The latents of the first ``patients`` or the first ``cases``, without pictures."""
    if (patients is None) == (cases is None):
        raise ValueError("give either patients or cases, and not both.")
    wanted = patients if cases is None else cases
    if wanted < 1:
        raise ValueError(f"at least one patient or case has to be made, not {wanted}.")
    if seed < 0:
        raise ValueError(f"a seed is not negative; {seed} is.")
    found: list[Case] = []
    for index in range(patients) if patients is not None else count():
        found += sample_cases(seed, index)
        if cases is not None and len(found) >= cases:
            break
    return found if cases is None else found[:cases]


def split_of(case: Case, shares: Sequence[float]) -> str:
    """The split of the case's patient; raises ValueError unless three shares sum to 1."""
    if len(shares) != len(SPLITS) or min(shares) < 0 or abs(sum(shares) - 1) > 1e-9:
        raise ValueError(f"split gives the shares of {', '.join(SPLITS)}, which sum to 1; {tuple(shares)} do not.")
    bounds = zip(SPLITS, accumulate(shares), strict=True)
    return next((name for name, upper in bounds if case.split_draw < upper), SPLITS[-1])


def write_pictures(cases: Sequence[Case], folder: Path, size: int, quality: int) -> None:
    """Render and write both pictures (JPEG) and the photograph's mask (PNG) of each case."""
    threads = cv2.getNumThreads()
    # Pictures are small: OpenCV's threads cost more than they bring.
    cv2.setNumThreads(1)
    try:
        for case in cases:
            stem = folder / "images" / case.case_id
            for suffix, picture in (("", clinical(case, size)), ("-dermoscopy", dermoscopic(case, size))):
                data = simplejpeg.encode_jpeg(picture, quality=quality, colorsubsampling="444")
                Path(f"{stem}{suffix}.jpg").write_bytes(data)
            _, png = cv2.imencode(".png", mask(case, case.clinical, size))
            Path(f"{stem}-mask.png").write_bytes(png.tobytes())
    finally:
        cv2.setNumThreads(threads)
