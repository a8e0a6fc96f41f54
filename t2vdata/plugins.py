"""Datasets and model families in modules outside this repository, imported by their dotted paths."""

from __future__ import annotations

import importlib
from types import ModuleType

from t2vdata.errors import RequestError


def import_module(path: str) -> ModuleType:
    """Import the module at a dotted path. Raises RequestError if there is none; errors inside the module propagate."""
    try:
        return importlib.import_module(path)
    except ModuleNotFoundError as error:
        if error.name is not None and (path == error.name or path.startswith(error.name + ".")):
            raise RequestError(f"no module {path!r}; add the folder that holds it to PYTHONPATH") from error
        raise
