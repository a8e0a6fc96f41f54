"""Read a recipe from a YAML file, with overrides from the command line.

>>> recipe = read("recipes/tgansc-mnist-motion-cpu.yaml", ["run.steps=100"])
>>> recipe.run.steps
100

Values are checked against the dataclass of their section, and all mistakes of a file are reported together, before anything
runs.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import types
import typing
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import pydantic

from baselines import family as families
from baselines import yaml_file
from baselines.recipe import COMMON_SECTIONS, Recipe, plain
from t2vdata.errors import RequestError, nearest

# Characters of a wrong value in a message.
_MAX_SHOWN = 200


def read(path: str, overrides: Sequence[str] = ()) -> Recipe:
    """Return the recipe in a YAML file, with each override ``section.name=value`` replacing a value of the file.

    Raises RequestError that lists every mistake.
    """
    try:
        values = yaml_file.read(path)
    except FileNotFoundError:
        recipes = sorted(str(recipe) for recipe in Path(path).parent.glob("*.yaml"))
        close = nearest(path, recipes)
        hint = f"did you mean {close}?" if close else f"that folder has {', '.join(recipes) or 'no recipes'}"
        raise RequestError(f"no recipe {path}; {hint}") from None
    return parse(values, overrides, path)


def parse(values: Any, overrides: Sequence[str] = (), path: str = "recipe") -> Recipe:
    """Return the recipe that YAML values describe. Raises RequestError that lists every mistake."""
    if not isinstance(values, dict):
        raise RequestError(f"{path}: expected sections, such as data: and run:, got {_shown(values)}")
    values = _overridden(values, overrides)
    mistakes: list[str] = []
    family = values.pop("family", None)
    seed = _value("seed", values.pop("seed", 0), int, mistakes)
    if not isinstance(family, str):
        raise RequestError(f"{path}: family: required; choose from {', '.join(families.names())}")
    try:
        own = dict(families.load(family).SECTIONS)
    except RequestError as error:
        raise RequestError(f"{path}: family: {error}") from error
    specs = {**COMMON_SECTIONS, **own}
    mistakes += [_unknown(section, specs) for section in values if section not in specs]
    sections = {section: _section(section, spec, values.get(section), mistakes) for section, spec in specs.items()}
    if mistakes:
        raise RequestError(f"{path}: " + (mistakes[0] if len(mistakes) == 1 else "\n  " + "\n  ".join(mistakes)))
    common = {section: sections[section] for section in COMMON_SECTIONS}
    return Recipe(family, seed, **common, sections={section: sections[section] for section in own})


def _overridden(values: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Return a copy of the values with each ``section.name=value`` applied."""
    changed = {name: dict(section) if isinstance(section, dict) else section for name, section in values.items()}
    for override in overrides:
        key, equals, text = override.partition("=")
        *parents, name = key.split(".")
        if not equals or len(parents) > 1:
            raise RequestError(f"{override!r}: expected section.name=value, such as run.steps=1000")
        section = changed.setdefault(parents[0], {}) if parents else changed
        if not isinstance(section, dict):
            raise RequestError(f"{override!r}: {parents[0]} is not a section")
        section[name] = yaml_file.parse(text, repr(override))
    return changed


def _section(name: str, spec: type, values: Any, mistakes: list[str]) -> Any:
    """Return the dataclass of a section, or None after adding what is wrong with it to ``mistakes``."""
    values = {} if values is None else values
    if not isinstance(values, dict):
        mistakes.append(f"{name}: expected names and values, got {_shown(values)}")
        return None
    num_before = len(mistakes)
    types_by_name = typing.get_type_hints(spec)
    fields = {field.name: field for field in dataclasses.fields(spec)}
    mistakes += [_unknown(f"{name}.{key}", [f"{name}.{field}" for field in fields]) for key in values if key not in fields]
    missing = [key for key, field in fields.items() if _is_required(field) and key not in values]
    mistakes += [f"{name}.{key}: required" for key in missing]
    typed = {
        key: _value(f"{name}.{key}", value, types_by_name[key], mistakes) for key, value in values.items() if key in fields
    }
    if len(mistakes) > num_before:
        return None
    try:
        return spec(**typed)
    except ValueError as error:
        mistakes.append(f"{name}: {error}")
        return None


def _is_required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


@functools.cache
def _adapter(kind: Any) -> pydantic.TypeAdapter[Any]:
    return pydantic.TypeAdapter(kind)


def _value(name: str, value: Any, kind: Any, mistakes: list[str]) -> Any:
    """Return a value as the type of its field, or None after adding what was expected to ``mistakes``."""
    try:
        # Strict JSON mode turns a list into a tuple and an integer into a float, and converts nothing else.
        return _adapter(kind).validate_json(json.dumps(value, default=plain, allow_nan=False), strict=True)
    except (pydantic.ValidationError, ValueError, TypeError):
        mistakes.append(f"{name}: expected {_described(kind)}, got {_shown(value)}{_number_hint(value, kind)}")
        return None


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]} ..."


def _number_hint(value: Any, kind: Any) -> str:
    """Return how to write a number that YAML has read as a string, or nothing."""
    if not isinstance(value, str) or float not in (kind, *typing.get_args(kind)) or not _is_number(value):
        return ""
    if "e" not in value.lower():
        return " (without quotes)"
    return f" (YAML reads {value} as a string; write {_yaml_float(float(value))})"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _yaml_float(number: float) -> str:
    """Return a number in the form that YAML reads as one: 1.0e-4."""
    digits, _, power = f"{number:e}".partition("e")
    digits = digits.rstrip("0")
    return f"{digits}0e{int(power)}" if digits.endswith(".") else f"{digits}e{int(power)}"


def _described(kind: Any) -> str:
    """Return a type in words: "a list of 2 numbers"."""
    options = typing.get_args(kind)
    origin = typing.get_origin(kind)
    if origin is Literal:
        return "one of " + ", ".join(map(str, options)) if len(options) > 1 else str(options[0])
    if origin in (typing.Union, types.UnionType):
        return " or ".join(map(_described, options))
    if origin is tuple:
        return "a list of numbers" if len(options) != 2 or options[1] is Ellipsis else f"a list of {len(options)} numbers"
    names = {int: "an integer", float: "a number", bool: "true or false", str: "a string", types.NoneType: "null"}
    return names.get(kind, getattr(kind, "__name__", str(kind)))


def _unknown(name: str, known: Iterable[str]) -> str:
    """Return the message for an unknown section, or an unknown name ``section.name``."""
    names = sorted(known)
    close = nearest(name, names)
    choices = ", ".join(choice.rpartition(".")[2] for choice in names)
    hint = f"did you mean {close.rpartition('.')[2]}?" if close else f"choose from {choices}"
    return f"{name}: no such {'name' if '.' in name else 'section'}; {hint}"
