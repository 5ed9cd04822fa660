"""``lrplan cohort``: what a cohort holds."""

from __future__ import annotations

from typing import Any

from lrplan.cli import _options, _output

EPILOG = """\b
Examples:
  lrplan cohort info starter
  lrplan cohort organisms cohort.zarr --json"""
INFO_EPILOG = """\b
Examples:
  lrplan cohort info starter
  lrplan cohort info cohort.zarr --json"""
ORGANISMS_EPILOG = """\b
Examples:
  lrplan cohort organisms starter
  lrplan cohort organisms cohort.zarr --json"""


def info(
    cohort: _options.CohortPath, json: _options.Json = False, quiet: _options.Quiet = False
) -> None:
    """Summarise a cohort: organisms by rule, what is stored, final performance."""
    from lrplan import open_cohort

    summary = open_cohort(cohort).info()
    if json:
        _output.emit_json(summary)
    else:
        _output.show(*info_parts(summary))


def organisms(
    cohort: _options.CohortPath, json: _options.Json = False, quiet: _options.Quiet = False
) -> None:
    """List the organisms of a cohort: labels, hyperparameters, layers, final performance."""
    from lrplan import open_cohort

    records = open_cohort(cohort).organism_table()
    if json:
        _output.emit_json(records)
    else:
        _output.show(*organism_parts(records))


def info_parts(summary: dict[str, Any]) -> list[Any]:
    """Return a cohort's summary as lines and tables."""
    performance = summary["final_performance"]
    rows = [
        [rule, count, *(_output.percent(performance[task].get(rule)) for task in performance)]
        for rule, count in summary["by_rule"].items()
    ]
    stored = "; ".join(f"{number} of {measure}" for measure, number in summary["stored"].items())
    return [
        f"Cohort {summary['name']} (format {summary['format_version']}): "
        f"{summary['organisms']} organisms, {summary['diverged']} diverged, "
        f"{summary['populations']} populations, {_output.size(summary['bytes'])}",
        f"Architectures: {_output.cell(summary['architectures'])}",
        f"Tasks: {_output.cell(summary['tasks'])}",
        f"Stored of each population: {summary['checkpoints']} checkpoints, "
        f"{summary['stimuli']} stimuli; units (synapses, pairs), at "
        f"least: {stored}",
        "",
        _output.table(
            "Final performance: share of held-out examples whose class is found, median",
            ("rule", "organisms", *performance),
            rows,
            numbers=1,
        ),
    ]


def organism_parts(records: list[dict[str, Any]]) -> list[Any]:
    """Return organisms as a table, and their layers, which many share, as another."""
    rows = [
        [
            r["id"],
            r["rule"],
            r["architecture"],
            r["task"],
            r["batch_size"],
            f"{r['learning_rate']:g}",
            f"{r['model_seed']}/{r['data_seed']}",
            "diverged" if r["diverged"] else _output.percent(r["final_performance"]),
        ]
        for r in records
    ]
    columns = ("id", "rule", "network", "task", "batch", "rate", "seeds", "final")
    layers: dict[tuple[str, str], None] = {}
    for r in records:
        told = ", ".join(f"{x['layer']} ({x['position']}, {x['units']} units)" for x in r["layers"])
        layers[r["architecture"], told] = None
    return [
        _output.table(None, columns, rows, numbers=4),
        _output.table("Stored layers", ("architecture", "layers"), layers),
        "final: share of held-out examples whose class is found; seeds: model/data",
    ]
