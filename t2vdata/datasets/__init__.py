"""What can be built: one file for each dataset, and nothing else lists them.

A dataset module offers

- ``VERSION``: a number that grows when the same options give other clips;
- ``SPLITS``: the names of its splits, in order;
- ``LICENCE``, ``CITATION``: texts for the manifest and the dataset card;
- ``Options``: a frozen dataclass; its fields become flags of ``t2vdata build <name>``, the text under a field its help;
- ``clips(root, split, options, seed)``: a sequence of ``Clip``: cheap, no pixels, plain data;

and where it needs them

- ``render(clip, options)``: the ``Frames`` of a clip that has no media file;
- ``filters(options)``: the clip filters and frame filters to apply, see ``t2vdata.filters``;
- ``missing(root, options)``: what raw files are missing and how to get them, or None;
- ``source(root, options)``: what raw data this is, as JSON values (hashes): part of what a build is;
- ``archives(root, options)``: the archives in which it looks for raw files, and with it ``learn(root, contents, is_all)``,
  which is told what is in them before the clips are asked for;
- ``frame_size(options)``: (height, width) where all clips have one size;
- ``original(clip, options)``: the bytes of a picture that goes into the shard as it is, or None for one that is encoded;
- ``EXAMPLE``, ``RAW_FILES``, ``TREE``: texts for the command line: flags that make an example, what raw files it needs and
  where, and the tree of folders in which they lie;
- ``ENCODING``: the name of the encoding that the command line uses unless told, where it is not ``lossless``;
- ``PACKAGED``: the options that name files of which the package has the same, so that a card need not name them;
- ``check(options)``: raises RequestError for options that do not go together.
"""

from __future__ import annotations

import ast
import dataclasses
import pkgutil
import sys
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, cast

from t2vdata import plugins
from t2vdata.errors import RequestError, unknown_name
from t2vdata.filters import ClipFilter, FrameFilter
from t2vdata.storage.archives import Archive, Contents
from t2vdata.types import Clip, Frames


class Dataset(Protocol):
    """What a dataset module has to offer."""

    VERSION: int
    SPLITS: tuple[str, ...]
    LICENCE: str
    CITATION: str
    Options: Callable[..., Any]

    def clips(self, root: str | None, split: str, options: Any, seed: int, /) -> Sequence[Clip]: ...


REQUIRED = ("VERSION", "SPLITS", "LICENCE", "CITATION", "Options", "clips")


def names() -> list[str]:
    """Return the names of the datasets that come with t2vdata."""
    return sorted(entry.name.replace("_", "-") for entry in pkgutil.iter_modules(__path__) if entry.ispkg)


def load(name: str) -> Dataset:
    """Return the module of a dataset: a name such as ``mnist-motion``, or the dotted path of a module of your own.

    Raises UnknownNameError for a name that is neither, RequestError for a module that lacks a part.
    """
    dotted = "." in name
    if not dotted and name not in names():
        raise unknown_name("dataset", name, names())
    path = name if dotted else f"{__name__}.{name.replace('-', '_')}"
    module = plugins.import_module(path)
    lacking = [part for part in REQUIRED if not hasattr(module, part)]
    if lacking:
        raise RequestError(f"{name} is no dataset: it has no {', '.join(lacking)}; see docs/add-a-dataset.md")
    return cast(Dataset, module)


def short_name(name: str) -> str:
    """Return the name that shards carry: the last part of a dotted path, with hyphens."""
    return name.rsplit(".", 1)[-1].replace("_", "-")


def make_options(name: str, values: Mapping[str, Any]) -> Any:
    """Return the dataset's Options made of ``values``, checked. Raises RequestError that names a value that cannot be."""
    dataset = load(name)
    fields = {field.name for field in dataclasses.fields(cast(Any, dataset.Options))}
    for key in values:
        if key not in fields:
            raise unknown_name(f"option of {name}", key, fields)
    options = dataset.Options(**values)
    for field, kind in typing.get_type_hints(dataset.Options).items():
        value = getattr(options, field)
        _check_type(f"--{field.replace('_', '-')}", value, kind)
        if kind is float and type(value) is int:
            # 30 and 30.0 are one rate; written as JSON they would be two specs.
            options = dataclasses.replace(options, **{field: float(value)})
    getattr(dataset, "check", lambda _: None)(options)
    return options


