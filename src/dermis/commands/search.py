"""dermis search"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import tyro

from dermis.commands.arguments import by_column, called


def search(
    embeddings: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="EMBEDDINGS")],
    picture: tuple[str, ...] = (),
    text: str | None = None,
    case: str | None = None,
    where: tuple[str, ...] = (),
    k: Annotated[int, tyro.conf.arg(aliases=("-k",))] = 10,
    text_weight: float | None = None,
    leave_out: Literal["nothing", "case", "patient"] = "case",
    model: str | None = None,
    index_above: int | None = None,
    probes: int | None = None,
    out: Path | None = None,
) -> int:
    """Show the cases nearest to a picture, a text, both, or a case, by cosine of their embeddings.

    Every case is compared, unless --index-above asks for an index: faster on millions, and it may miss cases.

    Args:
        embeddings: a folder that `dermis embed` wrote
        picture: a file; for a model of two pictures two, as image=a.jpg dermoscopy=b.jpg
        text: what the case should look like, for a model of pictures and texts
        case: a case_id of the embeddings, in place of a picture
        where: conditions that the cases must meet, such as diagnosis=melanoma "patient.age>=60"; = != < <= > >=
        k: how many cases
        text_weight: with a picture and a text, the text's share of the query, 0 to 1 (0.5)
        leave_out: if the query is among the cases (by its bytes), leave out it, or all cases of its patient
        model: the model that made the embeddings, if it is not where they record
        index_above: with more cases than this to choose from, build an index (extra `search`), keep it and use it
        probes: lists of the index that are looked into (32); more is slower and misses less
        out: write the hits as a .csv file too
    """
    from dermis.search.folder import Embeddings
    from dermis.search.index import PROBES
    from dermis.search.nearest import nearest_cases

    if out is not None and out.suffix.lower() != ".csv":
        raise ValueError(f"the hits are a .csv file, and {out} is not named like one.")
    if probes is not None and index_above is None:
        raise ValueError("--probes has no effect without --index-above.")
    found = Embeddings.open(embeddings)
    named = by_column(picture, found.facts["columns"]) if picture else None
    hits = nearest_cases(
        found, picture=named, text=text, case=case, model=model, where=where, k=k, text_weight=text_weight,
        leave_out=leave_out, index_above=index_above, probes=PROBES if probes is None else probes,
    )  # fmt: skip
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        hits.to_csv(out, index=False)
    shown = hits.fillna("").to_string(index=False, float_format=lambda x: f"{x:.4f}")
    sys.stdout.write(shown + "\n" + (f"{len(hits)} hits in {out}\n" if out is not None else ""))
    return 0


def run(arguments: Sequence[str]) -> int:
    """`dermis search`"""
    return called(search, "search", arguments)
