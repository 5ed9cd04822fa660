"""Recordings: what an experimenter holds, virtual or real."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from lrplan.arguments import generator, positive_int
from lrplan.errors import DataError, UsageError
from lrplan.measure.texts import ingest_lines, span, tracked_words
from lrplan.pictures import draw
from lrplan.registry import nearest
from lrplan.terms import UNIT_DIMS, UNIT_NOUNS
from lrplan.texts import Line, counted, html, table, text

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

DIMS = {
    "activity": ("population", "session", "stimulus", "unit"),
    "activity_sem": ("population", "session", "stimulus", "unit"),
    "trials": ("population", "session", "stimulus", "trial", "unit"),
    "weights": ("population", "session", "synapse"),
    "weights_sem": ("population", "session", "synapse"),
    "paired": ("population", "session", "paired_stimulus", "post", "pre"),
    "paired_sem": ("population", "session", "paired_stimulus", "post", "pre"),
}
KINDS = ("virtual", "spikes", "dff")
WHOSE = ("animal", "area", "condition")
KNOWN = ("rule", "position")
"""Labels by which the populations of virtual recordings are counted; `WHOSE` are real ones'."""
UNKNOWN = "unknown"
LEARNING = "learning"
_MATCHED = ("session", "stimulus", "paired_stimulus")


