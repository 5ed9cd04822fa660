"""How the strongest geometry observables move over learning, rule by rule: docs/observables.png.

Every observable of geometry-1 that is of activity is taken alone: how often do extremely randomised
trees name the rule from its course over sessions, in organisms that they did not see? This is of
all recordings of the cohort, and printed. The eight best are drawn, for one architecture, task and
place: elsewhere the rules differ in other ways, which the median over all would hide. Lines are
medians over recordings, bands hold the middle half.

    OMP_NUM_THREADS=1 python benchmarks/observables_picture.py --out docs/observables.png
    OMP_NUM_THREADS=1 python benchmarks/observables_picture.py --quick --out quick.png
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict

import lrplan
from lrplan.measure.observables import GEOMETRY
from lrplan.measure.observe import observe_cohort
from lrplan.measure.trajectories import Trajectories
from lrplan.plots._style import COLOURS, spoken

DRAWN = 8
FOLDS = 5
TREES = 60
WIDTH_INCHES, HEIGHT_INCHES, DPI = 8.4, 4.0, 100
FLOOR = 1e-4
"""Where axes of a logarithmic scale end: below it is noise."""


def accuracies(found: Trajectories, trees: int) -> dict[str, float]:
    """Return the balanced accuracy of each observable alone on organisms not seen, best first."""
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0)
    forest = ExtraTreesClassifier(trees, min_samples_leaf=2, random_state=0)
    each = {}
    for i, name in enumerate(found.observables):
        told = cross_val_predict(
            forest, found.values[:, :, i], found.y, groups=found.organisms, cv=folds
        )
        each[name] = float(balanced_accuracy_score(found.y, told))
    return dict(sorted(each.items(), key=lambda pair: -pair[1]))


def draw(found: Trajectories, name: str, accuracy: float, ax: Axes) -> None:
    """Draw one observable over sessions after the first, the median and middle half of each rule.

    What falls over orders of magnitude is drawn so, correlations with the previous session as what
    they lack of 1.
    """
    values = found.values[:, 1:, found.observables.index(name)]
    title = name
    if name == "change_corr_previous":
        values, title = 1 - values, f"1 - {name}"
    if name in ("change_corr_previous", "change_step"):
        ax.set_yscale("log")
        values = np.maximum(values, FLOOR)
    rules = sorted(set(found.y))
    for rule, colour in zip(rules, COLOURS, strict=False):
        low, middle, high = np.quantile(values[found.y == rule], (0.25, 0.5, 0.75), axis=0)
        sessions = np.arange(1, len(middle) + 1)
        ax.fill_between(sessions, low, high, color=colour, alpha=0.15, lw=0)
        ax.plot(sessions, middle, color=colour, lw=1.5, label=spoken(rule))
    ax.set_title(f"{title}\n({accuracy:.0%} alone)", fontsize=8)
    ax.tick_params(labelsize=7)
    ax.spines[["top", "right"]].set_visible(False)


def picture(found: Trajectories, each: dict[str, float], out: Path) -> None:
    """Draw the strongest observables of some recordings."""
    figure, axes = plt.subplots(
        2, DRAWN // 2, figsize=(WIDTH_INCHES, HEIGHT_INCHES), layout="constrained", sharex=True
    )
    for name, ax in zip(each, axes.flat, strict=False):
        draw(found, name, each[name], ax)
    for ax in axes[-1]:
        ax.set_xlabel("session (epoch of training)", fontsize=7)
    figure.legend(
        *axes.flat[0].get_legend_handles_labels(),
        loc="outside upper center",
        ncols=4,
        fontsize=8,
        frameon=False,
    )
    figure.savefig(out, dpi=DPI)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="picture to write")
    parser.add_argument("--cohort", default="starter")
    parser.add_argument("--units", type=int, default=300)
    parser.add_argument("--noise", type=float, default=0.1)
    parser.add_argument("--architecture", default="knet4")
    parser.add_argument("--task", default="digits")
    parser.add_argument("--position", default="middle")
    parser.add_argument("--quick", action="store_true", help="30 units, few trees")
    asked = parser.parse_args()
    units = 30 if asked.quick else asked.units
    design = lrplan.Design(units=units, noise=asked.noise, observables=GEOMETRY)
    found = observe_cohort(lrplan.open_cohort(asked.cohort), design, rng=0)
    each = accuracies(found, 3 if asked.quick else TREES)
    print(
        f"balanced accuracy of one observable alone: {len(found)} recordings, {units} units, "
        f"noise {asked.noise:g}; chance {1 / len(set(found.y)):.2f}"
    )
    for name, accuracy in each.items():
        print(f"{name:30}{accuracy:6.3f}")
    places = ("architecture", "task", "position")
    rows = np.all([found.label(place) == getattr(asked, place) for place in places], axis=0)
    if not rows.any():
        wanted = ", ".join(f"{place} {getattr(asked, place)}" for place in places)
        parser.error(f"the cohort {asked.cohort} has no recording of {wanted}")
    picture(found.take(rows), each, asked.out)
    print(f"{asked.out}: {rows.sum()} recordings")


if __name__ == "__main__":
    main()
