"""Whether every architecture learns under every rule, and how well delivered errors align.

Reads the cohort of recipes/architectures.toml, and the table of angles beside it. Prints, and
with --write puts between two marks of a Markdown file:

(Organisms that diverged are counted and left out of the means.)

- held-out accuracy: the mean over seeds, and its 95% interval (over images of the one test set
  that all seeds share, or over seeds by Student's t: the wider of both); how many organisms
  learned;
- the cosine between the errors that a rule delivers and those of backpropagation, averaged over
  the layers before the readout;
- of information alignment the distance of its backward weights to the minimum of their loss.

    lrplan simulate recipes/architectures.toml --out architectures.zarr
    python benchmarks/architectures.py architectures.zarr
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import binomtest, t, ttest_ind

import lrplan

RULES = ("sgdm", "adam", "feedback_alignment", "information_alignment")
SHORT = {"feedback_alignment": "FA", "information_alignment": "IA"}
BEGIN = "<!-- begin: benchmarks/architectures.py --write -->"
END = "<!-- end -->"


def interval(accuracies: np.ndarray, images: int) -> tuple[float, float]:
    """Return the 95% interval of the mean over seeds: the wider of that of images and of seeds."""
    mean = float(accuracies.mean())
    found = binomtest(round(mean * images), images).proportion_ci(method="wilson")
    low, high = float(found.low), float(found.high)
    if len(accuracies) > 1:
        half = t.ppf(0.975, len(accuracies) - 1) * accuracies.std(ddof=1)
        half = float(half / np.sqrt(len(accuracies)))
        low, high = min(low, mean - half), max(high, mean + half)
    return max(0.0, low), min(1.0, high)


def accuracy_table(organisms: pd.DataFrame, task: str) -> list[str]:
    mine = organisms[organisms.task == task]
    lines = [
        f"`{task}`, chance {mine.chance.iloc[0]:.2f}, {mine.held_out.iloc[0]} held-out images:",
        "",
        "| | " + " | ".join(SHORT.get(r, r) for r in RULES) + " |",
        "|---" * (len(RULES) + 1) + "|",
    ]
    for architecture, row in mine.groupby("architecture", sort=False):
        cells = []
        for rule in RULES:
            every = row[row.rule == rule]
            some = every[every.fate != "diverged"]
            learned = int((some.fate == "learned").sum())
            note = "" if learned == len(every) else f" ({learned} of {len(every)} learned"
            if len(some) < len(every):
                note += f", {len(every) - len(some)} diverged"
            note += ")" if note else ""
            if some.empty:
                cells.append("all diverged")
                continue
            low, high = interval(some.accuracy.to_numpy(), int(some.held_out.iloc[0]))
            cells.append(f"{some.accuracy.mean():.2f} [{low:.2f}, {high:.2f}]{note}")
        lines.append(f"| {architecture} | " + " | ".join(cells) + " |")
    return [*lines, ""]


def learned_table(organisms: pd.DataFrame) -> list[str]:
    lines = ["| | organisms | learned | not learned | diverged |", "|---|---|---|---|---|"]
    for rule in RULES:
        fate = organisms[organisms.rule == rule].fate
        counts = [int((fate == f).sum()) for f in ("learned", "not learned", "diverged")]
        lines.append(f"| {rule} | {len(fate)} | " + " | ".join(map(str, counts)) + " |")
    return [*lines, ""]


def angles_table(angles: pd.DataFrame, task: str) -> list[str]:
    mine = angles[(angles.task == task) & (angles.layer != "readout")]
    last = mine.checkpoint.max()
    lines = [
        f"`{task}`:",
        "",
        "| | FA | IA | FA, first layer | IA, first layer "
        "| IA, distance at the start | after a quarter | at the end |",
        "|---" * 8 + "|",
    ]
    for architecture, row in mine.groupby("architecture", sort=False):
        cells = []
        for layers in (row, row[row.layer_index == 0]):
            for rule in RULES[2:]:
                cells.append(_over_organisms(layers, rule, last, "error_cosine"))
        for checkpoint in (0, 1, last):
            cells.append(_over_organisms(row, RULES[3], checkpoint, "feedback_distance"))
        lines.append(f"| {architecture} | " + " | ".join(cells) + " |")
    return [*lines, ""]


def _over_organisms(angles: pd.DataFrame, rule: str, checkpoint: int, name: str) -> str:
    """Return the mean over organisms, each averaged over its layers, and their range."""
    some = angles[(angles.rule == rule) & (angles.checkpoint == checkpoint)]
    each = some.groupby("organism")[name].mean()
    return f"{each.mean():.2f} ({each.min():.2f} to {each.max():.2f})"


def comparisons(organisms: pd.DataFrame) -> list[str]:
    lines = ["Accuracy of IA less that of FA, on `shapes` (95% interval by Welch's t):", ""]
    organisms = organisms[organisms.fate != "diverged"]
    mine = organisms[organisms.task == "shapes"]
    for architecture, row in mine.groupby("architecture", sort=False):
        two = [row[row.rule == rule].accuracy.to_numpy() for rule in (RULES[3], RULES[2])]
        difference = two[0].mean() - two[1].mean()
        if min(map(len, two)) < 2:
            told = "all but one diverged, so there is no interval"
        else:
            span = ttest_ind(*two, equal_var=False).confidence_interval()
            told = f"[{span.low:+.2f}, {span.high:+.2f}]"
        lines.append(f"- {architecture}: {difference:+.2f} {told}")
    best = organisms.groupby(["task", "architecture", "rule"], sort=False).accuracy.mean().unstack()
    under = best[list(RULES[:2])].min(axis=1) <= best[list(RULES[2:])].max(axis=1)
    where = ", ".join(f"{a} on {task}" for task, a in best.index[under])
    lines += ["", f"An alignment rule is level with or above sgdm or adam: {where or 'nowhere'}."]
    return [*lines, ""]


def read(path: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return a row per organism, and the table of angles."""
    cohort = lrplan.open_cohort(path, include_unlearned=True)
    organisms = cohort.to_dataframe().rename(columns={"final_performance": "accuracy"})
    for name in ("chance", "held_out"):
        organisms[name] = cohort.read_variable("behaviour", name)
    organisms["fate"] = cohort.fates
    angles = pd.read_csv(path.with_name(path.name + ".angles.csv"))
    diverged = organisms.index[organisms.diverged]
    return organisms, angles[~angles.organism.isin(diverged)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cohort", type=Path)
    parser.add_argument("--write", type=Path, help="a Markdown file with the two marks")
    asked = parser.parse_args()
    organisms, angles = read(asked.cohort)
    seeds = organisms.groupby(["task", "architecture", "rule"]).size()
    lines = [
        f"{len(organisms)} organisms of `recipes/architectures.toml`, {seeds.min()} seeds each.",
        "",
        "### Accuracy",
        "",
    ]
    for task in organisms.task.unique():
        lines += accuracy_table(organisms, task)
    lines += comparisons(organisms) + ["Which learned:", ""] + learned_table(organisms)
    lines += [
        "### Angles",
        "",
        "Cosine between delivered errors and those of backpropagation at the end of training (mean",
        "over the layers before the readout and over organisms; in brackets the range over",
        "organisms), and the distance |B - B*| / |B*| of information alignment. The cosine is 1",
        "for `sgdm` and `adam`.",
        "",
    ]
    for task in organisms.task.unique():
        lines += angles_table(angles, task)
    text = "\n".join(lines).rstrip()
    print(text)
    if asked.write:
        page = asked.write.read_text(encoding="utf-8")
        head, rest = page.split(BEGIN)
        _, tail = rest.split(END)
        asked.write.write_text(f"{head}{BEGIN}\n{text}\n{END}{tail}", encoding="utf-8")


if __name__ == "__main__":
    main()
