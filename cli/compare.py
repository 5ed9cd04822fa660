"""``lrplan compare``: which of two recordings is more like a rule."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from lrplan.cli import _options, _output
from lrplan.errors import EXIT_CANNOT_TELL, UsageError

EPILOG = """\b
Examples:
  lrplan compare trained/*.nwb -- control/*.nwb
  lrplan compare V1_day*.nwb -- LM_day*.nwb --between sgdm,feedback_alignment --json
  lrplan compare a1.nwb a2.nwb -- b1.nwb b2.nwb --tell credit --level 0.8

Files of one subject on a side are its sessions; several subjects are several animals, whose scores
are averaged. Exit code 4 means: done, but the answer is 'cannot tell' for every pair."""

BETWEEN_SIDES = "\0"
"""Stands for ``--`` where options are read; no file has that name."""


class Sides(TyperCommand):
    """A command in which ``--`` stands between two sides, and options may follow it."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the options, wherever they stand."""
        return super().parse_args(ctx, [BETWEEN_SIDES if a == "--" else a for a in args])


def compare(
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE... -- FILE...",
            help="NWB files of the first side, two dashes, and those of the second.",
        ),
    ],
    between: Annotated[
        str | None,
        typer.Option(
            metavar="A,B", help="Two rules (see --tell).", show_default="each pair of the cohort"
        ),
    ] = None,
    tell: Annotated[
        str, typer.Option(metavar="rule|credit|optimizer", help="What is asked.")
    ] = "rule",
    level: Annotated[
        float,
        typer.Option(
            parser=_options.number,
            metavar="P",
            help="Least probability of an answer, from 0.5 to below 1.",
        ),
    ] = 0.9,
    cohort: _options.Cohort = "starter",
    include_unlearned: _options.IncludeUnlearned = False,
    without: _options.Without = None,
    position: Annotated[
        str,
        typer.Option(
            metavar="early|middle|deep|unknown",
            help="Where the recorded area lies on both sides, if known.",
        ),
    ] = "unknown",
    noise: _options.NoiseOfRecording = None,
    label: _options.Label = None,
    align: _options.Align = None,
    window: _options.Window = None,
    checkpoint_by: _options.CheckpointBy = None,
    order: _options.Order = None,
    seed: _options.Seed = 0,
    json: _options.Json = False,
    quiet: _options.Quiet = False,
) -> None:
    """Say which of two sides of one preparation is more like a rule, or 'cannot tell'."""
    first, second = two_sides(files)
    pair = _pair(between)
    window_s = _options.window(window)
    left_out = _options.words(without, "--without")
    if noise is not None:
        from lrplan.measure.design import Design

        Design(noise=noise)

    from lrplan.tell.compare import check_level, check_tell

    check_tell(tell)
    check_level(level)

    import numpy as np

    from lrplan import compare as compare_recordings
    from lrplan import open_cohort, read_nwb
    from lrplan.nwb.subjects import by_subject

    one, two = (
        [
            read_nwb(
                own,
                label=label,
                align=align,
                window_s=window_s,
                checkpoint_by=checkpoint_by,
                order=order,
            )
            for own in by_subject(side)
        ]
        for side in (first, second)
    )
    opened = open_cohort(cohort, include_unlearned=include_unlearned)
    _output.note(f"training on virtual recordings of the cohort {opened.name}", quiet=quiet)
    found = compare_recordings(
        one,
        two,
        opened,
        rng=np.random.default_rng(seed),
        between=pair,
        tell=tell,
        level=level,
        without=left_out,
        position=position,
        noise=noise,
    )
    if json:
        _output.emit_json(found.to_json())
    else:
        _output.show(*found.lines())
    if all(p.answer is None for p in found.pairs):
        raise typer.Exit(EXIT_CANNOT_TELL)


def two_sides(words: Sequence[str]) -> tuple[list[Path], list[Path]]:
    """Return the files before and behind the two dashes."""
    dashes = [i for i, word in enumerate(words) if word == BETWEEN_SIDES]
    if len(dashes) != 1:
        raise UsageError(
            f"'--' stands {len(dashes)} times among the files; expected it once, between two "
            "sides, as in `lrplan compare A.nwb -- B.nwb`"
        )
    sides = [Path(w) for w in words[: dashes[0]]], [Path(w) for w in words[dashes[0] + 1 :]]
    for name, side in zip(("first", "second"), sides, strict=True):
        if not side:
            raise UsageError(
                f"the {name} side names no file; expected files on both sides of '--', as in "
                "`lrplan compare A.nwb -- B.nwb`"
            )
    return sides


def _pair(text: str | None) -> tuple[str, str] | None:
    if text is None:
        return None
    named = _options.split_commas([text])
    if len(named) != 2:
        raise UsageError(f"--between is {text!r}; expected two names, such as sgdm,adam")
    return named[0], named[1]
