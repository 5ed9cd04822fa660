"""A grid of 192 designs (8 units x 6 noise x 4 schedules): one sweep against single forecasts.

The sweep is measured whole. Of the single forecasts (`held_out=False`) a sample, spread evenly
over the grid, is measured, and their mean time extrapolated to 192; the same sample shows how far
the accuracies are apart. Then the sweep with shuffled labels, which must be at chance.

    OMP_NUM_THREADS=1 python benchmarks/designs.py --json designs.json
"""

from __future__ import annotations

import argparse
import json
import time
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

import lrplan
from lrplan import Design, Schedule

UNITS = (5, 10, 20, 50, 100, 200, 300, 500)
NOISE = (0.0, 0.1, 0.3, 1.0, 3.0, 10.0)
SESSIONS = (21, 11, 5, 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cohort", default="starter")
    parser.add_argument("--measure", default="activity")
    parser.add_argument("--sample", type=int, default=12, help="single forecasts to measure")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--shuffles", type=int, default=1)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    cohort = lrplan.open_cohort(asked.cohort)
    design = Design(measure=asked.measure)
    schedules = [Schedule(sessions=s) for s in SESSIONS]
    # Chunks are decoded before either is timed.
    lrplan.record(cohort, design.with_(units=5), rng=np.random.default_rng(0))

    def swept(seed: int, **options: Any) -> tuple[Any, float]:
        start = time.perf_counter()
        grid = lrplan.sweep(
            cohort,
            design,
            units=UNITS,
            noise=NOISE,
            schedules=schedules,
            rng=np.random.default_rng(seed),
            **options,
        )
        return grid, time.perf_counter() - start

    grid, seconds = swept(asked.seed)
    cells = list(product(UNITS, NOISE, range(len(SESSIONS))))
    print(f"sweep of {len(cells)} designs: {seconds:.1f} s", flush=True)
    rows = []
    for place in np.linspace(0, len(cells) - 1, asked.sample).round().astype(int):
        units, noise, schedule = cells[place]
        start = time.perf_counter()
        plan = lrplan.forecast(
            cohort,
            design.with_(units=units, noise=noise, schedule=schedules[schedule]),
            rng=np.random.default_rng(asked.seed),
            held_out=False,
        )
        took = time.perf_counter() - start
        at = grid.sel(units=units, noise=noise).isel(schedule=schedule)
        rows.append(
            {
                "units": units,
                "noise": noise,
                "sessions": SESSIONS[schedule],
                "forecast": plan.accuracy.to_json(),
                "sweep": {k: float(at[k]) for k in ("accuracy", "low", "high")},
                "seconds": took,
            }
        )
        print(
            f"{units:4d} units, noise {noise:4g}, {SESSIONS[schedule]:2d} sessions: forecast "
            f"{plan.accuracy}, sweep {float(at['accuracy']):.3f} [{float(at['low']):.3f}, "
            f"{float(at['high']):.3f}] ({took:.1f} s)",
            flush=True,
        )
    apart = np.array([r["sweep"]["accuracy"] - r["forecast"]["mean"] for r in rows])
    half = np.mean([(r["forecast"]["high"] - r["forecast"]["low"]) / 2 for r in rows])
    each = float(np.mean([r["seconds"] for r in rows]))
    singles = each * len(cells)
    print(
        f"sweep less forecast: mean {apart.mean():+.3f}, largest {np.abs(apart).max():.3f}; half "
        f"an interval is {half:.3f}"
    )
    print(
        f"{len(cells)} single forecasts would take {singles:.0f} s (extrapolated from "
        f"{len(rows)} of {each:.1f} s each): {singles / seconds:.1f} times the sweep"
    )
    shuffled = [
        float(swept(asked.seed + 1 + i, shuffle_labels=True)[0]["accuracy"].mean())
        for i in range(asked.shuffles)
    ]
    print(f"shuffled labels: mean accuracy of the grid {np.round(shuffled, 3)}, chance 0.25")
    if asked.json:
        result = {
            "designs": len(cells),
            "sweep_seconds": seconds,
            "forecast_seconds": each,
            "ratio": singles / seconds,
            "sample": rows,
            "mean_difference": float(apart.mean()),
            "largest_difference": float(np.abs(apart).max()),
            "half_interval": float(half),
            "shuffled": shuffled,
            "accuracy": grid["accuracy"].values.tolist(),
        }
        asked.json.write_text(json.dumps(result, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
