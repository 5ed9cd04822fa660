"""What a cohort can be planned on: accuracy, curves, verdicts and times, as Markdown tables.

1 the default design, by what is held out and by what is taken, with shuffled labels as a control,
  and, with --outside, trained on the cohort and tested on another, on families never trained on;
2 the curves over organisms and over families, for one area, several, contrasts and references;
3 how often `score` would name a rule on a family that it never saw, and how often it is right;
4 times and memory.

    OMP_NUM_THREADS=1 python benchmarks/planning.py starter --write planning.md
    python benchmarks/planning.py starter --quick

--quick takes 60 organisms, few trees and one draw: it shows that everything runs, and its numbers
mean nothing. Figures stand with their 95% interval over organisms (and, where families are held
out, over families).
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np
from plans.common import FULL, QUICK, Say, Work, in_order
from plans.curves import curves
from plans.named import named
from plans.table import forecasts, outside
from plans.times import times

import lrplan
from lrplan.cache import VARIABLE
from lrplan.cohort.select import select
from lrplan.cohort.store import Cohort
from lrplan.measure.design import Design
from lrplan.randomness import keyed_rng

TITLES = {
    1: "What the default design tells",
    2: "Curves over organisms and families",
    3: "How often a rule is named",
    4: "Times",
}
FEW = 60


def main() -> None:
    asked = arguments()
    folder = tempfile.TemporaryDirectory()
    # Observables are taken once: what is shuffled is recorded as what is not.
    os.environ[VARIABLE] = str(Path(folder.name) / "cache")
    say = _saying(asked.write)
    with folder:
        cohort = lrplan.open_cohort(asked.cohort)
        other = lrplan.open_cohort(asked.outside) if asked.outside else None
        if asked.quick:
            cohort = few(cohort, Path(folder.name), asked.seed)
            other = few(other, Path(folder.name), asked.seed) if other else None
        units = min(Design().unit_count, int(np.median(cohort.stored_units("activity"))))
        work = Work(cohort, Design(units=units), QUICK if asked.quick else FULL, asked.seed, say)
        introduce(work)
        for part in asked.parts:
            say(f"## {part}. {TITLES[part]}\n")
            start = time.perf_counter()
            run(part, work, other, asked.outside_rules)
            say(f"({time.perf_counter() - start:.0f} s)\n")


def run(part: int, work: Work, other: Cohort | None, rules: list[str]) -> None:
    """Print one part."""
    if part == 1:
        forecasts(work)
        if other is not None:
            outside(work, other, rules)
        return
    parts: dict[int, Callable[[Work], None]] = {2: curves, 3: named, 4: times}
    parts[part](work)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cohort", help="name or path")
    parser.add_argument("--outside", help="another cohort, which is tested")
    parser.add_argument(
        "--outside-rules", type=_words, default=[], help="by default all that both cohorts have"
    )
    parser.add_argument("--parts", type=_parts, default=list(TITLES), help="such as 1,3")
    parser.add_argument("--quick", action="store_true", help=f"{FEW} organisms, few trees")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", type=Path, help="a file for the tables as well")
    return parser.parse_args()


def introduce(work: Work) -> None:
    """Print what the tables are of."""
    cohort, design = work.cohort, work.design
    labels = cohort.labels(cohort.usable_populations())
    _, first = np.unique(labels["organism"].astype(str), return_index=True)
    work.say(f"# Planning on {cohort.name}\n")
    for name in ("family", "rule", "task"):
        held, counts = np.unique(labels[name][first].astype(str), return_counts=True)
        told = ", ".join(f"{h} {n}" for h, n in zip(held, counts, strict=True))
        work.say(f"{name}: {told}  ")
    quick = "; a trial of few organisms and trees" if work.effort.quick else ""
    work.say(
        f"\n{len(first)} organisms, {len(labels['organism'])} populations; lrplan "
        f"{version('lrplan')}; {design.units} units, noise {design.noise}, "
        f"{', '.join(design.taken)}; seed {work.seed}{quick}\n"
    )


def few(cohort: Cohort, folder: Path, seed: int) -> Cohort:
    """Return a small part of a cohort that has the same families and rules."""
    labels = cohort.labels(cohort.usable_populations())
    names = in_order(labels, keyed_rng(seed, "few"))[:FEW]
    return select(cohort, folder / f"{cohort.name}-few.zarr.zip", organism=[str(n) for n in names])


def _saying(file: Path | None) -> Say:
    """Return what prints lines, and writes them to a file as they come."""
    if file is not None:
        file.write_text("", encoding="utf-8")

    def say(line: str) -> None:
        print(line, flush=True)
        if file is not None:
            with file.open("a", encoding="utf-8") as opened:
                opened.write(line + "\n")

    return say


def _words(value: str) -> list[str]:
    return [w.strip() for w in value.split(",") if w.strip()]


def _parts(value: str) -> list[int]:
    found = [int(w) if w.isdigit() else 0 for w in _words(value)]
    if not found or not set(found) <= set(TITLES):
        raise argparse.ArgumentTypeError(
            f"{value!r}; expected some of {', '.join(map(str, TITLES))}, such as 1,3"
        )
    return sorted(set(found))


if __name__ == "__main__":
    main()
