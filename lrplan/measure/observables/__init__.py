"""Observables: the aggregate statistics of a recording over its units.

One file is one family, computed together from the same values. The registry is a catalogue: a
family that is added to it changes no result, since whoever takes observables names them, by
default as what `default_set` says. The families of Nayebi et al. (2020) are ``weight`` (21),
``act`` (21) and ``grad`` (3). Those of a population's geometry and of how it changes, the set
`GEOMETRY`, know the noise of each value and take it off.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from lrplan.errors import UsageError
from lrplan.registry import Registry, nearest
from lrplan.terms import MEASURES, STORED_OBSERVABLES

PAPER = "Nayebi et al., NeurIPS 2020"
STANDARD = "standard-2"
"""What designs take by default, if they can give it. A better set gets the next number; sets do not
change."""
STANDARD_UNTRACKED, STANDARD_SINGLE = "standard-2-untracked", "standard-2-single"
STANDARD_STORED = "standard-1"
"""The defaults of designs that do not track units, have one session, or take what a cohort stores
ready-made (and of those that show fewer stimuli than geometry needs)."""
LEAST_STIMULI = 3
GEOMETRY = "geometry-1"
"""All observables of geometry and change; `GEOMETRY_UNTRACKED` needs no tracked units."""
GEOMETRY_UNTRACKED = "geometry-1-untracked"


@dataclass(frozen=True)
class Observable:
    """One statistic.

    Parameters
    ----------
    name : str
        ``family_function_statistic``, such as ``act_abs_median``.
    degree : int
        The power of the measured quantity's unit that the statistic carries (1 for a mean, 2
        for a variance, 0 for a kurtosis); features divide by the scale to this power.
    summary : str
        What it is, in one line.
    """

    name: str
    degree: int
    summary: str


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What a family needs of a recording.

    Parameters
    ----------
    trajectory : bool, default False
        Whether it is a statistic of a whole trajectory, computed from all sessions together, and
        not of each session on its own.
    tracked : bool, default False
        Whether units must be the same in all sessions.
    sessions, stimuli, units : int, default 1
        The fewest. Synapses count as units, and so do pairs.
    noise : bool, default False
        Whether `Family.compute` and `Family.scale` are told the variance of the noise.
    """

    trajectory: bool = False
    tracked: bool = False
    sessions: int = 1
    stimuli: int = 1
    units: int = 1
    noise: bool = False

    def lacking(
        self,
        *,
        tracked: bool,
        sessions: int,
        units: int,
        stimuli: int | None = None,
        noise: bool = True,
    ) -> str | None:
        """Say what a recording lacks, or return None.

        `stimuli` is None where there are none; `noise` says whether that of its values is known.
        """
        if self.tracked and not tracked:
            return "the same units in all sessions"
        if self.noise and not noise:
            return "the standard error of each value, as 2 trials of each stimulus give it"
        for noun, least, held in (
            ("sessions", self.sessions, sessions),
            ("stimuli", self.stimuli, stimuli),
            ("units", self.units, units),
        ):
            if held is not None and held < least:
                return f"at least {least} {noun}, but there are {held}"
        return None


@dataclass(frozen=True)
class Family:
    """Observables that are computed together.

    Parameters
    ----------
    name : str
        Prefix of the observables.
    measure : {"activity", "weights", "paired"}
        What a recording must hold.
    observables : tuple of Observable
        In the order of the last axis of what `compute` returns.
    compute : callable
        ``compute(values) -> array (..., observable)``, for numpy arrays and torch
        tensors. Values are (..., stimulus, unit) for activity, (..., synapse) for weights and
        (..., stimulus, post, pre) for paired. A family that needs the trajectory takes numpy
        arrays (..., session, stimulus, unit) (or the like) and returns
        (..., session, observable), finite also in the first session. A family that needs the noise
        has ``compute(values, noise)``: an array of the same shape, the variance of the error of
        each value; an axis along which it is the same may be of 1. Errors are independent between
        units, stimuli and sessions.
    scale : callable
        ``scale(values) -> array (...)``, the root mean square of the values of a session, by which
        `relative` features are scaled; with `noise` besides where the family needs it.
    cites : str
        Where the family comes from.
    needs : Needs, optional
        By default one session at a time, of any size.
    scale_of_stored : callable, optional
        ``scale_of_stored(observed, outputs, inputs) -> array (...)``, the same scale from the
        family's observables (..., observable) of a whole layer with that many outputs and
        inputs. Without it, observables that a cohort stores ready-made can only be taken raw.
    compute_total : callable, optional
        For paired families: ``compute_total(total, n_out)``, from the derivative of the sum of all
        `n_out` outputs by each input, (..., stimulus, input).
    summarise, of_summary : callable, optional
        For families of whole trajectories: ``summarise`` takes what `compute` takes, and
        ``of_summary(summary, places)`` returns what `compute` would of the sessions at those places
        alone, which increase from 0. One summary then serves all schedules of a sweep that begin
        with the same session.
    prepare, of_prepared : callable, optional
        What several families take of the same recording, once for all that name the same
        ``prepare``: it takes what `compute` takes, and ``of_prepared(prepared)`` returns what
        `summarise` would, or `compute` where there is no summary.
    """

    name: str
    measure: str
    observables: tuple[Observable, ...]
    compute: Callable[..., Any]
    scale: Callable[..., Any]
    cites: str
    needs: Needs = Needs()
    scale_of_stored: Callable[[Any, Any, Any], Any] | None = None
    compute_total: Callable[[Any, int], Any] | None = None
    summarise: Callable[..., Any] | None = None
    of_summary: Callable[[Any, Sequence[int]], Any] | None = None
    prepare: Callable[..., Any] | None = None
    of_prepared: Callable[[Any], Any] | None = None


