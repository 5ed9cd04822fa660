"""Forecasts of a cohort with their controls.

Prints, for each measure: the forecast, the same with labels shuffled between organisms (must be
chance), and the same split by layer (the leak). Then accuracy over units x noise. With --fine, the
same forecasts from a cohort that stores 16 bits, to see what 8-bit storage moves.

    python benchmarks/forecasts.py --json forecasts.json
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

import lrplan

MEASURES = ("activity", "weights", "paired")
UNITS = (10, 30, 100, 300)
NOISE = (0.0, 0.1, 1.0, 5.0)


def row(name: str, plan: Any, seconds: float) -> dict[str, Any]:
    found = {
        "what": name,
        "accuracy": plan.accuracy.to_json(),
        "bits": plan.bits.to_json(),
        "held_out": {k: v and v.to_json() for k, v in plan.held_out.items()},
        "inseparable": plan.inseparable,
        "seconds": seconds,
    }
    held = "  ".join(f"{k} {v}" for k, v in plan.held_out.items() if v is not None)
    print(f"{name:28s} {plan.accuracy}  bits {plan.bits}  {held}  ({seconds:.1f} s)", flush=True)
    return found


def forecast(name: str, cohort: Any, design: Any, seed: int, **options: Any) -> dict[str, Any]:
    start = time.perf_counter()
    plan = lrplan.forecast(cohort, design, rng=np.random.default_rng(seed), **options)
    return row(name, plan, time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cohort", default="starter")
    parser.add_argument("--fine", help="the same cohort stored with 16 bits")
    parser.add_argument("--units", type=int, default=300)
    parser.add_argument("--noise", type=float, default=0.1)
    parser.add_argument("--shuffles", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    cohort = lrplan.open_cohort(asked.cohort)
    out: list[dict[str, Any]] = []
    print(f"cohort {cohort.name}, {asked.units} units, noise {asked.noise}; chance 0.25")
    for measure in MEASURES:
        design = lrplan.Design(units=asked.units, noise=asked.noise, measure=measure)
        out.append(forecast(measure, cohort, design, asked.seed))
        for i in range(asked.shuffles):
            name = f"{measure}, shuffled {i}"
            seed = asked.seed + 1 + i
            out.append(forecast(name, cohort, design, seed, shuffle_labels=True))
        name = f"{measure}, split by layer"
        out.append(forecast(name, cohort, design, asked.seed, split="layer", held_out=False))
        if asked.fine:
            fine = lrplan.open_cohort(asked.fine)
            out.append(forecast(f"{measure}, 16 bits", fine, design, asked.seed))
    print("\nactivity, accuracy over units (down) x noise (across)")
    grid = lrplan.sweep(
        cohort,
        lrplan.Design(),
        units=UNITS,
        noise=NOISE,
        rng=np.random.default_rng(asked.seed),
    )
    print("units " + "".join(f"{n:>24g}" for n in NOISE))
    for units in UNITS:
        at = grid.sel(units=units)
        cells = zip(at["accuracy"].values, at["low"].values, at["high"].values, strict=True)
        print(f"{units:5d} " + "".join(f"   {a:.3f} [{b:.3f}, {c:.3f}]" for a, b, c in cells))
    if asked.json:
        table = {k: grid[k].values.tolist() for k in ("accuracy", "low", "high")}
        result = {"forecasts": out, "grid": {"units": UNITS, "noise": NOISE, **table}}
        asked.json.write_text(json.dumps(result, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
