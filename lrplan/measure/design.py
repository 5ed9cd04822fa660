"""A Design: how an experiment would be recorded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from numbers import Integral
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from lrplan.arguments import finite_number, positive_int
from lrplan.cohort.references import REFERENCES
from lrplan.errors import UsageError
from lrplan.measure.observables import default_set, words_of
from lrplan.registry import nearest
from lrplan.terms import MEASURES, POSITIONS

if TYPE_CHECKING:
    from lrplan.measure.modalities import Modality

SCALINGS = ("relative", "raw")
RELATIVE, WITHIN, ABSOLUTE = NOISE_REFERENCES = ("relative", "within", "absolute")
CONTRASTS = ("both", "only", "none")
ALL = "all"
USUAL_NOISE = 0.1
"""The noise of a Design that names none."""


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """When the sessions of an experiment take place, in checkpoints of a cohort.

    Parameters
    ----------
    sessions : int, optional
        How many sessions; by default one at every checkpoint from `start`.
    spacing : int, optional
        Checkpoints between one session and the next; by default the sessions are spread evenly
        from `start` to the end of training.
    start : int, default 0
        Checkpoint of the first session; 0 is before training.
    """

    sessions: int | None = None
    spacing: int | None = None
    start: int = 0

    def __post_init__(self) -> None:
        if self.sessions is not None:
            object.__setattr__(self, "sessions", positive_int(self.sessions, "sessions"))
        if self.spacing is not None:
            object.__setattr__(self, "spacing", positive_int(self.spacing, "spacing"))
        if isinstance(self.start, bool) or not isinstance(self.start, Integral) or self.start < 0:
            raise UsageError(f"start is {self.start!r}; expected a checkpoint, 0 or later")

    def checkpoints(self, available: int) -> list[int]:
        """Return the checkpoints of the sessions, out of 0 ... `available` - 1."""
        left = available - self.start
        if left < 1:
            raise UsageError(
                f"the schedule starts at checkpoint {self.start}, but the cohort has "
                f"{available} checkpoints (0 to {available - 1})"
            )
        if self.spacing is None:
            sessions = left if self.sessions is None else self.sessions
            if sessions > left:
                raise UsageError(
                    f"the design has {sessions} sessions, but the cohort has {left} checkpoints "
                    f"from checkpoint {self.start}; use at most --sessions {left}"
                )
            if sessions == 1:
                return [available - 1]
            places = np.linspace(self.start, available - 1, sessions)
            return [int(p) for p in np.floor(places + 0.5)]
        most = (left - 1) // self.spacing + 1
        sessions = most if self.sessions is None else self.sessions
        if sessions > most:
            raise UsageError(
                f"{sessions} sessions that are {self.spacing} checkpoints apart do not fit into "
                f"the cohort's {available} checkpoints from checkpoint {self.start}; use at most "
                f"--sessions {most} or a smaller --spacing"
            )
        return [self.start + i * self.spacing for i in range(sessions)]


class Settings(Mapping[str, Any]):
    """Settings of a modality by name, sorted; unlike a dict it cannot change and can be hashed.

    Parameters
    ----------
    values : mapping of str to bool, int, float or str
        What differs from the modality's defaults.
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = {name: values[name] for name in sorted(values)}

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __hash__(self) -> int:
        return hash(tuple(self._values.items()))

    def __repr__(self) -> str:
        return repr(self._values)


