"""Datasets, one package each. `base.py` defines their interface, `media.py` the base class for media files.

A dataset that comes with t2vdata has a name such as ``mnist-motion``; your own is the dotted path of its module. Either module
has the class in ``DATASET``, a subclass of `Dataset`.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping
from typing import Any

from t2vdata import plugins
from t2vdata.datasets.base import REQUIRED_ATTRIBUTES, Dataset
from t2vdata.datasets.options import make_options as _make_options
from t2vdata.datasets.options import option_help, option_values
from t2vdata.errors import RequestError, unknown_name

__all__ = ["Dataset", "load", "make_options", "names", "open", "option_help", "option_values", "short_name"]


def names() -> list[str]:
    """Return the names of the datasets that come with t2vdata, sorted."""
    return sorted(module.name.replace("_", "-") for module in pkgutil.iter_modules(__path__) if module.ispkg)


def load(name: str) -> type[Dataset]:
    """Return the class of a dataset by its name or dotted path.

    Raises UnknownNameError for an unknown name, RequestError for a module that holds no complete dataset.
    """
    is_dotted = "." in name
    if not is_dotted and name not in names():
        raise unknown_name("dataset", name, names())
    module = plugins.import_module(name if is_dotted else f"{__name__}.{name.replace('-', '_')}")
    dataset = getattr(module, "DATASET", None)
    if not (isinstance(dataset, type) and issubclass(dataset, Dataset)):
        raise RequestError(
            f"{name} is not a dataset: it has no DATASET = CLASS, a subclass of Dataset; see docs/add-a-dataset.md"
        )
    lacking = [part for part in REQUIRED_ATTRIBUTES if not hasattr(dataset, part)] + sorted(dataset.__abstractmethods__)
    if lacking:
        raise RequestError(
            f"{name} is not a dataset: {dataset.__name__} has no {', '.join(lacking)}; see docs/add-a-dataset.md"
        )
    return dataset


def open(name: str, root: str | None = None, options: Mapping[str, Any] | None = None, seed: int = 0) -> Dataset:
    """Open a dataset. ``options`` are values for fields of its Options; ``root`` is the folder or URL of its raw files.

    Reads nothing yet; call ``missing()`` first to check that the raw files are complete. Raises as ``load`` and
    ``make_options``.
    """
    return load(name)(root, make_options(name, options or {}), seed)


def make_options(name: str, values: Mapping[str, Any]) -> Any:
    """Return the Options of a dataset made from ``values``, checked. Raises RequestError that names the invalid value."""
    return _make_options(name, load(name), values)


def short_name(name: str) -> str:
    """Return the name that shards carry: the last part of a dotted path, with hyphens."""
    return name.rsplit(".", 1)[-1].replace("_", "-")
