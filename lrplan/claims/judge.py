"""What becomes of a claim: it follows from the intervals of figures, each with its threshold.

A claim is judged by one or several criteria. A criterion is a figure that must lie above a
threshold. It *holds* if the figure's interval lies above the threshold, *fails* if it lies below,
and is *undecided* if it does not say. A claim holds if all its criteria hold, and fails if one
fails. What a cohort cannot speak about is undecided, and named.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lrplan.claims.report import Claim
from lrplan.tell.intervals import Interval


@dataclass(frozen=True)
class Criterion:
    """One figure of a claim, and what it must lie above.

    Parameters
    ----------
    what : str
        The figure in words.
    interval : Interval
        Its value.
    above : float, default 0
        What it must exceed.
    but : str, default ""
        Why it decides nothing, whatever it is.
    """

    what: str
    interval: Interval
    above: float = 0.0
    but: str = ""

    @property
    def result(self) -> str:
        """What the interval says."""
        if self.but or not np.isfinite(self.interval.low + self.interval.high):
            return "undecided"
        if self.interval.low > self.above:
            return "holds"
        if self.interval.high < self.above:
            return "fails"
        return "undecided"

    def __str__(self) -> str:
        text = f"{self.what}: {self.interval}, must exceed {self.above:g}: {self.result}"
        return f"{text}, since {self.but}" if self.but else text


@dataclass(frozen=True)
class Missing:
    """A criterion that a cohort cannot speak about, and what it lacks."""

    why: str


def judge(
    number: int, short: str, statement: str, criteria: Sequence[Criterion | Missing]
) -> Claim:
    """Return what becomes of a claim under these criteria.

    The figure is that of the criterion that decides: the first that fails; else the first that is
    undecided; else the first.
    """
    tested = [c for c in criteria if isinstance(c, Criterion)]
    missing = [c.why for c in criteria if isinstance(c, Missing)]
    results = [c.result for c in tested]
    if "fails" in results:
        result = "fails"
    elif missing or "undecided" in results:
        result = "undecided"
    else:
        result = "holds"
    shown = next(
        (c for r in ("fails", "undecided", "holds") for c in tested if c.result == r), None
    )
    note = "; ".join([str(c) for c in tested] + [f"cannot be tested: {w}" for w in missing])

    figures: list[float | None] = [None, None, None]
    if shown is not None:
        each = (shown.interval.mean, shown.interval.low, shown.interval.high)
        figures = [float(x) if np.isfinite(x) else None for x in each]
    return Claim(
        id=number,
        short=short,
        statement=statement,
        result=result,
        figure=figures[0],
        low=figures[1],
        high=figures[2],
        threshold=shown.above if shown else 0.0,
        note=note,
    )