@dataclass(frozen=True, kw_only=True)
class Design:
    """How an experiment is recorded, and how its recordings become features.

    Parameters
    ----------
    units : int or "all", default 300
        How many are recorded from each population in each session: neurons for the measure
        ``activity``, synapses for ``weights``, pre-post pairs for ``paired`` (as a near-square
        block of post by pre). ``"all"`` takes the observables that the cohort stores, which are
        of all units of a population and without noise: the ideal observer, and the only design
        for a cohort that stores no responses.
    noise : float, optional
        Standard deviation of the noise of one response (the mean over a stimulus's trials), as
        a fraction of the signal that `noise_reference` names, in the first session; by default
        0.1. Of a modality whose noise follows from its settings (`Modality.takes_noise`) it is 0,
        and no other is accepted.
    measure : str or sequence of str, default "activity"
        One or several of ``activity``, ``weights``, ``paired``.
    modality : str, default "ideal"
        Registered name of the measurement model.
    settings : mapping of str to value, optional
        Settings of the modality that differ from its defaults.
    schedule : Schedule
        The sessions; by default every checkpoint of the cohort.
    tracked : bool, default True
        Whether the same units are recorded in all sessions; otherwise they are drawn anew.
    stimuli : int, optional
        How many stimuli are shown; by default all that the cohort holds.
    position : {"early", "middle", "deep", "unknown"}, optional
        Where the recorded area lies. By default every population is recorded and its position is a
        feature; ``unknown`` records all and leaves the position out of the features.
    noise_reference : {"relative", "within", "absolute"}, default "relative"
        ``relative`` to the population's standard deviation over stimuli and units, ``within`` to
        that over stimuli within units (its root mean square over units): what stimuli drive, which
        is what `lrplan.measure.noise` finds in a recording and what `lrplan.score` matches.
        Synapses have no stimuli, and so no such signal. ``absolute`` takes `noise` in the
        network's own activation unit, as the paper did.
    scaling : {"relative", "raw"}, default "relative"
        ``relative`` divides each observable by the first session's scale to the power of the
        observable's degree, since a firing rate and a network's activation share no unit, and gives
        later sessions as their change from the first; ``raw`` is the paper's.
    observables : str or sequence of str, optional
        What is taken of a recording: names of sets (``lrplan list sets`` shows them), of
        families, or of single observables. By default the set that suits the design, as
        `lrplan.measure.observables.default_set` says: `taken` is what that comes to. Sets never
        change under their name, whatever plug-ins are installed.
    areas : str or sequence of str, optional
        One to three of ``early``, ``middle`` and ``deep``, which are recorded together in each
        animal: a recording is then an animal, and its features are the observables of all areas.
        By default every population is a recording of its own.
    contrasts : {"both", "only", "none"}, default "both"
        What is taken where several areas are recorded together: their observables and the
        differences between areas, the differences only, or the observables only. Observables of
        each session, later area minus earlier, after scaling. The same of a reference.
    reference : {"first", "passive", "control"} or "area:early" and the like, optional
        What features are taken relative to. ``first``: the first sessions of the same recording,
        before learning; ``relative`` scaling does so for statistics of single sessions and the
        first session, this for all observables and the mean of `reference_sessions`. The others
        are recorded besides, under the same design, and subtracted in each session after scaling:
        ``area:early`` another area of the same animal, ``passive`` the same preparation exposed
        to the stimuli without learning, ``control`` another one of the same architecture and task
        so exposed. `contrasts` says whether the observables themselves are taken as well.
        Differences between areas are then also taken of what differs from the reference.
    reference_sessions : int, default 1
        How many sessions are the reference ``first``. In a cohort checkpoint 0 alone is before
        learning; more of them lessen the noise of the reference, and what is told of early
        learning, too.
    """

    units: int | Literal["all"] = 300
    noise: float | None = None
    measure: str | Sequence[str] = "activity"
    modality: str = "ideal"
    settings: Mapping[str, Any] | None = None
    schedule: Schedule = field(default_factory=Schedule)
    tracked: bool = True
    stimuli: int | None = None
    position: str | None = None
    noise_reference: str = RELATIVE
    scaling: str = "relative"
    observables: str | Sequence[str] | None = None
    areas: str | Sequence[str] | None = None
    contrasts: str = "both"
    reference: str | None = None
    reference_sessions: int = 1

    def __post_init__(self) -> None:
        if isinstance(self.units, str):
            if self.units != ALL:
                raise UsageError(f"units is {self.units!r}; expected a whole number or {ALL!r}")
        else:
            object.__setattr__(self, "units", positive_int(self.units, "units"))
        if self.noise is not None:
            object.__setattr__(self, "noise", finite_number(self.noise, "noise"))
        object.__setattr__(self, "measure", _measures(self.measure))
        if not isinstance(self.schedule, Schedule):
            raise UsageError(
                f"schedule is {self.schedule!r}; expected a Schedule, such as Schedule(sessions=5)"
            )
        if not isinstance(self.tracked, bool | np.bool_):
            raise UsageError(f"tracked is {self.tracked!r}; expected True or False")
        object.__setattr__(self, "tracked", bool(self.tracked))
        if self.stimuli is not None:
            object.__setattr__(self, "stimuli", positive_int(self.stimuli, "stimuli"))
        for name, value, known in (
            ("position", self.position, (None, "unknown", *POSITIONS)),
            ("noise_reference", self.noise_reference, NOISE_REFERENCES),
            ("scaling", self.scaling, SCALINGS),
            ("contrasts", self.contrasts, CONTRASTS),
        ):
            if not isinstance(value, str | None) or value not in known:
                words = [k for k in known if k is not None]
                raise UsageError(f"unknown {name} {value!r}; {nearest(str(value), words)}")
        if self.observables is not None:
            object.__setattr__(self, "observables", words_of(self.observables))
        object.__setattr__(self, "areas", _areas(self.areas))
        self._check_areas()
        self._check_reference()
        if self.noise_reference == WITHIN and "weights" in self.measures:
            raise UsageError(
                f"noise_reference is {WITHIN!r}, relative to what stimuli drive within a unit, but "
                f"weights have no stimuli; use --noise-reference {RELATIVE} for the measure "
                "'weights'"
            )
        modality = self.make_modality()
        for m in self.measures:
            if m not in modality.measures:
                raise UsageError(
                    f"modality {self.modality!r} measures {', '.join(modality.measures)}, not {m}"
                )
        object.__setattr__(self, "noise", _noise_of(self.noise, self.modality, modality))
        settings = {name: getattr(modality, name) for name in self.settings or {}}
        object.__setattr__(self, "settings", Settings(settings))
        if self.units == ALL:
            self._check_all_units()

    def _check_areas(self) -> None:
        """Refuse what areas that are recorded together cannot be combined with."""
        if self.areas is not None and self.position is not None:
            raise UsageError(
                f"position is {self.position!r} and areas is {', '.join(self.areas)}; areas say "
                "where all that is recorded lies, so leave --position out"
            )
        if self.contrasts == "only" and self.reference is None and len(self.areas or ()) < 2:
            raise UsageError(
                "contrasts is 'only', but there is one area and no reference to take differences "
                "from; name two or three areas, such as --areas early,deep, or a reference, or "
                "leave --contrasts out"
            )

    def _check_reference(self) -> None:
        """Refuse a reference that is none, or that nothing is taken from."""
        sessions = positive_int(self.reference_sessions, "reference_sessions")
        object.__setattr__(self, "reference_sessions", sessions)
        known = ("first", *REFERENCES, *(f"area:{p}" for p in POSITIONS))
        if not isinstance(self.reference, str | None) or self.reference not in (None, *known):
            raise UsageError(
                f"unknown reference {self.reference!r}; {nearest(str(self.reference), known)}"
            )
        if sessions > 1 and self.reference != "first":
            raise UsageError(
                f"reference_sessions is {sessions}, but the reference is {self.reference!r}; use "
                "--reference first, or leave --reference-sessions out"
            )
        if self.reference not in (None, "first") and self.contrasts == "none":
            raise UsageError(
                f"contrasts is 'none', but the reference {self.reference!r} is there for the "
                "differences from it; use --contrasts both or only"
            )
        other = self.reference_area
        if other is None:
            return
        own = self.areas or tuple(p for p in POSITIONS if p == self.position)
        if not own or other in own:
            raise UsageError(
                f"the reference is {self.reference}, and what is recorded is "
                f"{' and '.join(own) or 'every population'}; name another area with --position or "
                "--areas, such as --position deep"
            )

    @property
    def recorded_reference(self) -> str | None:
        """The condition that is recorded besides, if the reference is one."""
        return self.reference if self.reference in REFERENCES else None

    @property
    def reference_area(self) -> str | None:
        """The area that others are taken relative to, if the reference is one."""
        kind, _, area = (self.reference or "").partition(":")
        return area if kind == "area" else None

    @property
    def recorded_areas(self) -> tuple[str, ...] | None:
        """The areas that make up an animal, with the one of reference last; None if none do."""
        if self.reference_area is None:
            return None if self.areas is None else tuple(self.areas)
        own = self.areas if self.areas is not None else (str(self.position),)
        return (*own, self.reference_area)

    def _check_all_units(self) -> None:
        """Refuse what cannot be had from observables that are stored ready-made."""
        why = (
            "units 'all' takes the cohort's stored observables, which are of all units and "
            "stimuli, without noise"
        )
        if self.noise_level > 0:
            raise UsageError(
                f"noise is {self.noise:g}, but {why}; use --noise 0, or a number of units"
            )
        if self.modality != "ideal":
            raise UsageError(f"modality is {self.modality!r}, but {why}; use the modality 'ideal'")
        if self.stimuli is not None:
            raise UsageError(f"stimuli is {self.stimuli}, but {why}; leave --stimuli out")

    @property
    def all_units(self) -> bool:
        """Whether the cohort's stored observables of all units are taken."""
        return self.units == ALL

    @property
    def unit_count(self) -> int:
        """The number of units.

        Raises
        ------
        UsageError
            If the design takes all units, of which each population has its own number.
        """
        if isinstance(self.units, str):
            raise UsageError(
                "units is 'all': the cohort's stored observables hold no single units to record; "
                "name a number of units"
            )
        return self.units

    @property
    def noise_level(self) -> float:
        """The noise of a response; 0 where it follows from the modality's settings."""
        assert self.noise is not None
        return self.noise

    @property
    def measures(self) -> tuple[str, ...]:
        """The measures, sorted."""
        return tuple(self.measure)

    @property
    def taken(self) -> tuple[str, ...]:
        """The names of what is taken of a recording: those that were asked for, or the default."""
        if self.observables is not None:
            return tuple(self.observables)
        return (
            default_set(
                tracked=self.tracked,
                sessions=self.schedule.sessions,
                stimuli=self.stimuli,
                units=None if isinstance(self.units, str) else self.units,
                stored=self.all_units,
            ),
        )

    def make_modality(self) -> Modality:
        """Return the modality with its settings."""
        from lrplan.measure.modalities import make_modality

        return make_modality(self.modality, self.settings)

    def with_(self, **changes: Any) -> Design:
        """Return a copy with some fields changed."""
        return replace(self, **changes)

    def to_json(self) -> dict[str, Any]:
        """Return plain values for JSON; of the modality's settings all, those of default too.

        Noise that follows from the settings is null.
        """
        out = asdict(self)
        out["noise"] = None if self.make_modality().takes_noise == "none" else self.noise
        out["measure"] = list(self.measures)
        out["observables"] = list(self.taken)
        out["areas"] = None if self.areas is None else list(self.areas)
        out["settings"] = asdict(self.make_modality())
        return out


