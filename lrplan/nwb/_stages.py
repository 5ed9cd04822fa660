"""Which session each trial is of: its file's, or a part of it."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np

from lrplan.errors import DataError, UsageError
from lrplan.nwb._options import Stages
from lrplan.nwb._tables import Table, as_labels
from lrplan.nwb._text import clean, folded, listed
from lrplan.registry import nearest

_SESSIONS = (
    *("session", "session_id", "session_name", "session_number", "session_index"),
    *("day", "day_id", "training_day", "checkpoint", "block", "block_id", "block_name"),
    *("block_number", "block_index", "epoch", "epoch_id", "epoch_name"),
)
_STAGE = re.compile(r"session|day|date|block|stage|phase|epoch|(^|_)run|checkpoint|training|week")


def stages_of_rows(
    table: Table,
    labels: np.ndarray,
    start: np.ndarray,
    stages: Stages,
    epochs: list[Table],
    warnings: list[str],
) -> tuple[np.ndarray, str | None]:
    """Return the session of each row (None: of none) and the column or table that says it.

    Rows of a file that is one session, or is cut later by `cut_stages`, have an empty text.
    """
    whole = np.full(len(start), "", dtype=object)
    if stages.kind == "block":
        return _block(table, start, stages.column), clean(stages.column, 60)
    if stages.kind == "epochs":
        return _by_epochs(labels, start, epochs, warnings)
    if stages.kind != "look":
        return whole, None
    known = {folded(n): n for n in table.columns}
    for name in (known[n] for n in _SESSIONS if n in known):
        values = table.glance(name)
        blocks = None if values is None else as_labels(values)
        if blocks is not None and _follow_one_another(blocks, labels, start):
            return blocks, clean(name, 60)
    return whole, None


def stage_columns(table: Table, labels: np.ndarray, start: np.ndarray) -> list[str]:
    """Return the columns that could tell sessions apart.

    Their names speak of time, and their values follow one another: a flag that changes once, such
    as one of trials that do not count, is no stage of learning.
    """
    out = []
    for name in table.columns:
        if not _STAGE.search(folded(name)):
            continue
        values = table.glance(name)
        if values is not None and _follow_one_another(as_labels(values), labels, start):
            out.append(clean(name, 60))
    return out


def cut_stages(start: np.ndarray, stages: Stages) -> np.ndarray:
    """Return the session of each trial, of trials that are sorted by their start.

    Returns
    -------
    array (trial,) of str or None
        None for the trials of an incomplete last part: of fewer trials, or of which trials start
        in less than half of the time.
    """
    if not len(start):
        return np.empty(0, dtype=object)
    if stages.kind == "trials":
        part, left = np.divmod(np.arange(len(start)), int(stages.size))
        whole = left[-1] == stages.size - 1
    else:
        part, left = np.divmod(start - start[0], stages.size)
        whole = left[-1] >= stages.size / 2
    numbers = part.astype(int).tolist()
    order = {p: i for i, p in enumerate(dict.fromkeys(numbers))}
    last = None if whole else numbers[-1]
    names = [None if p == last else f"{stages.kind} {order[p] + 1}" for p in numbers]
    return np.array(names, dtype=object)


def _block(table: Table, start: np.ndarray, column: str) -> np.ndarray:
    values = table.values(column) if column in table.columns else None
    if values is None:
        raise UsageError(
            f"{clean(table.path)} has no column {clean(column)!r} with one value for each trial; "
            f"{nearest(column, [clean(c, 60) for c in table.columns])}"
        )
    blocks = as_labels(values)
    held = [blocks[i] for i in np.argsort(start, kind="stable") if blocks[i] is not None]
    distinct, runs = list(dict.fromkeys(held)), _runs(held)
    if runs > len(distinct):
        raise DataError(
            f"the values of {clean(column, 60)} come back: {listed(distinct, 4)} stand in {runs} "
            f"runs of trials, so that they are a condition and no stages of learning; cut the "
            "session with checkpoint_by='trials:N' or 'time:SECONDS' (--checkpoint-by), or take "
            f"one condition with trials= (--trials)"
        )
    return blocks


def _runs(values: list[str]) -> int:
    return 1 + sum(a != b for a, b in zip(values, values[1:], strict=False)) if values else 0


def _follow_one_another(blocks: np.ndarray, labels: np.ndarray, start: np.ndarray) -> bool:
    """Return whether values follow one another in time, each with at least 2 stimuli.

    Blocks that come back, such as left and right blocks of a task, are a condition and not a
    stage of learning.
    """
    order = [i for i in np.argsort(start, kind="stable") if blocks[i] is not None]
    values = [blocks[i] for i in order]
    distinct = set(values)
    if len(distinct) < 2 or _runs(values) != len(distinct):
        return False
    shown: dict[str, set[str]] = {}
    for i in order:
        if labels[i] is not None:
            shown.setdefault(blocks[i], set()).add(labels[i])
    return all(len(shown.get(b, ())) >= 2 for b in distinct)


def _by_epochs(
    labels: np.ndarray, start: np.ndarray, epochs: list[Table], warnings: list[str]
) -> tuple[np.ndarray, str]:
    """Return the epoch in which each trial starts; epochs with fewer than 2 stimuli are none."""
    if not epochs:
        raise DataError(
            "holds no table of epochs, which checkpoint_by='epochs' (--checkpoint-by) needs; use "
            "'block:COLUMN', 'trials:N' or 'time:SECONDS'"
        )
    table = epochs[0]
    lower, upper = table.numbers("start_time"), table.numbers("stop_time")
    if lower is None or upper is None:
        raise DataError(f"{clean(table.path)} has no start_time and stop_time of numbers")
    order = np.argsort(lower, kind="stable")
    if (lower[order][1:] < upper[order][:-1] - 1e-9).any():
        raise DataError(
            f"epochs of {clean(table.path)} overlap, so that a trial can be of two; use "
            "checkpoint_by='block:COLUMN', 'trials:N' or 'time:SECONDS' (--checkpoint-by)"
        )
    names = _epoch_names(table)
    out = np.full(len(start), None, dtype=object)
    left, counts = [], Counter[str]()
    for row in order:
        inside = (start >= lower[row]) & (start < upper[row])
        counts[names[row]] += 1
        name = names[row] if counts[names[row]] == 1 else f"{names[row]} ({counts[names[row]]})"
        if len({v for v in labels[inside] if v is not None}) < 2:
            left.append(name)
            continue
        out[inside] = name
    if left:
        warnings.append(
            f"epochs with fewer than 2 stimuli are no sessions and were left out: {listed(left)}"
        )
    return out, clean(table.path)


def _epoch_names(table: Table) -> list[str]:
    for name in ("epoch_name", "name", "label", "tags", "epoch_id"):
        values = table.texts(name) if name in table.columns else None
        if values is not None and any(values):
            return [clean(v, 60) or f"epoch {i + 1}" for i, v in enumerate(values)]
    return [f"epoch {i + 1}" for i in range(table.rows)]
