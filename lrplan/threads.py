"""How many threads to use, and how. No result depends on it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

RUNS_PER_THREAD = 4
"""So that a thread whose items are quickly done finds more."""


def threads() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def in_threads(function: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
    """Return what a function makes of each item, computed in as many threads as there are cores.

    A thread takes neighbouring items in one go: handing them over one by one costs as much as a
    small item takes. On one core there are no threads.
    """
    items = list(items)
    workers = min(threads(), len(items))
    if workers < 2:
        return [function(item) for item in items]
    runs = min(len(items), RUNS_PER_THREAD * workers)
    edges = [len(items) * i // runs for i in range(runs + 1)]
    parts = [items[a:b] for a, b in zip(edges, edges[1:], strict=False)]
    with ThreadPoolExecutor(workers) as pool:
        done = pool.map(lambda part: [function(item) for item in part], parts)
        return [one for part in done for one in part]
