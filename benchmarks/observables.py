"""The 45 statistics over a cohort's responses: plain numpy against this engine; and whole sets.

Plain numpy calls one function per statistic, function and layer, that is per population and
checkpoint, as the obvious code does. The engine takes the same arrays in the same run, on as many
threads as there are cores and on one, in turns. The results are compared. Then populations are
recorded and observed as a forecast does, decoding and noise included, by several sets.

    OMP_NUM_THREADS=1 python benchmarks/observables.py --json observables.json
"""

from __future__ import annotations

import argparse
import json
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import lrplan
from lrplan.measure.observables import GEOMETRY, STANDARD, stored_families
from lrplan.measure.observe import Observed
from lrplan.measure.virtual import Samples
from lrplan.threads import threads

FUNCTIONS = (lambda x: x, np.abs, np.square)
MEASURES = ("activity", "weights", "paired")
STREAMED = ("nayebi2020", GEOMETRY, STANDARD)
STATISTICS = {
    "norm": lambda x: np.linalg.norm(x, axis=-1) / np.sqrt(x.shape[-1]),
    "mean": lambda x: np.mean(x, axis=-1),
    "var": lambda x: np.var(x, axis=-1),
    "skew": lambda x: _skew(x),
    "kurtosis": lambda x: _kurtosis(x),
    "median": lambda x: np.median(x, axis=-1),
    "thirdquartile": lambda x: np.quantile(x, 0.75, axis=-1),
}


def _skew(x: np.ndarray) -> np.ndarray:
    sd = np.std(x, axis=-1)
    centred = 3 * (np.mean(x, axis=-1) - np.median(x, axis=-1))
    return np.where(sd > 0, centred / np.where(sd > 0, sd, 1), 0)


def _kurtosis(x: np.ndarray) -> np.ndarray:
    fourth = np.mean((x - np.mean(x, axis=-1, keepdims=True)) ** 4, axis=-1)
    squared = np.var(x, axis=-1) ** 2
    return np.where(squared > 0, fourth / np.where(squared > 0, squared, 1), 0)


def plain(values: np.ndarray, measure: str) -> np.ndarray:
    """Take the statistics of one measure, (population, checkpoint, statistic)."""
    out = []
    for population in values:
        for layer in population:
            if measure == "paired":
                total = layer.sum(axis=-2)
                found = [f(total).sum(axis=-1).mean() / layer.shape[-2] for f in FUNCTIONS]
            else:
                # Statistics over units, averaged over stimuli where there are stimuli.
                found = [np.mean(s(f(layer))) for f in FUNCTIONS for s in STATISTICS.values()]
            out.append(found)
    return np.array(out).reshape(*values.shape[:2], -1)


def engine(values: np.ndarray, measure: str, workers: int) -> np.ndarray:
    """Take the same statistics by the families, of as many populations at a time as share out."""
    [family] = [f for f in stored_families() if f.measure == measure]
    if workers == 1:
        return np.asarray(family.compute(values))
    with ThreadPoolExecutor(workers) as pool:
        return np.concatenate(list(pool.map(family.compute, np.array_split(values, workers))))


def streamed(cohort: lrplan.Cohort, chosen: np.ndarray, observables: str, workers: int) -> None:
    """Record populations of activity and take their observables, as `observe_designs` does."""
    design = lrplan.Design(observables=observables)
    sessions = design.schedule.checkpoints(cohort.checkpoints)
    observed = Observed(cohort, design, chosen, [design.unit_count], [design.noise], [sessions])
    samples = Samples(cohort, design, "activity", chosen, 0)

    batches = observed.batches(cohort, "activity", np.arange(len(chosen)))
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(partial(observed.fill, samples, "activity"), batches))


def per_population(
    cohort: lrplan.Cohort, chosen: np.ndarray, repeats: int
) -> dict[str, dict[int, float]]:
    """Print and return the ms that a population takes, by set of observables and threads."""
    taken: dict[str, dict[int, list[float]]] = {s: {1: [], threads(): []} for s in STREAMED}
    for name in STREAMED:
        streamed(cohort, chosen[:8], name, 1)
    for _ in range(repeats):
        for name, by_workers in taken.items():
            for workers, each in by_workers.items():
                _, seconds = timed(streamed, cohort, chosen, name, workers)
                each.append(1e3 * seconds / len(chosen))
    found = {n: {w: float(np.median(t)) for w, t in by.items()} for n, by in taken.items()}
    print(f"\nrecording and observing activity of {cohort.stimuli} stimuli, ms per population")
    print(f"{'set':24s}{'one thread':>14s}{f'{threads()} threads':>14s}")
    for name, by in found.items():
        print(f"{name:24s}{by[1]:14.2f}{by[threads()]:14.2f}", flush=True)
    return found


def timed(function: Any, *given: Any) -> tuple[Any, float]:
    start = time.perf_counter()
    return function(*given), time.perf_counter() - start


def _line(what: str, slow: float, quick: float, alone: float) -> str:
    numbers = f"{slow:14.2f}{quick:14.3f}{slow / quick:14.1f}{alone:14.3f}{slow / alone:14.1f}"
    return f"{what:10s}{numbers}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cohort", default="starter")
    parser.add_argument("--populations", type=int, help="only so many (default: all)")
    parser.add_argument("--repeats", type=int, default=3, help="of the engine; the median counts")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    cohort = lrplan.open_cohort(asked.cohort)
    chosen = cohort.usable_populations()[: asked.populations]
    rows: list[dict[str, Any]] = []
    print(f"{len(chosen)} populations, {cohort.checkpoints} checkpoints, {threads()} threads")
    heads = ("plain s", "engine s", "ratio", "one thread s", "ratio", "difference")
    print(f"{'measure':10s}" + "".join(f"{head:>14s}" for head in heads))
    for measure in MEASURES:
        values = cohort.read(measure, chosen, range(cohort.checkpoints))
        engine(values[:8], measure, threads())
        taken: dict[int, list[float]] = {threads(): [], 1: []}
        for _ in range(asked.repeats):
            for workers, each in taken.items():
                found, seconds = timed(engine, values, measure, workers)
                each.append(seconds)
        quick, alone = (float(np.median(taken[n])) for n in (threads(), 1))
        expected, slow = timed(plain, values, measure)
        np.testing.assert_allclose(found, expected, rtol=2e-3, atol=1e-5)
        size = np.maximum(np.abs(expected), 1e-3)
        apart = float((np.abs(found - expected) / size).max())
        rows.append(
            {
                "measure": measure,
                "plain": slow,
                "engine": quick,
                "alone": alone,
                "difference": apart,
            }
        )
        print(_line(measure, slow, quick, alone) + f"{apart:14.1e}", flush=True)
    slow, quick, alone = (sum(r[k] for r in rows) for k in ("plain", "engine", "alone"))
    print(_line("all 45", slow, quick, alone))
    sets = per_population(cohort, chosen, asked.repeats)
    if asked.json:
        result = {
            "threads": threads(),
            "measures": rows,
            "ratio": slow / quick,
            "ms_per_population": sets,
        }
        asked.json.write_text(json.dumps(result, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
