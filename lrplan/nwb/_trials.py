"""Which trials a file holds: the table, the label of each, and the window of its response."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lrplan.errors import DataError
from lrplan.nwb._labels import choose_trials, label_columns
from lrplan.nwb._options import Options
from lrplan.nwb._stages import cut_stages, stage_columns, stages_of_rows
from lrplan.nwb._tables import Table
from lrplan.nwb._text import clean
from lrplan.nwb._windows import find_windows

OUTSIDE = "outside the recording"


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

    @property
    def span(self) -> tuple[float, float]:
        """Start of the first window and end of the last, in seconds."""
        if not len(self.start):
            return 0.0, 0.0
        return float(self.start.min()), float(self.stop.max())

    def keep(self, mask: np.ndarray, reason: str) -> None:
        """Drop the trials where `mask` is false and count them under `reason`."""
        lost = int((~mask).sum())
        if lost:
            self.report["dropped"][reason] = self.report["dropped"].get(reason, 0) + lost
            for name in ("start", "stop", "label", "session"):
                setattr(self, name, getattr(self, name)[mask])

    def check_kept(
        self, what: str, recorded: tuple[float, float], trials: tuple[float, float]
    ) -> None:
        """Raise if most trials lie outside what was recorded: the clocks hardly are the same.

        Parameters
        ----------
        what : str
            What was recorded, in words.
        recorded, trials : (float, float)
            When, and when the trials were before they were dropped, in seconds.
        """
        lost, left = self.report["dropped"].get(OUTSIDE, 0), len(self.start)
        if lost <= left:
            return
        told = "no trial lies" if not left else f"only {left} of {lost + left} trials lie"
        ratio = (trials[1] - trials[0]) / max(recorded[1] - recorded[0], 1e-9)
        unit = ""
        if 300 < ratio < 3000:
            unit = "; the trials look like milliseconds"
        elif 300 < 1 / max(ratio, 1e-9) < 3000:
            unit = "; what was recorded looks like milliseconds"
        raise DataError(
            f"{told} within {what} ({recorded[0]:.6g} to {recorded[1]:.6g} s, trials "
            f"{trials[0]:.6g} to {trials[1]:.6g} s); expected both in seconds on one clock{unit}; "
            "mend the times, or take the trials that were recorded with trials= (--trials)"
        )

    def check_stimuli(self) -> None:
        """Raise if fewer than 2 stimuli are left."""
        left = len(set(self.label))
        if left < 2:
            dropped = ", ".join(f"{n} ({why})" for why, n in self.report["dropped"].items())
            raise DataError(
                f"{self.report['intervals']} has {len(self.start)} usable trials of {left} stimuli "
                f"in column {self.report['label']!r} (dropped: {dropped or 'none'}); expected "
                "at least 2 stimuli; name other columns with label= (--label) or align= (--align)"
            )


def find_trials(
    intervals: list[Table],
    others: list[Table],
    epochs: list[Table],
    options: Options,
    *,
    elsewhere: str = "",
) -> Trials:
    """Choose a table of trials, its label and its windows, and read them.

    Parameters
    ----------
    intervals, others : list of Table
        Tables of intervals and events, and plain tables that are read if named.
    epochs : list of Table
        Of intervals that may be sessions.
    options : Options
        What the user fixed.
    elsewhere : str
        Where trials may be if there is no table of them.

    Raises
    ------
    DataError
        If no table has at least 2 stimuli.
    UsageError
        If a named table or column is not in the file.
    """
    found = choose_trials(intervals, others, options, elsewhere)
    table, labels = found.table, found.labels
    start = table.numbers(str(table.start_column))
    if start is None:
        raise DataError(f"{clean(table.path)} has no column of numbers start_time")
    warnings: list[str] = []
    stages = options.stages
    session, column = stages_of_rows(table, labels, start, stages, epochs, warnings)
    lower, upper, window = find_windows(table, start, labels, options, warnings)
    report = {
        "intervals": clean(table.path),
        "intervals_rejected": found.rejected,
        "label": clean(found.column),
        "label_candidates": label_columns(table),
        "align": window["align"],
        "window": window,
        "session_column": column,
        "session_candidates": stage_columns(table, labels, start),
        "epochs": [clean(e.path) for e in epochs],
        "rows": len(start),
        "dropped": {},
    }
    trials = Trials(lower, upper, labels, session, report, warnings)
    if options.trials is not None:
        holds = options.trials.holds(table.condition_column(options.trials.what))
        told = clean(options.trials.text)
        warnings.append(f"{int(holds.sum())} of {len(holds)} trials meet {told}")
        trials.keep(holds, f"not {told}")
    trials.keep(_known(trials.label), "no stimulus label")
    trials.keep(_known(trials.session), "no session label")
    trials.keep(np.isfinite(trials.start), "no start or alignment time")
    trials.keep(np.isfinite(trials.stop), "no stop time")
    trials.keep(trials.stop > trials.start, "window of no length")
    order = np.argsort(trials.start, kind="stable")
    for name in ("start", "stop", "label", "session"):
        setattr(trials, name, getattr(trials, name)[order])
    rows = list(zip(trials.start, trials.stop, trials.label, trials.session, strict=True))
    first = {row: i for i, row in reversed(list(enumerate(rows)))}
    trials.keep(np.array([first[r] == i for i, r in enumerate(rows)], dtype=bool), "duplicate")
    if stages.kind in ("trials", "time"):
        trials.session = cut_stages(trials.start, stages)
        trials.keep(_known(trials.session), "incomplete last part")
    trials.check_stimuli()
    return trials


def _known(values: np.ndarray) -> np.ndarray:
    """Return which of some texts are there, (trial,)."""
    return np.array([v is not None for v in values], dtype=bool)


def per_stimulus(labels: np.ndarray) -> dict[str, int]:
    """Return how many trials each stimulus has."""
    return dict(sorted(Counter(labels.tolist()).items()))
