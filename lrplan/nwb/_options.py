"""What the user fixed about reading; the rest is chosen from the files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lrplan.errors import UsageError
from lrplan.nwb._condition import Condition, parse_condition


@dataclass(frozen=True)
class Stages:
    """What one session is.

    Parameters
    ----------
    kind : {"session", "look", "block", "epochs", "trials", "time"}
        ``session``: a file. ``look``: a file, unless a column of its trials tells sessions apart.
        ``block``: each value of a column. ``epochs``: each row of the table of epochs.
        ``trials``, ``time``: so many trials, or seconds.
    column : str
        Of ``block``.
    size : float
        Of ``trials`` and ``time``.
    """

    kind: str = "look"
    column: str = ""
    size: float = 0.0


@dataclass(frozen=True)
class Options:
    """The names are those of `lrplan.nwb.read_nwb`."""

    units: Condition | None = None
    area: str | None = None
    units_table: str | None = None
    signal: str | None = None
    tracking: str | None = None
    intervals: str | None = None
    trial_signal: str | None = None
    trials: Condition | None = None
    label: str | None = None
    align: str | None = None
    relative: bool | None = None
    window_s: float | tuple[float, float] | None = None
    stages: Stages = Stages()


TEXTS = (
    *("units", "area", "units_table", "signal", "tracking", "intervals", "trials", "label"),
    "trial_signal",
    *("align", "checkpoint_by"),
)


def make_options(**given: Any) -> Options:
    """Return the options of `read_nwb`, checked before any file is opened.

    Parameters
    ----------
    **given
        As `read_nwb` takes them.

    Raises
    ------
    UsageError
        If one of them is of another type, or makes no sense.
    """
    given.pop("order", None)
    for what in TEXTS:
        if not isinstance(given.get(what), str | None):
            raise UsageError(f"{what} is {given[what]!r}; expected a name")
    relative = given.get("relative")
    if not isinstance(relative, bool | None):
        raise UsageError(f"relative is {relative!r}; expected True, False or None")
    stages = _stages(given.pop("checkpoint_by", None))
    units = parse_condition(given.pop("units", None), "units= (--units)")
    trials = parse_condition(given.pop("trials", None), "trials= (--trials)")
    return Options(units=units, trials=trials, stages=stages, **given)


def _stages(checkpoint_by: str | None) -> Stages:
    if checkpoint_by is None:
        return Stages()
    if checkpoint_by in ("session", "epochs"):
        return Stages(checkpoint_by)
    kind, _, value = checkpoint_by.partition(":")
    if kind == "block" and value:
        return Stages("block", column=value)
    try:
        size = float(value) if kind == "time" else float(int(value)) if kind == "trials" else 0.0
    except ValueError:
        size = 0.0
    if not 0 < size < 1e12:
        raise UsageError(
            f"checkpoint_by is {checkpoint_by!r}; expected 'session', 'block:COLUMN' (such as "
            "'block:day'), 'epochs', 'trials:N' or 'time:SECONDS'"
        )
    return Stages(kind, size=size)
