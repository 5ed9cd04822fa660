"""``lrplan design``: what an experiment can tell."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lrplan.cli import _options, _output
from lrplan.cli._pictures import check_plot, write_figure

if TYPE_CHECKING:
    from lrplan.cohort.store import Cohort
    from lrplan.measure.design import Design
    from lrplan.tell.forecast import Forecast

EPILOG = """\b
Examples:
  lrplan design --units 300 --noise 0.1
  lrplan design --units 100 --sessions 5 --untracked --plot forecast.png
  lrplan design --measure activity,weights --json
  lrplan design --units all --noise 0 --scaling raw"""

SPLITS = ("organism", "layer")
HELD_OUT = {
    "architecture": "held-out architecture (a brain is one)",
    "task": "held-out task",
    "hyperparameters": "held-out hyperparameters",
}


def design(
    units: _options.UnitsOrAll = 300,
    noise: _options.Noise = 0.1,
    cohort: _options.Cohort = "starter",
    modality: Annotated[
        str, typer.Option(metavar="NAME", help="Measurement model; see `lrplan list modalities`.")
    ] = "ideal",
    measure: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="activity, weights or paired; several by repeating it or with commas.",
            show_default="activity",
        ),
    ] = None,
    sessions: _options.Sessions = None,
    spacing: Annotated[
        int | None,
        typer.Option(
            parser=_options.whole,
            metavar="K",
            help="Checkpoints from one session to the next.",
            show_default="spread evenly",
        ),
    ] = None,
    start: Annotated[
        int,
        typer.Option(
            parser=_options.whole,
            metavar="K",
            help="Checkpoint of the first session; 0 is before training.",
        ),
    ] = 0,
    tracked: _options.Tracked = True,
    split: Annotated[
        str,
        typer.Option(
            metavar="organism|layer",
            help="What stays together in cross-validation; 'layer' leaks between the layers of an "
            "organism and is there to reproduce the paper.",
        ),
    ] = "organism",
    stimuli: Annotated[
        int | None,
        typer.Option(
            parser=_options.whole,
            metavar="N",
            help="Number of stimuli.",
            show_default="all of the cohort's",
        ),
    ] = None,
    position: Annotated[
        str | None,
        typer.Option(
            metavar="early|middle|deep|unknown",
            help="Where the recorded area lies; 'unknown' leaves it out of the features.",
            show_default="all, with the position as a feature",
        ),
    ] = None,
    noise_reference: Annotated[
        str,
        typer.Option(
            metavar="relative|absolute",
            help="What --noise refers to; 'absolute' is the network's own activation unit.",
        ),
    ] = "relative",
    scaling: Annotated[
        str,
        typer.Option(
            metavar="relative|raw",
            help="Scale each observable by the first session, or take it as it is.",
        ),
    ] = "relative",
    seed: _options.Seed = 0,
    json: _options.Json = False,
    plot: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Also draw it: confusion matrix, accuracy against units and against noise (.png, "
            ".pdf, .svg).",
            show_default="no plot",
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Let --plot replace a file.")] = False,
    quiet: _options.Quiet = False,
) -> None:
    """Forecast how well an experiment tells rules apart."""
    from lrplan.errors import UsageError
    from lrplan.measure.design import Design, Schedule
    from lrplan.registry import nearest

    asked = Design(
        units=units,
        noise=noise,
        modality=modality,
        measure=_options.split_commas(measure) if measure else "activity",
        schedule=Schedule(sessions=sessions, spacing=spacing, start=start),
        tracked=tracked,
        stimuli=stimuli,
        position=position,
        noise_reference=noise_reference,
        scaling=scaling,
    )
    if split not in SPLITS:
        raise UsageError(f"unknown split {split!r}; {nearest(split, SPLITS)}")
    if plot is not None:
        check_plot(plot, force=force)

    import numpy as np

    from lrplan import forecast, open_cohort

    opened = open_cohort(cohort)
    asked.schedule.checkpoints(opened.checkpoints)
    _output.note(f"forecasting from the cohort {opened.name}", quiet=quiet)
    result = forecast(opened, asked, rng=np.random.default_rng(seed), split=split)
    if json:
        _output.emit_json(result.to_json())
    else:
        _output.show(*forecast_parts(result, opened.name, asked))
    if plot is not None:
        _output.note(f"drawing {plot}", quiet=quiet)
        save_plot(plot, result, opened, asked, seed, quiet=quiet)


def save_plot(
    path: Path, result: Forecast, cohort: Cohort, asked: Design, seed: int, *, quiet: bool
) -> None:
    """Draw a forecast and its surroundings: accuracy against units and against noise."""
    import matplotlib

    matplotlib.use("Agg")
    import numpy as np

    from lrplan import accuracy_by_noise, accuracy_by_units, plot_confusion, plot_forecast

    if not all(cohort.stores_units(measure) for measure in asked.measures):
        _output.note(
            "the cohort stores no single units, so only the confusion is drawn, not accuracy "
            "against units and noise",
            quiet=quiet,
        )
        figure: Any = plot_confusion(result).figure
        return write_figure(path, figure)
    by_units = accuracy_by_units(cohort, asked, rng=np.random.default_rng(seed))
    by_noise = accuracy_by_noise(cohort, asked, rng=np.random.default_rng(seed))
    write_figure(path, plot_forecast(result, by_units, by_noise))


def design_text(asked: dict[str, Any]) -> str:
    """Return a Design, given as its JSON, in one line."""
    schedule = asked["schedule"]
    sessions = schedule["sessions"]
    words = [
        f"{asked['units']} units",
        f"noise {asked['noise']:.3g} ({asked['noise_reference']})",
        " + ".join(asked["measure"]),
        f"modality {asked['modality']}",
        "a session at every checkpoint" if sessions is None else f"{sessions} sessions",
    ]
    if sessions is None and schedule["spacing"] is not None:
        words[-1] = "sessions"
    if schedule["spacing"] is not None:
        words[-1] += f", {schedule['spacing']} checkpoints apart"
    if schedule["start"]:
        words[-1] += f" from checkpoint {schedule['start']}"
    words.append("tracked" if asked["tracked"] else "not tracked")
    if asked["stimuli"] is not None:
        words.append(f"{asked['stimuli']} stimuli")
    if asked["position"] is not None:
        words.append(f"position {asked['position']}")
    words.append(f"{asked['scaling']} scaling")
    return "; ".join(words)


def forecast_parts(result: Forecast, cohort: str, asked: Design) -> list[Any]:
    """Return a forecast as lines and tables."""
    known = "known conditions"
    if result.split == "layer":
        known = "known conditions, split by layer (leaks between layers of one organism)"
    rows: list[list[str]] = []
    for name, interval in ((known, result.accuracy), *_held_out(result)):
        if interval is None:
            rows.append([name, "-", "the cohort has only one"])
        else:
            rows.append(
                [
                    name,
                    _output.percent(interval.mean),
                    _output.percent_range(interval.low, interval.high),
                ]
            )
    rows.append(["chance", _output.percent(result.chance), ""])
    rules = [str(r) for r in result.confusion.coords["true"].values]
    most = math.log2(len(rules)) if rules else 0.0
    bits = result.bits
    matrix = [
        [rule, *map(_output.percent, map(float, row))]
        for rule, row in zip(rules, result.confusion.values, strict=True)
    ]
    predicted = [str(r) for r in result.confusion.coords["predicted"].values]
    parts: list[Any] = [
        f"Forecast from the cohort {cohort}: {result.organisms} organisms, "
        f"{result.populations} populations, {len(rules)} rules",
        f"Design: {design_text(asked.to_json())}",
        _output.table(
            None, ("balanced accuracy under", "accuracy", "95% interval"), rows, numbers=1
        ),
        f"One recording tells {bits.mean:.2f} of {most:.2f} bits about the rule (95% interval "
        f"{bits.low:.2f} to {bits.high:.2f}).",
        "",
        _output.table(
            "Confusion: share of each true rule that is taken for",
            ("true rule", *predicted),
            matrix,
            numbers=1,
        ),
    ]
    if result.inseparable:
        pairs = "; ".join(f"{a} and {b}" for a, b in result.inseparable)
        parts.append(f"This design cannot separate: {pairs}.")
    else:
        parts.append("This design separates every pair of rules.")
    parts += [f"Warning: {w}" for w in result.warnings]
    return parts


def _held_out(result: Forecast) -> list[tuple[str, Any]]:
    return [(text, result.held_out.get(key)) for key, text in HELD_OUT.items()]
