"""Modalities: what a technique makes of activity or weights. One file is one modality."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import Field, dataclass, field, fields
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np

from lrplan.errors import UsageError
from lrplan.registry import Registry, nearest


def setting(
    default: Any, *, unit: str, source: str, least: float | None = None, most: float | None = None
) -> Any:
    """Return a field of a modality.

    Parameters
    ----------
    default : bool, int, float or str
        Its type is the type that is asked of users.
    unit : str
        Such as ``"Hz"``; ``"1"`` for a pure number.
    source : str
        Where the default comes from.
    least, most : float, optional
        The range of a number, ends included.
    """
    told = {"unit": unit, "source": source, "least": least, "most": most}
    return field(default=default, metadata=told)


@dataclass(frozen=True)
class Course:
    """What a modality is told of an experiment besides the responses of the recorded units.

    Parameters
    ----------
    first : array (..., unit)
        Noiseless values of the whole population in the first session, from which constants of the
        technique (such as one spike's worth of activation) are set.
    tracked : bool, default True
        Whether a column of the signal is the same unit in all sessions; otherwise it is another
        one in each, and so are the constants of single units.
    checkpoints : sequence of int, optional
        How many checkpoints of the cohort after the first session each session of the signal is;
        below 0 before it, where nothing is recorded. By default 0, 1, 2, ...
    key : int, default 0
        Keys what is constant over the experiment, such as a unit's gain, and not the noise.
    """

    first: np.ndarray
    tracked: bool = True
    checkpoints: Sequence[int] | None = None
    key: int = 0

    def places(self, sessions: int) -> np.ndarray:
        """Return how many checkpoints after the first session each of so many is, (session,)."""
        places = range(sessions) if self.checkpoints is None else self.checkpoints
        if len(places) != sessions:
            raise ValueError(f"{sessions} sessions, but checkpoints of {len(places)}")
        return np.maximum(np.asarray(places, dtype=int), 0)


@dataclass(frozen=True, kw_only=True)
class Modality(ABC):
    """A measurement model. Its fields, each made by `setting`, are its settings.

    Attributes
    ----------
    summary : str
        What it is, in one line.
    measures : tuple of str
        What it can be applied to.
    cites : str
        Where it comes from.
    writes : {"spikes", "dff"}
        What `lrplan.nwb.write_nwb` writes of it: spike times, whose numbers are the responses
        times `gain` times the window, or dF/F.
    takes_noise : {"any", "positive", "none"}
        What noise a Design may ask of it: 0 or more, more than 0, or none, since it follows from
        the settings; then `noise_sd` is 0 and says nothing.
    misses : bool
        Whether units that are there may not be seen in some session: they are NaN.
    pairs_in_line : bool
        Whether pairs stand along one axis, of units; otherwise signals of pairs are (session,
        stimulus, post, pre), and pre is the axis of units.
    """

    summary: ClassVar[str]
    measures: ClassVar[tuple[str, ...]]
    cites: ClassVar[str]
    writes: ClassVar[str] = "dff"
    takes_noise: ClassVar[str] = "any"
    misses: ClassVar[bool] = False
    pairs_in_line: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for one in fields(self):
            object.__setattr__(self, one.name, _checked(one, getattr(self, one.name)))

    @property
    def written_trials(self) -> int:
        """Trials of each stimulus that are written to a file unless another number is asked."""
        return 10

    @property
    def written_window_s(self) -> float:
        """Duration of a trial in a file, in seconds, unless another one is asked."""
        return 1.0

    def assumptions(self) -> list[str]:
        """Say in sentences what a forecast takes for granted that no setting can be measured by."""
        return []

    @abstractmethod
    def trials(
        self,
        signal: np.ndarray,
        *,
        trials: int,
        noise_sd: float,
        course: Course,
        rng: np.random.Generator,
    ) -> np.ndarray:
        """Record a population, trial by trial.

        Units may share noise, such as a gain of the whole population in a trial. Whoever records
        fewer units meets the same chances as with more, which makes designs comparable: draw
        what is shared first, and the rest unit by unit.

        Parameters
        ----------
        signal : array (session, ..., unit)
            Noiseless values of the recorded units, in the network's own unit. What is missing is
            NaN and stays so.
        trials : int
            Number of trials of each stimulus in each session.
        noise_sd : float
            Root mean square of the noise of the mean over trials in the first session, in the
            same unit: that of one trial is larger. At 0 every trial is the signal, or what the
            technique would show of it without noise; one that takes no noise is given 0.
        course : Course
            The whole population in the first session, and when the sessions are.
        rng : numpy.random.Generator
            Source of the noise.

        Returns
        -------
        array (session, ..., trial, unit) of float32
            What is measured, in the same unit; NaN also where a technique that `misses` units
            does not see one in a session.
        """

    def means(
        self,
        signal: np.ndarray,
        *,
        noise_sd: Sequence[float],
        course: Course,
        rng: np.random.Generator,
    ) -> Iterator[np.ndarray]:
        """Yield means over trials, once for each level of noise; random numbers are common to all.

        The mean over trials has the law of a single trial with all of the noise. A technique of
        which this is not true says here what is.

        Parameters
        ----------
        signal, course, rng
            As in `trials`.
        noise_sd : sequence of float
            Levels of noise, each as in `trials`.

        Yields
        ------
        array (session, ..., unit) of float32
            What is measured at each level.
        """
        start = rng.bit_generator.state
        for sd in noise_sd:
            rng.bit_generator.state = start
            made = self.trials(signal, trials=1, noise_sd=sd, course=course, rng=rng)
            yield made[..., 0, :]

    def variance(self, measured: np.ndarray, *, noise_sd: float, course: Course) -> np.ndarray:
        """Return the variance of the noise in means over trials, as far as they tell it.

        By default that of white noise: `noise_sd` squared throughout. A technique whose noise
        depends on the response says here how, right on average.

        Parameters
        ----------
        measured : array (session, ..., unit)
            As `means` yields it.
        noise_sd, course
            As in `trials`.

        Returns
        -------
        array
            Of float32, of the shape of `measured` or one that broadcasts to it.
        """
        return np.full((1,) * measured.ndim, noise_sd**2, dtype=np.float32)

    def gain(self, signal: np.ndarray, *, trials: int, noise_sd: float, window_s: float) -> float:
        """Return how much of what is written (dF/F, or Hz of spikes) one unit of activation is.

        By default the 99th percentile of the sizes of responses becomes a dF/F of 1.

        Parameters
        ----------
        signal : array (session, stimulus, unit)
            Noiseless responses.
        trials, noise_sd
            As in `trials`.
        window_s : float
            Duration of a trial in seconds.

        Raises
        ------
        UsageError
            If there is no such number.
        """
        top = float(np.nanpercentile(np.abs(signal), 99)) or float(np.nanmax(np.abs(signal)))
        return 1 / top if top > 0 else 1.0


def settings_of(modality: type[Modality]) -> dict[str, Field[Any]]:
    """Return the settings of a modality: fields with a default, and unit and source as metadata."""
    return {one.name: one for one in fields(modality)}


def make_modality(name: str, settings: Mapping[str, Any] | None = None) -> Modality:
    """Return a registered modality with the given settings.

    Parameters
    ----------
    name : str
        Its registered name.
    settings : mapping of str to value, optional
        What differs from the defaults.

    Raises
    ------
    UsageError
        If the name, or that of a setting, is unknown, or a value is of the wrong type or size.
    """
    modality = modalities.get(name)
    known = settings_of(modality)
    given = {} if settings is None else settings
    if not isinstance(given, Mapping):
        raise UsageError(
            f"settings is {given!r}; expected names and values, such as {{'rate_hz': 30}}"
        )
    for asked in given:
        if asked not in known:
            instead = nearest(str(asked), known) if known else "it has no settings"
            raise UsageError(f"modality {name!r} has no setting {asked!r}; {instead}")
    try:
        return modality(**given)
    except UsageError as error:
        raise UsageError(f"modality {name!r}: {error}") from None


def _checked(one: Field[Any], value: Any) -> Any:
    """Return the value of a setting in its own type, or say what came."""
    kind: type[Any] = type(one.default)
    least, most = one.metadata.get("least"), one.metadata.get("most")
    number = isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
    if kind is float:
        fits, words = number, "a number"
    elif kind is int:
        fits, words = number and isinstance(value, Integral), "a whole number"
    elif kind is bool:
        fits, words = isinstance(value, bool), "true or false"
    else:
        fits, words = isinstance(value, kind), "a text"
    if fits and kind in (int, float):
        fits = (least is None or value >= least) and (most is None or value <= most)
    if fits:
        return kind(value)
    if kind in (int, float):
        words += f" of at least {least:g}" if least is not None else ""
        words += " and" if least is not None and most is not None else ""
        words += f" at most {most:g}" if most is not None else ""
        words += f" ({one.metadata.get('unit', '1')})"
    raise UsageError(f"{one.name} is {value!r}; expected {words}")


_MEANT = {
    "imaging": "calcium calciumimaging 2p twophoton 2photon gcamp gcamp6f gcamp6s dff ophys",
    "synaptic_imaging": "spines spine spineimaging synapses",
    "paired": "alloptical influencemapping photostimulation optogenetics",
    "electrophysiology": "ephys spikes neuropixels ecephys tetrodes tetrode utah units",
}

modalities: Registry[type[Modality]] = Registry(
    "modality",
    package="lrplan.measure.modalities",
    group="lrplan.modalities",
    meant={word: name for name, words in _MEANT.items() for word in words.split()},
)
