"""Peak memory of a forecast and a sweep on a cohort ten times the starter's size.

The cohort is made in a temporary directory by repeating the starter: each copy's 8-bit codes get
noise of their own, its organisms names of their own. Forecast and sweep run in processes of their
own, so that each has its own peak.

    OMP_NUM_THREADS=1 python benchmarks/memory.py --json memory.json
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import lrplan
from lrplan import Design, Schedule
from lrplan.cohort import format as schema

CODES = ("responses", "synapses", "paired")


def repeat(path: Path, copies: int, seed: int) -> None:
    """Write `copies` noisy copies of the starter cohort as one cohort."""
    starter = lrplan.open_cohort("starter")
    organisms = starter.organisms.sizes["organism"]
    # Noise does not compress; the default level would take minutes over it.
    writer = schema.CohortWriter(path, {"name": f"starter x {copies}", "recipe": ""}, level=1)
    rng = np.random.default_rng(seed)
    for (group, name), array in starter.variables.items():
        values = starter.read_variable(group, name)
        attributes = {k: v for k, v in dict(array.attrs).items() if k.startswith("flag_")}
        if name == "observable":
            writer.write(group, name, values, attributes)
            continue
        if name not in CODES:
            many = [values] * copies
            if name == "id":
                many = [np.array([f"{i:016x}" for i in range(organisms * copies)], dtype=object)]
            elif (group, name) == ("populations", "organism"):
                many = [values + organisms * c for c in range(copies)]
            writer.write(group, name, np.concatenate(many), attributes)
            continue
        # The large ones go block by block.
        target = writer.create(
            group, name, (len(values) * copies, *values.shape[1:]), values.dtype, attributes
        )
        depth = target.chunks[0]
        for start in range(0, target.shape[0], depth):
            rows = np.arange(start, min(start + depth, target.shape[0])) % len(values)
            codes = values[rows].astype(np.int16)
            noise = rng.integers(-1, 2, codes.shape, dtype=np.int16)
            moved = np.clip(codes + noise, 0, schema.MISSING - 1)
            target[start : start + len(rows)] = np.where(
                codes == schema.MISSING, codes, moved
            ).astype(np.uint8)
    writer.close()


def peak() -> float:
    """Return the largest resident set of this process so far, in GB."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


def work(what: str, path: str) -> None:
    """Run one kind of work in this process and print what it took."""
    cohort = lrplan.open_cohort(path)
    start = time.perf_counter()
    rng = np.random.default_rng(0)
    if what == "forecast":
        lrplan.forecast(cohort, Design(), rng=rng, held_out=False)
    else:
        lrplan.sweep(
            cohort,
            Design(),
            units=(30, 100, 300),
            noise=(0.0, 0.1, 1.0),
            schedules=(Schedule(), Schedule(sessions=5)),
            rng=rng,
        )
    print(json.dumps({"peak_gb": peak(), "seconds": time.perf_counter() - start}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--copies", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--work", nargs=2, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.work:
        work(*asked.work)
        return
    found: dict[str, Any] = {"copies": asked.copies}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "large.zarr"
        start = time.perf_counter()
        repeat(path, asked.copies, asked.seed)
        held = sum(p.stat().st_size for p in path.rglob("*") if p.is_file())
        array = lrplan.open_cohort(path).variables["responses", "responses"]
        found["bytes"] = held
        print(
            f"{asked.copies} copies: {array.shape[0]} populations, {held / 1e6:.0f} MB on disk, "
            f"{array.size * 4 / 1e9:.1f} GB of responses as float32 "
            f"(made in {time.perf_counter() - start:.0f} s)",
            flush=True,
        )
        for what in ("forecast", "sweep"):
            ran = subprocess.run(
                [sys.executable, __file__, "--work", what, str(path)],
                check=True,
                capture_output=True,
                text=True,
            )
            found[what] = json.loads(ran.stdout)
            print(
                f"{what:10s} peak {found[what]['peak_gb']:.2f} GB, {found[what]['seconds']:.0f} s",
                flush=True,
            )
    if asked.json:
        asked.json.write_text(json.dumps(found, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
