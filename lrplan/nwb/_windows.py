"""The window of a trial in which a response is taken."""

from __future__ import annotations

import re
import shlex
from typing import Any

import numpy as np

from lrplan.errors import UsageError
from lrplan.nwb._options import Options
from lrplan.nwb._tables import Table
from lrplan.nwb._text import clean, folded, listed
from lrplan.registry import nearest

DEFAULT_WINDOW_S = 1.0
"""Length of the window, in seconds after alignment, where trials have no stop time."""

_EVENT = re.compile(
    r"stim(ulus)?_on(set)?(_.*)?|go_cue.*|"
    r"(visual_)?(stim(ulus)?|image|odou?r|tone|sound|texture|target|sample|light|flash|grating|"
    r"cue|change|go)_(((on|onset|start|presentation)(_times?)?)|times?)"
)
# Trials of which the longest are that many times the shortest, or that long, are self-paced.
_UNEQUAL = 3.0
_LONG_S = 5.0


def find_windows(
    table: Table,
    start: np.ndarray,
    labels: np.ndarray,
    options: Options,
    warnings: list[str],
) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """Return the start and stop of each trial's window, and how they were chosen.

    The window is the whole trial where most trials have an end and the user named none; else it
    counts from the start of the trial, unless the user named another column.
    """
    pair = _window_pair(options.window_s)
    stop = table.numbers("stop_time") if "stop_time" in table.columns else None
    if stop is None:
        stop = np.full(len(start), np.nan)
    events = [n for n in table.columns if _EVENT.fullmatch(folded(n)) and n != table.start_column]
    events = [n for n in events if table.glance(n) is not None and table.numbers(n) is not None]
    warnings += _relative_warnings(table, start)
    used = np.array([v is not None for v in labels], dtype=bool) & np.isfinite(start)
    finite = bool(used.any()) and bool(np.isfinite(stop[used]).mean() >= 0.5)
    origin = str(table.start_column)
    if options.align is None and options.relative is not None:
        raise UsageError(
            "relative= (--relative, --absolute) says how the times of align= (--align) count; "
            "name that, too"
        )
    found: dict[str, Any] = {"align": origin, "align_candidates": [clean(e, 60) for e in events]}
    if options.align is None and options.window_s is None and finite:
        _note_whole_trials(stop[used] - start[used], events, warnings)
        return start, stop, found | {"seconds": None, "rule": f"{origin} to stop_time"}
    align = origin if options.align is None else options.align
    times = table.numbers(align) if align in table.columns else None
    if times is None:
        raise UsageError(
            f"{clean(table.path)} has no column of times {clean(align)!r}; "
            f"{nearest(align, [clean(c, 60) for c in table.columns])}"
        )
    if options.align is None and events:
        warnings.append(
            f"the window counts from {origin}; {listed(events)} could align it (align= (--align))"
        )
    relative = align != origin and (
        _looks_relative(times, start) if options.relative is None else options.relative
    )
    base = start + times if relative else times
    if options.window_s is None and not finite:
        warnings.append(
            f"stop_time is missing in most trials; the window is {pair[0]:g} to {pair[1]:g} s "
            f"after {clean(align, 60)}; name another with window_s= (--window)"
        )
    rule = f"{pair[0]:g} to {pair[1]:g} s after {f'{origin} + ' if relative else ''}{align}"
    found |= {"align": clean(align, 60), "rule": clean(rule), "seconds": list(pair)}
    return base + pair[0], base + pair[1], found


def _note_whole_trials(lengths: np.ndarray, events: list[str], warnings: list[str]) -> None:
    """Say where the mean over a whole trial is hardly the response to a stimulus."""
    lengths = lengths[np.isfinite(lengths) & (lengths > 0)]
    if not len(lengths):
        return
    short, long = np.quantile(lengths, [0.05, 0.95])
    if long > _UNEQUAL * short or np.median(lengths) > _LONG_S:
        how = "window_s=0.5 (--window 0,0.5)"
        if events:
            column = clean(events[0], 60)
            how = f"align={column}, window_s=0.5 (--align {shlex.quote(column)} --window 0,0.5)"
        warnings.append(
            f"trials last {short:.4g} to {long:.4g} s, and a response is the mean over the whole "
            "trial, which is hardly the response to a stimulus; take a window after the stimulus, "
            f"such as {how}" + (f"; events: {listed(events)}" if len(events) > 1 else "")
        )
    elif events:
        warnings.append(
            f"the window of a response is the whole trial; {listed(events)} could align it "
            "(align= (--align))"
        )


def _looks_relative(values: np.ndarray, start: np.ndarray) -> bool:
    """Return whether event times count from their trial's start instead of the session's."""
    both = np.isfinite(values) & np.isfinite(start)
    if both.sum() < 3:
        return False
    spacing = float(np.median(np.diff(np.sort(start[both]))))
    small = bool((values[both] >= 0).all()) and float(np.median(values[both])) <= 2 * spacing
    return small and bool((values[both] < start[both]).mean() > 0.9)


def _relative_warnings(table: Table, start: np.ndarray) -> list[str]:
    names = []
    for name in table.columns:
        if name in (table.start_column, "stop_time"):
            continue
        if not re.search(r"_times?$|onset|go_cue|^cue$", folded(name)):
            continue
        values = table.glance(name)
        if values is None or values.dtype == object:
            continue
        if _looks_relative(values.astype(np.float64), start):
            names.append(name)
    if not names:
        return []
    return [
        f"columns {listed(names)} of {clean(table.path)} look relative to each trial's start; as "
        f"alignment they are added to {table.start_column}; relative= (--relative, --absolute) "
        "says it"
    ]


def _window_pair(window_s: float | tuple[float, float] | None) -> tuple[float, float]:
    if window_s is None:
        return 0.0, DEFAULT_WINDOW_S
    try:
        pair = np.atleast_1d(np.asarray(window_s, dtype=float))
    except (TypeError, ValueError):
        pair = np.empty(0)
    if pair.shape == (1,):
        pair = np.array([0.0, pair[0]])
    if pair.shape != (2,) or not np.isfinite(pair).all() or pair[1] <= pair[0]:
        raise UsageError(
            f"window_s is {window_s!r}; expected an end, or a start and a later end, in seconds "
            "after alignment, such as 0.5 or (0.1, 0.6)"
        )
    return float(pair[0]), float(pair[1])
