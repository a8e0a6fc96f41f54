"""Plain Python numbers from what users pass: NumPy's scalars, tensors with one element, lists from YAML.

So a spec or a state holds only values that JSON and YAML can hold.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable
from typing import Any

from t2vdata.errors import RequestError


def whole_number(name: str, value: Any, *, minimum: int = 0) -> int:
    """Return an integer of any kind as an ``int``. Raises RequestError for anything else, or below ``minimum``."""
    number = as_whole_number(value)
    if number is None:
        raise RequestError(f"{name} {value!r}: expected a whole number")
    if number < minimum:
        expected = "more than 0" if minimum == 1 else f"{minimum} or more"
        raise RequestError(f"{name} {number}: expected {expected}")
    return number


def as_whole_number(value: Any) -> int | None:
    """Return an integer of any kind as an ``int``, None if it is none."""
    if isinstance(value, bool):
        return None
    try:
        return operator.index(value)
    except TypeError:
        return None


def real_number(name: str, value: Any) -> float:
    """Return a finite number of any kind as an ``int`` or ``float``. Raises RequestError for anything else."""
    number = as_whole_number(value)
    if number is not None:
        return number
    try:
        real = math.nan if isinstance(value, str | bytes | bool) else float(value)
    except (TypeError, ValueError, RuntimeError):
        real = math.nan
    if not math.isfinite(real):
        raise RequestError(f"{name} {value!r}: expected a number")
    return real


def as_tuple(value: Any) -> Any:
    """Return a list, array or tensor of numbers as a tuple, anything else as it is."""
    if isinstance(value, str | bytes) or getattr(value, "ndim", None) == 0:
        return value
    return tuple(value) if isinstance(value, Iterable) else value
