"""Architectures: whether each learns under each rule, on the CPU.

Trains the ten architectures of Nayebi et al. 2020 under their four rules, with narrow networks
and a few hundred updates, and prints the accuracy on held-out images beside chance, the mean over
seeds and its 95% interval (over images of one test set where there is one seed, over seeds, too,
where there are more: the wider of both). Two comparisons follow: backpropagation against the
alignment rules, and feedback alignment against backpropagation on the ResNets.

    python benchmarks/architectures.py --task digits --json architectures.json
    python benchmarks/architectures.py --task shapes --architectures resnet18 knet4 --seeds 2
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

RULES = ("sgdm", "adam", "feedback_alignment", "information_alignment")
BACKPROPAGATION, ALIGNMENT = RULES[:2], RULES[2:]
RESNETS = ("resnet18", "resnet34", "resnet18v2", "resnet34v2")
ALEXNETS = ("alexnet", "alexnet_lrn")
KNETS = ("knet4", "knet5")
LRN_KNETS = ("knet4_lrn", "knet5_lrn")
ARCHITECTURES = (*RESNETS, *ALEXNETS, "knet4", "knet4_lrn", "knet5", "knet5_lrn")

# Settings; learning rates in the order of RULES; updates relative to `--updates`. Where no
# normalisation bounds activity, rules without a gradient need small steps and more of them.
FAMILIES: dict[tuple[str, ...], dict[str, Any]] = {
    RESNETS: {
        "settings": {"stem": "small", "width": 8},
        "rates": (0.05, 0.003, 0.05, 0.05),
        "updates": 1.0,
    },
    ALEXNETS[:1]: {
        "settings": {"stem": "small", "width": 4},
        "rates": (0.01, 0.001, 0.001, 0.0003),
        "updates": 4.0,
    },
    ALEXNETS[1:]: {
        "settings": {"stem": "small", "width": 4},
        "rates": (0.01, 0.001, 0.003, 0.003),
        "updates": 4.0,
    },
    KNETS: {"settings": {}, "rates": (0.02, 0.001, 0.02, 0.02), "updates": 1.0},
    LRN_KNETS: {"settings": {}, "rates": (0.01, 0.001, 0.003, 0.003), "updates": 4.0},
}
CHANNELS = (8, 8, 16, 32)
TASK_SETTINGS: dict[str, dict[str, Any]] = {"shapes": {"train": 2000, "test": 500}}


def family(architecture: str) -> dict[str, Any]:
    """Return settings, learning rates and relative updates of an architecture."""
    [found] = [f for names, f in FAMILIES.items() if architecture in names]
    settings = dict(found["settings"])
    if architecture.startswith("knet"):
        settings = {"channels": list(CHANNELS[: int(architecture[4]) - 1])}
    return found | {"settings": settings}


def train_cell(
    task: str, architecture: str, rule: str, seed: int, updates: int, batch: int
) -> dict[str, Any]:
    """Train one organism in this process and return how well it does."""
    import torch

    from lrplan.cohort.spec import OrganismSpec
    from lrplan.simulate.learn.storage import Storage
    from lrplan.simulate.learn.train import train
    from lrplan.simulate.tasks import tasks

    torch.set_num_threads(1)
    chosen = family(architecture)
    task_settings = TASK_SETTINGS.get(task, {})
    registered = tasks.get(task)
    extent = registered.extent(None, registered.settings | task_settings)
    per_epoch = extent.train // batch
    spec = OrganismSpec(
        rule=rule,
        architecture=architecture,
        task=task,
        batch_size=batch,
        learning_rate=chosen["rates"][RULES.index(rule)],
        model_seed=seed,
        data_seed=seed,
        epochs=max(1, round(updates * chosen["updates"] / per_epoch)),
        checkpoints=3,
        settings={
            "rule": {},
            "architecture": chosen["settings"],
            "task": task_settings,
            "training": {"schedule": "cosine"},
        },
    )
    little = Storage(units=8, stimuli=2, synapses=8, pairs=2, pair_stimuli=1, validation=8)
    start = time.perf_counter()
    [trained] = train([spec], little)
    return {
        "architecture": architecture,
        "rule": rule,
        "seed": seed,
        "learning_rate": spec.learning_rate,
        "updates": spec.epochs * per_epoch,
        "settings": chosen["settings"],
        "accuracy": float(trained.arrays["performance"][-1]),
        "before": float(trained.arrays["performance"][0]),
        "loss": float(trained.arrays["loss"][-1]),
        "diverged": trained.diverged,
        "test_images": extent.test,
        "chance": 1 / registered.head(registered.settings | task_settings).width,
        "seconds": time.perf_counter() - start,
    }


def interval(cells: list[dict[str, Any]]) -> dict[str, float]:
    """Return mean accuracy over seeds and its 95% interval."""
    values = np.array([c["accuracy"] for c in cells])
    mean, images = float(values.mean()), cells[0]["test_images"]
    # Wilson's interval for one test set, which all seeds share.
    z = 1.959964
    centre = (mean + z * z / (2 * images)) / (1 + z * z / images)
    spread = np.sqrt(mean * (1 - mean) / images + z * z / (4 * images**2))
    half = z * float(spread) / (1 + z * z / images)
    low, high = centre - half, centre + half
    if len(values) > 1:
        from scipy.stats import t

        half = float(t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)))
        low, high = min(low, mean - half), max(high, mean + half)
    return {"mean": mean, "low": max(0.0, low), "high": min(1.0, high)}


def show(table: dict[str, dict[str, dict[str, float]]], chance: float) -> None:
    rules = [r for r in RULES if any(r in row for row in table.values())]
    print(f"{'':12s}" + "".join(f"{r:>24s}" for r in rules))
    for architecture, row in table.items():
        texts = []
        for rule in rules:
            found = row.get(rule)
            text = "-"
            if found:
                text = "{mean:.3f} [{low:.3f}, {high:.3f}]".format(**found)
                text += " " if found["low"] > chance else "!"
            texts.append(f"{text:>24s}")
        print(f"{architecture:12s}" + "".join(texts))
    print(f"chance {chance:.3f}; ! not above it")


def judge(table: dict[str, dict[str, dict[str, float]]]) -> dict[str, Any]:
    """Compare the rules of each architecture by their means."""
    reversed_, equal = [], []
    for architecture, row in table.items():
        backprop = [row[r]["mean"] for r in BACKPROPAGATION if r in row]
        alignment = [row[r]["mean"] for r in ALIGNMENT if r in row]
        if backprop and alignment and min(backprop) <= max(alignment):
            reversed_.append(architecture)
        feedback = row.get("feedback_alignment")
        # Clearly worse: the intervals do not meet.
        if (
            architecture in RESNETS
            and feedback
            and "sgdm" in row
            and feedback["high"] >= row["sgdm"]["low"]
        ):
            equal.append(architecture)
    return {"alignment_not_below_backpropagation": reversed_, "feedback_not_worse": equal}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--task", default="digits", help="any task; digits and shapes are tuned")
    parser.add_argument("--architectures", nargs="+", choices=ARCHITECTURES, default=ARCHITECTURES)
    parser.add_argument("--rules", nargs="+", choices=RULES, default=RULES)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--updates", type=int, default=220, help="of ResNets; others by family")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    jobs = [
        (asked.task, a, r, seed, asked.updates, asked.batch)
        for a in asked.architectures
        for r in asked.rules
        for seed in range(asked.seeds)
    ]
    start = time.perf_counter()
    cells = []
    with ProcessPoolExecutor(asked.workers, mp_context=get_context("spawn")) as pool:
        for done in as_completed([pool.submit(train_cell, *job) for job in jobs]):
            cell = done.result()
            cells.append(cell)
            print(
                f"{cell['architecture']:12s} {cell['rule']:22s} seed {cell['seed']} "
                f"{cell['accuracy']:.3f} after {cell['updates']} updates, {cell['seconds']:.0f} s"
                + (", diverged" if cell["diverged"] else ""),
                file=sys.stderr,
                flush=True,
            )
    table: dict[str, dict[str, dict[str, float]]] = {}
    for architecture in asked.architectures:
        for rule in asked.rules:
            mine = [c for c in cells if (c["architecture"], c["rule"]) == (architecture, rule)]
            table.setdefault(architecture, {})[rule] = interval(mine)
    show(table, cells[0]["chance"])
    verdict = judge(table)
    for text, key in (
        ("an alignment rule is not below backpropagation", "alignment_not_below_backpropagation"),
        ("feedback alignment is not clearly worse than sgdm", "feedback_not_worse"),
    ):
        print(f"{text}: {', '.join(verdict[key]) or 'nowhere'}")
    seconds = time.perf_counter() - start
    print(f"{asked.task}, {len(cells)} organisms, {seconds / 60:.1f} min, {asked.workers} workers")
    if asked.json:
        content = {
            "task": asked.task,
            "chance": cells[0]["chance"],
            "accuracy": table,
            **verdict,
            "seconds": seconds,
            "organisms": sorted(cells, key=lambda c: (c["architecture"], c["rule"], c["seed"])),
        }
        asked.json.write_text(json.dumps(content, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
