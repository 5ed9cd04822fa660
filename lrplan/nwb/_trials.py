"""Which trials a file holds: the table, the label of each, and the window of its response."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lrplan.errors import DataError, UsageError
from lrplan.nwb._tables import Table, as_labels
from lrplan.nwb._text import clean, listed
from lrplan.registry import nearest

DEFAULT_WINDOW_S = 1.0
"""Length of the window, in seconds after alignment, where trials have no stop time."""

# Names under which published files keep their stimuli, in order of preference.
_LABELS = (
    *("stimulus_name", "stim_name", "image_name", "change_image_name", "initial_image_name"),
    *("stimulus", "stim", "stimulus_type", "stim_type", "stimulus_id", "stim_id", "stimulus_label"),
    *("image", "image_id", "odor", "odor_name", "odor_id", "odour", "tone", "texture"),
    *("condition", "condition_name", "condition_id", "trial_type", "type", "cue_type"),
    *("orientation", "direction", "angle", "contrast", "frequency", "spatial_frequency"),
    *("target_id", "tgt_loc", "target_dir", "target", "maze_id", "label"),
)
_ALIGN = (
    *(r"stimulus_onset(_time)?", r"stim(ulus)?_on.*", r"stim(ulus)?_start(_time)?"),
    *(r"visual_stimulus_time", r"change_time", r"go_cue.*"),
)
_SESSIONS = (
    *("session", "session_id", "session_name", "session_number", "session_index"),
    *("day", "day_id", "training_day", "checkpoint", "block", "block_id", "block_name"),
    *("block_number", "block_index", "epoch", "epoch_id", "epoch_name"),
)
_NEVER = ("invalid_times", "epochs", "sync")
_MOST_LABELS = 1000


@dataclass
class Trials:
    """The trials of one file that can be used, in the order of their windows' starts.

    Parameters
    ----------
    start, stop : array (trial,)
        The window of each trial's response in seconds, from `start` up to but without `stop`.
    label : array (trial,) of str
        The stimulus of each.
    session : array (trial,) of str
        The session of each; empty texts where the whole file is one session.
    report : dict
        What was chosen and dropped.
    warnings : list of str
        What was doubtful.
    """

    start: np.ndarray
    stop: np.ndarray
    label: np.ndarray
    session: np.ndarray
    report: dict[str, Any]
    warnings: list[str] = field(default_factory=list)

    def keep(self, mask: np.ndarray, reason: str) -> None:
        """Drop the trials where `mask` is false and count them under `reason`."""
        lost = int((~mask).sum())
        if lost:
            self.report["dropped"][reason] = self.report["dropped"].get(reason, 0) + lost
            for name in ("start", "stop", "label", "session"):
                setattr(self, name, getattr(self, name)[mask])


def find_trials(
    tables: list[Table],
    *,
    intervals: str | None = None,
    label: str | None = None,
    align: str | None = None,
    window_s: float | tuple[float, float] | None = None,
    block: str | None = None,
    look_for_blocks: bool = True,
) -> Trials:
    """Choose a table of trials, its label and its windows, and read them.

    Parameters
    ----------
    tables : list of Table
        All tables of intervals of a file.
    intervals, label, align : str, optional
        A table's path or name, and names of its columns; by default chosen.
    window_s : float or (float, float), optional
        Start and end of the window in seconds after alignment; a single number is its end.
    block : str, optional
        The column that tells sessions apart.
    look_for_blocks : bool
        Whether to choose such a column where none is named.

    Raises
    ------
    DataError
        If no table has at least 2 stimuli.
    UsageError
        If a named table or column is not in the file.
    """
    table, values, rejected = _choose_label(_candidates(tables, intervals), label)
    labels = as_labels(values[1])
    start = table.numbers("start_time")
    assert start is not None  # _candidates keeps only tables that have it
    warnings = list(_relative_warnings(table, start))
    session, block = _sessions(table, labels, start, block, look_for_blocks)
    lower, upper, window = _windows(table, start, labels, align, window_s, warnings)
    report = {
        "intervals": clean(table.path),
        "intervals_rejected": rejected,
        "label": values[0],
        "label_candidates": _label_columns(table),
        "align": window["align"],
        "window": window,
        "session_column": block,
        "rows": len(start),
        "dropped": {},
    }
    trials = Trials(lower, upper, labels, session, report, warnings)
    trials.keep(np.array([v is not None for v in labels], dtype=bool), "no stimulus label")
    trials.keep(trials.session != None, "no session label")  # noqa: E711
    trials.keep(np.isfinite(trials.start), "no start or alignment time")
    trials.keep(np.isfinite(trials.stop), "no stop time")
    trials.keep(trials.stop > trials.start, "window of no length")
    order = np.argsort(trials.start, kind="stable")
    for name in ("start", "stop", "label", "session"):
        setattr(trials, name, getattr(trials, name)[order])
    rows = list(zip(trials.start, trials.stop, trials.label, trials.session, strict=True))
    first = {row: i for i, row in reversed(list(enumerate(rows)))}
    trials.keep(np.array([first[r] == i for i, r in enumerate(rows)], dtype=bool), "duplicate")
    if len(set(trials.label)) < 2:
        raise DataError(
            f"{clean(table.path)} has {len(rows)} usable trials of {len(set(trials.label))} "
            f"stimuli in column {values[0]!r} (dropped: {report['dropped']}); expected at least 2 "
            "stimuli; name other columns with label= (--label) or align= (--align)"
        )
    return trials


def _candidates(tables: list[Table], wanted: str | None) -> list[Table]:
    """Return the usable tables in order of preference, or the one that was named."""
    if wanted is not None:
        for table in tables:
            if wanted in (table.path, table.path.lstrip("/"), table.name):
                if table.numbers("start_time") is None:
                    raise DataError(f"{clean(table.path)} has no column of numbers start_time")
                return [table]
        raise UsageError(
            f"there is no table of intervals {clean(wanted)!r}; "
            f"{nearest(wanted, [clean(t.path) for t in tables])}"
        )
    usable = [t for t in tables if t.rows and t.numbers("start_time") is not None]
    usable = [t for t in usable if t.name.lower() not in _NEVER]
    if not usable:
        empty = [t.path for t in tables if t.name.lower() not in _NEVER]
        what = f"{listed(empty)} is empty or has no start_time" if empty else "it has none"
        raise DataError(
            f"no table of trials to read ({what}); expected intervals such as /intervals/trials "
            "with start_time, stop_time and a column that names the stimulus; add one, for "
            "instance with pynwb's add_trial"
        )
    return sorted(usable, key=_table_rank)


def _table_rank(table: Table) -> tuple[int, str]:
    name = table.name.lower()
    if table.path == "/intervals/trials":
        return 0, table.path
    if name == "trials":
        return 1, table.path
    return (2 if name.endswith("presentations") else 3), table.path


def _distinct(labels: np.ndarray) -> int:
    return len({v for v in labels if v is not None})


def _label_columns(table: Table) -> list[str]:
    """Return the columns that could name the stimulus: few values, each of them repeated."""
    out = []
    for name in table.columns:
        if name in ("start_time", "stop_time"):
            continue
        values = table.glance(name)
        if values is not None and 2 <= _distinct(as_labels(values)) <= max(2, table.rows // 2):
            out.append(clean(name, 60))
    return out


def _choose_label(
    tables: list[Table], wanted: str | None
) -> tuple[Table, tuple[str, np.ndarray], list[str]]:
    """Return the table, its label column (name, values) and the tables passed over."""
    single: str | None = None
    for i, table in enumerate(tables):
        known = {_folded(n): n for n in table.columns}
        names = [wanted] if wanted is not None else [known[n] for n in _LABELS if n in known]
        for name in names:
            values = table.values(name) if name in table.columns else None
            if values is None:
                continue
            distinct = _distinct(as_labels(values))
            # Numbers that hardly repeat are a measurement, not a stimulus.
            most = _MOST_LABELS if values.dtype == object else max(2, table.rows // 2)
            if distinct >= 2 and (wanted is not None or distinct <= most):
                return table, (name, values), [clean(t.path) for t in tables if t is not tables[i]]
            if distinct < 2:
                only = next((v for v in as_labels(values) if v is not None), None)
                single = single or (
                    f"column {clean(name)!r} of {clean(table.path)} has one stimulus only "
                    f"({clean(only)!r})"
                    if only is not None
                    else f"column {clean(name)!r} of {clean(table.path)} names no stimulus in any "
                    "row"
                )
    if single:
        raise DataError(
            f"{single}; expected at least 2 stimuli; name another column with label= (--label)"
        )
    if wanted is not None:
        held = {clean(c, 60) for t in tables for c in t.columns}
        if wanted in held:
            raise DataError(
                f"column {clean(wanted)!r} does not hold one label for each trial; name another "
                "column with label= (--label)"
            )
        raise UsageError(
            f"no table of trials has a column {clean(wanted)!r}; {nearest(wanted, held)}"
        )
    table = tables[0]
    usable = _label_columns(table)
    hint = (
        f"columns that could: {listed(usable)}; name one with label= (--label)"
        if usable
        else f"its columns are {listed(table.columns)}; add one, such as stimulus_name"
    )
    raise DataError(f"no column of {clean(table.path)} is known to name the stimulus; {hint}")


def _folded(name: str) -> str:
    return re.sub(r"[\s\-]+", "_", name.strip().lower())


def _sessions(
    table: Table, labels: np.ndarray, start: np.ndarray, wanted: str | None, look: bool
) -> tuple[np.ndarray, str | None]:
    """Return the session of each trial and the column it was read from."""
    whole = np.full(len(start), "", dtype=object)
    if wanted is not None:
        values = table.values(wanted)
        if values is None:
            raise UsageError(
                f"{clean(table.path)} has no column {clean(wanted)!r} with one value for each "
                f"trial; {nearest(wanted, [clean(c, 60) for c in table.columns])}"
            )
        return as_labels(values), clean(wanted, 60)
    if not look:
        return whole, None
    known = {_folded(n): n for n in table.columns}
    for name in (known[n] for n in _SESSIONS if n in known):
        values = table.values(name)
        if values is None:
            continue
        blocks = as_labels(values)
        if _is_session_like(blocks, labels, start):
            return blocks, clean(name, 60)
    return whole, None


def _is_session_like(blocks: np.ndarray, labels: np.ndarray, start: np.ndarray) -> bool:
    """Return whether values follow one another in time, each with at least 2 stimuli.

    Blocks that come back, such as left and right blocks of a task, are a condition and not a
    stage of learning.
    """
    order = [i for i in np.argsort(start, kind="stable") if blocks[i] is not None]
    values = [blocks[i] for i in order]
    distinct = set(values)
    runs = 1 + sum(a != b for a, b in zip(values, values[1:], strict=False))
    if len(distinct) < 2 or runs != len(distinct):
        return False
    shown: dict[str, set[str]] = {}
    for i in order:
        if labels[i] is not None:
            shown.setdefault(blocks[i], set()).add(labels[i])
    return all(len(shown.get(b, ())) >= 2 for b in distinct)


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
        if name in ("start_time", "stop_time"):
            continue
        if not re.search(r"_times?$|onset|go_cue|^cue$", name.lower()):
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
        "alignment they are added to start_time"
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


def _windows(
    table: Table,
    start: np.ndarray,
    labels: np.ndarray,
    align: str | None,
    window_s: float | tuple[float, float] | None,
    warnings: list[str],
) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """Return the start and stop of each trial's window, and how they were chosen."""
    pair = _window_pair(window_s)
    stop = table.numbers("stop_time")
    if stop is None:
        stop = np.full(len(start), np.nan)
    events = [n for n in table.columns if any(re.fullmatch(p, _folded(n)) for p in _ALIGN)]
    events = [n for n in events if table.numbers(n) is not None]
    used = np.array([v is not None for v in labels], dtype=bool) & np.isfinite(start)
    finite = bool(used.any()) and bool(np.isfinite(stop[used]).mean() >= 0.5)
    if align is None and window_s is None and finite:
        if events:
            warnings.append(
                f"the window of a response is the whole trial; {listed(events)} could align it "
                "(align= (--align))"
            )
        window: dict[str, Any] = {"align": "start_time", "seconds": None}
        window["rule"] = "start_time to stop_time"
        return start, stop, window | {"align_candidates": [clean(e, 60) for e in events]}
    if align is None:
        ranked = [n for p in _ALIGN for n in events if re.fullmatch(p, _folded(n))]
        absolute = [
            n for n in ranked if not _looks_relative(np.asarray(table.numbers(n), float), start)
        ]
        align = absolute[0] if absolute else "start_time"
    times = table.numbers(align)
    if times is None:
        raise UsageError(
            f"{clean(table.path)} has no column of times {clean(align)!r}; "
            f"{nearest(align, [clean(c, 60) for c in table.columns])}"
        )
    relative = align != "start_time" and _looks_relative(times, start)
    base = start + times if relative else times
    if window_s is None and not finite:
        warnings.append(
            f"stop_time is missing in most trials; the window is {pair[0]:g} to {pair[1]:g} s "
            f"after {clean(align, 60)}; name another with window_s= (--window)"
        )
    rule = f"{pair[0]:g} to {pair[1]:g} s after {'start_time + ' if relative else ''}{align}"
    window = {"align": clean(align, 60), "rule": clean(rule), "seconds": list(pair)}
    return (
        base + pair[0],
        base + pair[1],
        {**window, "align_candidates": [clean(e, 60) for e in events]},
    )


def per_stimulus(labels: np.ndarray) -> dict[str, int]:
    """Return how many trials each stimulus has."""
    return dict(sorted(Counter(labels.tolist()).items()))
