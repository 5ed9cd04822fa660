"""``lrplan score``: what a recording says."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lrplan.cli import _options, _output
from lrplan.errors import EXIT_CANNOT_TELL, UsageError

EPILOG = """\b
Examples:
  lrplan score day1.nwb day2.nwb day3.nwb
  lrplan score mouse.nwb --checkpoint-by block:day --label stimulus_name --window 0.1,0.6
  lrplan score day*.nwb --units 'quality == "good" and snr > 1' --trials 'not aborted' --area VISp
  lrplan score rehearsal/*.nwb --without 0123456789abcdef --json

Exit code 4 means: done, but the answer is 'cannot tell'."""


def score(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE...", help="NWB files: one per session, or one with all."),
    ],
    cohort: _options.Cohort = "starter",
    include_unlearned: _options.IncludeUnlearned = False,
    without: _options.Without = None,
    position: Annotated[
        str,
        typer.Option(
            metavar="early|middle|deep|unknown", help="Where the recorded area lies, if known."
        ),
    ] = "unknown",
    noise: _options.NoiseOfRecording = None,
    units: _options.UnitsWhere = None,
    area: _options.Area = None,
    units_table: _options.UnitsTable = None,
    signal: _options.Signal = None,
    tracking: _options.Tracking = None,
    intervals: _options.Intervals = None,
    trial_signal: _options.TrialSignal = None,
    trials: _options.TrialsWhere = None,
    label: _options.Label = None,
    align: _options.Align = None,
    relative: _options.Relative = None,
    window: _options.Window = None,
    checkpoint_by: _options.CheckpointBy = None,
    order: _options.Order = None,
    seed: _options.Seed = 0,
    json: _options.Json = False,
    quiet: _options.Quiet = False,
) -> None:
    """Say which rule a recording speaks for, or 'cannot tell'."""
    window_s = _options.window(window)
    left_out = _options.words(without, "--without")
    if position not in ("early", "middle", "deep", "unknown"):
        from lrplan.registry import nearest

        known = ("early", "middle", "deep", "unknown")
        raise UsageError(f"unknown position {position!r}; {nearest(position, known)}")

    if noise is not None:
        from lrplan.measure.design import Design

        Design(noise=noise)

    import numpy as np

    from lrplan import open_cohort, read_nwb

    recording = read_nwb(
        files,
        units=units,
        area=area,
        units_table=units_table,
        signal=signal,
        tracking=tracking,
        intervals=intervals,
        trial_signal=trial_signal,
        trials=trials,
        label=label,
        align=align,
        relative=relative,
        window_s=window_s,
        checkpoint_by=checkpoint_by,
        order=order,
    )
    opened = open_cohort(cohort, include_unlearned=include_unlearned)

    from lrplan import score as score_recording

    _output.note(
        f"training on virtual recordings of the cohort {opened.name} made as {recording.source}",
        quiet=quiet,
    )
    verdict = score_recording(
        recording,
        opened,
        rng=np.random.default_rng(seed),
        without=left_out,
        position=position,
        noise=noise,
    )
    if json:
        _output.emit_json(verdict.to_json())
    else:
        _output.show(*verdict.lines())
    if verdict.answer is None:
        raise typer.Exit(EXIT_CANNOT_TELL)
