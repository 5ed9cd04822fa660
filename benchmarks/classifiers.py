"""How fast the searches of the classifiers are, and whether they pick as well as full ones.

Random forest: the race against scikit-learn's GridSearchCV with the same grid, the same grouped
folds and n_jobs=2, in turns on the same training sets; the held-out accuracy of what each picked.
Conv1D (--full): the race against training each of the 720 settings (with --epochs, fewer than
the paper's 400, or it takes hours). And the time that every classifier's search takes.

    python benchmarks/classifiers.py --json classifiers.json
    python benchmarks/classifiers.py --parts conv1d --full --epochs 60 --splits 3

Run with OMP_NUM_THREADS=1, or BLAS threads compete with those that are timed.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import GridSearchCV, PredefinedSplit

import lrplan
from lrplan.classifiers import classifiers, make_classifier
from lrplan.classifiers.conv1d_mlp import Conv1dMLP
from lrplan.classifiers.random_forest import PAPER, RandomForest
from lrplan.classifiers.splits import Splits
from lrplan.randomness import keyed_rng
from lrplan.terms import POSITIONS, STORED_OBSERVABLES

PARTS = ("forest", "conv1d", "all")


class Rows:
    """What is classified: noiseless observables of all units, and the layer position."""

    def __init__(self, cohort: Any, measure: str) -> None:
        populations = cohort.usable_populations()
        labels = cohort.labels(populations)
        stored = np.asarray(cohort.tree["observables"]["observables"].values)[populations]
        family = np.array([name.split("_")[0] for name in STORED_OBSERVABLES])
        stored = stored if measure == "every" else stored[:, :, family == measure]
        position = labels["position"][:, None] == np.array(POSITIONS)[None]
        self.sessions = stored.shape[1]
        self.static = position.shape[1]
        self.x = np.concatenate([stored.reshape(len(stored), -1), position], axis=1)
        self.y = labels["rule"].astype(str)
        self.organisms = labels["organism"].astype(str)

    def split(self, k: int, seed: int) -> np.ndarray:
        """Return the rows of a balanced quarter of the organisms."""
        rng = keyed_rng(seed, "split", k)
        return Splits.dealt(self.y, self.organisms, folds=4, rng=rng).test[0]


def timed(fit: Callable[[], Any]) -> tuple[Any, float]:
    start = time.perf_counter()
    return fit(), time.perf_counter() - start


def accuracy(model: Any, rows: Rows, test: np.ndarray) -> float:
    right = model.predict(rows.x[test]) == rows.y[test]
    return float(np.mean([right[rows.y[test] == rule].mean() for rule in np.unique(rows.y)]))


def grid_search(rows: Rows, train: np.ndarray, seed: int) -> GridSearchCV:
    """Search the paper's grid as scikit-learn does, with the folds of the race."""
    y, organisms = rows.y[train], rows.organisms[train]
    rng = keyed_rng(seed, "folds of a search")
    fold = Splits.dealt(y, organisms, folds=5, rng=rng).test.argmax(axis=0)
    grid = {
        "max_features": [None if m == "all" else m for m in PAPER["max_features"]],
        "n_estimators": list(PAPER["trees"]),
    }
    forest = RandomForestClassifier(random_state=seed)
    return GridSearchCV(forest, grid, cv=PredefinedSplit(fold), n_jobs=2).fit(rows.x[train], y)


def forests(rows: Rows, splits: int, seed: int) -> list[dict[str, Any]]:
    out = []
    print(f"random forest, {rows.x.shape[1]} features: GridSearchCV (n_jobs=2) against the race")
    for k in range(splits):
        test = rows.split(k, seed)
        train = ~test
        race, race_s = timed(
            lambda train=train: RandomForest(random_state=seed, workers=2).fit(
                rows.x[train], rows.y[train], rows.organisms[train]
            )
        )
        full, full_s = timed(lambda train=train: grid_search(rows, train, seed))
        best = full.best_params_
        out.append(
            {
                "split": k,
                "grid_search_s": full_s,
                "race_s": race_s,
                "times_faster": full_s / race_s,
                "grid_search_accuracy": accuracy(full, rows, test),
                "race_accuracy": accuracy(race, rows, test),
                "grid_search_picked": [best["max_features"] or "all", best["n_estimators"]],
                "race_picked": list(race.settings_.values()),
            }
        )
        print("  {split}: {grid_search_s:.1f} s, {race_s:.1f} s, {times_faster:.1f} times faster; "
              "accuracy {grid_search_accuracy:.3f} {grid_search_picked}, {race_accuracy:.3f} "
              "{race_picked}".format(**out[-1]), flush=True)  # fmt: skip
    compare([r["race_accuracy"] - r["grid_search_accuracy"] for r in out])
    return out


