"""Command-line flags from a dataset's Options: each field's name, type, default and docstring."""

from __future__ import annotations

import dataclasses
import typing
from pathlib import Path
from typing import Any

import click

from t2vdata import datasets, storage


def dataset_flags(dataset: type[datasets.Dataset]) -> list[click.Option]:
    """Return one flag per field of the dataset's Options."""
    hints = typing.get_type_hints(dataset.Options)
    help_texts = datasets.option_help(dataset)
    return [
        _flag(field, hints[field.name], help_texts.get(field.name, ""))
        for field in dataclasses.fields(typing.cast(Any, dataset.Options))
    ]


def _flag(field: dataclasses.Field[Any], kind: Any, text: str) -> click.Option:
    name = "--" + field.name.replace("_", "-")
    if kind is bool:
        return click.Option([f"{name}/--no-{name[2:]}"], default=field.default, show_default=True, help=text)
    return click.Option(
        [name], type=_click_type(kind), default=field.default, show_default=field.default is not None, help=text
    )


def _click_type(kind: Any) -> Any:
    if typing.get_origin(kind) is typing.Literal:
        return _Choice(typing.get_args(kind))
    kinds = [member for member in typing.get_args(kind) or (kind,) if member is not type(None)]
    if Path in kinds and str in kinds:
        return PathOrUrl()
    return click.Path(path_type=Path) if Path in kinds else kinds[0]


class PathOrUrl(click.ParamType[Any]):
    """A path or a URL. URLs stay text: as a Path, they would lose a slash."""

    name = "path or url"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return value if isinstance(value, Path) or storage.is_url(value) else Path(value)


class _Choice(click.Choice[Any]):
    """A choice of texts or numbers; the value keeps its type."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        by_text = {str(choice): choice for choice in self.choices}
        if str(value) not in by_text:
            self.fail(f"{value!r} is not one of {', '.join(by_text)}", param, ctx)
        return by_text[str(value)]