@dataclass(frozen=True, eq=False, repr=False)
class Recording:
    """Responses of one or many populations over sessions.

    A population is one area of one animal under one condition. Virtual and real recordings take
    the same road to features.

    Parameters
    ----------
    data : xarray.Dataset
        Some of the variables ``trials`` (population, session, stimulus, trial, unit),
        ``activity`` (population, session, stimulus, unit), ``weights`` (population, session,
        synapse) and ``paired`` (population, session, paired_stimulus, post, pre), in any unit
        that stays the same over sessions. Dimensions go by their names and may stand in any
        order. Trials, units, synapses and pairs that some session or population lacks are padded
        with NaN. Where there are ``trials``, ``activity``, their mean, and ``activity_sem``, its
        standard error, are computed unless they are given. ``weights_sem`` and ``paired_sem`` are
        the standard errors of the others, where they are known.

        Coordinates over populations are ``animal`` (by default the ``organism``, else
        ``"unknown"``), ``area`` (by default the ``layer``, else ``"unknown"``) and ``condition``
        (by default ``"learning"``); virtual recordings have also ``organism``, ``rule``,
        ``architecture``, ``task``, ``setting``, ``layer`` and ``position``.
    source : str
        Where it comes from: a cohort's name or file names.
    kind : {"virtual", "spikes", "dff"}
        What was recorded.
    tracked : bool
        Whether units are the same in all sessions.
    ingest : dict
        What the reader chose, dropped and doubted.

    Raises
    ------
    UsageError
        If the data lack a dimension, have one too many, or hold no numbers.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from lrplan import Recording
    >>> rates = np.random.default_rng(0).random((1, 5, 8, 10, 60))
    >>> dims = ("population", "session", "stimulus", "trial", "unit")
    >>> recording = Recording(xr.Dataset({"trials": (dims, rates)}), "my lab", kind="spikes")
    >>> recording.data["activity"].shape
    (1, 5, 8, 60)
    """

    data: xr.Dataset
    source: str = "unnamed"
    kind: str = "virtual"
    tracked: bool = True
    ingest: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UsageError(f"unknown kind {self.kind!r}; {nearest(str(self.kind), KINDS)}")
        if not isinstance(self.tracked, bool | np.bool_):
            raise UsageError(f"tracked is {self.tracked!r}; expected True or False")
        for name, value, of in (("source", self.source, str), ("ingest", self.ingest, dict)):
            if not isinstance(value, of):
                raise UsageError(f"{name} is {value!r}; expected a {of.__name__}")
        object.__setattr__(self, "data", _with_areas(_with_means(_by_name(self.data))))

    def __repr__(self) -> str:
        return f"<Recording {self.source!r}: {_about(self)}>"

    def _repr_html_(self) -> str:
        return html(self.lines())

    def lines(self) -> list[Line]:
        """Return what it holds, of whom, and what its reader chose, dropped and doubted."""
        coords = self.data.coords
        lines: list[Line] = [f"Recording: {self.source}: {_about(self)}"]
        of = []
        for name in (n for n in WHOSE if n in coords):
            names = sorted(set(coords[name].values.tolist()))
            of.append(counted(len(names), name) + (f" ({names[0]})" if len(names) == 1 else ""))
        if of:
            lines.append(f"Of {', '.join(of)}")
        lines += ingest_lines(self.ingest)
        labels = [n for n in (KNOWN if KNOWN[0] in coords else WHOSE) if n in coords]
        if labels and self.data.sizes["population"] > 1:
            kinds = Counter(zip(*(coords[n].values.tolist() for n in labels), strict=True))
            rows = [[*kind, number] for kind, number in sorted(kinds.items(), key=str)]
            lines.append(table(None, (*labels, "populations"), rows, numbers=len(labels)))
        return lines + [f"Warning: {w}" for w in self.ingest.get("warnings", ())]

    def summary(self) -> str:
        """Return what was recorded, of whom and where, and what is doubtful.

        Examples
        --------
        >>> import lrplan
        >>> cohort = lrplan.open_cohort("starter")
        >>> lrplan.record(cohort, lrplan.Design(units=9), rng=0, populations=[0])
        <Recording 'starter': virtual, 21 sessions, 9 units (tracked), 8 stimuli>
        """
        return text(self.lines())

    def plot(self, *, ax: Axes | None = None) -> Axes:
        """Draw mean responses over sessions, as `lrplan.plots.plot_recording` does."""
        return draw("plot_recording", self, ax=ax)

    def to_dataframe(self) -> pd.DataFrame:
        """Return one row per population: its labels, and how many units it holds."""
        import pandas as pd

        labels = {
            str(name): c.values for name, c in self.data.coords.items() if c.dims == ("population",)
        }
        table = pd.DataFrame(labels)
        for measure, dims in UNIT_DIMS.items():
            if measure in self.data:
                held = self.data[measure].notnull()
                others = [d for d in held.dims if d not in ("population", *dims)]
                table[f"{measure}_{UNIT_NOUNS[measure]}s"] = held.any(others).sum(dims).values
        return table

    @property
    def sessions(self) -> int:
        """Number of sessions."""
        return int(self.data.sizes["session"])

    @property
    def units_per_session(self) -> list[int]:
        """Recorded units in each session, of several populations the fewest.

        Raises
        ------
        UsageError
            If the recording holds no activity.
        """
        if "activity" not in self.data:
            raise UsageError(f"{self.source} holds no activity, so it has no units to count")
        seen = np.isfinite(self.data["activity"].values).all(axis=2)
        return [int(n) for n in seen.sum(axis=-1).min(axis=0)]

    def of(
        self,
        *,
        animal: str | Sequence[str] | None = None,
        area: str | Sequence[str] | None = None,
        condition: str | Sequence[str] | None = None,
    ) -> Recording:
        """Return the populations of some animals, areas or conditions.

        Raises
        ------
        UsageError
            If a name is not in the recording, or no population has all that is asked.

        Examples
        --------
        >>> import lrplan
        >>> cohort = lrplan.open_cohort("starter")
        >>> made = lrplan.record(cohort, lrplan.Design(units=9), rng=0, populations=range(6))
        >>> first = str(made.data["area"].values[0])
        >>> set(made.of(area=first).data["area"].values.tolist()) == {first}
        True
        """
        kept = np.ones(self.data.sizes["population"], dtype=bool)
        asked = {"animal": animal, "area": area, "condition": condition}
        for name, wanted in asked.items():
            if wanted is None:
                continue
            held = self.data[name].values
            known = sorted(set(held.tolist()))
            wanted = [wanted] if isinstance(wanted, str) else wanted
            if not isinstance(wanted, Sequence):
                raise UsageError(f"{name} is {wanted!r}; expected a name, or several")
            for one in wanted:
                if one not in known:
                    raise UsageError(f"no population has {name} {one!r}; {nearest(one, known)}")
            kept &= np.isin(held, wanted)
        if not kept.any():
            told = ", ".join(f"{k} {v!r}" for k, v in asked.items() if v is not None)
            raise UsageError(f"no population of {self.source} has {told} together")
        return replace(self, data=self.data.isel(population=kept))

    def equalised(self, units: int, *, rng: np.random.Generator | int) -> Recording:
        """Return a copy with exactly `units` units in every session.

        Units are those present in all sessions where the recording is tracked, and a random
        choice in each session otherwise.
        """
        units, rng = positive_int(units, "units"), generator(rng)
        if "activity" not in self.data:
            raise UsageError(f"{self.source} holds no activity, so it has no units to choose from")
        values = self.data["activity"].values
        seen = np.isfinite(values).all(axis=2)  # population, session, unit
        if self.tracked:
            seen = np.broadcast_to(seen.all(axis=1, keepdims=True), seen.shape)
        fewest = int(seen.sum(axis=-1).min())
        if fewest < units:
            raise DataError(
                f"{self.source} has {fewest} units in its smallest session; {units} were asked"
            )
        chosen = np.empty((*seen.shape[:2], units), dtype=int)
        for p in range(seen.shape[0]):
            for s in range(seen.shape[1]):
                if s == 0 or not self.tracked:
                    present = np.flatnonzero(seen[p, s])
                    drawn = np.sort(rng.permutation(present)[:units])
                chosen[p, s] = drawn
        taken: dict[str, Any] = {}
        for name in ("activity", "activity_sem", "trials"):
            if name in self.data:
                full = self.data[name].values
                places = chosen.reshape(*chosen.shape[:2], *(1,) * (full.ndim - 3), units)
                taken[name] = (DIMS[name], np.take_along_axis(full, places, axis=-1))
        data = self.data.drop_vars(list(taken)).drop_dims("unit", errors="ignore").assign(taken)
        return replace(self, data=data)

    def with_shuffled_sessions(self, rng: np.random.Generator | int) -> Recording:
        """Return a copy whose sessions stand in random order, the same for all populations."""
        order = generator(rng).permutation(self.sessions)
        return replace(self, data=self.data.isel(session=order))


