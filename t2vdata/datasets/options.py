"""Options of datasets: made from plain values, checked, described, and turned into JSON."""

from __future__ import annotations

import ast
import dataclasses
import sys
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from t2vdata.datasets.base import Dataset
from t2vdata.errors import RequestError, unknown_name
from t2vdata.text import captions


def make_options(name: str, dataset: type[Dataset], values: Mapping[str, Any]) -> Any:
    """Return the dataset's Options made from ``values``, checked. Raises RequestError that names the invalid value."""
    fields = {field.name for field in dataclasses.fields(cast(Any, dataset.Options))}
    for key in values:
        if key not in fields:
            raise unknown_name(f"option of {name}", key, fields)
    options = dataset.Options(**values)
    for field, kind in typing.get_type_hints(dataset.Options).items():
        value = getattr(options, field)
        _check_type(f"--{field.replace('_', '-')}", value, kind)
        if kind is float and type(value) is int:
            # 30 and 30.0 are the same rate, but as JSON they would be different specs.
            options = dataclasses.replace(options, **{field: float(value)})
    dataset.check(options)
    return options


def _check_type(flag: str, value: Any, kind: Any) -> None:
    allowed = typing.get_args(kind)
    if typing.get_origin(kind) is typing.Literal:
        # True == 1 and 2.0 == 2, but neither is one of the choices.
        if not any(type(value) is type(choice) and value == choice for choice in allowed):
            raise RequestError(f"{flag}: expected one of {', '.join(map(str, allowed))}, got {value!r}")
        return
    types = allowed or (kind,)
    fits = isinstance(value, types) or (float in types and isinstance(value, int))
    if not fits or (isinstance(value, bool) and bool not in types):
        expected = " or ".join("nothing" if accepted is type(None) else accepted.__name__ for accepted in types)
        raise RequestError(f"{flag}: expected {expected}, got {value!r}")
    if isinstance(value, str | Path) and not captions.is_unicode(Path(value).name):
        # The manifest, the card and the samples say which file it was.
        raise RequestError(f"{flag}: the name {captions.printable(Path(value).name)!r} is not UTF-8; rename it")


def option_values(options: Any) -> dict[str, Any]:
    """Return the options as JSON values, without paths: ``Dataset.source`` identifies files by content instead.

    Nor has it the value of an option whose field is an ``added_option`` and keeps its default.
    """
    fields = dataclasses.fields(options)
    values = {field.name: getattr(options, field.name) for field in fields if not _is_unset(options, field)}
    hints = typing.get_type_hints(type(options))
    return {name: value for name, value in values.items() if Path not in (hints[name], *typing.get_args(hints[name]))}


def added_option(default: Any) -> Any:
    """Return the field of an option that is in a spec only if it is set, so that earlier specs keep their fingerprints."""
    return dataclasses.field(default=default, metadata={_ADDED: True})


_ADDED = "in the spec only if set"


def _is_unset(options: Any, field: dataclasses.Field[Any]) -> bool:
    return _ADDED in field.metadata and getattr(options, field.name) == field.default


def option_help(dataset: type[Dataset]) -> dict[str, str]:
    """Return {field: the text under it} of the dataset's Options and the classes they inherit from."""
    texts: dict[str, str] = {}
    for kind in reversed(cast(Any, dataset.Options).__mro__[:-1]):
        if dataclasses.is_dataclass(kind):
            texts |= _field_texts(Path(cast(Any, sys.modules[kind.__module__]).__file__), cast(type, kind).__name__)
    return texts


def _field_texts(path: Path, class_name: str) -> dict[str, str]:
    """Return {field: the text under it} of a class, read from its source."""
    texts: dict[str, str] = {}
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef) and node.name == class_name:
            for field, text in zip(node.body, node.body[1:], strict=False):
                if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(text, ast.Expr):
                    texts[field.target.id] = " ".join(str(ast.literal_eval(text.value)).split())
    return texts
