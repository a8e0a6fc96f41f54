"""A recipe: one YAML file that says all there is to say about an experiment.

>>> recipe = read("recipes/tgansc-mnist-motion-cpu.yaml", ["run.steps=100"])
>>> recipe.run.steps
100

Every section is a frozen dataclass. Those below are in every recipe; its family adds its own. All mistakes of a file are told
together, before anything is done.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pydantic
import yaml

from t2vdata.errors import RequestError, nearest
from t2vdata.loading import LoadSpec


@dataclass(frozen=True)
class DataSpec:
    """Which clips a model learns from."""

    path: str
    """Folder or URL of a built dataset."""
    split: str = "train"
    held_out: str = "val"
    """Split whose captions and clips stand in pictures and in the judgements on the way."""
    workers: int | None = None
    """Threads or processes that decode; null is what measures fastest."""


@dataclass(frozen=True)
class RunSpec:
    """How long a run is, where, and what it leaves behind."""

    steps: int
    """Updates in all."""
    accumulate: int = 1
    """Batches whose gradients are added up to one update."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """auto is cuda where there is one, else mps, else cpu."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """bfloat16: matrix products and convolutions under autocast; weights, sums and likelihoods stay in float32."""
    compile: bool = False
    """Whether networks go through torch.compile."""
    threads: int | None = None
    """Of torch, on the CPU; null is all cores that the process may use. Sums are rounded otherwise with another number."""
    log_every: int = 50
    """Steps between two lines of metrics.jsonl, each a mean over the steps since the last."""
    picture_every: int | None = 1000
    """Steps between two pictures of samples; null for none."""
    num_pictured: int = 8
    """Clips in a picture."""
    judge_every: int | None = None
    """Steps between two judgements on the held-out split; null for none."""
    num_judged: int = 200
    """Clips in a judgement."""
    best: str | None = None
    """Number of a judgement by which the best checkpoint is known, such as caption or bits_per_dim; null keeps none for it."""
    best_is: Literal["highest", "lowest"] = "highest"
    checkpoint_every: int = 1000
    """Steps between two checkpoints: what a killed run loses at most."""
    keep: int = 2
    """Newest checkpoints that are kept, beside the best."""
    max_returns: int = 10
    """How often a run that diverges may return to its last checkpoint before it gives up."""

    def __post_init__(self) -> None:
        for name in ("steps", "accumulate", "threads", "log_every", "picture_every", "num_pictured", "judge_every",
                     "num_judged", "checkpoint_every", "keep"):  # fmt: skip
            value = getattr(self, name)
            if value is not None and value < 1:
                raise RequestError(f"{name} {value}: expected 1 or more")
        if self.checkpoint_every % self.log_every:
            raise RequestError(f"checkpoint_every {self.checkpoint_every}: expected a multiple of log_every, {self.log_every}")
        if self.judge_every is not None and self.judge_every % self.checkpoint_every:
            raise RequestError(
                f"judge_every {self.judge_every}: expected a multiple of checkpoint_every, {self.checkpoint_every}"
            )
        if self.best is not None and self.judge_every is None:
            raise RequestError(f"best {self.best!r} without judge_every; the best checkpoint is known by judgements")


# What of RunSpec may be another when a run goes on: it decides how long a run is and what it leaves, not what it computes.
MAY_CHANGE = frozenset({"steps", "picture_every", "num_pictured", "keep", "max_returns"})


@dataclass(frozen=True)
class Recipe:
    """A whole recipe, checked."""

    family: str
    """Folder in ``baselines`` that has the model."""
    seed: int
    data: DataSpec
    load: LoadSpec
    run: RunSpec
    sections: Mapping[str, Any]
    """The family's own sections, by their names."""

    def as_values(self) -> dict[str, Any]:
        """Return the recipe as a YAML file has it, every default written out."""
        own = {name: dataclasses.asdict(section) for name, section in self.sections.items()}
        common = {name: dataclasses.asdict(getattr(self, name)) for name in _COMMON}
        values = {"family": self.family, "seed": self.seed, **common, **own}
        return typing.cast("dict[str, Any]", json.loads(json.dumps(values)))


_COMMON: dict[str, type] = {"data": DataSpec, "load": LoadSpec, "run": RunSpec}


def read(path: str, overrides: Sequence[str] = ()) -> Recipe:
    """Return the recipe in a file, with ``section.name=value`` put in place of what it says.

    Raises RequestError that lists everything that is wrong with it.
    """
    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        there = sorted(str(one) for one in Path(path).parent.glob("*.yaml"))
        close = nearest(path, there)
        hint = f"did you mean {close}?" if close else f"there is {', '.join(there) or 'none in that folder'}"
        raise RequestError(f"no recipe {path}; {hint}") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise RequestError(f"{path} is no YAML file: {error}") from error
    return checked(values, overrides, path)


