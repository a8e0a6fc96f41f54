"""Tables and numbers as text for the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


def console() -> Console:
    """Return a console on standard output; without a terminal, it has at least 120 columns and no colour codes."""
    from rich.console import Console

    terminal = Console(highlight=False)
    return terminal if terminal.is_terminal else Console(highlight=False, width=max(120, terminal.width))


def table(*columns: str, rows: Iterable[Sequence[str]]) -> Table:
    """Return a plain table; the first column is aligned left, the others right."""
    from rich import box
    from rich.table import Table

    rich_table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for index, column in enumerate(columns):
        rich_table.add_column(column, justify="left" if index == 0 else "right", overflow="fold")
    for row in rows:
        rich_table.add_row(*row)
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


def format_ranking(counts: Sequence[tuple[str, int]]) -> str:
    """Return words with their counts: ``the 60, digit 58``."""
    return ", ".join(f"{word} {count:,}" for word, count in counts)


def reason_lines(title: str, counts: Iterable[tuple[str, int]]) -> list[str]:
    """Return a line per reason, most frequent first: ``rejected 3: no caption``."""
    return [f"{title} {count:,}: {reason}" for reason, count in sorted(counts, key=lambda item: -item[1])]
