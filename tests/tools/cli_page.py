"""Write docs/cli.md from the help texts: ``python tests/tools/cli_page.py``. A test compares them."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner

from t2vdata import datasets
from t2vdata.cli import COMMANDS, main

PAGE = Path(__file__).parents[2] / "docs" / "cli.md"


def page() -> str:
    """Return the page: the help of every command, and of ``build`` for every dataset."""
    calls = [[], *([command] for command in COMMANDS), *(["build", name] for name in datasets.names())]
    parts = [
        "# Command line\n\nGenerated from `--help` by `python tests/tools/cli_page.py`.\n\n"
        "Exit codes: 0 success, 1 an error in the data or the request, 2 wrong usage, 130 interrupted by Ctrl-C.\n"
    ]
    for words in calls:
        done = CliRunner().invoke(main, [*words, "--help"], prog_name="t2vdata")
        assert done.exit_code == 0, done.output
        parts.append(f"## {' '.join(['t2vdata', *words])}\n\n```\n{done.output.rstrip()}\n```\n")
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page())
    print(f"wrote {PAGE}")
