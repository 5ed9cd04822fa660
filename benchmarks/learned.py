"""What a network answers before training, for the margin of `has_learned` and docs/cohorts.md.

A network with random weights does not guess: its answers are systematic, so that its performance
varies more than the binomial distribution says. Networks of several architectures and tasks are
drawn and their readouts are judged on held-out examples. Told are, for each task, the best of them,
how far it is above chance, how many are above chance by the test alone (p < 1e-6), and how many
would pass for having learned. Of cohorts that are named the performance before training that they
store is taken in the same way.

    OMP_NUM_THREADS=1 python benchmarks/learned.py
    OMP_NUM_THREADS=1 python benchmarks/learned.py cohort.zarr
    OMP_NUM_THREADS=1 python benchmarks/learned.py --quick
"""

from __future__ import annotations

import argparse

import numpy as np
import torch

import lrplan
from lrplan.cohort.learned import ALPHA, MARGIN, has_learned
from lrplan.randomness import keyed_rng
from lrplan.simulate.architectures import architectures
from lrplan.simulate.network import Pass, init_params
from lrplan.simulate.tasks import Data, Task, tasks

HELD_OUT = 500
"""Of generated tasks."""
TASKS = {
    "digits": {},
    "shapes": {"train": 300, "test": HELD_OUT},
    "tones": {"train": 300, "test": HELD_OUT},
}
NETWORKS = {
    "mlp": {"width": 64},
    "knet4": {"channels": [8, 16, 32]},
    "knet4_lrn": {"channels": [8, 16, 32]},
    "knet5": {"channels": [8, 8, 16, 32]},
    "alexnet": {"width": 8},
    "resnet18": {"width": 8},
    "resnet18v2": {"width": 8},
}
SEEDS = 24
STATISTICS_EXAMPLES = 128
"""Training examples whose mean and variance batch normalisation takes."""


def untrained(task: Task, data: Data, settings: dict, name: str, seeds: int) -> np.ndarray:
    """Return the share of held-out examples that each of some networks names, (seed,)."""
    architecture = architectures.get(name)
    given = architecture.settings | NETWORKS[name]
    network = architecture.build(tuple(data.train.shape[1:]), task.head(settings), **given)
    some = task.prepare(torch.from_numpy(data.train[:STATISTICS_EXAMPLES]))
    images = task.prepare(torch.from_numpy(data.test))
    labels = torch.from_numpy(data.test_labels)
    shares = []
    for seed in range(seeds):
        drawn = init_params(network, keyed_rng("untrained", name, seed))
        params = {key: torch.from_numpy(value) for key, value in drawn.items()}
        with torch.no_grad():
            first = Pass(params)
            network.forward(first, some)
            scores = network.forward(Pass(params, statistics=first.batch_statistics), images)
        # Of several labels the first counts, whose classes come first among the scores.
        shares.append(float(task.correct(scores, labels).double().mean()))
    return np.array(shares)


def tell(what: str, first: np.ndarray, chance: np.ndarray, held_out: np.ndarray) -> None:
    """Print how untrained readouts do, as if they had ended so."""
    above = first - chance
    best = int(np.argmax(above))
    ended = np.stack([np.zeros_like(first), first], axis=1)
    readout = np.zeros(len(first), dtype=bool)
    learned = has_learned(ended, np.zeros_like(ended), chance, held_out, readout)
    tested = above_by_test(first, chance, held_out)
    print(
        f"{what:12}{len(first):9}{first.mean():8.3f}{first.std():7.3f}{first[best]:7.3f}"
        f"{above[best]:+8.3f}{int(tested.sum()):8}{int(learned.sum()):9}"
    )


def above_by_test(first: np.ndarray, chance: np.ndarray, held_out: np.ndarray) -> np.ndarray:
    """Say which shares are above chance by the one-sided binomial test alone."""
    from scipy.stats import binom

    return binom.sf(np.rint(first * held_out) - 1, held_out, chance) < ALPHA


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cohorts", nargs="*", help="of which the first performance is taken, too")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="networks of each kind")
    parser.add_argument("--quick", action="store_true", help="two networks of each kind")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    seeds = 2 if asked.quick else asked.seeds
    print(f"margin {MARGIN}, test p < {ALPHA:g}")
    print("task         networks    mean     sd   best   above  by test  learned")
    every = []
    for name, differs in TASKS.items():
        task = tasks.get(name)
        settings = task.settings | differs
        found = []
        for network in NETWORKS:
            data = task.load(architectures.get(network).size, settings)
            found.append(untrained(task, data, settings, network, seeds))
        first = np.concatenate(found)
        chance = np.full(len(first), task.chance(data.test_labels))
        every.append((first, chance, np.full(len(first), len(data.test_labels))))
        tell(name, *every[-1])
    tell("all", *(np.concatenate(part) for part in zip(*every, strict=True)))
    for path in asked.cohorts:
        cohort = lrplan.open_cohort(path)
        rows = cohort.organisms["objective"].values != "self-supervised"
        parts = [
            cohort.read_variable("behaviour", n) for n in ("performance", "chance", "held_out")
        ]
        tell(cohort.name, parts[0][rows, 0].astype(float), parts[1][rows], parts[2][rows])


if __name__ == "__main__":
    main()