families: Registry[Family] = Registry(
    "observable family", package="lrplan.measure.observables", group="lrplan.observables"
)


@dataclass(frozen=True)
class ObservableSet:
    """Observables that are taken together, under a name that never changes what it means.

    Parameters
    ----------
    name : str
        As a Design names it.
    observables : tuple of str
        Which.
    summary, cites : str
        One line of what it is, and its source.
    """

    name: str
    observables: tuple[str, ...]
    summary: str
    cites: str


def _kept() -> tuple[str, ...]:
    location = ("mean", "median", "norm", "thirdquartile")
    return (
        *(f"weight_{f}_{s}" for f in ("abs", "raw") for s in (*location, "var")),
        *(f"weight_sq_{s}" for s in ("mean", "median", "thirdquartile")),
        *(f"act_{f}_{s}" for f in ("abs", "raw") for s in location),
        *(f"grad_{f}" for f in ("raw", "abs", "sq")),
    )


_PATH = (
    *("corr_first", "corr_previous", "step", "travel", "straightness", "turn"),
    *("persistence", "mean", "kurtosis", "skew", "proportional"),
)
_UNTRACKED = (
    "geometry_participation",
    *(f"geometry_share_{n}" for n in ("first", "second", "third")),
    *(f"geometry_{n}" for n in ("tuned", "untuned", "tuned_share")),
    *(
        f"geometry_{n}_{s}"
        for n in ("correlation", "lifetime", "population")
        for s in ("mean", "sd")
    ),
    *(f"geometry_{n}" for n in ("means_variance", "means_skew", "tuned_cv")),
    *(f"{n}_{s}" for n in ("alignment", "dissimilarity") for s in ("first", "previous")),
)
_TRACKED = (
    *(f"{family}_{n}" for family in ("change", "plasticity", "coupling") for n in _PATH),
    *(f"change_{n}" for n in ("participation", "common", "units_cv", "with_tuning", "with_rate")),
    "plasticity_with_size",
    *(f"coupling_{n}" for n in ("rank", "common")),
)
_OWN = "lrplan; each family names its sources"
_SINGLE = tuple(n for n in _UNTRACKED if n.startswith("geometry"))
_SYNAPTIC = tuple(n for n in STORED_OBSERVABLES if not n.startswith("act_"))

SETS = {
    s.name: s
    for s in (
        ObservableSet(
            STANDARD,
            _UNTRACKED + _TRACKED,
            "what forecasts and verdicts take by default",
            _OWN,
        ),
        ObservableSet(
            STANDARD_UNTRACKED,
            _UNTRACKED + _SYNAPTIC,
            "the default where units are not tracked",
            f"{_OWN}; {PAPER}",
        ),
        ObservableSet(
            STANDARD_SINGLE,
            _SINGLE + _SYNAPTIC,
            "the default of a single session",
            f"{_OWN}; {PAPER}",
        ),
        ObservableSet(
            STANDARD_STORED,
            STORED_OBSERVABLES,
            "the default of units 'all', and of fewer than three stimuli",
            PAPER,
        ),
        ObservableSet(
            "nayebi2020", STORED_OBSERVABLES, "the paper's 45 statistics", f"{PAPER}, section 3"
        ),
        ObservableSet(
            "nayebi2020-kept",
            _kept(),
            "the 24 that were left to the paper after those that diverged were dropped",
            f"{PAPER}, appendix",
        ),
        ObservableSet(
            GEOMETRY,
            _UNTRACKED + _TRACKED,
            "a population's geometry and how it changes, without the noise",
            _OWN,
        ),
        ObservableSet(
            GEOMETRY_UNTRACKED, _UNTRACKED, "those of geometry-1 that need no tracked units", _OWN
        ),
    )
}


