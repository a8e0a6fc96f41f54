"""What a Ray task does, once it finds modules where the main process finds them. This module does not import Ray."""

from __future__ import annotations

import pickle
from importlib import metadata
from typing import Any

from t2vdata.engines import local
from t2vdata.errors import RequestError


def work_on(version: str, work: bytes, plan: bytes) -> tuple[Any, Exception | None]:
    """Work on a plan, in a task; return the report, or the error. ``work`` and ``plan`` are pickled."""
    own = metadata.version("t2vdata")
    if version != own:
        return None, RequestError(f"t2vdata is {version} here and {own} on a Ray node; install the same version everywhere")
    try:
        return pickle.loads(work)(pickle.loads(plan)), None  # noqa: S301  # our own
    except Exception as error:
        return None, local.portable(error)
