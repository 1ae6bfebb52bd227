"""What a recipe says as a whole: the schema of an experiment, with the chosen method's own settings in it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, make_dataclass
from pathlib import Path
from typing import Any, Literal

from dermis.batch.config import DataConfig
from dermis.evaluation.config import EvaluationConfig
from dermis.methods import methods
from dermis.recipe import build, command_line, overlay, read_yaml
from dermis.towers.build import TwoTowerConfig
from dermis.training.config import StageConfig, TrainingConfig


@dataclass(kw_only=True)
class Experiment:
    """One run, whole."""

    name: str
    """name of the run; its folder is runs/NAME unless --out says otherwise"""
    data: DataConfig = field(default_factory=DataConfig)
    """cases, their texts and how their pictures are seen"""
    model: Any
    """the towers that the method learns with"""
    method: Any = None
    """what the towers learn by: `name` and that method's settings"""
    training: Any = field(default_factory=TrainingConfig)
    """the loop; of a method with stages, a block for each"""
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    """what is measured afterwards"""
    untrained: bool = True
    """measure the model before training too, beside it (of a large corpus its pictures are then embedded first)"""


def schema_for(method_name: str) -> type[Experiment]:
    """Experiment with the towers, settings and stages of one method. ValueError for a method that does not exist."""
    page = methods()[method_name]
    name = ("name", Literal[method_name], field(default=method_name))  # type: ignore[valid-type]
    named = make_dataclass(page.Config.__name__, [name], bases=(page.Config,), kw_only=True)
    named.__doc__ = page.Config.__doc__
    loop = _stages(page.stages) if hasattr(page, "stages") else TrainingConfig
    own = [
        ("model", getattr(page, "Towers", TwoTowerConfig)),
        ("method", named, field(default_factory=named)),
        ("training", loop, field(default_factory=loop)),
    ]
    whole = make_dataclass("Experiment", own, bases=(Experiment,), kw_only=True)
    whole.__doc__ = Experiment.__doc__
    return whole


def _stages(names: Sequence[str]) -> type:
    blocks = [(name, StageConfig, field(default_factory=StageConfig)) for name in names]
    loop = make_dataclass("Stages", blocks, kw_only=True)
    loop.__doc__ = "The stages of training, one after the other."
    return loop


def stages_of(experiment: Experiment) -> dict[str, TrainingConfig]:
    """Stage -> its loop, those that are left out left out; of a method without stages its loop, under no name.

    Raises ValueError if no stage is left.
    """
    if isinstance(experiment.training, TrainingConfig):
        return {"": experiment.training}
    given = {f.name: getattr(experiment.training, f.name) for f in fields(experiment.training)}
    if not any(loop.epochs for loop in given.values()):
        raise ValueError(f"training leaves out every stage ({', '.join(given)}): nothing is left to train.")
    return {name: loop for name, loop in given.items() if loop.epochs}


def seed_of(experiment: Experiment) -> int:
    """The seed of the split, the weights and the first stage."""
    return next(iter(stages_of(experiment).values())).seed


def read_experiment(recipe: Path, arguments: Sequence[str] = (), smoke: bool = False, program: str = "") -> Experiment:
    """The experiment of a recipe file with the command line's changes over it.

    Raises ValueError for a recipe that is wrong; exits with a sentence for a wrong flag.
    """
    mapping = read_yaml(recipe, smoke)
    wanted = _option(arguments, "--method.name")
    if wanted:
        mapping = overlay(mapping, {"method": {"name": wanted}})
    method_name = (mapping.get("method") or {}).get("name")
    if not method_name:
        raise ValueError(f"{recipe} names no method: it needs `method: {{name: ...}}`, one of {', '.join(methods())}.")
    schema = schema_for(method_name)
    described = f"{recipe}: every setting, with the recipe's values as defaults."
    return command_line(schema, build(schema, mapping), arguments, program or "dermis train", described)


def experiment_of(mapping: Mapping[str, Any]) -> Experiment:
    """The experiment of a mapping, such as a resolved recipe."""
    return build(schema_for(mapping["method"]["name"]), mapping)


def _option(arguments: Sequence[str], name: str) -> str | None:
    for i, argument in enumerate(arguments):
        if argument == name and i + 1 < len(arguments):
            return arguments[i + 1]
        if argument.startswith(name + "="):
            return argument.partition("=")[2]
    return None


def method_settings(experiment: Experiment) -> Any:  # the Config class itself, without `name`
    """The method's settings as its own page declares them."""
    config = methods()[experiment.method.name].Config
    return config(**{f.name: getattr(experiment.method, f.name) for f in fields(config)})
