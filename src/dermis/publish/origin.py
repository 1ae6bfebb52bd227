"""Where a model comes from, as its recipe says: method, cases, the weights it started from, and their licences."""

import inspect
import re
from collections.abc import Mapping
from typing import Any

from dermis.cases.catalogue import READERS
from dermis.towers.build import HF, OPEN_CLIP

STARTED = ("weights", "generator_weights", "teacher", "name")
"""settings that may name somebody else's weights"""
UNKNOWN = "Not known: the folder has no recipe."


def said_by_recipe(recipe: Mapping[str, Any]) -> str:
    """What the (cleaned) recipe says about training."""
    if not recipe:
        return UNKNOWN
    data, method = recipe.get("data") or {}, recipe.get("method") or {}
    lines = [
        f"- method: {method.get('name', 'not known')}",
        f"- cases: {data.get('manifest') or data.get('reader') or 'not known'}",
    ]
    for name, block in _loops(recipe.get("training")):
        stage = f" ({name})" if name else ""
        lines.append(
            f"- training{stage}: {block['epochs']} epochs, batch {block.get('batch_size', 'not known')}, "
            f"learning rate {block.get('lr', 'not known')}, seed {block.get('seed', 'not known')}"
        )
    for key in ("hold_out", "draw_first"):
        if data.get(key):
            lines.append(f"- data.{key}: {', '.join(map(str, data[key]))}")
    lines.append(f"- started from: {', '.join(started_from(recipe)) or 'random weights'}")
    return "\n".join([*lines, "", "`recipe.yaml` holds every setting of the run, without the places of its files."])


def licences(recipe: Mapping[str, Any], dataset: str | None) -> str:
    """Licences of the cases and of the weights that training started from; the rest is said to be unknown."""
    lines = []
    reader = str((recipe.get("data") or {}).get("reader") or "")
    if reader:
        lines.append(f"- training cases ({reader}): {of_set(reader) or 'not known'}")
    else:
        lines.append("- training cases: not recorded by the recipe; see Training data")
    if dataset:
        lines.append(f"- cases of the results ({dataset}): {of_set(dataset) or 'not known'}")
    if not recipe:
        lines.append("- weights that it started from: not known")
    lines += [f"- {source}, where it started: not known here; ask its publisher" for source in started_from(recipe)]
    return "\n".join(lines)


def of_set(name: str) -> str | None:
    """The licence of a public data set, as its reader's page says; None for a set that has no page."""
    key = next((r for r in READERS if r == name.lower()), None)
    page = inspect.getdoc(READERS[key]) if key and key not in ("csv", "folder") else None
    found = re.search(r"^Licence: (.+?)(?:\n\n|\Z)", page or "", re.MULTILINE | re.DOTALL)
    return " ".join(found.group(1).split()).rstrip(".") if found else None


def started_from(recipe: Mapping[str, Any]) -> list[str]:
    """Other people's weights that the recipe names, by their cleaned names."""

    def found(block: Any) -> list[str]:
        if not isinstance(block, Mapping):
            return []
        named = [(k, v) for k, v in block.items() if k in STARTED and isinstance(v, str)]
        own = [v for k, v in named if k != "name" or v.startswith((HF, OPEN_CLIP))]
        return own + [source for value in block.values() for source in found(value)]

    return list(dict.fromkeys(found(recipe.get("model")) + found(recipe.get("method"))))


def _loops(training: Any) -> list[tuple[str, Mapping[str, Any]]]:
    """Stage -> its loop; a method without stages has one without a name."""
    if not isinstance(training, Mapping):
        return []
    if "epochs" in training:
        return [("", training)]
    return [(k, v) for k, v in training.items() if isinstance(v, Mapping) and "epochs" in v]
