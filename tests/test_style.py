"""Names that say nothing, and words and phrases that the project no longer uses, do not come back."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest
from support import ROOT

SOURCES = sorted(path for folder in ("t2vdata", "baselines", "tests") for path in (ROOT / folder).rglob("*.py"))
PAGES = [
    ROOT / "README.md",
    # The changelog names what was renamed.
    *(path for path in sorted((ROOT / "docs").glob("*.md")) if path.name != "changelog.md"),
    *sorted((ROOT / "recipes").rglob("*.yaml")),
]
# A variable of this name says nothing; a loop variable is the singular of what it loops over.
EMPTY_NAMES = {"one", "found", "told", "made", "place", "places", "whole", "wanted", "thing", "things"}
OLD_NAMES = {
    *("Game", "Turn", "Told", "Wish", "Begun", "Known", "Stock", "Crew", "Judgement", "Duel", "Journal"),
    *("maker", "judges", "crew", "stock", "ledger", "duel", "judgement", "journal", "likeness", "patiently"),
    *("ABSENT", "SOMEWHERE"),
}
# Attributes of modules that are keys of published checkpoints.
CHECKPOINT_KEYS = {"baselines/glow/frame_flow.py": {"places"}, "baselines/glow/motion.py": {"told"}}
OLD_PHRASES = re.compile(
    r"""
      \bunless\ told\b | \bgone\ on\ with\b | \btaken\ for\ there\b | \bdealt\ out\b | \bdeals\ out\b
    | \breckoned\b | \bis\ said\ at\ once\b | \bgoes\ on\ with\b | \bwhat\ is\ there\ is\ kept\b | \bjudgements?\b
    | \bthe\ rooms\b | \ba\ room\b | \bflies\b(?!\ over)
    """,
    re.VERBOSE | re.IGNORECASE,
)


def names(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield (line, name) of every variable, parameter, attribute, function and class that a module defines."""
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Store()) | ast.arg(arg=name) | ast.Attribute(attr=name, ctx=ast.Store()):
                yield node.lineno, name
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name):
                yield node.lineno, name


@pytest.mark.parametrize("folder", ["t2vdata", "baselines", "tests"])
def test_every_name_says_something(folder: str) -> None:
    paths = [path for path in SOURCES if path.is_relative_to(ROOT / folder)]
    assert paths
    hits = [
        f"{path.relative_to(ROOT)}:{line}: {name}"
        for path in paths
        for line, name in names(ast.parse(path.read_text(encoding="utf-8")))
        if name.lstrip("_") in (EMPTY_NAMES | OLD_NAMES) - CHECKPOINT_KEYS.get(str(path.relative_to(ROOT)), set())
    ]
    assert not hits, f"{len(hits)} names:\n" + "\n".join(hits[:40])


@pytest.mark.parametrize("folder", ["t2vdata", "baselines", "docs"])
def test_text_has_no_retired_phrase(folder: str) -> None:
    paths = PAGES if folder == "docs" else [path for path in SOURCES if path.is_relative_to(ROOT / folder)]
    assert paths
    hits = [
        f"{path.relative_to(ROOT)}:{number}: {phrase.group()}"
        for path in paths
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        for phrase in OLD_PHRASES.finditer(line)
    ]
    assert not hits, f"{len(hits)} phrases:\n" + "\n".join(hits[:40])


def test_the_check_sees_what_it_forbids() -> None:
    code = "def f(one):\n    self.found = [place for place in one]\nclass Wish: ..."
    assert {name for _, name in names(ast.parse(code))} == {"f", "one", "found", "place", "Wish"}
    assert OLD_PHRASES.search("64 unless told")
