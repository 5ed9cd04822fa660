"""Forecasts and verdicts, in lines and tables."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from lrplan.measure.texts import design_line, ingest_lines, recording_line
from lrplan.texts import Line, cell, percent, percent_range, table

if TYPE_CHECKING:
    from lrplan.tell.forecast import Forecast
    from lrplan.tell.intervals import Interval
    from lrplan.tell.verdict import Verdict

HELD_OUT = {
    "architecture": "held-out architecture (a brain is one)",
    "task": "held-out task",
    "hyperparameters": "held-out hyperparameters",
}
"""How conditions that were held out are called; others are called by their name."""


def forecast_lines(forecast: Forecast) -> list[Line]:
    """Return a forecast: its design, accuracies, bits, confusion and warnings."""
    known = "known conditions"
    if forecast.split == "layer":
        known = "known conditions, split by layer (leaks between layers of one organism)"
    rows = [[known, *_figures(forecast.accuracy)]]
    if forecast.animal is not None:
        rows.append(["... all areas of an animal together", *_figures(forecast.animal)])
    for name, interval in forecast.held_out.items():
        told = HELD_OUT.get(name, f"held-out {name}")
        if interval is None:
            rows.append([told, "-", "none held out"])
        else:
            rows.append([told, *_figures(interval)])
    rows.append(["chance", percent(forecast.chance), ""])
    rules = forecast.rules
    most = math.log2(len(rules)) if rules else 0.0
    bits = forecast.bits
    matrix = [
        [rule, *map(percent, map(float, row))]
        for rule, row in zip(rules, forecast.confusion.values, strict=True)
    ]
    predicted = [str(r) for r in forecast.confusion["predicted"].values]
    lines: list[Line] = [
        f"Forecast from the cohort {forecast.cohort}: {forecast.organisms} organisms, "
        f"{forecast.populations} populations, {len(rules)} rules",
        f"Design: {design_line(forecast.design.to_json())}",
        table(None, ("balanced accuracy under", "accuracy", "95% interval"), rows, numbers=1),
        f"One recording tells {bits.mean:.2f} of {most:.2f} bits about the rule (95% interval "
        f"{bits.low:.2f} to {bits.high:.2f}).",
        "",
        table(
            "Confusion: share of each true rule that is taken for",
            ("true rule", *predicted),
            matrix,
            numbers=1,
        ),
    ]
    if forecast.inseparable:
        pairs = "; ".join(f"{a} and {b}" for a, b in forecast.inseparable)
        lines.append(f"This design cannot separate: {pairs}.")
    else:
        lines.append("This design separates every pair of rules.")
    return lines + [f"Warning: {w}" for w in forecast.warnings]


def forecast_repr(forecast: Forecast) -> str:
    """Return a forecast in one short line, as Python shows it."""
    accuracy = forecast.accuracy
    design = forecast.design
    return (
        f"<Forecast from {forecast.cohort!r}, {design.units} units, noise {design.noise:.3g}: "
        f"accuracy {percent(accuracy.mean)} ({percent_range(accuracy.low, accuracy.high)}), "
        f"chance {percent(forecast.chance)}>"
    )


def verdict_lines(verdict: Verdict) -> list[Line]:
    """Return a verdict: what was read, the answer, probabilities and how far to trust them."""
    null = verdict.null
    probabilities = sorted(verdict.probabilities.items(), key=lambda item: -item[1])
    rows = [[rule, percent(p), rule in verdict.set] for rule, p in probabilities]
    lines: list[Line] = [
        f"Recording: {recording_line(verdict.recording)}",
        *ingest_lines(verdict.ingest),
        f"Design, inferred: {design_line(verdict.design.to_json())}",
        f"Answer: {_answer(verdict)}",
        table(None, ("rule", "probability", "within the 95% set"), rows, numbers=1),
    ]
    if len(verdict.areas) > 1:
        rules = [rule for rule, _ in probabilities]
        alone = [
            [a["animal"], a["area"], *(percent(a["probabilities"][r]) for r in rules)]
            for a in verdict.areas
        ]
        lines.append(
            table("What each area says alone", ("animal", "area", *rules), alone, numbers=2)
        )
    share, between = _figures(verdict.expected_accuracy)
    lines.append(
        f"Expected accuracy of such recordings: {share} (95% interval {between}); chance "
        f"{percent(verdict.chance)}."
    )
    if verdict.expected_held_out is not None:
        share, between = _figures(verdict.expected_held_out)
        lines.append(f"On architectures that it never saw (a brain is one): {share} ({between}).")
    lines += [
        f"Distance from the virtual recordings: {cell(verdict.distance['value'])}, "
        f"farther than {percent(verdict.distance['quantile'])} of them.",
        f"With its sessions shuffled, {null['shuffles']} times: the same most probable rule in "
        f"{percent(null['same_answer'])}.",
    ]
    return lines + [f"Warning: {w}" for w in verdict.warnings]


def verdict_repr(verdict: Verdict) -> str:
    """Return a verdict in one short line, as Python shows it."""
    rule, p = max(verdict.probabilities.items(), key=lambda item: item[1])
    answer = "cannot tell" if verdict.answer is None else verdict.answer
    return (
        f"<Verdict on {verdict.recording['source']!r}: {answer}; most probable {rule} "
        f"({percent(p)}), {len(verdict.set)} of {len(verdict.probabilities)} rules in the 95% set>"
    )


def _answer(verdict: Verdict) -> str:
    if verdict.answer is None:
        return f"cannot tell ({'; '.join(verdict.reasons)})."
    return verdict.answer


def _figures(interval: Interval) -> tuple[str, str]:
    """Return an interval of shares as its mean and its range."""
    return percent(interval.mean), percent_range(interval.low, interval.high)
