"""``lrplan score``: what a recording says."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lrplan.cli import _options, _output
from lrplan.errors import EXIT_CANNOT_TELL, UsageError

if TYPE_CHECKING:
    from lrplan.tell.verdict import Verdict

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
    without: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ID",
            help="Organisms to leave out of training; several by repeating it or with commas.",
            show_default="none",
        ),
    ] = None,
    position: Annotated[
        str,
        typer.Option(
            metavar="early|middle|deep|unknown", help="Where the recorded area lies, if known."
        ),
    ] = "unknown",
    noise: Annotated[
        float | None,
        typer.Option(
            parser=_options.number,
            metavar="SD",
            help="Noise of one response, as a fraction of the signal's standard deviation.",
            show_default="estimated from how trials vary",
        ),
    ] = None,
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
    label: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN",
            help="Column of the trials that names the stimulus.",
            show_default="chosen by name",
        ),
    ] = None,
    align: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN",
            help="Column of times, in seconds, to which the window refers.",
            show_default="start_time",
        ),
    ] = None,
    window: Annotated[
        str | None,
        typer.Option(
            metavar="[START,]END",
            help="Window of a response, in seconds after --align.",
            show_default="the whole trial; 0,1 where it has no end or --align is given",
        ),
    ] = None,
    checkpoint_by: Annotated[
        str | None,
        typer.Option(
            metavar="session|block:COLUMN",
            help="What is one session: each file, or each value of a column of the trials.",
            show_default="each file; a column that tells sessions apart in a single file",
        ),
    ] = None,
    order: Annotated[
        str | None,
        typer.Option(
            metavar="time|name|given",
            help="Order of the files.",
            show_default="by start time, else by name",
        ),
    ] = None,
    seed: _options.Seed = 0,
    json: _options.Json = False,
    quiet: _options.Quiet = False,
) -> None:
    """Say which rule a recording speaks for, or 'cannot tell'."""
    window_s = parse_window(window)
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
    opened = open_cohort(cohort)

    from lrplan import score as score_recording

    _output.note(
        f"training on virtual recordings of the cohort {opened.name} made as {recording.source}",
        quiet=quiet,
    )
    verdict = score_recording(
        recording,
        opened,
        rng=np.random.default_rng(seed),
        without=_options.split_commas(without),
        position=position,
        noise=noise,
    )
    if json:
        _output.emit_json(verdict.to_json())
    else:
        _output.show(*verdict_parts(verdict))
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


def verdict_parts(verdict: Verdict) -> list[Any]:
    """Return a verdict as lines and tables."""
    from lrplan.cli.design import design_text

    null = verdict.null
    probabilities = sorted(verdict.probabilities.items(), key=lambda item: -item[1])
    rows = [
        [rule, _output.percent(p), "yes" if rule in verdict.set else "no"]
        for rule, p in probabilities
    ]
    expected = verdict.expected_accuracy
    parts: list[Any] = [
        f"Recording: {recording_text(verdict.recording)}",
        *ingest_lines(verdict.ingest),
        f"Design, inferred: {design_text(verdict.design.to_json())}",
    ]
    if verdict.answer is None:
        parts.append(f"Answer: cannot tell ({'; '.join(verdict.reasons)}).")
    else:
        parts.append(f"Answer: {verdict.answer}")
    parts += [
        _output.table(None, ("rule", "probability", "within the 95% set"), rows, numbers=1),
        f"Expected accuracy of such recordings: {_output.percent(expected.mean)} (95% interval "
        f"{_output.percent_range(expected.low, expected.high)}); chance "
        f"{_output.percent(verdict.chance)}.",
        f"Distance from the virtual recordings: {_output.cell(verdict.distance['value'])}, "
        f"farther than {_output.percent(verdict.distance['quantile'])} of them.",
        f"With its sessions shuffled, {null['shuffles']} times: the same most probable rule in "
        f"{_output.percent(null['same_answer'])}.",
    ]
    held = verdict.expected_held_out
    if held is not None:
        parts.insert(
            -2,
            f"On architectures that it never saw (a brain is one): {_output.percent(held.mean)} "
            f"({_output.percent_range(held.low, held.high)}).",
        )
    parts += [f"Warning: {w}" for w in verdict.warnings]
    return parts


def recording_text(recording: dict[str, Any]) -> str:
    """Return what was recorded in one line."""
    units = recording["units_per_session"]
    fewest, most = min(units, default=0), max(units, default=0)
    told = f"{fewest}" if fewest == most else f"{fewest} to {most}"
    tracked = "tracked" if recording["tracked"] else "not tracked"
    return (
        f"{recording['source']}: {recording['kind']}, {recording['sessions']} sessions, {told} "
        f"units ({tracked}), {recording['stimuli']} stimuli"
    )


def ingest_lines(ingest: dict[str, Any]) -> list[str]:
    """Return what the reader chose in the first file, and what it dropped in any, in words."""
    files = ingest.get("files") or []
    if not files:
        return []
    first = files[0]
    window = first["window"]
    lines = [
        f"Read: {first['responses']} by {first['label']} of {first['intervals']}, "
        f"{window['rule']}; sessions in order of {ingest['order']}"
    ]
    dropped: dict[str, int] = {}
    for file in files:
        for reason, count in file["dropped"].items():
            dropped[reason] = dropped.get(reason, 0) + int(count)
    if dropped:
        told = ", ".join(f"{count} {reason}" for reason, count in sorted(dropped.items()))
        lines.append(f"Trials dropped: {told}")
    return lines
