"""Whether decoding packages can be imported, and which versions are installed."""

from __future__ import annotations

import importlib
import importlib.util
from importlib import metadata


def why_not_imported(module: str, *, install: str, repair: str) -> str | None:
    """Return why ``module`` cannot be imported, or None. The reason ends with ``install`` or ``repair``."""
    if importlib.util.find_spec(module) is None:
        return f"not installed; {install}"
    try:
        importlib.import_module(module)
    except (ImportError, OSError, RuntimeError) as error:
        return f"does not load: {error}; {repair}"
    return None


def installed_version(*packages: str) -> str | None:
    """Return the version of the first of ``packages`` that is installed, or None."""
    for package in packages:
        try:
            return metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return None
