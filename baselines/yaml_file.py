"""Read YAML as plain data: strings, numbers, lists and mappings, within limits. Errors name the file and the line.

Anchors, aliases and merge keys work. Tags, repeated keys and values that Python would guess at (dates) do not.
"""

from __future__ import annotations

import os
import stat
from typing import Any

import yaml

from t2vdata.errors import RequestError

# Recipes have 2 kB and about a hundred values, four levels deep.
_MAX_BYTES, _MAX_VALUES, _MAX_DEPTH = 1 << 20, 10_000, 32
_MAX_INTEGER = 2**63 - 1
# While its children are counted.
_UNFINISHED = (0, 0)
_CORE = "tag:yaml.org,2002:"
_TAGS = {_CORE + name for name in ("str", "int", "float", "bool", "null", "map", "seq", "merge")}


def read(path: str | os.PathLike[str]) -> Any:
    """Return the value in a YAML file. Raises FileNotFoundError, and RequestError for a file that cannot be used."""
    try:
        with open(path, "rb", opener=_opened) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise RequestError(f"{path} is not a regular file; expected a YAML file")
            content = file.read(_MAX_BYTES + 1)
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:
        raise RequestError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error
    if len(content) > _MAX_BYTES:
        raise RequestError(f"{path} has more than {_MAX_BYTES:,} bytes; expected a recipe of a few kilobytes")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise RequestError(f"{path}, line {line}: not UTF-8; save the file as UTF-8") from error
    return parse(text, str(path))


def _opened(path: str, flags: int) -> int:
    # Not blocking, or a named pipe would keep the command waiting for its writer.
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def parse(text: str, source: str) -> Any:
    """Return the value of a YAML text; ``source`` names it in errors. Raises RequestError for anything but plain data."""
    try:
        return _PlainLoader(text).get_single_data()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = "" if mark is None else f", line {mark.line + 1}"
        problem = ", ".join(" ".join(part.split()) for part in (error.context, error.problem) if part)
        raise RequestError(f"{source}{where}: {problem}") from error
    except yaml.reader.ReaderError as error:
        number = text[: error.position].count("\n") + 1
        raise RequestError(f"{source}, line {number}: the character {text[error.position]!r} is not allowed in YAML") from error


class _PlainLoader(yaml.SafeLoader):
    """Composes the nodes of a text within the limits, then converts them."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self._depth == _MAX_DEPTH:
            raise _problem(self.peek_event(), f"nested more than {_MAX_DEPTH} deep")  # type: ignore[no-untyped-call]
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        if node is not None and node.tag not in _TAGS:
            raise _problem(node, f"the tag {node.tag.removeprefix(_CORE)!r}; expected text, numbers, lists and mappings only")
        return node

    def compose_mapping_node(self, anchor: dict[Any, yaml.Node]) -> yaml.MappingNode:
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        lines: dict[str, int] = {}
        for key, _ in node.value:
            if key.tag not in (_CORE + "str", _CORE + "merge"):
                raise _problem(key, f"the key {getattr(key, 'value', key.id)!r} is not text; write it in quotes")
            if key.value in lines:
                raise _problem(key, f"the key {key.value!r} is on line {lines[key.value]} already; remove one")
            lines[key.value] = key.start_mark.line + 1
        return node

    def get_single_node(self) -> yaml.Node | None:
        node: yaml.Node | None = super().get_single_node()
        if node is not None:
            _check_size(node, {})
        return node

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        try:
            value: int = super().construct_yaml_int(node)
        except ValueError:
            # Thousands of digits.
            value = _MAX_INTEGER + 1
        if abs(value) > _MAX_INTEGER:
            raise _problem(node, f"the integer {node.value[:40]} has more than 64 bits")
        return value


_PlainLoader.add_constructor(_CORE + "int", _PlainLoader.construct_yaml_int)
# A date stays the text that it is.
_PlainLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag in _TAGS]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _check_size(node: Any, known: dict[int, tuple[int, int]]) -> tuple[int, int]:
    """Return how many values a node stands for, and how deep they are nested, with each alias written out.

    Raises YAMLError beyond the limits.
    """
    if id(node) in known:
        if known[id(node)] == _UNFINISHED:
            raise _problem(node, "an anchor that contains itself")
        return known[id(node)]
    known[id(node)] = _UNFINISHED
    children: list[Any] = []
    if isinstance(node, yaml.SequenceNode):
        children = node.value
    elif isinstance(node, yaml.MappingNode):
        children = [part for pair in node.value for part in pair]
    sizes = [_check_size(child, known) for child in children]
    size, depth = 1 + sum(size for size, _ in sizes), 1 + max((depth for _, depth in sizes), default=0)
    if size > _MAX_VALUES or depth > _MAX_DEPTH:
        raise _problem(node, f"more than {_MAX_VALUES:,} values or {_MAX_DEPTH} levels, with each alias written out")
    known[id(node)] = size, depth
    return size, depth


def _problem(position: Any, text: str) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=text, problem_mark=position.start_mark)
