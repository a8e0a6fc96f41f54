"""Exceptions that cross a process border as plain data, and are raised in the parent as themselves."""

from __future__ import annotations

import builtins
import contextlib
import traceback
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from t2vdata.errors import T2VError


def describe_error(error: Exception) -> dict[str, Any]:
    """Return an exception as plain data, for ``rebuild_error``."""
    args: Sequence[Any] = ()
    try:
        text, trace = str(error), "".join(traceback.format_exception(error))
        # Not error.args: an OSError has its path elsewhere.
        args = error.__reduce__()[1]
    except Exception as failure:
        # A faulty __str__, or no memory left.
        text = trace = f"(cannot be printed: {type(failure).__name__})"
    return {
        "module": type(error).__module__,
        "class": type(error).__qualname__,
        "args": [_plain(arg) for arg in args],
        "text": text,
        "notes": [note for note in getattr(error, "__notes__", ()) if isinstance(note, str)],
        "traceback": trace,
    }


def rebuild_error(description: Mapping[str, Any], *, pid: int) -> Exception:
    """Return the exception that a child raised, with the child's traceback as its last note.

    Its class is looked up by name among Python's own and the loaded subclasses of T2VError; arguments that are not plain data
    have become their text. Any other exception, and one whose class refuses the arguments, is a RuntimeError with its text.
    """
    error: Exception | None = None
    error_class = _error_class(description["module"], description["class"])
    if error_class is not None:
        # A constructor may raise anything.
        with contextlib.suppress(Exception):
            error = error_class(*description["args"])
    if error is None or type(error) is not error_class:
        name = f"{description['module']}.{description['class']}".removeprefix("builtins.")
        error = RuntimeError(f"{name}: {description['text']}")
    for note in description["notes"]:
        error.add_note(note)
    error.add_note(f"in child process {pid}:\n{description['traceback']}")
    return error


def _error_class(module: str, qualname: str) -> type[Exception] | None:
    """Return an exception class that may be rebuilt; None for all others.

    Only known classes are compared: a child that decodes untrusted files must not choose what is looked up or imported here.
    """
    known: list[type[Exception]] = [T2VError, *_subclasses(T2VError)]
    known += [value for value in vars(builtins).values() if isinstance(value, type) and issubclass(value, Exception)]
    names = (module, qualname)
    return next((candidate for candidate in known if (candidate.__module__, candidate.__qualname__) == names), None)


def _subclasses(base: type[Exception]) -> Iterator[type[Exception]]:
    for derived in base.__subclasses__():
        yield derived
        yield from _subclasses(derived)


def _plain(value: object) -> Any:
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)
