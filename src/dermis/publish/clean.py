"""What of a model folder may travel, without the places of the machine that it was made on.

Only files that dermis writes travel, by name; what else lies in the folder stays behind. Of a path its last name is
kept (``/mnt/clinic/cases.parquet`` becomes ``cases.parquet``), of unreadable pictures their number instead of case ids.
"""

import json
import re
import shlex
import shutil
from collections.abc import Callable, Iterator, Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import yaml

from dermis.publish.paths import PATH, clean_text, last_name
from dermis.recipe import read_yaml
from dermis.towers.weights import FOLDER, HUB

VOCABULARY = ("tokenizer.json", "vocab.json", "vocab.txt", "merges.txt", "added_tokens.json", "*.model", "*.jinja")
"""a tokenizer's own files: tokens such as /home are words there, so nothing in them is changed"""
SETTINGS = ("config.json", "tokenizer_config.json", "special_tokens_map.json", *VOCABULARY)
TRAVELS = (
    *("model.safetensors", "dermis.json", "open_clip_config.json", "recipe.yaml", "report.json", *SETTINGS),
    *(f"text/{name}" for name in SETTINGS),
    *(f"decision/{name}" for name in ("decision.safetensors", "decision.json", "report.json")),
)
"""the files of a model folder that are published, as patterns; the card is written anew"""
PLACES = (
    *("manifest", "root", "cache", "out", "weights", "generator_weights", "tokenizer", "teacher"),
    *("ontology", "concept_terms"),
)
"""settings of a recipe that are paths or may be; others keep what is no absolute path"""


def travels(name: str) -> bool:
    """Is this path, relative to a model folder, a file that is published?"""
    return any(fnmatch(name, pattern) and name.count("/") == pattern.count("/") for pattern in TRAVELS)


def copy_clean(model: Path, folder: Path, *, decision: bool = True) -> list[str]:
    """Copy what may travel from the folder ``model`` to ``folder``, cleaned; returns the names of what stays behind."""
    recipe = read_yaml(model / "recipe.yaml") if (model / "recipe.yaml").is_file() else {}
    known, left = places(recipe), []
    for path in sorted(p for p in model.rglob("*") if p.is_file()):
        name = path.relative_to(model).as_posix()
        if name == "README.md" or (not decision and name.startswith("decision/")):
            continue
        if not travels(name):
            left.append(name)
            continue
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if name == "recipe.yaml":
            body = yaml.safe_dump(clean_recipe(recipe), sort_keys=False, allow_unicode=True, width=120)
            target.write_text(body, encoding="utf-8")
        elif path.suffix == ".json" and not any(fnmatch(path.name, pattern) for pattern in VOCABULARY):
            content = json.loads(path.read_text(encoding="utf-8"))
            content = clean_report(content, known) if path.name == "report.json" else _each(content, clean_text)
            target.write_text(json.dumps(content, indent=1, ensure_ascii=False), encoding="utf-8")
        else:
            shutil.copyfile(path, target)
    return left


def clean_command(command: str) -> str:
    """A command line with each path, relative ones too, cut to its last name."""
    try:
        words = shlex.split(command)
    except ValueError:  # a quote that is not closed: it was joined without quoting
        words = command.split()
    return shlex.join(_word(word) for word in words)


def _word(word: str) -> str:
    """One word of a command; of ``--data.root=PATH`` and ``split=PATH`` the name before the sign stays."""
    option, equals, value = word.partition("=")
    return f"{option}={_place(value)}" if equals and re.fullmatch(r"[\w.-]+", option) else _place(word)


def _place(value: str) -> str:
    """A setting that may be a path: its prefix (``local-dir:``) and its last name; a name on the hub stays."""
    prefix = re.match(rf"(?:open_clip:|hf:|{FOLDER})*", value).group()  # type: ignore[union-attr]
    path = value.removeprefix(prefix)
    if path.startswith(HUB) or "://" in path or not ("/" in path or "\\" in path or path.startswith("~")):
        return value
    if prefix.endswith("hf:") and path.count("/") == 1 and path[0] not in "/.~" and not Path(path).exists():
        return value  # hf:ORG/NAME
    return prefix + last_name(path)


