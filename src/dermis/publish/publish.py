"""From a model folder to a published one: cleaned, with a complete card, with ONNX graphs if asked."""

import dataclasses
import json
import tempfile
from pathlib import Path

from torch import nn

from dermis.model import load
from dermis.model.card import Card
from dermis.model.folder import OF_RUN, refuse_run
from dermis.model.whole_folder import written_whole
from dermis.publish.clean import copy_clean, leftovers
from dermis.publish.complete_card import complete
from dermis.publish.hub import upload
from dermis.publish.paths import clean_text
from dermis.recipe import read_yaml
from dermis.towers.layouts import SETTINGS
from dermis.towers.weights import FOLDER, HUB

GRAPHS = "onnx"


def publish(
    model: Path | str,
    to: Path | str,
    *,
    said: dict[str, str | None] | None = None,
    onnx: bool = False,
    private: bool = False,
    decision: bool = True,
) -> tuple[str, list[str]]:
    """Publish a model folder into a folder, which appears whole, or to ``hf-hub:ORG/REPO``; returns where it is, and
    what should be read about it.

    ``said``: fields of ``Card`` that take the place of those on the folder's own card. Raises ValueError, with a
    sentence, and publishes nothing: for a folder that is no model of dermis or has no licence, a place that is taken,
    a setting without effect, an ONNX graph that differs from the model, and texts that still hold local paths.
    """
    source, hub = Path(str(model).removeprefix(FOLDER)), str(to).startswith(HUB)
    if not (source / SETTINGS).is_file():
        refuse_run(source)
        raise ValueError(f"{source} is no model folder of dermis (it has no {SETTINGS}); `dermis.save` makes one.")
    if private and not hub:
        raise ValueError(f"--private is about the model hub, and {to} is a folder; leave it out.")
    if not decision and not (source / "decision").is_dir():
        raise ValueError(f"--no-decision has no effect: {source} has no decision.")
    card = card_of(source, said or {})
    if onnx:
        from dermis.publish.onnx_export import need_extra

        need_extra()
    if hub:
        repository = str(to).removeprefix(HUB)
        if repository.count("/") != 1 or not all(repository.split("/")):
            raise ValueError(f"a repository of the hub is {HUB}ORG/REPO, not {to}.")
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / repository.partition("/")[2]
            folder.mkdir()
            notes = _write(source, folder, card, str(to), onnx, decision)
            return upload(folder, repository, private=private), notes
    target = Path(str(to).removeprefix(FOLDER))
    if target.resolve().is_relative_to(source.resolve()) or source.resolve().is_relative_to(target.resolve()):
        raise ValueError(f"{target} and the model's own folder {source} lie in each other; choose another folder.")
    if target.exists() and not (target.is_dir() and ((target / SETTINGS).is_file() or not any(target.iterdir()))):
        raise ValueError(f"{target} holds something that is not a dermis model; choose another folder.")
    with written_whole(target) as folder:
        notes = _write(source, folder, card, target.name, onnx, decision)
    return str(target), notes


def card_of(source: Path, said: dict[str, str | None]) -> Card:
    """What the folder's own card says, and ``said`` in its place; ValueError without a licence."""
    page = source / "README.md"
    own = Card.read(page.read_text(encoding="utf-8")) if page.is_file() else Card()
    given = {field: text for field, text in said.items() if text is not None}
    recipe = read_yaml(source / "recipe.yaml") if (source / "recipe.yaml").is_file() else {}
    # what a card is called that nobody gave a title
    title = None if own.title in (source.name, OF_RUN, recipe.get("name")) else own.title
    card = dataclasses.replace(own, title=title, **given)
    if not (card.licence or "").strip():
        raise ValueError(
            "nobody may use a model without a licence: give --licence, such as CC-BY-NC-4.0. Mind the licences of the "
            "training cases and of the weights that it started from."
        )
    texts = dataclasses.asdict(card)
    return Card(**{field: text if text is None else clean_text(text) for field, text in texts.items()})


def _write(source: Path, folder: Path, card: Card, place: str, onnx: bool, decision: bool) -> list[str]:
    """The published folder; returns notes."""
    left, about = copy_clean(source, folder, decision=decision), None
    model = load(source)
    if onnx:
        about = _graphs(model, folder / GRAPHS)
    name = place.removeprefix(HUB).rpartition("/")[2]
    (folder / "README.md").write_text(complete(folder, model, card, name, place, about), encoding="utf-8")
    if found := leftovers(folder):
        raise ValueError(f"texts still say where this machine keeps things: {'; '.join(found)}. Nothing is published.")
    return [f"not published, because dermis did not write it: {file}" for file in left]


def _graphs(model: nn.Module, folder: Path) -> str:
    """Write the graphs; returns what the card says of them."""
    import onnxruntime

    from dermis.publish.onnx_export import write_graphs
    from dermis.publish.preprocessing import preprocessing

    graphs, left_out = write_graphs(model, folder)
    (folder / "preprocessing.json").write_text(json.dumps(preprocessing(model), indent=1), encoding="utf-8")
    rows = [f"| `onnx/{g.name}` | {', '.join(g.outputs)} | {g.difference:.1e} | {g.relative:.1e} |" for g in graphs]
    return "\n".join(
        [
            "| graph | outputs | largest difference from torch | over the largest value |",
            "| --- | --- | --: | --: |",
            *rows,
            "",
            f"Compared when they were made (onnxruntime {onnxruntime.__version__}, CPU, float32), on white noise and "
            "synthetic skin pictures or random tokens, one and five at a time. `onnx/preprocessing.json` says how "
            "pictures and texts become their input. Embeddings are not normalised.",
            *[f"\nLeft out: {reason}" for reason in left_out],
        ]
    )