def networks(rows: Rows, splits: int, seed: int, epochs: int, full: bool) -> list[dict[str, Any]]:
    out = []
    print(f"conv1d, {epochs} epochs: every setting against the race")
    for k in range(splits):
        test = rows.split(k, seed)
        found: dict[str, Any] = {"split": k}
        for name in ("race", "every") if full else ("race",):
            model = Conv1dMLP(
                rows.sessions,
                rows.static,
                epochs=epochs,
                exhaustive=name == "every",
                random_state=seed,
                workers=2,
            )
            train = (rows.x[~test], rows.y[~test], rows.organisms[~test])
            _, found[f"{name}_s"] = timed(lambda model=model, train=train: model.fit(*train))
            found[f"{name}_accuracy"] = accuracy(model, rows, test)
            found[f"{name}_picked"] = model.settings_
            found[f"{name}_epochs_trained"] = sum(t["epochs"] for t in model.search_)
            reached = {str(t): t["accuracy"] for t in model.search_}
            found[f"{name}_inner_accuracy"] = max(reached.values())
            picked = list(model.settings_.values())
            print(f"  {k} {name}: {found[f'{name}_s']:.1f} s, accuracy "
                  f"{found[f'{name}_accuracy']:.3f} {picked}", flush=True)  # fmt: skip
        out.append(found)
    if full:
        compare([r["race_accuracy"] - r["every_accuracy"] for r in out])
    return out


def everything(rows: Rows, splits: int, seed: int) -> list[dict[str, Any]]:
    out = []
    print("every classifier, its whole search")
    for name in classifiers.names():
        for effort in ("quick", "paper"):
            seconds, reached = [], []
            for k in range(splits):
                test = rows.split(k, seed)
                model = make_classifier(
                    name,
                    sessions=rows.sessions,
                    static=rows.static,
                    random_state=seed,
                    effort=effort,
                    workers=2,
                )
                train = (rows.x[~test], rows.y[~test], rows.organisms[~test])
                seconds.append(timed(lambda model=model, train=train: model.fit(*train))[1])
                reached.append(accuracy(model, rows, test))
            out.append(
                {
                    "classifier": name,
                    "effort": effort,
                    "seconds": float(np.mean(seconds)),
                    "accuracy": float(np.mean(reached)),
                    "accuracy_sem": float(np.std(reached) / np.sqrt(max(1, splits - 1))),
                }
            )
            print("  {classifier:16s} {effort:6s} {seconds:6.1f} s  {accuracy:.3f} +- "
                  "{accuracy_sem:.3f}".format(**out[-1]), flush=True)  # fmt: skip
    return out


def compare(difference: list[float]) -> None:
    error = np.std(difference) / np.sqrt(max(1, len(difference) - 1))
    print(f"  accuracy of the race less that of the full search: {np.mean(difference):+.3f} "
          f"+- {error:.3f} (s.e.m. over splits)")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cohort", default="starter")
    parser.add_argument("--measure", choices=("act", "weight", "every"), default="act")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--splits", type=int, default=4)
    parser.add_argument("--full", action="store_true", help="train all 720 networks, too")
    parser.add_argument("--epochs", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    rows = Rows(lrplan.open_cohort(asked.cohort), asked.measure)
    found: dict[str, Any] = {"schema": "lrplan.benchmark.classifiers/1", "measure": asked.measure}
    print(f"{len(rows.y)} rows, {rows.x.shape[1]} features; a quarter of organisms is held out")
    if "forest" in asked.parts:
        found["forest"] = forests(rows, asked.splits, asked.seed)
    if "conv1d" in asked.parts:
        found["conv1d"] = networks(rows, asked.splits, asked.seed, asked.epochs, asked.full)
    if "all" in asked.parts:
        found["all"] = everything(rows, asked.splits, asked.seed)
    if asked.json:
        asked.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