def join(recordings: Sequence[Recording]) -> Recording:
    """Return one recording with the populations of several: areas, animals or conditions.

    Parameters
    ----------
    recordings : sequence of Recording
        Of one kind, with the same variables, as many sessions, and the same stimuli. Sessions
        are matched by their order, stimuli by their order and, where known, their names.

    Returns
    -------
    Recording
        Populations in the order given, padded with NaN to the most trials and units.

    Raises
    ------
    UsageError
        If they differ in what must be the same.

    Examples
    --------
    >>> import lrplan
    >>> cohort, design = lrplan.open_cohort("starter"), lrplan.Design(units=9)
    >>> one, two = (lrplan.record(cohort, design, rng=0, populations=[p]) for p in (0, 5))
    >>> lrplan.join([one, two]).data.sizes["population"]
    2
    """
    parts = list(recordings) if isinstance(recordings, Sequence) else []
    if not parts or not all(isinstance(r, Recording) for r in parts):
        raise UsageError(
            f"recordings is {recordings!r}; expected a sequence of at least one Recording"
        )
    first = parts[0]
    for other in parts[1:]:
        for what, one, two in (
            ("kind", first.kind, other.kind),
            ("tracked", first.tracked, other.tracked),
            *((d, first.data.sizes.get(d), other.data.sizes.get(d)) for d in _MATCHED),
            ("stimuli", _names(first, "stimulus"), _names(other, "stimulus")),
            ("variables", _variables(first), _variables(other)),
        ):
            if one != two:
                raise UsageError(
                    f"{first.source} and {other.source} differ in {what} ({one} and {two}); "
                    "expected the same in all recordings that are joined"
                )
    variables: dict[str, Any] = {}
    for name in _variables(first):
        held = [population for r in parts for population in r.data[name].values]
        variables[name] = (DIMS[name], padded(held))
    known = [c for c in first.data.coords if first.data[c].dims == ("population",)]
    coords: dict[Any, Any] = {
        c: ("population", np.concatenate([r.data[c].values for r in parts]))
        for c in known
        if all(c in r.data.coords for r in parts)
    }
    for dim in ("session", "stimulus"):
        if all(_names(r, dim) == _names(first, dim) is not None for r in parts):
            coords[dim] = first.data[dim].values
    data = xr.Dataset(variables, coords=coords)
    for name in variables:
        data[name].attrs.update(first.data[name].attrs)
    ingests = [r.ingest for r in parts if r.ingest]
    merged: dict[str, Any] = dict(ingests[0]) if ingests else {}
    for what in ("files", "warnings"):
        merged[what] = [one for i in ingests for one in i.get(what, [])]
    source = ", ".join(dict.fromkeys(r.source for r in parts))
    return replace(first, data=data, source=source, ingest=merged if ingests else {})


def _variables(recording: Recording) -> list[str]:
    return [name for name in DIMS if name in recording.data]


def _names(recording: Recording, dim: str) -> list[str] | None:
    return recording.data[dim].values.tolist() if dim in recording.data.coords else None


