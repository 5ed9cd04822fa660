"""What cohorts hold, in lines and tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lrplan.cohort.learned import FATES, RULE
from lrplan.cohort.references import PASSIVE
from lrplan.texts import Line, cell, counted, percent, size, table


def info_lines(summary: Mapping[str, Any]) -> list[Line]:
    """Return a cohort's summary, as `Cohort.info` makes it."""
    stored = "; ".join(f"{number} of {measure}" for measure, number in summary["stored"].items())
    trajectory = f"Stored of each population: {summary['checkpoints']} checkpoints"
    if stored:
        trajectory += f", {summary['stimuli']} stimuli; units (synapses, pairs), at least: {stored}"
    else:
        trajectory += " of observables; no responses, so forecasts need --units all --noise 0"
    return [
        f"Cohort {summary['name']} (format {summary['format_version']}): "
        f"{summary['organisms']} organisms, "
        + (f"{summary['passive']} of them passive twins, " if summary["passive"] else "")
        + ("" if summary["diverged"] is None else f"{summary['diverged']} diverged, ")
        + f"{summary['populations']} populations, {size(summary['bytes'])}",
        f"Architectures: {cell(summary['architectures'])}",
        f"Tasks: {cell(summary['tasks'])}",
        "Organisms of each rule: " + ", ".join(f"{r} {n}" for r, n in summary["by_rule"].items()),
        trajectory,
        "",
        _performance(summary),
        "",
        _fates(summary["fates"]),
    ]


def _performance(summary: Mapping[str, Any]) -> Line:
    """Return chance, and performance before and after training, of each task and rule."""
    parts = ("chance", "first_performance", "final_performance")
    rows = [
        [task, rule, *(percent(summary[part][task][rule]) for part in parts)]
        for task, by_rule in summary["final_performance"].items()
        for rule, final in by_rule.items()
        if final is not None
    ]
    if not rows:
        return "Performance is not recorded."
    return table(
        "Performance: share of held-out examples whose class is found, median over organisms",
        ("task", "rule", "chance", "before training", "at the end"),
        rows,
        numbers=2,
    )


def _fates(by_rule: Mapping[str, Mapping[str, int]]) -> Line:
    """Return how many organisms of each rule learned, did not, or diverged."""
    fates = [f.replace(" ", "_") for f in FATES]
    told = [f for f in fates if f != "unknown" or any(n[f] for n in by_rule.values())]
    if all(n["learned"] + n["not_learned"] == 0 and n["unknown"] for n in by_rule.values()):
        return "Which organisms learned is not recorded."
    return table(
        f"What became of organisms in training. Learned: {RULE}",
        ("rule", *(f.replace("_", " ") for f in told)),
        [[rule, *(number[f] for f in told)] for rule, number in by_rule.items()],
        numbers=1,
    )


def organism_lines(records: Sequence[Mapping[str, Any]]) -> list[Line]:
    """Return organisms as a table, and their layers, which many share, as another.

    Parameters
    ----------
    records : sequence of mapping
        As `Cohort.organism_table` makes them.
    """
    rows = [
        [
            r["id"],
            r["rule"],
            r["architecture"],
            r["task"],
            r["batch_size"],
            "-" if r["learning_rate"] is None else f"{r['learning_rate']:g}",
            f"{cell(r['model_seed'])}/{cell(r['data_seed'])}",
            _final(r),
        ]
        for r in records
    ]
    columns = ("id", "rule", "network", "task", "batch", "rate", "seeds", "final")
    layers: dict[tuple[str, str], None] = {}
    for r in records:
        layers[r["architecture"], ", ".join(map(_layer, r["layers"]))] = None
    return [
        table(None, columns, rows, numbers=4),
        table("Stored layers", ("architecture", "layers"), layers),
        "final: share of held-out examples whose class is found; seeds: model/data",
        f"*: did not learn. Learned: {RULE}",
    ]


def _final(record: Mapping[str, Any]) -> str:
    """Return an organism's performance at the end, marked if it did not learn, or its condition."""
    if record["condition"] == PASSIVE and not record["diverged"]:
        return PASSIVE
    if record["diverged"]:
        return "diverged"
    return percent(record["final_performance"]) + (" *" if record["learned"] is False else "")


def _layer(layer: Mapping[str, Any]) -> str:
    units = "" if layer["units"] is None else f", {layer['units']} units"
    return f"{layer['layer']} ({layer['position']}{units})"


def made_lines(summary: Mapping[str, Any], out: Path) -> list[Line]:
    """Return what a cohort that was just written holds.

    Parameters
    ----------
    summary : mapping
        As `Cohort.info` makes it.
    out : Path
        Where it was written.
    """
    return [
        f"{out}: {counted(summary['organisms'], 'organism')}, "
        + (f"{summary['passive']} of them passive twins, " if summary["passive"] else "")
        + f"{counted(summary['populations'], 'population')}, {size(summary['bytes'])}",
        table(None, ("rule", "organisms"), summary["by_rule"].items(), numbers=1),
    ]
