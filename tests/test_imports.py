"""The import graph has no cycles, counting imports inside functions too."""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter

import grimp


def find_cycle(imports: dict[str, set[str]]) -> list[str] | None:
    """Return the modules of a cycle in {module: modules that it imports}, or None."""
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        return list(error.args[1])
    return None


def test_no_module_imports_itself_through_others() -> None:
    # Imports for type checkers alone do not run.
    graph = grimp.build_graph("t2vdata", "baselines", exclude_type_checking_imports=True, cache_dir=None)
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    assert len(imports) > 150
    assert find_cycle(imports) is None


def test_a_cycle_is_found_with_its_modules() -> None:
    assert find_cycle({"a": {"b"}, "b": {"c"}, "c": set()}) is None
    assert set(find_cycle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) or ()) == {"b", "c"}
