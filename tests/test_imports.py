"""No file of the packages imports another in a circle; who may import whom is in pyproject.toml."""

from __future__ import annotations

import graphlib

import grimp


def test_no_files_import_each_other_in_a_circle() -> None:
    graph = grimp.build_graph("amcl_serve", "training", "export", "app")
    imports = {name: graph.find_modules_directly_imported_by(name) for name in graph.modules}
    assert len(imports) > 150
    try:
        graphlib.TopologicalSorter(imports).prepare()
    except graphlib.CycleError as error:
        raise AssertionError(" imports ".join(reversed(error.args[1]))) from None
