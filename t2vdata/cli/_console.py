"""Text, tables and numbers for the terminal: the only place where the commands print.

Texts from data are printed as they are, except for characters that a terminal obeys: those are escaped (``text/escapes.py``).
"""

from __future__ import annotations

import io
import json
import logging
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import click

from t2vdata.errors import StorageError
from t2vdata.text.escapes import one_line, printable, printable_json

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

# Columns of a file or a pipe, which has no width of its own.
_MIN_FILE_WIDTH = 120
# As wide as any table may need to be.
_MAX_WIDTH = 1000
# Longer words and numbers are broken: they may be from data.
_MAX_UNBROKEN = 12


def echo(text: object, *, err: bool = False) -> None:
    """Print a text on standard output or standard error. Raises StorageError if standard output cannot be written to."""
    with nullcontext() if err else _output():
        click.echo(printable(text), err=err)


@contextmanager
def _output() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        # The reader, such as `head`, has enough: click ends the command.
        raise
    except OSError as error:
        raise StorageError(f"cannot write to standard output: {error.strerror or error}") from error


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
    with _output():
        click.echo(printable_json(json.dumps(value, indent=2, ensure_ascii=False)))


def console() -> Console:
    """Return a console on standard output; without a terminal, it has at least 120 columns and no colour codes.

    Whatever it prints is shown as it is: no markup, no emoji codes, no control characters. A table is never cut: the rows of
    one that does not fit are wrapped by the terminal.
    """
    from rich.console import Console
    from rich.table import Table

    class PlainConsole(Console):
        def print(self, *objects: Any, **settings: Any) -> None:
            unlimited = self.options.update(max_width=_MAX_WIDTH)
            # Rich leaves the edges of a table out of its minimum.
            tables = [item for item in objects if isinstance(item, Table)]
            minimum = max((self.measure(item, options=unlimited).minimum + 2 for item in tables), default=0)
            self.width = max(self.width, minimum)
            with _output():
                super().print(*(printable(item) if isinstance(item, str) else item for item in objects), **settings)

    plain = PlainConsole(highlight=False, markup=False, emoji=False)
    if not plain.is_terminal:
        plain.width = max(_MIN_FILE_WIDTH, plain.width)
    return plain


def table(*columns: str, rows: Iterable[Sequence[str]]) -> Table:
    """Return a plain table; the first column is aligned left, the others right.

    Where a terminal is narrow, headings break between words, and numbers do not break.
    """
    from rich import box
    from rich.cells import cell_len
    from rich.table import Table

    rich_table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    lines = [[one_line(cell) for cell in row] for row in rows]
    for index, heading in enumerate(map(one_line, columns)):
        is_text = index == 0
        unbroken = heading.split() + [row[index] for row in lines if not is_text]
        rich_table.add_column(
            heading,
            justify="left" if is_text else "right",
            overflow="fold",
            min_width=min(_MAX_UNBROKEN, max(map(cell_len, unbroken), default=0)),
        )
    for line in lines:
        rich_table.add_row(*line)
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