def mean_and_error(trials: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean over trials and its standard error, in float64.

    Parameters
    ----------
    trials : array (..., trial, unit)
        NaN where a unit was not observed.

    Returns
    -------
    mean, sem : array (..., unit)
        NaN where there is no trial, or, for `sem`, only one.
    """
    good = np.isfinite(trials)
    count = good.sum(axis=-2)
    filled = np.where(good, trials, 0.0).astype(np.float64, copy=False)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = filled.sum(axis=-2) / count
        spread = np.where(good, filled - mean[..., None, :], 0.0)
        sem = np.sqrt((spread**2).sum(axis=-2) / (count - 1) / count)
    sem[count < 2] = np.nan
    return mean, sem


def _by_name(data: Any) -> xr.Dataset:
    """Return data whose dimensions stand in the order of `DIMS`, or say what is wrong."""
    if not isinstance(data, xr.Dataset):
        raise UsageError(
            f"data is a {type(data).__name__}; expected an xarray.Dataset with some of "
            f"{', '.join(DIMS)}"
        )
    held = [name for name in DIMS if name in data]
    if not {"activity", "trials", "weights", "paired"} & set(held):
        raise UsageError(
            f"data holds {', '.join(map(str, data.data_vars)) or 'no variable'}; expected at least "
            "one of trials, activity, weights and paired"
        )
    turned = {}
    for name in held:
        dims, variable = DIMS[name], data[name]
        if set(variable.dims) != set(dims):
            raise UsageError(
                f"{name} has the dimensions ({', '.join(map(str, variable.dims))}); expected "
                f"({', '.join(dims)}), in any order"
            )
        if variable.dtype.kind not in "iuf":
            raise UsageError(f"{name} is of type {variable.dtype}; expected real numbers")
        if not variable.size:
            raise UsageError(f"{name} is empty: its sizes are {dict(variable.sizes)}")
        variable = variable.transpose(*dims)
        turned[name] = variable if variable.dtype.kind == "f" else variable.astype(np.float64)
    return data.assign(turned)


def _with_means(data: xr.Dataset) -> xr.Dataset:
    """Return data with the mean over trials and its standard error, where trials are known."""
    if "trials" not in data or "activity" in data:
        return data
    trials = data["trials"].values
    # One population at a time: float64 of all of them may not fit into memory.
    both = np.stack([mean_and_error(population) for population in trials], axis=1)
    return data.assign(
        {
            name: (DIMS[name], values.astype(trials.dtype, copy=False))
            for name, values in zip(("activity", "activity_sem"), both, strict=True)
        }
    )


def _with_areas(data: xr.Dataset) -> xr.Dataset:
    """Return data that say of each population its animal, area and condition."""
    count = data.sizes["population"]
    said = {}
    for name, other, default in (
        ("animal", "organism", UNKNOWN),
        ("area", "layer", UNKNOWN),
        ("condition", "condition", LEARNING),
    ):
        found = next((data[n].variable for n in (name, other) if n in data.coords), None)
        variable = xr.Variable((), default) if found is None else found
        if variable.dims not in ((), ("population",)):
            raise UsageError(
                f"the coordinate {name} has the dimensions {variable.dims}; expected one name for "
                f"each of {count} populations"
            )
        values = variable.values.astype(object)
        if not all(isinstance(v, str) and v for v in values.reshape(-1).tolist()):
            raise UsageError(f"the coordinate {name} holds {values.tolist()!r}; expected texts")
        said[name] = ("population", np.array(np.broadcast_to(values, count), dtype=object))
    return data.assign_coords(said)


def padded(recorded: Sequence[np.ndarray]) -> np.ndarray:
    """Stack populations; those that hold fewer units than the largest are padded with NaN."""
    shape = tuple(max(sizes) for sizes in zip(*(r.shape for r in recorded), strict=True))
    out = np.empty((len(recorded), *shape), dtype=np.result_type(*recorded))
    for row, values in zip(out, recorded, strict=True):
        if values.shape != shape:
            row[...] = np.nan
        row[tuple(map(slice, values.shape))] = values
    return out


def _about(recording: Recording) -> str:
    sizes = recording.data.sizes
    populations = sizes["population"]
    words = [str(recording.kind)]
    if populations > 1:
        words.append(f"{populations} populations")
    words.append(counted(recording.sessions, "session"))
    held = []
    for measure, dims in UNIT_DIMS.items():
        if measure not in recording.data:
            continue
        seen = recording.data[measure].notnull()
        shown = [d for d in seen.dims if d not in ("population", "session", *dims)]
        counts = seen.all(shown).sum(dims).values.ravel().tolist()
        noun = UNIT_NOUNS[measure]
        held.append(f"{span(counts)} {noun}s")
    words.append(f"{' and '.join(held) or 'nothing'} ({tracked_words(recording.tracked)})")
    if "stimulus" in sizes:
        words.append(counted(sizes["stimulus"], "stimulus", "stimuli"))
    if "trial" in sizes:
        words.append(f"up to {counted(sizes['trial'], 'trial')} of each")
    return ", ".join(words)
