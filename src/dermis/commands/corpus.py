"""dermis corpus"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import tyro

from dermis.cases.corpus.build import CorpusConfig
from dermis.cases.manifest import FORMATS, Manifest
from dermis.cases.whole_files import written_whole
from dermis.commands.arguments import ManifestFile, called, typed
from dermis.progress import counting


def corpus(
    manifest: ManifestFile,
    out: Path,
    against: tuple[Path, ...] = (),
    root: Path | None = None,
    pictures: bool = True,
    skin: str | None = None,
    config: tyro.conf.OmitArgPrefixes[CorpusConfig] = CorpusConfig(),  # noqa: B008 (frozen)
) -> int:
    """Filter collected cases into a corpus for pre-training, and keep it apart from the sets it will be tested on.

    Caption length and language, equal and near-equal pictures and captions, pictures without skin, figures of several
    panels, cases shared with evaluations. Beside OUT lie OUT.dropped.parquet and OUT.flagged.parquet with a reason for
    every case, OUT.report.json and OUT.report.md.

    Args:
        manifest: cases.parquet or cases.csv
        out: the corpus, .parquet or .csv
        against: manifests of the evaluations that the corpus must share nothing with
        root: image root, if not the one the manifest records
        pictures: open every picture; without, only captions and ids are looked at
        skin: "module:function", which gets a picture (uint8 RGB, H x W x 3) and returns its probability of skin
    """
    from dermis.cases.corpus.build import build
    from dermis.cases.corpus.look import classifier
    from dermis.cases.corpus.report import markdown, report

    if out.suffix.lower() not in FORMATS:
        raise ValueError(f"a corpus is a {' or '.join(FORMATS)} file, and {out} is not named like one.")
    collected = Manifest.read(manifest, root)
    evaluations = {str(path): Manifest.read(path) for path in against}
    if out.resolve() in {path.resolve() for path in (manifest, *against)}:
        raise ValueError(f"{out} is also read: nothing collected is overwritten, choose another name.")
    function = None if skin is None else classifier(skin)
    with counting("opening pictures") as progress:
        result = build(collected, config, evaluations, pictures=pictures, skin=function, progress=progress)

    record = report(result, collected, config, evaluations, typed())
    page = markdown(record)
    endings = (".dropped.parquet", ".flagged.parquet", ".report.json", ".report.md")
    with written_whole(*(out.with_suffix(ending) for ending in endings)) as (dropped, flagged, facts, told):
        result.dropped.to_parquet(dropped, index=False)
        result.flagged.to_parquet(flagged, index=False)
        facts.write_text(json.dumps(record, indent=1, ensure_ascii=False), encoding="utf-8")
        told.write_text(page, encoding="utf-8")
    sys.stdout.write(page)
    if not len(result.kept):
        raise ValueError(f"no case is left; {out.with_suffix('.report.md')} says why.")
    result.kept.write(out)
    return 0


def run(arguments: Sequence[str]) -> int:
    """`dermis corpus`"""
    return called(corpus, "corpus", arguments)
