"""Write the generated parts of docs/contributing.md: ``python tests/tools/package_map.py``. A test compares them.

The package map comes from docstrings, the import contracts from pyproject.toml.
"""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "contributing.md"


def page() -> str:
    """Return docs/contributing.md with its generated parts up to date; each stands between two markers."""
    text = PAGE.read_text(encoding="utf-8")
    for part, content in (("contracts", contracts()), ("package map", package_map())):
        begin, end = f"<!-- {part}: begin -->", f"<!-- {part}: end -->"
        before, _, rest = text.partition(begin)
        text = f"{before}{begin}\n\n{content}\n\n{end}{rest.partition(end)[2]}"
    return text


def contracts() -> str:
    """Return the import contracts of pyproject.toml: layers as code blocks, top layer first; forbidden imports as a table."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"]
    layers = [
        "\n".join([f"{contract['name']}:", "", "```", *contract["layers"], "```"])
        for contract in contracts
        if "layers" in contract
    ]
    rows = [
        (
            contract["name"],
            *(_names(contract.get(key, [])) for key in ("source_modules", "forbidden_modules", "ignore_imports")),
        )
        for contract in contracts
        if contract["type"] == "forbidden"
    ]
    header = ["| contract | in | must not import | except |", "|---|---|---|---|"]
    return "\n\n".join([*layers, "\n".join([*header, *(f"| {' | '.join(row)} |" for row in rows)])])


def _names(names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def package_map() -> str:
    """Return a table of packages for each top-level package, and a table of modules for each package that has several."""
    return "\n\n".join(f"### {name}\n\n{_tables(ROOT / name)}" for name in ("t2vdata", "baselines"))


def summary(path: Path) -> str:
    """Return the first line of a module's docstring, as the cell of a Markdown table."""
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return docstring.partition("\n")[0].replace("``", "`").replace("|", "\\|")


def _tables(top: Path) -> str:
    packages = sorted(path.parent for path in top.glob("*/__init__.py"))
    modules = sorted(path for path in top.glob("*.py") if not path.name.startswith("__"))
    overview = [(f"{package.name}/", package / "__init__.py") for package in packages]
    overview += [(path.name, path) for path in modules]
    parts = [_table(overview)]
    for package in packages:
        rows = [(_name(path, package), path) for path in sorted(package.rglob("*.py")) if path != package / "__init__.py"]
        if rows:
            parts.append(f"#### {package.relative_to(ROOT)}\n\n{_table(rows)}")
    return "\n\n".join(parts)


def _name(path: Path, package: Path) -> str:
    inside = path.relative_to(package)
    return f"{inside.parent}/" if path.name == "__init__.py" else str(inside)


def _table(rows: list[tuple[str, Path]]) -> str:
    lines = [f"| [`{name}`](../{path.relative_to(ROOT)}) | {summary(path)} |" for name, path in rows]
    return "\n".join(["| module | contents |", "|---|---|", *lines])


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(f"wrote {PAGE}")
