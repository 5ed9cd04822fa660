"""Kill one of two Dask workers halfway, and compare with a run in which none was killed.

Usage::

    python benchmarks/dask_kill.py [--epochs 8] [--json FILE]

Starts a real `dask scheduler` and two `dask worker` processes on loopback and trains 64 organisms
on them twice: once in peace, and once with one worker killed (SIGKILL) when half of the organisms
are finished. Every organism must be written exactly once, and all arrays must be equal. A third
run has its scheduler killed halfway as well, and started again with new workers.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from lrplan.simulate.run.recipe import Recipe, parse_recipe
from lrplan.simulate.run.simulate import simulate

RECIPE = """
name = "dask kill"
[grid]
rule = ["sgdm", "adam", "feedback_alignment", "information_alignment"]
architecture = "mlp"
task = ["digits", "digits_simclr"]
batch_size = [24, 32, 48, 64]
model_seed = [0, 1]
[training]
epochs = {epochs}
checkpoints = 11
[architectures.mlp]
width = 64
[storage]
units = 64
stimuli = 8
synapses = 64
pairs = 8
validation = 16
"""


class Cluster:
    """A Dask scheduler and two workers, each a process of its own."""

    def __init__(self, place: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.address = f"tcp://127.0.0.1:{self.port}"
        self.log = place / "dask.log"
        self.running: list[subprocess.Popen[bytes]] = []

    def _start(self, *line: str) -> subprocess.Popen[bytes]:
        with open(self.log, "ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "dask", *line, "--host", "127.0.0.1", "--no-dashboard"],
                stdout=log,
                stderr=log,
                cwd=self.log.parent,
                env=os.environ | {"OMP_NUM_THREADS": "1"},
                start_new_session=True,
            )
        self.running.append(process)
        return process

    def start(self) -> subprocess.Popen[bytes]:
        """Start all three; return one of the workers."""
        self._start("scheduler", "--port", str(self.port))
        options = ("--nthreads", "1", "--no-nanny", "--death-timeout", "60")
        return [self._start("worker", self.address, *options) for _ in range(2)][0]

    def kill(self) -> None:
        """Kill what runs."""
        for process in self.running:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self.running.clear()


def run(
    recipe: Recipe, out: Path, disturb: Callable[[Cluster, subprocess.Popen[bytes]], None] | None
) -> dict[str, Any]:
    """Train a recipe on a cluster of its own, and do something to it halfway."""
    cluster = Cluster(out.parent)
    worker = cluster.start()
    finished: Counter[str] = Counter()
    notes: list[str] = []
    disturbed_at = None

    def on_organism(spec: Any, diverged: bool) -> None:
        nonlocal disturbed_at
        finished[spec.hash] += 1
        if disturb is not None and disturbed_at is None and len(finished) >= len(recipe.specs) / 2:
            disturbed_at = len(finished)
            disturb(cluster, worker)

    began = time.monotonic()
    try:
        simulate(
            recipe,
            out,
            scheduler=cluster.address,
            on_organism=on_organism,
            on_note=notes.append,
        )
    finally:
        cluster.kill()
    return {
        "organisms": len(finished),
        "written_more_than_once": sum(count > 1 for count in finished.values()),
        "disturbed_after": disturbed_at,
        "connections_lost": len(notes),
        "seconds": round(time.monotonic() - began, 1),
    }


def arrays(path: Path) -> dict[str, np.ndarray]:
    members = zarr.open_group(str(path), mode="r").members(max_depth=None)
    return {name: np.asarray(a[...]) for name, a in members if isinstance(a, zarr.Array)}


def kill_worker(cluster: Cluster, worker: subprocess.Popen[bytes]) -> None:
    os.killpg(worker.pid, signal.SIGKILL)


def restart(cluster: Cluster, worker: subprocess.Popen[bytes]) -> None:
    cluster.kill()
    cluster.start()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=8, help="passes over the training set")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()
    recipe = parse_recipe(RECIPE.format(epochs=options.epochs))
    figures: dict[str, Any] = {"schema": "lrplan.benchmark.dask_kill/1", "runs": {}}
    runs = {"in peace": None, "one of two workers killed": kill_worker, "all restarted": restart}
    sound = True
    first: dict[str, np.ndarray] = {}
    print("run                        organisms  twice  killed after  differing arrays  seconds")
    with tempfile.TemporaryDirectory() as place:
        for i, (name, disturb) in enumerate(runs.items()):
            out = Path(place) / f"{i}.zarr"
            made = run(recipe, out, disturb)
            found = arrays(out)
            first = first or found
            differing = sorted(
                key
                for key in first.keys() | found.keys()
                if key not in first
                or key not in found
                or not np.array_equal(
                    first[key], found[key], equal_nan=first[key].dtype.kind == "f"
                )
            )
            made |= {"arrays": len(found), "differing_arrays": differing}
            figures["runs"][name] = made
            sound &= not differing and not made["written_more_than_once"]
            sound &= made["organisms"] == found["organisms/id"].size == len(recipe.specs) == 64
            print(
                f"{name:25s}  {made['organisms']:9d}  {made['written_more_than_once']:5d}  "
                f"{made['disturbed_after'] or '-':>12}  {len(differing):9d} of {len(found):3d}  "
                f"{made['seconds']:7.1f}",
                flush=True,
            )
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    return 0 if sound else 1


if __name__ == "__main__":
    sys.exit(main())
