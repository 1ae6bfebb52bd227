"""Which recipe is measured: the one that was asked for, that of a method, or the simplest that fits the manifest."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from dermis.cases.manifest import Manifest
from dermis.experiment import Experiment, read_experiment
from dermis.methods import methods
from dermis.recipe import read_yaml
from dermis.recipes import find_recipe, recipes_folder


def chosen(
    manifest: Path, recipe: str | None, method: str | None, arguments: Sequence[str], smoke: bool = False
) -> Experiment:
    """The experiment of a recipe, of a method's recipe or of neither, on ``manifest``, changed by ``arguments``.

    Raises ValueError for a recipe and a method together, and for settings that the manifest would override.
    """
    for argument in arguments:
        if argument.partition("=")[0] in ("--data.manifest", "--data.reader", "--data.options"):
            raise ValueError(f"{argument} has no effect here: the manifest {manifest} is what is measured.")
    if recipe is not None and method is not None:
        raise ValueError(f"a recipe names its method: give {recipe} or --method {method}, not both.")
    if method is not None:
        path = recipe_of(method)
    elif recipe is not None:
        path = find_recipe(recipe)
    else:
        path = find_recipe("clip_small" if "caption" in Manifest.read(manifest) else "simclr")
    experiment = read_experiment(path, arguments, smoke, f"dermis train {path.stem}")
    return replace(experiment, data=replace(experiment.data, manifest=manifest, reader=None, options={}))


def recipe_of(method: str) -> Path:
    """The recipe for ``method`` that came with dermis: the one of its name, or its small one, before others.

    Raises ValueError for a method that does not exist, and for one without a recipe.
    """
    methods()[method]
    paths = sorted(recipes_folder().glob("*.yaml"))
    fit = [path for path in paths if (read_yaml(path).get("method") or {}).get("name") == method]
    if not fit:
        raise ValueError(f"no recipe that came with dermis is for {method!r}: give a recipe of your own in its place.")
    return min(fit, key=lambda path: (path.stem != method, path.stem != f"{method}_small", path.stem))