def clean_recipe(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe without places; it stays a recipe."""

    def cleaned(key: str, value: Any) -> Any:
        if isinstance(value, Mapping):
            return {k: cleaned(str(k), v) for k, v in value.items()}
        if isinstance(value, list):
            return [cleaned(key, v) for v in value]
        if not isinstance(value, str):
            return value
        is_place = key in PLACES or (":" in value and FOLDER in value) or (key == "name" and value.startswith("hf:"))
        return _place(value) if is_place else clean_text(value)

    return cleaned("", recipe)


def places(recipe: Mapping[str, Any]) -> tuple[str, ...]:
    """The absolute paths with spaces among a recipe's settings, which no pattern finds in a sentence, longest first."""
    found: set[str] = set()
    _each(recipe, lambda text: found.add(re.sub(rf"^(?:open_clip:|hf:|{FOLDER})*", "", text)))
    return tuple(sorted((p for p in found if " " in p and PATH.match(p)), key=len, reverse=True))


def clean_report(report: Mapping[str, Any], known: tuple[str, ...] = ()) -> dict[str, Any]:
    """A report.json without places and case ids; it stays a report. ValueError for something else."""
    if report.get("version") != 1:
        raise ValueError(f"a report.json of the model is of version {report.get('version')!r}, not 1: not published.")
    content = _each(report, lambda text: clean_text(text, known))
    for part, whole in zip([content, *content["entries"]], [report, *report["entries"]], strict=True):
        part["command"] = clean_command(whole["command"])
    if unread := content["bad_pictures"]:
        content["bad_pictures"] = []
        content["notes"].append(f"{len(unread)} pictures could not be read; they are in no number.")
    return content


def _each(content: Any, change: Callable[[str], Any]) -> Any:
    """The same structure with every text in it changed."""
    if isinstance(content, Mapping):
        return {key: _each(value, change) for key, value in content.items()}
    if isinstance(content, list):
        return [_each(value, change) for value in content]
    return change(content) if isinstance(content, str) else content


def leftovers(folder: Path) -> list[str]:
    """Files of ``folder``, with what they still say of this machine: absolute paths, the home folder or its name."""
    home, found = Path.home(), []
    name = re.compile(rf"(?<!\w){re.escape(home.name)}(?!\w)") if home.name not in ("", "root") else None
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        if path.suffix == ".onnx":
            if any(str(place).encode() in path.read_bytes() for place in (home, Path.cwd()) if place.name):
                found.append(f"{path.name}: paths in its nodes")
            continue
        texts = list(_texts(path))
        if hit := next(filter(None, map(PATH.search, texts)), None):
            found.append(f"{path.name}: {hit.group()}")
        elif path.suffix != ".md" and name and any(map(name.search, texts)):  # a card may name whom to ask
            found.append(f"{path.name}: {home.name}, the name of your home folder")
    return found


def _texts(path: Path) -> Iterator[str]:
    """What a text file says, keys too; of vocabularies and files of numbers nothing."""

    def inside(content: Any) -> Iterator[str]:
        if isinstance(content, str):
            yield content
        elif isinstance(content, Mapping):
            yield from inside([*map(str, content), *content.values()])
        elif isinstance(content, list):
            for value in content:
                yield from inside(value)

    if path.suffix == ".md":
        yield path.read_text(encoding="utf-8")
    elif path.suffix in (".json", ".yaml") and not any(fnmatch(path.name, p) for p in VOCABULARY):
        read = json.loads if path.suffix == ".json" else yaml.safe_load
        yield from inside(read(path.read_text(encoding="utf-8")))
