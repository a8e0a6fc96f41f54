"""Modules that others write: datasets, model families, found by their dotted paths."""

from __future__ import annotations

import importlib
from types import ModuleType

from t2vdata.errors import RequestError


def imported(path: str) -> ModuleType:
    """Return the module at a dotted path. Raises RequestError where there is none; what it raises itself flies."""
    try:
        return importlib.import_module(path)
    except ModuleNotFoundError as error:
        if error.name is not None and (path == error.name or path.startswith(error.name + ".")):
            raise RequestError(f"no module {path!r}; is the folder that holds it on PYTHONPATH?") from error
        raise
