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
    units_table: Annotated[
        str | None,
        typer.Option(
            metavar="PATH", help="Table of units in the file.", show_default="found in the file"
        ),
    ] = None,
    signal: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="ROI series to read, by name or path.",
            show_default="dF/F, or computed from raw fluorescence",
        ),
    ] = None,
    intervals: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Table of trials.", show_default="found in the file"),
    ] = None,
    label: _options.Label = None,
    align: _options.Align = None,
    window: _options.Window = None,
    checkpoint_by: _options.CheckpointBy = None,
    order: _options.Order = None,
    seed: _options.Seed = 0,
    json: _options.Json = False,
    quiet: _options.Quiet = False,
) -> None:
    """Say which rule a recording speaks for, or 'cannot tell'."""
    window_s = parse_window(window)
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
        units=units_table,
        signal=signal,
        intervals=intervals,
        label=label,
        align=align,
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


def parse_window(text: str | None) -> float | tuple[float, float] | None:
    """Return ``END`` or ``START,END`` in seconds; the reader checks what they mean."""
    if text is None:
        return None
    try:
        numbers = [float(n) for n in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) == 1:
        return numbers[0]
    if len(numbers) == 2:
        return numbers[0], numbers[1]
    raise UsageError(
        f"--window is {text!r}; expected an end, or a start and an end, in seconds, such as 0.5 "
        "or 0.1,0.6"
    )
