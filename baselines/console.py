"""Print to the terminal; what a terminal would obey in captions, names and paths is shown as escapes instead."""

from __future__ import annotations

import re

import click

# Control characters but newline and tab, overrides of the writing direction, line separators, halves of surrogate pairs.
_UNSAFE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff]")


def echo(text: object, *, err: bool = False) -> None:
    """Print a text on standard output or standard error."""
    click.echo(printable(text), err=err)


def printable(text: object) -> str:
    """Return a text that a terminal shows without obeying it: an escape character becomes ``\\x1b``."""
    return _UNSAFE.sub(_escape, str(text))


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"
