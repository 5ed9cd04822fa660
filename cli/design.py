"""``lrplan design``: what an experiment can tell."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lrplan.cli import _noise, _options, _output, _preset
from lrplan.cli._pictures import check_plot, write_figure

if TYPE_CHECKING:
    from lrplan.cli._preset import Planned
    from lrplan.cohort.store import Cohort
    from lrplan.measure.design import Design, Schedule
    from lrplan.measure.presets import Preset
    from lrplan.tell.forecast import Forecast
    from lrplan.tell.forecast_comparison import ForecastComparison
    from lrplan.tell.kept import Question

EPILOG = """\b
Examples:
  lrplan design --units 300 --noise 0.1
  lrplan design --units 100 --sessions 5 --untracked --plot forecast.png
  lrplan design --measure activity,weights --json
  lrplan design --reliability 0.6 --noise-reference within
  lrplan design --noise-from pilot.nwb --trials 40
  lrplan design --preset two-photon-6f --sessions 6
  lrplan design --areas early,deep --observables geometry-1
  lrplan design --compare --observables geometry-1
  lrplan design --units all --noise 0 --scaling raw"""

SPLITS = ("organism", "layer")


def design(
    context: typer.Context,
    preset: _options.Preset = None,
    units: _options.UnitsOrAll = 300,
    noise: _options.Noise = None,
    noise_reference: _options.NoiseReference = None,
    snr: _options.Snr = None,
    dprime: _options.Dprime = None,
    reliability: _options.Reliability = None,
    nu: _options.Nu = None,
    noise_from: _options.NoiseFrom = None,
    trials: _options.TrialsOfNoise = None,
    cohort: _options.Cohort = "starter",
    include_unlearned: _options.IncludeUnlearned = False,
    modality: _options.Modality = "ideal",
    setting: _options.Settings = None,
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
    scaling: Annotated[
        str,
        typer.Option(
            metavar="relative|raw",
            help="Scale each observable by the first session, or take it as it is.",
        ),
    ] = "relative",
    observables: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="What is taken of a recording: sets (see `lrplan list sets`), families or single "
            "observables; several by repeating it or with commas.",
            show_default="the standard-2 set that suits the design",
        ),
    ] = None,
    areas: _options.Areas = None,
    contrasts: _options.Contrasts = "both",
    reference: _options.Reference = None,
    reference_sessions: _options.ReferenceSessions = 1,
    label: _options.Label = None,
    align: _options.Align = None,
    window: _options.Window = None,
    shuffle_labels: Annotated[
        bool,
        typer.Option(
            "--shuffle-labels",
            help="Let organisms swap their rules, as a control: all figures must be at chance.",
        ),
    ] = False,
    compare: Annotated[
        bool,
        typer.Option(
            "--compare",
            help="Forecast comparisons instead: how often it is seen which of two sides of one "
            "preparation is more like one rule than like another.",
        ),
    ] = False,
    seed: _options.Seed = 0,
    json: _options.Json = False,
    plot: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Also draw it: confusion matrix, accuracy against units and against noise, under "
            "known conditions and on held-out families (.png, .pdf, .svg).",
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

    values, found_preset = _preset.fill(
        {
            "units": units,
            "stimuli": stimuli,
            "sessions": sessions,
            "tracked": tracked,
            "modality": modality,
            "measure": measure,
        },
        preset,
        context,
    )
    schedule = Schedule(sessions=values["sessions"], spacing=spacing, start=start)
    planned = _preset.plan(
        values,
        found_preset,
        modality=values["modality"],
        asked=_noise.Asked(
            noise=noise,
            reference=noise_reference,
            snr=snr,
            dprime=dprime,
            reliability=reliability,
            nu=nu,
            trials=trials,
            files=noise_from or [],
            label=label,
            align=align,
            window=window,
        ),
        given=_options.settings(setting),
        checkpoints=_checkpoints(cohort, schedule, found_preset),
        seed=seed,
        written=False,
    )
    asked = Design(
        units=values["units"],
        modality=values["modality"],
        measure=_options.words(values["measure"], "--measure") or "activity",
        schedule=schedule,
        tracked=values["tracked"],
        stimuli=values["stimuli"],
        position=position,
        scaling=scaling,
        settings=planned.settings,
        observables=_options.words(observables, "--observables") or None,
        areas=_options.words(areas, "--areas") or None,
        contrasts=contrasts,
        reference=reference,
        reference_sessions=reference_sessions,
        **planned.noise,
    )
    if split not in SPLITS:
        raise UsageError(f"unknown split {split!r}; {nearest(split, SPLITS)}")
    if compare and (split != "organism" or plot is not None):
        raise UsageError(
            "--compare forecasts no single recordings; leave out --split layer and --plot"
        )
    if plot is not None:
        check_plot(plot, force=force)

    from lrplan import open_cohort
    from lrplan.tell.kept import Question, find_forecast, keep_forecast

    for note in planned.notes:
        _output.note(note, quiet=quiet)
    question = Question(cohort, asked, seed, split, include_unlearned, shuffle_labels)
    if compare:
        return _show_comparisons(question, planned, json=json, quiet=quiet)
    key = question.key()
    found = find_forecast(key)
    if found is None:
        result = _forecast(question, quiet=quiet)
        # What was asked of files that changed meanwhile is no answer to either.
        if question.key() == key:
            keep_forecast(key, result)
    else:
        _output.note("this forecast was kept; LRPLAN_CACHE=off makes it anew", quiet=quiet)
        result = found
    _show(result, question, planned, json=json)
    if plot is not None:
        opened = open_cohort(cohort, include_unlearned=include_unlearned)
        _output.note(f"drawing {plot}", quiet=quiet)
        save_plot(plot, result, opened, asked, seed, quiet=quiet)


def _checkpoints(cohort: str, schedule: Schedule, preset: Preset | None) -> list[int]:
    """Return the checkpoints of the sessions, on which what a preset says of days depends."""
    if preset is None:
        return []
    from lrplan import open_cohort

    return schedule.checkpoints(open_cohort(cohort).checkpoints)


def _show(
    result: Forecast | ForecastComparison, question: Question, planned: Planned, *, json: bool
) -> None:
    """Print a forecast, and its noise relative to both signals."""
    from lrplan import open_cohort
    from lrplan.measure.noise import both_references

    opened = open_cohort(question.cohort, include_unlearned=question.include_unlearned)
    told = both_references(opened, question.design)
    if json:
        noise = _noise.noise_json(told, planned.estimate)
        _output.emit_json(result.to_json() | {"noise": noise})
    else:
        line = [] if told is None else [_noise.both_line(told, question.design)]
        _output.show(*result.lines(), *line)


def _forecast(question: Question, *, quiet: bool) -> Forecast:
    import numpy as np

    from lrplan import forecast, open_cohort

    opened = open_cohort(question.cohort, include_unlearned=question.include_unlearned)
    question.design.schedule.checkpoints(opened.checkpoints)
    _output.note(f"forecasting from the cohort {opened.name}", quiet=quiet)
    rng = np.random.default_rng(question.seed)
    return forecast(
        opened,
        question.design,
        rng=rng,
        split=question.split,
        shuffle_labels=question.shuffle_labels,
    )


def _show_comparisons(question: Question, planned: Planned, *, json: bool, quiet: bool) -> None:
    import numpy as np

    from lrplan import forecast_comparison, open_cohort

    opened = open_cohort(question.cohort, include_unlearned=question.include_unlearned)
    question.design.schedule.checkpoints(opened.checkpoints)
    _output.note(f"forecasting comparisons from the cohort {opened.name}", quiet=quiet)
    found = forecast_comparison(
        opened,
        question.design,
        rng=np.random.default_rng(question.seed),
        shuffle_labels=question.shuffle_labels,
    )
    _show(found, question, planned, json=json)


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
    by_noise = None
    if asked.make_modality().takes_noise != "none":
        by_noise = accuracy_by_noise(cohort, asked, rng=np.random.default_rng(seed))
    write_figure(path, plot_forecast(result, by_units, by_noise))