def checked(values: Any, overrides: Sequence[str] = (), path: str = "recipe") -> Recipe:
    """Return the recipe that these values are. Raises RequestError that lists everything that is wrong with them."""
    from baselines import family as families

    if not isinstance(values, dict):
        raise RequestError(f"{path}: expected sections, such as data: and run:, got {values!r}")
    values = _overridden(values, overrides)
    wrong: list[str] = []
    name = values.pop("family", None)
    seed = _value("seed", values.pop("seed", 0), int, wrong)
    if not isinstance(name, str):
        raise RequestError(f"{path}: family: has to be given; there is {', '.join(families.names())}")
    try:
        own = dict(families.load(name).SECTIONS)
    except RequestError as error:
        raise RequestError(f"{path}: family: {error}") from error
    kinds = {**_COMMON, **own}
    wrong += [_unknown(section, kinds) for section in values if section not in kinds]
    made = {section: _section(section, kind, values.get(section), wrong) for section, kind in kinds.items()}
    if wrong:
        raise RequestError(f"{path}: " + (wrong[0] if len(wrong) == 1 else "\n  " + "\n  ".join(wrong)))
    return Recipe(name, seed, **{section: made[section] for section in _COMMON}, sections={one: made[one] for one in own})


def _overridden(values: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Return the values with ``section.name=value`` put in."""
    made = {name: dict(part) if isinstance(part, dict) else part for name, part in values.items()}
    for override in overrides:
        where, equals, text = override.partition("=")
        *section, name = where.split(".")
        if not equals or len(section) > 1:
            raise RequestError(f"{override!r}: expected section.name=value, such as run.steps=1000")
        part = made.setdefault(section[0], {}) if section else made
        if not isinstance(part, dict):
            raise RequestError(f"{override!r}: {section[0]} is no section")
        part[name] = yaml.safe_load(text)
    return made


def _section(name: str, kind: type, values: Any, wrong: list[str]) -> Any:
    """Return a section, or None after adding to ``wrong`` what is the matter with it."""
    values = {} if values is None else values
    if not isinstance(values, dict):
        wrong.append(f"{name}: expected names and values, got {values!r}")
        return None
    before = len(wrong)
    hints = typing.get_type_hints(kind)
    fields = {field.name: field for field in dataclasses.fields(kind)}
    wrong += [_unknown(f"{name}.{key}", [f"{name}.{field}" for field in fields]) for key in values if key not in fields]
    lacking = [field for field, one in fields.items() if _is_required(one) and field not in values]
    wrong += [f"{name}.{field}: has to be given" for field in lacking]
    made = {key: _value(f"{name}.{key}", value, hints[key], wrong) for key, value in values.items() if key in fields}
    if len(wrong) > before:
        return None
    try:
        return kind(**made)
    except ValueError as error:
        wrong.append(f"{name}: {error}")
        return None


def _is_required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


@functools.cache
def _adapter(kind: Any) -> pydantic.TypeAdapter[Any]:
    return pydantic.TypeAdapter(kind)


def _value(name: str, value: Any, kind: Any, wrong: list[str]) -> Any:
    """Return a value as its field has it, or None after adding to ``wrong`` what was expected."""
    try:
        # Of JSON, a list may become a tuple and a whole number a fraction; else nothing is converted.
        return _adapter(kind).validate_json(json.dumps(value, default=str), strict=True)
    except pydantic.ValidationError:
        hint = ""
        if isinstance(value, str) and float in (kind, *typing.get_args(kind)) and _is_number(value):
            hint = f" (YAML reads {value} as text; write {float(value)!r})" if "e" in value.lower() else " (without quotes)"
            hint = hint.replace(repr(float(value)), _with_point(float(value)))
        wrong.append(f"{name}: expected {_told(kind)}, got {value!r}{hint}")
        return None


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _with_point(number: float) -> str:
    """Return a number as YAML reads it: 1.0e-4."""
    digits, _, power = f"{number:e}".partition("e")
    digits = digits.rstrip("0")
    return f"{digits}0e{int(power)}" if digits.endswith(".") else f"{digits}e{int(power)}"


def _told(kind: Any) -> str:
    """Return a type as people say it."""
    options = typing.get_args(kind)
    origin = typing.get_origin(kind)
    if origin is Literal:
        return "one of " + ", ".join(map(str, options)) if len(options) > 1 else str(options[0])
    if origin in (typing.Union, types.UnionType):
        return " or ".join(map(_told, options))
    if origin is tuple:
        return "a list of numbers" if len(options) != 2 or options[1] is Ellipsis else f"a list of {len(options)} numbers"
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "a text", types.NoneType: "null"}
    return names.get(kind, getattr(kind, "__name__", str(kind)))


def _unknown(name: str, known: Iterable[str]) -> str:
    names = sorted(known)
    close = nearest(name, names)
    there = (
        f"did you mean {close.rpartition('.')[2]}?"
        if close
        else f"there is {', '.join(one.rpartition('.')[2] for one in names)}"
    )
    return f"{name}: no such {'name' if '.' in name else 'section'}; {there}"
