"""Text, tables and numbers for the terminal: the only place where the commands print.

Captions, keys, names and reasons come from data. They are printed as they are, except for characters that a terminal obeys or
that hide what is written: those are shown as escapes, such as ``\\x1b``.
"""

from __future__ import annotations

import io
import json
import logging
import re
import sys
import warnings
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

# Control characters except line feed and tab, marks and overrides of the writing direction, line and paragraph separators,
# and halves of surrogate pairs, which no encoding can write.
_UNSAFE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff]")
_UNSAFE_IN_LINE = re.compile(_UNSAFE.pattern[:-1] + "\\n\\t]")


def printable(text: object) -> str:
    """Return a text that a terminal shows without obeying it; line feeds and tabs stay."""
    return _UNSAFE.sub(_escape, str(text))


def one_line(text: object) -> str:
    """Return a text from data as one line that a terminal shows without obeying it."""
    return _UNSAFE_IN_LINE.sub(_escape, str(text))


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    return {"\n": "\\n", "\t": "\\t", "\r": "\\r"}.get(match[0], f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}")


def echo(text: object, *, err: bool = False) -> None:
    """Print a text on standard output or standard error."""
    click.echo(printable(text), err=err)


def print_safely() -> None:
    """Have warnings and log messages printed by ``echo``, and characters that the terminal's encoding lacks as escapes."""
    for stream in (sys.stdout, sys.stderr):
        # Tests and other programs may have put another kind of stream there.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    warnings.formatwarning = _format_warning
    log = logging.getLogger("t2vdata")
    if not log.handlers:
        log.addHandler(_EchoHandler(logging.WARNING))


def _format_warning(message: object, category: type[Warning], *_: Any, **__: Any) -> str:
    return f"{category.__name__}: {printable(message)}\n"


class _EchoHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        echo(record.getMessage(), err=True)


def echo_json(value: Any) -> None:
    """Print a value as JSON; characters that a terminal obeys are escaped as JSON does it."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    click.echo(_UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", text))


def console() -> Console:
    """Return a console on standard output; without a terminal, it has at least 120 columns and no colour codes.

    Whatever it prints is shown as it is: no markup, no emoji codes, no control characters.
    """
    from rich.console import Console

    class PlainConsole(Console):
        def print(self, *objects: Any, **settings: Any) -> None:
            super().print(*(printable(item) if isinstance(item, str) else item for item in objects), **settings)

    terminal = PlainConsole(highlight=False, markup=False, emoji=False)
    if terminal.is_terminal:
        return terminal
    return PlainConsole(highlight=False, markup=False, emoji=False, width=max(120, terminal.width))


def table(*columns: str, rows: Iterable[Sequence[str]]) -> Table:
    """Return a plain table; the first column is aligned left, the others right."""
    from rich import box
    from rich.table import Table

    rich_table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for index, column in enumerate(columns):
        rich_table.add_column(one_line(column), justify="left" if index == 0 else "right", overflow="fold")
    for row in rows:
        rich_table.add_row(*map(one_line, row))
    return rich_table


def format_size(num_bytes: float) -> str:
    """Return a number of bytes with its unit: ``172.5 MB``."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if num_bytes < 1000:
            return f"{num_bytes:,.0f} bytes" if unit == "bytes" else f"{num_bytes:,.1f} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:,.1f} TB"


def format_duration(seconds: float) -> str:
    """Return a duration with its unit: ``45 s``, ``12 min``, ``3.5 h``."""
    if seconds < 90:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def format_rate(per_second: float) -> str:
    """Return a rate with as many digits as it needs: ``1,250``, ``22``, ``0.4``."""
    return f"{per_second:,.0f}" if per_second >= 10 else f"{per_second:.2g}"


def format_ranking(counts: Sequence[tuple[str, int]]) -> str:
    """Return words with their counts: ``the 60, digit 58``."""
    return ", ".join(f"{one_line(word)} {count:,}" for word, count in counts)


def reason_lines(title: str, counts: Iterable[tuple[str, int]]) -> list[str]:
    """Return a line per reason, most frequent first: ``rejected 3: no caption``."""
    return [f"{title} {count:,}: {one_line(reason)}" for reason, count in sorted(counts, key=lambda item: -item[1])]
