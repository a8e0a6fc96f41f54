"""Packages that a plain install of t2vdata lacks: which extra brings each, and the error that names it."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from typing import Any

from t2vdata.errors import MissingPackageError

# The module that code imports: the extra of pyproject.toml that installs it.
EXTRA_OF = {
    "aiohttp": "remote",
    "cv2": "torch",
    "decord": "decoders",
    "py3langid": "language",
    "pydantic": "baselines",
    "ray": "ray",
    "s3fs": "remote",
    "safetensors": "torch",
    "tensorboard": "baselines",
    "tokenizers": "tokenizers",
    "torch": "torch",
    "torchcodec": "decoders",
    "yaml": "baselines",
}


def require(purpose: str, extra: str, *modules: str) -> None:
    """Raise MissingPackageError if a module that an extra installs is missing: ``scoring needs torch; pip install ...``.

    For a package imported by ``python -m``, print that line and exit instead: no code of ours could catch the error.
    """
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    if not missing:
        return
    error = _error(purpose, missing[0], extra)
    if sys.argv[:1] == ["-m"]:
        sys.exit(str(error))
    raise error


def load(module: str, purpose: str) -> Any:
    """Import a module of an extra. Raises MissingPackageError, with the pip command, if it is not installed."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        missing = explained(error, purpose)
        if missing is None:
            raise
        raise missing from error


def explained(error: ModuleNotFoundError, purpose: str) -> MissingPackageError | None:
    """Return the error with the pip command for a missing module of an extra; None for any other module."""
    module = (error.name or "").split(".")[0]
    return _error(purpose, module, EXTRA_OF[module]) if module in EXTRA_OF else None


def _error(purpose: str, module: str, extra: str) -> MissingPackageError:
    return MissingPackageError(f"{purpose} needs {module}, which is not installed: pip install 't2vdata[{extra}]'", name=module)
