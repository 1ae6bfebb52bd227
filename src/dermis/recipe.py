"""Dataclass = schema, strict YAML = recipe, tyro = command line.

A recipe is a YAML file whose keys are a dataclass's fields. Reading it is strict: a wrong key, a wrong choice or a
value of the wrong type stops with a sentence that names the nearest right one. Precedence: default, recipe, command
line. A recipe's ``smoke:`` block holds the changes that make it small enough for a test.
"""

import dataclasses
import types
from collections.abc import Hashable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import yaml

from dermis.registry import unknown

T = TypeVar("T")


class _StrictLoader(yaml.SafeLoader):
    """YAML without silent losses: a key that stands twice is an error, and so is one that is no plain word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise ValueError(f"a key must be a plain word (line {key.start_mark.line + 1}).")
            if key.value in seen:
                raise ValueError(f"{key.value!r} stands twice in the recipe (line {key.start_mark.line + 1}).")
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path | str, smoke: bool = False) -> dict[str, Any]:
    """The mapping in a recipe file, with its ``smoke:`` block laid over it or left out.

    Raises ValueError with the file's name for a missing file, a syntax error or something that is no mapping, and for a
    ``smoke:`` that is none.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"no recipe at {path}.")
    try:
        mapping = yaml.load(path.read_text(encoding="utf-8-sig"), _StrictLoader)  # noqa: S506 (a SafeLoader)
    except (yaml.YAMLError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from None
    if not isinstance(mapping, dict):
        raise ValueError(f"{path} holds no `key: value` lines.")
    changes = _block(mapping.pop("smoke", None) or {}, f"{path}: smoke")
    return overlay(mapping, changes) if smoke else mapping


def overlay(mapping: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """``mapping`` with ``changes`` laid over it, block by block."""
    merged = dict(mapping)
    for key, value in changes.items():
        below = merged.get(key)
        merged[key] = overlay(below, value) if isinstance(below, dict) and isinstance(value, Mapping) else value
    return merged


def build(schema: type[T], mapping: Mapping[str, Any], where: str = "") -> T:
    """An instance of the dataclass ``schema`` from a mapping; strict. Raises ValueError naming the key as a.b.c."""
    hints = get_type_hints(schema)
    fields = {field.name: field for field in dataclasses.fields(schema) if field.init}  # type: ignore[arg-type]
    for key in mapping:
        if key not in fields:
            raise unknown(f"key in {where or 'the recipe'}", key, fields)
    values = {key: _convert(hints[key], value, f"{where}.{key}" if where else key) for key, value in mapping.items()}
    required = [
        name
        for name, field in fields.items()
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING and name not in values
    ]
    if required:
        raise ValueError(f"{where or 'the recipe'} needs {', '.join(required)}.")
    return schema(**values)


def _convert(kind: Any, value: Any, where: str) -> Any:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        kinds = [k for k in arguments if k is not type(None)]
        for k in kinds[:-1]:
            try:
                return _convert(k, value, where)
            except ValueError:
                continue
        return _convert(kinds[-1], value, where)
    if origin is Literal:
        if value not in arguments:
            raise unknown(where, value, map(str, arguments))
        return value
    if origin in (tuple, list, Sequence):
        if not isinstance(value, list):
            raise ValueError(f"{where} must be a list, not {value!r}.")
        return _convert_sequence(origin, arguments, value, where)
    if origin is dict:
        return {str(k): _convert(arguments[1], v, f"{where}.{k}") for k, v in _block(value, where).items()}
    if dataclasses.is_dataclass(kind):
        return build(kind, _block(value, where), where)  # type: ignore[arg-type]
    return _convert_scalar(kind, value, where)


def _block(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError(f"{where} must be a block of `key: value` lines, not {value!r}.")
    return value


def _convert_sequence(origin: Any, arguments: tuple[Any, ...], value: list[Any], where: str) -> Any:
    if origin is tuple and arguments[-1] is not Ellipsis:
        if len(value) != len(arguments):
            raise ValueError(f"{where} must hold {len(arguments)} values, not {len(value)}: {value!r}.")
        kinds = list(arguments)
    else:
        kinds = [arguments[0]] * len(value)
    items = [_convert(k, v, f"{where}[{i}]") for i, (k, v) in enumerate(zip(kinds, value, strict=True))]
    return tuple(items) if origin is tuple else items


def _convert_scalar(kind: Any, value: Any, where: str) -> Any:
    if kind is Path and isinstance(value, str):
        return Path(value)
    if kind is float and isinstance(value, str | int) and not isinstance(value, bool):
        try:  # text too, because YAML 1.1 reads 3e-4 as text
            return float(value)
        except ValueError:
            raise ValueError(f"{where} must be a number, not {value!r}.") from None
    if kind is Any or (isinstance(value, kind) and not (kind is int and isinstance(value, bool))):
        return value
    names = {float: "a number", int: "a whole number", str: "text", bool: "true or false"}
    raise ValueError(f"{where} must be {names.get(kind, kind)}, not {value!r}.")


def to_mapping(instance: Any) -> Any:
    """The plain mapping of a dataclass instance, ready for YAML; the inverse of ``build``."""
    if dataclasses.is_dataclass(instance) and not isinstance(instance, type):
        return {f.name: to_mapping(getattr(instance, f.name)) for f in dataclasses.fields(instance) if f.init}
    if isinstance(instance, Mapping):
        return {key: to_mapping(value) for key, value in instance.items()}
    if isinstance(instance, tuple | list):
        return [to_mapping(value) for value in instance]
    return str(instance) if isinstance(instance, Path) else instance


def write_yaml(instance: Any, path: Path, header: str = "") -> None:
    """Write a dataclass instance as a recipe, under ``header`` as comment lines."""
    comment = "".join(f"# {line}\n" for line in header.splitlines())
    body = yaml.safe_dump(to_mapping(instance), sort_keys=False, allow_unicode=True, width=120)
    path.write_text(comment + body, encoding="utf-8")


def command_line(schema: type[T], default: T, arguments: Sequence[str], program: str, description: str) -> T:
    """``default`` with the command line's changes; ``--help`` shows the recipe's values as defaults.

    Exits with a sentence, as command lines do, for a flag or value that the schema does not know.
    """
    import tyro  # its import costs more than `dermis --help` may

    options = (tyro.conf.AvoidSubcommands,)  # a block that may be null is a block of flags where the recipe has it
    return tyro.cli(
        schema, default=default, args=list(arguments), prog=program, description=description, config=options
    )


def refuse_out_of_range(
    config: Any, *, above_0: Iterable[str] = (), at_least_1: Iterable[str] = (), shares: Iterable[str] = ()
) -> None:
    """Raise ValueError for the first of these settings that is out of its range; None is in every range."""
    for names, fits, range_ in (
        (above_0, lambda value: value > 0, "must be above 0"),
        (at_least_1, lambda value: value >= 1, "must be at least 1"),
        (shares, lambda value: 0 <= value <= 1, "is a share, 0 to 1"),
    ):
        for name in names:
            value = getattr(config, name)
            if value is not None and not fits(value):
                raise ValueError(f"{name} {range_}, not {value}.")


def changed(config: Any, names: Iterable[str]) -> list[str]:
    """Those of the settings that differ from their defaults."""
    default = {}
    for f in dataclasses.fields(config):
        default[f.name] = f.default if f.default_factory is dataclasses.MISSING else f.default_factory()
    return [name for name in names if getattr(config, name) != default[name]]
