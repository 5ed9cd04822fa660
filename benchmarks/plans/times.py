"""Part 4: how long forecasts take, and how much memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from designs import NOISE, SESSIONS, UNITS

from lrplan.cache import OFF, VARIABLE
from lrplan.cohort.integrity import PACKAGED
from lrplan.cohort.select import select
from plans.common import Work, in_order, markdown

SIZES = (200, 500)
MEBIBYTE = 2**20
SWEEP = """
import json, sys
import lrplan
from lrplan import Design, Schedule
cohort, units, noise, sessions = json.loads(sys.argv[1])
lrplan.sweep(cohort, Design(), units=units, noise=noise, rng=0,
             schedules=[Schedule(sessions=s) for s in sessions])
"""

LAUNCH = """
import json, resource, subprocess, sys, time
start = time.perf_counter()
subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, check=True)
wall = time.perf_counter() - start
used = resource.getrusage(resource.RUSAGE_CHILDREN)
unit = 1 if sys.platform == "darwin" else 1024
print(json.dumps([wall, used.ru_utime + used.ru_stime, used.ru_maxrss * unit]))
"""
"""Starts a command from a small process: Linux counts the memory of the one that forks, too."""


@dataclass(frozen=True)
class Took:
    """What a process took.

    Parameters
    ----------
    wall_s, cpu_s : float
        On the clock, and of all its threads together.
    peak_bytes : int
        The most memory it held.
    """

    wall_s: float
    cpu_s: float
    peak_bytes: int

    def cells(self) -> list[str]:
        """Return the cells of a table."""
        return [f"{self.wall_s:.1f}", f"{self.cpu_s:.1f}", f"{self.peak_bytes / MEBIBYTE:.0f}"]


def times(work: Work) -> None:
    """Print the table, each row of a process of its own."""
    cohort = work.cohort
    name = cohort.name if cohort.name in PACKAGED else str(cohort.path)
    labels = cohort.labels(cohort.usable_populations())
    order = in_order(labels, work.streams.rng("organisms", "times"))
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        cache = str(Path(folder) / "cache")
        rows.append(["`lrplan design`, cold", str(len(order)), *_forecast(work, name, cache)])
        rows.append(["`lrplan design`, again", str(len(order)), *_forecast(work, name, cache)])
        sizes = [n for n in SIZES if n < len(order)]
        for n in (len(order) // 2,) if work.effort.quick else sizes:
            part = Path(folder) / f"{n}.zarr.zip"
            select(cohort, part, organism=[str(i) for i in order[:n]])
            took = _forecast(work, str(part), str(Path(folder) / str(n)))
            rows.append(["`lrplan design`, cold", str(n), *took])
        rows.append(_sweep(work, name, len(order)))
    cores, load = len(os.sched_getaffinity(0)), os.getloadavg()[0]
    work.say(f"### Times on {cores} cores (load {load:.1f} at the end)\n")
    work.say(markdown(["what", "organisms", "s", "CPU s", "peak MiB"], rows))


def _forecast(work: Work, cohort: str, cache: str) -> list[str]:
    command = [sys.executable, "-m", "lrplan.cli", "design", "--quiet", "--cohort", cohort]
    command += ["--units", str(work.design.units), "--noise", str(work.design.noise)]
    return _took(command, cache).cells()


def _sweep(work: Work, cohort: str, organisms: int) -> list[str]:
    """Sweep the grid of `designs.py`, as far as the cohort can give it, without the cache."""
    stored = int(np.median(work.cohort.stored_units("activity")))
    units = [n for n in UNITS if n <= stored]
    sessions = [n for n in SESSIONS if n <= work.cohort.checkpoints]
    noise = list(NOISE)
    if work.effort.quick:
        units, noise, sessions = units[:1], noise[:2], sessions[-1:]
    asked = json.dumps([cohort, units, noise, sessions])
    took = _took([sys.executable, "-c", SWEEP, asked], OFF)
    designs = len(units) * len(noise) * len(sessions)
    return [f"sweep of {designs} designs", str(organisms), *took.cells()]


def _took(command: Sequence[str], cache: str) -> Took:
    """Run a command with a folder for its cache, and return what it took.

    Raises
    ------
    subprocess.CalledProcessError
        If it fails.
    """
    launched = subprocess.run(
        [sys.executable, "-c", LAUNCH, *command],
        stdout=subprocess.PIPE,
        env=os.environ | {VARIABLE: cache},
        check=True,
    )
    return Took(*json.loads(launched.stdout))
