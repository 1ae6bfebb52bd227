"""dermis explain"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import tyro

from dermis.commands.arguments import Model, by_column, called, loaded

FACTS = "maps.json"


def explain(
    model: Model,
    picture: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="PICTURE ...")],
    out: Path,
    text: tuple[str, ...] = (),
    kind: Literal["similarity", "rollout"] | None = None,
) -> int:
    """Show where a model looked: which patches are near a text, or how attention gathers the picture.

    OUT has for each map a .png (the picture, the map over it, the scale of its colours) and a .npy (float32, a number a
    patch), and maps.json, which says what each is: model, kind, texts, grid, and the box of the picture that the model
    saw. A map shows what the model used, not why, and never where a disease is: docs/explain.md.

    Args:
        model: a model folder, local-dir:FOLDER or hf-hub:ORG/REPO
        picture: files, a map of each; for a model of two pictures one case, as image=a.jpg dermoscopy=b.jpg
        out: a folder for the maps; maps that are there already are replaced
        text: what to look for, for a model of pictures and texts; a map of each
        kind: similarity (default with --text) or attention roll-out (default without)
    """
    import numpy as np

    from dermis.explain import explain, kinds_of
    from dermis.explain.draw import figure
    from dermis.model.look import picture_towers
    from dermis.model.whole_folder import written_whole
    from dermis.pictures.decode import decode
    from dermis.pictures.store import read_bytes

    if not picture:
        raise ValueError("give at least one picture.")
    if out.exists() and not (out.is_dir() and ((out / FACTS).is_file() or not any(out.iterdir()))):
        raise ValueError(f"{out} holds something that is not maps; choose another folder.")
    looker = loaded(model)
    columns = list(picture_towers(looker))
    each = [[one] for one in picture] if len(columns) == 1 else [picture]
    cases = [by_column(case, columns) for case in each]
    facts = []
    with written_whole(out) as folder:
        for case in cases:
            for found in explain(looker, case, text, kind):
                path = Path(case[found.column]).expanduser()
                # a box in fractions fits any size, and no screen shows more
                picture_HWC = decode(read_bytes(path.parent, path.name), at_least=1024)
                name = f"{len(facts) + 1:02d}-{path.stem}"
                (folder / f"{name}.png").write_bytes(figure(picture_HWC, found))
                np.save(folder / f"{name}.npy", found.values)
                facts.append(
                    {
                        "picture": case[found.column], "column": found.column, "kind": found.kind, "text": found.about,
                        "grid": list(found.values.shape), "box": [round(x, 6) for x in found.box],
                        "values": f"{name}.npy", "overlay": f"{name}.png",
                    }
                )  # fmt: skip
        said = {"model": model, "kind": facts[0]["kind"], "kinds": kinds_of(looker), "texts": text, "maps": facts}
        (folder / FACTS).write_text(json.dumps(said, indent=1, ensure_ascii=False), encoding="utf-8")
    lines = [f"{out / f['overlay']}  {f['column']}{': ' + f['text'] if f['text'] else ''}" for f in facts]
    sys.stdout.write("\n".join([*lines, f"{len(facts)} maps ({facts[0]['kind']}) in {out}"]) + "\n")
    return 0


def run(arguments: Sequence[str]) -> int:
    """`dermis explain`"""
    return called(explain, "explain", arguments)
