"""No module of the package imports another one that, over whatever way, imports it."""

from __future__ import annotations

from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter

import grimp
import pytest


def find_circle(imports: Mapping[str, set[str]]) -> list[str]:
    """Modules that import each other in turn; empty: there are none."""
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as exc:
        return list(exc.args[1])
    return []


@pytest.mark.parametrize(
    ("imports", "found"),
    [
        ({"a": {"b"}, "b": {"c"}}, set()),
        ({"a": {"b"}, "b": {"c"}, "c": {"a"}}, {"a", "b", "c"}),
    ],
)
def test_a_circle_is_found(imports: Mapping[str, set[str]], found: set[str]) -> None:
    assert set(find_circle(imports)) == found


def test_no_modules_import_each_other() -> None:
    """Imports inside of functions and for type checkers count as well."""
    graph = grimp.build_graph("perfkit")
    imports = {name: graph.find_modules_directly_imported_by(name) for name in graph.modules}
    assert len(imports) > 100
    assert find_circle(imports) == []
