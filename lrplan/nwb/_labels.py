"""Which table holds the trials, and which column names the stimulus."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lrplan.errors import DataError, UsageError
from lrplan.nwb._options import Options
from lrplan.nwb._tables import Table, as_labels
from lrplan.nwb._text import clean, folded, listed
from lrplan.registry import nearest

# Names under which published files keep their stimuli, in order of preference.
_LABELS = (
    *("stimulus_name", "stim_name", "image_name", "change_image_name", "initial_image_name"),
    *("stimulus", "stim", "stimulus_type", "stim_type", "stimulus_id", "stim_id", "stimulus_label"),
    *("image", "image_id", "odor", "odor_name", "odor_id", "odour", "tone", "texture"),
    *("condition", "condition_name", "condition_id", "trial_type", "type", "cue_type"),
    *("orientation", "direction", "angle", "contrast", "frequency", "spatial_frequency"),
    *("target_id", "tgt_loc", "target_dir", "target", "maze_id", "label"),
)
_NEVER = ("invalid_times", "epochs", "sync")
_MOST_LABELS = 1000
_BETWEEN = " | "
"""Stands between the labels of two columns."""


@dataclass(frozen=True)
class Labelled:
    """A table of trials and the stimulus of each.

    Parameters
    ----------
    table : Table
        Where they stand.
    column : str
        The column, or the columns with commas, that name the stimulus.
    labels : array (row,) of str or None
        The stimulus of each trial.
    rejected : list of str
        Tables that were passed over.
    """

    table: Table
    column: str
    labels: np.ndarray
    rejected: list[str]


def choose_trials(
    intervals: list[Table], others: list[Table], options: Options, elsewhere: str
) -> Labelled:
    """Choose the table of trials and its label.

    Parameters
    ----------
    intervals : list of Table
        Tables of intervals and of events, which are read without being named.
    others : list of Table
        Plain tables, which are read if they are named.
    options : Options
        What the user fixed.
    elsewhere : str
        Where trials may be instead, for a message; empty where there is nothing.

    Raises
    ------
    DataError
        If no table has at least 2 stimuli, or several are as good.
    UsageError
        If a named table or column is not in the file.
    """
    tables = _candidates(intervals, others, options.intervals, elsewhere)
    found: list[tuple[int, Table, str, np.ndarray]] = []
    single: str | None = None
    for table in tables:
        if found and _rank(table) > found[0][0]:
            break
        column, labels, only = _label_of(table, options.label)
        single = single or only
        if labels is not None:
            found.append((_rank(table), table, column, labels))
    if len(found) > 1:
        told = [f"{clean(t.path)} ({clean(c, 60)}: {_distinct(v)} stimuli)" for _, t, c, v in found]
        more = f" and {len(told) - 6} more" if len(told) > 6 else ""
        raise DataError(
            f"{len(found)} tables could be the trials: {', '.join(told[:6])}{more}; name one with "
            "intervals= (--intervals)"
        )
    if found:
        _, table, column, labels = found[0]
        rejected = [clean(t.path) for t in tables if t is not table]
        return Labelled(table, column, labels, rejected)
    if single:
        raise DataError(
            f"{single}; expected at least 2 stimuli; name another column with label= (--label)"
        )
    _refuse(tables, options.label)
    raise AssertionError


def _refuse(tables: list[Table], wanted: str | None) -> None:
    """Say that no column names the stimulus, and which could."""
    if wanted is not None:
        held = {clean(c, 60) for t in tables for c in t.columns}
        missing = [w for w in _words(wanted) if w not in held]
        if not missing:
            raise DataError(
                f"column {clean(wanted)!r} does not hold one label for each trial; name another "
                "column with label= (--label)"
            )
        raise UsageError(
            f"no table of trials has a column {clean(missing[0])!r}; {nearest(missing[0], held)}"
        )
    table = tables[0]
    usable = label_columns(table)
    hint = (
        f"columns that could: {listed(usable)}; name one with label= (--label)"
        if usable
        else f"its columns are {listed(table.columns)}; add one, such as stimulus_name"
    )
    raise DataError(f"no column of {clean(table.path)} is known to name the stimulus; {hint}")


def label_columns(table: Table) -> list[str]:
    """Return the columns that could name the stimulus: few values, each of them repeated."""
    out = []
    for name in table.columns:
        if name in (table.start_column, "stop_time"):
            continue
        values = table.glance(name)
        if values is not None and 2 <= _distinct(as_labels(values)) <= max(2, table.rows // 2):
            out.append(clean(name, 60))
    return out


def _candidates(
    intervals: list[Table], others: list[Table], wanted: str | None, elsewhere: str
) -> list[Table]:
    """Return the usable tables in order of preference, or the one that was named."""
    if wanted is not None:
        every = [*intervals, *others]
        for table in every:
            if wanted in (table.path, table.path.lstrip("/"), table.name):
                if table.start_column is None:
                    raise DataError(
                        f"{clean(table.path)} has no column of numbers start_time or timestamp; "
                        "name another table with intervals= (--intervals)"
                    )
                return [table]
        raise UsageError(
            f"there is no table of intervals {clean(wanted)!r}; "
            f"{nearest(wanted, [clean(t.path) for t in every])}"
        )
    named = [t for t in intervals if t.name.lower() not in _NEVER]
    usable = [t for t in named if t.rows and t.start_column is not None]
    if not usable:
        what = f"{listed([t.path for t in named])} is empty or has no start_time" if named else ""
        where = " and ".join(w for w in (what, elsewhere) if w) or "it has none"
        raise NoTrialsError(
            f"no table of trials to read ({where}); expected intervals such as /intervals/trials "
            "with start_time, stop_time and a column that names the stimulus; add one, for "
            "instance with pynwb's add_trial"
        )
    return sorted(usable, key=lambda t: (_rank(t), t.path))


class NoTrialsError(DataError):
    """A file that holds no table of trials, such as one of a single probe."""


def _rank(table: Table) -> int:
    name = table.name.lower()
    if table.path == "/intervals/trials":
        return 0
    if name == "trials":
        return 1
    if "start_time" not in table.columns:
        return 4
    return 2 if name.endswith("presentations") else 3


def _distinct(labels: np.ndarray) -> int:
    return len({v for v in labels if v is not None})


def _words(label: str) -> list[str]:
    return [w.strip() for w in label.split(",") if w.strip()]


def _label_of(table: Table, wanted: str | None) -> tuple[str, np.ndarray | None, str | None]:
    """Return a table's label column, its labels, and what is said of one with one stimulus."""
    single = None
    if wanted is not None and wanted not in table.columns and len(_words(wanted)) > 1:
        parts = [_values(table, name) for name in _words(wanted)]
        if any(p is None for p in parts):
            return wanted, None, None
        rows = zip(*(as_labels(p) for p in parts if p is not None), strict=True)
        joined = [None if None in row else _BETWEEN.join(map(str, row)) for row in rows]
        labels = np.array(joined, dtype=object)
        return wanted, labels if _distinct(labels) > 1 else None, None
    known = {folded(n): n for n in table.columns}
    names = [wanted] if wanted is not None else [known[n] for n in _LABELS if n in known]
    for name in names:
        values = _values(table, name)
        if values is None:
            continue
        labels = as_labels(values)
        distinct = _distinct(labels)
        # Numbers that hardly repeat are a measurement, not a stimulus.
        most = _MOST_LABELS if values.dtype == object else max(2, table.rows // 2)
        if distinct >= 2 and (wanted is not None or distinct <= most):
            return name, labels, None
        if distinct < 2:
            only = next((v for v in labels if v is not None), None)
            single = single or (
                f"column {clean(name)!r} of {clean(table.path)} has one stimulus only "
                f"({clean(only)!r})"
                if only is not None
                else f"column {clean(name)!r} of {clean(table.path)} names no stimulus in any row"
            )
    return "", None, single


def _values(table: Table, name: str) -> np.ndarray | None:
    return table.values(name) if name in table.columns else None
