"""The decoding backends by name: one module each, imported on first use."""

from __future__ import annotations

import importlib
from types import ModuleType

from t2vdata.errors import unknown_name

# In order of preference: if two are about as fast, ``auto`` takes the earlier one.
BACKENDS = ("pyav", "torchcodec", "decord", "opencv", "lossless")


def load(backend: str) -> ModuleType:
    """Return the module of a backend: ``why_not(device)``, ``version()`` and ``open(source, device)``."""
    if backend not in BACKENDS:
        raise unknown_name("backend", backend, [*BACKENDS, "auto"])
    return importlib.import_module(f"t2vdata.media.decode.{backend}")