def default_set(
    *,
    tracked: bool,
    sessions: int | None,
    stimuli: int | None,
    units: int | None = None,
    stored: bool = False,
) -> str:
    """Return the name of the set that a design takes if it names no observables.

    Parameters
    ----------
    tracked : bool
        Whether units are the same in all sessions.
    sessions, stimuli, units : int or None
        How many; None is as many as a cohort has.
    stored : bool, default False
        Whether observables are taken that a cohort stores ready-made, or the noise is unknown.

    Examples
    --------
    >>> default_set(tracked=True, sessions=5, stimuli=None)
    'standard-2'
    >>> default_set(tracked=False, sessions=5, stimuli=None)
    'standard-2-untracked'
    """
    few = stimuli is not None and stimuli < LEAST_STIMULI
    if stored or few or units == 1:
        return STANDARD_STORED
    if sessions == 1:
        return STANDARD_SINGLE
    return STANDARD if tracked else STANDARD_UNTRACKED


def families_of(measure: str) -> list[Family]:
    """Return the families that are computed from one measure, sorted by name."""
    return [family for _, family in families.items() if family.measure == measure]


def all_observables() -> list[tuple[Family, Observable]]:
    """Return every observable in the catalogue with its family, families sorted by name."""
    return [(family, o) for _, family in families.items() for o in family.observables]


def stored_families() -> list[Family]:
    """Return the families whose observables a cohort stores, whatever else is registered."""
    return [
        families.get(name) for name in dict.fromkeys(n.split("_")[0] for n in STORED_OBSERVABLES)
    ]


def words_of(asked: Any) -> tuple[str, ...]:
    """Return the names that were asked for, checked: of sets, families and single observables.

    Raises
    ------
    UsageError
        If one is unknown, named twice, or none is named.
    """
    if isinstance(asked, str):
        words = tuple(w.strip() for w in asked.split(","))
    elif isinstance(asked, Sequence) and all(isinstance(w, str) for w in asked):
        words = tuple(asked)
    else:
        raise UsageError(f"observables is {asked!r}; expected names of sets or observables")
    if not words or len(set(words)) < len(words):
        raise UsageError(f"observables is {asked!r}; expected one or several different names")
    for word in words:
        if word in SETS:
            continue
        known = {o.name for _, o in all_observables()} | set(families.names())
        if word not in known:
            told = nearest(word, known | set(SETS), listing="lrplan list observables")
            raise UsageError(f"unknown observable {word!r}; {told}")
    return words


def measures_with(words: Sequence[str], measures: Sequence[str]) -> tuple[str, ...]:
    """Return those of the measures of which the words name an observable."""
    asked = _single(words)
    return tuple(
        m
        for m in measures
        if any(f.name in asked or o.name in asked for f in families_of(m) for o in f.observables)
    )


def _single(words: Sequence[str]) -> set[str]:
    """Return what the words name one by one: families and observables, not sets."""
    out: set[str] = set()
    for word in words:
        out |= set(SETS[word].observables) if word in SETS else {word}
    return out


def chosen(words: Sequence[str], measures: Sequence[str]) -> list[tuple[Family, list[int]]]:
    """Return the families of some measures with the places of the observables to take.

    Parameters
    ----------
    words : sequence of str
        As `words_of` returns them.
    measures : sequence of str
        In the order of the result; families of one are sorted by name.

    Raises
    ------
    UsageError
        If the words name no observable of one of the measures.
    """
    asked = _single(words)
    out: list[tuple[Family, list[int]]] = []
    for measure in measures:
        before = len(out)
        for family in families_of(measure):
            places = [
                i
                for i, o in enumerate(family.observables)
                if family.name in asked or o.name in asked
            ]
            if places:
                out.append((family, places))
        if len(out) == before:
            raise UsageError(_none_of(measure, words, measures))
    return out


def _none_of(measure: str, words: Sequence[str], measures: Sequence[str]) -> str:
    """Say that the words name no observable of a measure, and with which measures they go."""
    fit = measures_with(words, MEASURES)
    told = f"the observables {', '.join(words)} are of {' and '.join(fit)}, none of {measure}; "
    if set(fit) <= set(measures):
        return told + f"take `--measure {','.join(fit)}`, or name observables of {measure}, too"
    both = ",".join(m for m in MEASURES if m in {*fit, *measures})
    return told + (
        f"take `--measure {','.join(fit)}`, or `--measure {both}` with observables of {measure}, "
        "too"
    )


def refuse_unmeasured(words: Sequence[str], measures: Sequence[str]) -> None:
    """Raise `UsageError` if some words name observables of none of the measures and others do not.

    Sets hold observables of several measures, of which a design takes its own.
    """
    idle = [w for w in words if w not in SETS and not measures_with([w], measures)]
    if idle and len(idle) < len(words):
        left, fit = ", ".join(idle), measures_with(idle, MEASURES)
        both = ",".join(m for m in MEASURES if m in {*fit, *measures})
        raise UsageError(
            f"{left} would not be taken: of {' and '.join(fit)}, and the design measures "
            f"{', '.join(measures)}; take `--measure {both}`, or leave out {left}"
        )


def names_of(words: Sequence[str], measures: Sequence[str]) -> list[str]:
    """Return the observables that the words name, of some measures."""
    return [f.observables[i].name for f, places in chosen(words, measures) for i in places]