def _noise_of(asked: float | None, name: str, modality: Modality) -> float:
    """Return the noise of a design that asks for this much, or for none in particular.

    Raises
    ------
    UsageError
        If the modality cannot have it.
    """
    if modality.takes_noise == "none":
        if asked:
            raise UsageError(
                f"noise is {asked:g}, but that of the modality {name!r} follows from its settings; "
                "leave --noise out and change those by --set NAME=VALUE (`lrplan list modalities` "
                "shows them)"
            )
        return 0.0
    noise = USUAL_NOISE if asked is None else asked
    if noise == 0 and modality.takes_noise == "positive":
        raise UsageError(
            f"noise is 0, but the modality {name!r} is noisy by nature; use a noise above 0, or "
            "the modality 'ideal'"
        )
    return noise


def _measures(asked: Any) -> tuple[str, ...]:
    """Return the measures of a design, sorted."""
    return tuple(sorted(_different(asked, "measure", MEASURES, "one or several", "measure")))


def _areas(asked: Any) -> tuple[str, ...] | None:
    """Return the areas of a design from early to deep, or None where populations stand alone."""
    if asked is None:
        return None
    areas = _different(asked, "areas", POSITIONS, "one to three", "area")
    return tuple(sorted(areas, key=POSITIONS.index))


def _different(
    asked: Any, field: str, known: Sequence[str], number: str, noun: str
) -> tuple[str, ...]:
    """Return different words out of those known, given as a list or with commas."""
    given = asked.split(",") if isinstance(asked, str) else asked
    if not isinstance(given, Sequence) or not all(isinstance(w, str) for w in given):
        raise UsageError(f"{field} is {asked!r}; expected {number} of {', '.join(known)}")
    found = tuple(w.strip() for w in given)
    for word in found:
        if word not in known:
            raise UsageError(f"unknown {noun} {word!r}; {nearest(word, known)}")
    if not found or len(set(found)) < len(found):
        raise UsageError(f"{field} is {asked!r}; expected {number} different {noun}s")
    return found