def _check_type(flag: str, value: Any, kind: Any) -> None:
    allowed = typing.get_args(kind)
    if typing.get_origin(kind) is typing.Literal:
        # True == 1 and 2.0 == 2, but neither is what was offered.
        if not any(type(value) is type(choice) and value == choice for choice in allowed):
            raise RequestError(f"{flag}: expected one of {', '.join(map(str, allowed))}, got {value!r}")
        return
    kinds = allowed or (kind,)
    fits = isinstance(value, kinds) or (float in kinds and isinstance(value, int))
    if not fits or (isinstance(value, bool) and bool not in kinds):
        expected = " or ".join("nothing" if one is type(None) else one.__name__ for one in kinds)
        raise RequestError(f"{flag}: expected {expected}, got {value!r}")


def option_values(options: Any) -> dict[str, Any]:
    """Return the options as JSON values, without paths: where raw files lie is not what a build is; ``source`` says that."""
    values = {field.name: getattr(options, field.name) for field in dataclasses.fields(options)}
    hints = typing.get_type_hints(type(options))
    return {name: value for name, value in values.items() if Path not in (hints[name], *typing.get_args(hints[name]))}


def option_help(dataset: Dataset) -> dict[str, str]:
    """Return {field: the text under it} of the dataset's Options, and of what they inherit."""
    found: dict[str, str] = {}
    for kind in reversed(cast(Any, dataset.Options).__mro__[:-1]):
        if dataclasses.is_dataclass(kind):
            found |= _field_texts(Path(cast(Any, sys.modules[kind.__module__]).__file__), cast(type, kind).__name__)
    return found


def _field_texts(path: Path, name: str) -> dict[str, str]:
    """Return {field: the text under it} of a class, by its source."""
    found: dict[str, str] = {}
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            for field, text in zip(node.body, node.body[1:], strict=False):
                if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(text, ast.Expr):
                    found[field.target.id] = " ".join(str(ast.literal_eval(text.value)).split())
    return found


def renderer(name: str) -> Callable[[Clip, Any], Frames]:
    """Return the function that draws the dataset's clips. Raises RequestError when the dataset draws none."""
    draw = getattr(load(name), "render", None)
    if draw is None:
        raise RequestError(f"{name} has no render function, and clips from media files are not built yet")
    return cast("Callable[[Clip, Any], Frames]", draw)


def original(name: str, clip: Clip, options: Any) -> bytes | None:
    """Return the bytes of a clip's file where they are to be kept as they are, else None."""
    keep = getattr(load(name), "original", None)
    return None if keep is None else cast("bytes | None", keep(clip, options))


def filters(name: str, options: Any) -> tuple[Sequence[ClipFilter], Sequence[FrameFilter]]:
    """Return the dataset's clip filters and frame filters; none when it has none."""
    chosen = getattr(load(name), "filters", None)
    return ((), ()) if chosen is None else cast("tuple[Sequence[ClipFilter], Sequence[FrameFilter]]", chosen(options))


def frame_size(name: str, options: Any) -> tuple[int, int] | None:
    """Return (height, width) where all clips have one size that the options tell, else None."""
    tell = getattr(load(name), "frame_size", None)
    return None if tell is None else cast("tuple[int, int]", tell(options))


def encoding(name: str) -> str:
    """Return the name of the encoding in which the dataset is built unless told otherwise."""
    return str(getattr(load(name), "ENCODING", "lossless"))


def missing(name: str, root: str | None, options: Any) -> str | None:
    """Return what raw files are missing and how to get them, or None."""
    why = getattr(load(name), "missing", None)
    return None if why is None else cast("str | None", why(root, options))


def archives(name: str, root: str | None, options: Any) -> Sequence[Archive]:
    """Return the archives in which a dataset looks for raw files."""
    tell = getattr(load(name), "archives", None)
    return () if tell is None or root is None else cast("Sequence[Archive]", tell(root, options))


def learn(name: str, root: str | None, contents: Sequence[Contents], *, is_all: bool = True) -> None:
    """Tell a dataset what is in its archives: all of it, or so much as was looked at."""
    cast(Any, load(name)).learn(root, contents, is_all)


def source(name: str, root: str | None, options: Any) -> dict[str, Any]:
    """Return what raw data a build is made of, as JSON values; empty when there is none."""
    tell = getattr(load(name), "source", None)
    return {} if tell is None else cast("dict[str, Any]", tell(root, options))
