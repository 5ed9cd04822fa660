"""The structure of an installed lrplan: rooms, imports between them, circles, lines.

A room is a module or folder directly under `lrplan` or `lrplan.simulate`; an arrow is a room that
imports another, wherever the import stands, also for types alone. Reads an installation, so that
two versions can be compared (grimp comes with import-linter).

    pip install --no-deps --target new . && python benchmarks/structure.py new
"""

from __future__ import annotations

import argparse
import graphlib
import json
import sys
from pathlib import Path

import grimp


def room(module: str) -> str:
    depth = 3 if module.startswith("lrplan.simulate.") else 2
    return ".".join(module.split(".")[:depth])


def structure(site: Path) -> dict[str, object]:
    sys.path.insert(0, str(site))
    graph = grimp.build_graph("lrplan", cache_dir=None)
    arrows: dict[str, set[str]] = {room(m): set() for m in graph.modules}
    for module in graph.modules:
        for imported in graph.find_modules_directly_imported_by(module):
            if room(imported) != room(module):
                arrows[room(module)].add(room(imported))
    circle: list[str] = []
    floors = 0
    try:
        sorter = graphlib.TopologicalSorter(arrows)
        sorter.prepare()
        while sorter.is_active():
            ready = sorter.get_ready()
            sorter.done(*ready)
            floors += 1
    except graphlib.CycleError as error:
        circle = [str(m) for m in error.args[1]]
    files = list((site / "lrplan").rglob("*.py"))
    return {
        "modules": len(graph.modules),
        "imports": graph.count_imports(),
        "rooms": len(arrows),
        "arrows": sum(map(len, arrows.values())),
        "floors": None if circle else floors,
        "a circle": circle,
        "lines": sum(len(f.read_text(encoding="utf-8").splitlines()) for f in files),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("site", type=Path, help="where lrplan is installed")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    found = structure(asked.site.resolve())
    for name, value in found.items():
        print(f"{name:10} {value}")
    if asked.json:
        asked.json.write_text(json.dumps(found))


if __name__ == "__main__":
    main()
