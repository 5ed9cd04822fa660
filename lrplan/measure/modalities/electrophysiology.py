"""Sorted spikes: log-normal rates, over-dispersed counts, and what sorting misses and mixes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from lrplan.errors import UsageError
from lrplan.measure.modalities import Course, Modality, modalities, setting
from lrplan.measure.modalities._draws import Draws

MOST_FALSE = 0.5
"""A unit of which more spikes are false would count as another neuron's."""


@modalities.register("electrophysiology")
@dataclass(frozen=True, kw_only=True)
class Electrophysiology(Modality):
    """Spike counts of sorted units, whose noise follows from rates, window and trials.

    What is measured is the mean count divided by window and gain, so in the network's unit, and one
    gain (Hz for each unit of activation) serves all units. Without noise it would be

        k r (x + F / (1 - F) y + x0),

    x the rectified activation of the unit, y that of a neighbour, and x0 = X b / (1 - b) (1 + F /
    (1 - F)) the baseline, with X the mean of x over units and stimuli of the first session. Each
    unit has its excitability k (log-normal, mean 1), the share r of its spikes that sorting finds
    and the share F that is the neighbour's. With no contamination this is x up to a known affine
    map of each unit; statistics between units see the rates that a lab sees.

    Notes
    -----
    The mean rate is median exp(spread^2 / 2). The network's own unevenness between units counts
    towards the spread: k has only the variance that its mean evoked responses lack, so that the
    coefficient of variation of rates in the first session is sqrt(exp(spread^2) - 1), or the
    network's own where that is larger.

    The count in a trial is Poisson with a mean of g m, m its mean over trials and g = g_shared
    g_private two gamma numbers of mean 1: its variance is m + s^2 m^2, with 1 + s^2 = (1 +
    shared_gain_sd^2) (1 + private_gain_sd^2). One gain is drawn for a trial of all units, the other
    for a trial of each. Means over trials are drawn at once, with the same mean, variance and
    covariances. False spikes are modulated with the unit's own.

    A neuron is sorted in a session with the probability 1 - exp(-n / spikes_to_sort), n its spikes
    in it. Where units are tracked, those of the first session last by S(t) = exp(-(t /
    survival_days)^survival_shape), and are found again with the probability `matched`. A share
    `new` comes on a random later day, and lasts by S from then.
    """

    summary = "counts of sorted spikes; the noise follows from rates, window and trials"
    measures = ("activity",)
    cites = (
        "Goris, Movshon & Simoncelli, Nature Neuroscience 2014 (modulated Poisson counts); "
        "Hromadka, DeWeese & Zador, PLoS Biology 2008 (log-normal rates)"
    )
    writes = "spikes"
    takes_noise = "none"
    misses = True

    median_hz: float = setting(
        4.0,
        unit="Hz",
        source="assumption: sorted units of cortex; median over units of the mean rate at first",
        least=0.001,
        most=1000,
    )
    spread: float = setting(
        1.15,
        unit="1",
        source="assumption: standard deviation of the natural logarithm of rates; the most active "
        "tenth then fires 45% of spikes. Log-normal after Hromadka et al. 2008",
        least=0,
        most=3,
    )
    baseline: float = setting(
        0.5,
        unit="1",
        source="assumption: share of the mean rate that no stimulus drives",
        least=0,
        most=0.99,
    )
    window_s: float = setting(
        0.25,
        unit="s",
        source="counted after each onset: flashed images are shown for 250 ms in Allen Visual "
        "Behavior",
        least=0.001,
        most=60,
    )
    trials_per_stimulus: int = setting(
        20, unit="1", source="assumption: trials of each stimulus in each session", least=1
    )
    shared_gain_sd: float = setting(
        0.22,
        unit="1",
        source="assumption: r_sc of 0.05, 0.17 and 0.33 at mean counts of 1, 5 and 20. Model: "
        "Goris et al. 2014",
        least=0,
        most=3,
    )
    private_gain_sd: float = setting(
        0.22,
        unit="1",
        source="assumption: variance = mean + 0.1 mean^2 with the shared gain. Model: Goris et al. "
        "2014",
        least=0,
        most=3,
    )
    session_s: float = setting(
        3600.0, unit="s", source="assumption: duration of a session that is sorted", least=1
    )
    spikes_to_sort: float = setting(
        150.0,
        unit="1",
        source="assumption: with so many spikes a neuron is sorted with a probability of 63%; 0: "
        "always",
        least=0,
    )
    contamination: float = setting(
        0.08,
        unit="1",
        source="assumption: mean share of false spikes, beta-distributed over units, of which none "
        "has more than 0.5; that lowers a mean of 0.5 to 0.38. Medians of public data sets are "
        "0.03 to 0.5 (Vincent & Economo 2024)",
        least=0,
        most=MOST_FALSE,
    )
    missed: float = setting(
        0.05,
        unit="1",
        source="assumption: mean share of spikes not found, beta-distributed over units. Units "
        "with more than 0.1 are left out by default in Allen's data (Siegle et al. 2021)",
        least=0,
        most=0.9,
    )
    days_between: float = setting(
        1.0,
        unit="d",
        source="assumption: from one checkpoint of the cohort to the next",
        least=0,
    )
    survival_days: float = setting(
        52.0,
        unit="d",
        source="fitted to one macaque's Utah array (67% at 15 d, 31% at 47 d, 21% at 106 d: Vaidya "
        "et al. 2014); faster in Dickey et al. 2009 (57% at 7 d)",
        least=0.01,
    )
    survival_shape: float = setting(
        0.62,
        unit="1",
        source="fitted to Vaidya et al. 2014; below 1 a unit lasts the longer the longer it has",
        least=0.1,
        most=1,
    )
    matched: float = setting(
        1.0,
        unit="1",
        source="assumption: share of lasting units that are found to be the same",
        least=0,
        most=1,
    )
    new: float = setting(
        0.0,
        unit="1",
        source="assumption: share of the units that come after the first session",
        least=0,
        most=0.99,
    )

    @property
    def written_trials(self) -> int:
        """Trials of each stimulus that are written, and that means are over."""
        return self.trials_per_stimulus

    @property
    def written_window_s(self) -> float:
        """Duration of a trial in a file, in seconds: the window."""
        return self.window_s

    def assumptions(self) -> list[str]:
        """Say what rates are assumed for a network's activations."""
        mean = self._mean_hz
        return [
            f"assumed: the mean activation of a population in the first session stands for "
            f"{(1 - self.baseline) * mean:.3g} Hz, on a baseline of {self.baseline * mean:.3g} Hz "
            f"(median rate {self.median_hz:g} Hz, {self.window_s:g} s windows, "
            f"{self.trials_per_stimulus} trials); no network says how fast a neuron fires"
        ]

    def trials(
        self,
        signal: np.ndarray,
        *,
        trials: int,
        noise_sd: float,
        course: Course,
        rng: np.random.Generator,
    ) -> np.ndarray:
        """Return sorted spikes of each trial, in the network's unit; `noise_sd` is not used."""
        return self._counts(self.expected(signal, course), trials, 1, course, rng)

    def means(
        self,
        signal: np.ndarray,
        *,
        noise_sd: Sequence[float],
        course: Course,
        rng: np.random.Generator,
    ) -> Iterator[np.ndarray]:
        """Yield means over `trials_per_stimulus` trials, the same for each level."""
        expected = self.expected(signal, course)
        start = rng.bit_generator.state
        for _ in noise_sd:
            rng.bit_generator.state = start
            yield self._counts(expected, 1, self.trials_per_stimulus, course, rng)[..., 0, :]

    def variance(self, measured: np.ndarray, *, noise_sd: float, course: Course) -> np.ndarray:
        """Return the variance of means over trials, without bias.

        The mean M of n counts of mean m has the variance v = (m + s^2 m^2) / n, and M^2 exceeds
        m^2 by v on average: m^2 is (M^2 - M / n) / (1 + s^2 / n) without bias.
        """
        n = self.trials_per_stimulus
        over = (1 + self.shared_gain_sd**2) * (1 + self.private_gain_sd**2) - 1
        spike = 1 / (self._gain(course) * self.window_s)
        mean = measured.astype(np.float64) / spike
        squared = (mean**2 - mean / n) / (1 + over / n)
        return ((mean + over * squared) / n * spike**2).astype(np.float32)

    def gain(self, signal: np.ndarray, *, trials: int, noise_sd: float, window_s: float) -> float:
        """Return the spikes per second that one unit of activation stands for.

        Raises
        ------
        UsageError
            If the window is not that of the settings, or no unit is active.
        """
        if window_s != self.window_s:
            raise UsageError(
                f"window_s is {window_s:g}, but spikes are counted over {self.window_s:g} s; leave "
                "it out, or change the setting window_s"
            )
        if not _mean(np.maximum(signal[0], 0)) > 0:
            raise UsageError(
                "no unit is active in the first session, so spikes have no scale; use kind='dff'"
            )
        return self._gain(Course(signal[0]))

    def expected(self, signal: np.ndarray, course: Course) -> np.ndarray:
        """Return what is measured without noise: the mean of infinitely many trials.

        Parameters
        ----------
        signal : array (session, stimulus, unit)
        course : Course
            As in `trials`.

        Returns
        -------
        array (session, stimulus, unit) of float64
            In the network's unit. Unlike what is measured it holds units that sorting misses.
        """
        units = self._units(signal, course)
        mean = _mean(np.maximum(course.first, 0))
        own = np.maximum(signal, 0).astype(np.float64)
        # A neighbour that the cohort lacks fires as the average one.
        others = np.where(np.isnan(own), mean, own)
        neighbour = np.take_along_axis(others, units.neighbour[:, None], axis=-1)
        false = (units.false / (1 - units.false))[:, None]
        rest = (mean or 1.0) * self.baseline / (1 - self.baseline) * (1 + false)
        factor = (units.excitability * units.found)[:, None]
        return factor * (own + false * neighbour + rest)

    def seen(self, expected: np.ndarray, course: Course) -> np.ndarray:
        """Return which units are sorted, and found to be the same, (session, unit).

        Parameters
        ----------
        expected : array (session, stimulus, unit)
            As `expected` returns it.
        course : Course
            As in `trials`.
        """
        known = np.isfinite(expected).all(axis=1)
        sessions, units = known.shape
        seen = known.copy()
        if self.spikes_to_sort:
            rates = self._gain(course) * np.where(known, expected.mean(axis=1), 0.0)
            sorted_ = 1 - np.exp(-rates * self.session_s / self.spikes_to_sort)
            seen &= _fixed(course, sessions, units).uniform("sorting") < sorted_
        if course.tracked:
            seen &= self._lasting(course, sessions, units)
        return seen

    @property
    def _mean_hz(self) -> float:
        """The mean rate over units, of a log-normal distribution."""
        return self.median_hz * float(np.exp(self.spread**2 / 2))

    def _gain(self, course: Course) -> float:
        """Return the spikes per second of one unit of activation."""
        mean = _mean(np.maximum(course.first, 0))
        return (1 - self.baseline) * self._mean_hz / (mean or 1.0)

    def _units(self, signal: np.ndarray, course: Course) -> _Units:
        """Draw what is peculiar to each unit."""
        sessions, units = signal.shape[0], signal.shape[-1]
        evoked = np.maximum(course.first, 0)
        evoked = evoked[:, np.isfinite(evoked).all(axis=0)].mean(axis=0, dtype=np.float64)
        mean = evoked.mean() if evoked.size else 0.0
        uneven = evoked.var() / mean**2 if mean > 0 else 0.0
        lacking = self.spread**2 - np.log1p((1 - self.baseline) ** 2 * uneven)
        sd = np.sqrt(max(lacking, 0.0))
        fixed = _fixed(course, sessions, units)
        # One of the units before it: whoever records fewer has the same neighbours.
        places = fixed.uniform("neighbours") * np.arange(units)
        whole = (sessions, units)
        return _Units(
            excitability=np.exp(sd * fixed.normal("excitability") - sd**2 / 2),
            found=1 - _beta(fixed.uniform("missed spikes"), self.missed),
            false=np.minimum(_beta(fixed.uniform("false spikes"), self.contamination), MOST_FALSE),
            neighbour=np.broadcast_to(places.astype(int), whole),
        )

    def _lasting(self, course: Course, sessions: int, units: int) -> np.ndarray:
        """Return when the units of a tracked population are there, (session, unit)."""
        days = course.places(sessions)[:, None] * self.days_between
        fixed = _fixed(course, sessions, units)
        chance, late, match, life = (
            fixed.uniform(purpose)[0] for purpose in ("new", "arrival", "matching", "survival")
        )
        born = np.where(chance < self.new, days.max() * (1 - late), 0.0)
        lasts = self.survival_days * (-np.log1p(-life)) ** (1 / self.survival_shape)
        there = (days >= born) & (days - born <= lasts)
        # On the day on which it is met first, a unit need not be found again.
        met = days == days[np.argmax(there, axis=0), 0]
        return there & (met | (match < self.matched))

    def _counts(
        self,
        expected: np.ndarray,
        draws: int,
        trials: int,
        course: Course,
        rng: np.random.Generator,
    ) -> np.ndarray:
        """Draw means over trials (session, stimulus, draw, unit), in the network's unit."""
        spike = 1 / (self._gain(course) * self.window_s * trials)
        means = np.nan_to_num(expected)[:, :, None] / spike
        shared, private = self.shared_gain_sd**2 / trials, self.private_gain_sd**2
        over = (1 + self.shared_gain_sd**2) * (1 + private) - 1
        private = (1 + over / trials) / (1 + shared) - 1
        sessions, stimuli, units = expected.shape
        draw = Draws.of(rng, (sessions, stimuli, draws, units))
        gain = draw.shared_gamma("shared gain", shared) * draw.gamma("private gain", private)
        counts = draw.poisson("spikes", means * gain)
        seen = self.seen(expected, course)[:, None, None]
        return np.where(seen, counts * spike, np.nan).astype(np.float32)


class _Units(NamedTuple):
    """What is peculiar to each unit, each (session, unit).

    Parameters
    ----------
    excitability : array of float
        Of mean 1.
    found, false : array of float
        Share of its spikes that are found, and share of what is found that is not its own.
    neighbour : array of int
        Which column the others come from.
    """

    excitability: np.ndarray
    found: np.ndarray
    false: np.ndarray
    neighbour: np.ndarray


def _mean(values: np.ndarray) -> float:
    """Return the mean of what is known; 0 where nothing is."""
    known = values[np.isfinite(values)]
    return float(known.mean(dtype=np.float64)) if known.size else 0.0


def _fixed(course: Course, sessions: int, units: int) -> Draws:
    """Return what draws constants of units, or of units of each session: (session or 1, unit)."""
    return Draws(course.key, (1 if course.tracked else sessions, units))


def _beta(uniform: np.ndarray, mean: float) -> np.ndarray:
    """Turn uniform numbers into those of a beta distribution (1, b) of that mean."""
    return 1 - (1 - uniform) ** (mean / (1 - mean))
