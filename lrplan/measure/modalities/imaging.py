"""Two-photon calcium imaging: spikes seen through an indicator, a microscope and a registration."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.stats import norm

from lrplan.errors import UsageError
from lrplan.measure.modalities import Course, Modality, modalities, setting
from lrplan.measure.modalities._calcium import (
    STEP,
    Transient,
    find_indicator,
    saturated,
    transient,
    window_noise,
)
from lrplan.measure.modalities._draws import Draws, log_normal

_FALSE_ALARMS = 0.01
"""False positives at which a transient counts as seen (Chen et al. 2013, Huang et al. 2021)."""


class _Cells(NamedTuple):
    """What is peculiar to each cell, each an array (session or 1, unit).

    Parameters
    ----------
    scale : array
        dF/F of a spike, as a share of the indicator's.
    rate : array
        Rate, as a share of what the network's activity says.
    nu : array
        Noise level, as a share of the median.
    neuropil : array
        Share of the neuropil's signal that its subtraction leaves, below 0 if it takes too much.
    """

    scale: np.ndarray
    rate: np.ndarray
    nu: np.ndarray
    neuropil: np.ndarray

    def over_stimuli(self) -> _Cells:
        """Return arrays (session or 1, 1, unit)."""
        return _Cells(*(one[:, None] for one in self))


@modalities.register("imaging")
@dataclass(frozen=True, kw_only=True)
class Imaging(Modality):
    """Mean dF/F over the window of a stimulus, trial by trial.

    Activity above 0 is a firing rate; spikes are Poisson with a gain of trials that cells share in
    part; each adds a transient of two exponentials, and what of it falls into the window counts.
    To that come shot noise, spontaneous spikes, and what the subtraction of neuropil leaves. The
    means over windows have a closed form, so no frames are made
    (`lrplan.measure.modalities._calcium`).

    Without noise a cell is its rate and its brightness times the activity (one factor per unit)
    plus the neuropil that is left, bent by the indicator's saturation. Activity below 0 is 0.
    """

    summary = "two-photon calcium imaging: mean dF/F in a window after each stimulus"
    measures = ("activity",)
    cites = (
        "Wei et al., PLoS Computational Biology 2020 (spikes to fluorescence); Rupprecht et al., "
        "Nature Neuroscience 2021 (noise level)"
    )
    takes_noise = "none"
    misses = True

    trials_per_stimulus: int = setting(
        20, unit="1", source="assumption: trials of each stimulus in each session", least=1
    )
    window_s: float = setting(
        1.0,
        unit="s",
        source="assumption: from a stimulus's onset; dF/F is its mean there",
        least=0.01,
        most=60,
    )
    indicator: str = setting(
        "GCaMP6f",
        unit="name",
        source="Chen et al., Nature 2013; others: GCaMP6s, jGCaMP7f, jGCaMP8f, jGCaMP8m, jGCaMP8s",
    )
    rise_s: float = setting(
        0.0,
        unit="s",
        source="from a spike to its peak; 0: as in the indicator's paper",
        least=0,
        most=10,
    )
    decay_s: float = setting(
        0.0,
        unit="s",
        source="from the peak to half of it; 0: as in the indicator's paper",
        least=0,
        most=10,
    )
    amplitude: float = setting(
        0.0,
        unit="dF/F",
        source="peak of one spike; 0: that of the indicator, at high zoom (for GCaMP6 an "
        "assumption) or in culture; less where many cells are imaged",
        least=0,
        most=10,
    )
    saturation: float = setting(
        0.0,
        unit="dF/F",
        source="the most that the indicator can show; 0: as in its paper",
        least=0,
        most=1_000_000,
    )
    rate_hz: float = setting(
        1.0,
        unit="Hz",
        source="assumption: evoked rate, mean over cells and stimuli at first; layer 2/3 fires at "
        "0.1 Hz to a few",
        least=0.001,
        most=200,
    )
    rate_spread: float = setting(
        1.15,
        unit="1",
        source="assumption: standard deviation over cells of the log of evoked rates, the "
        "network's own unevenness included. Log-normal after Mizuseki & Buzsaki, Cell Reports "
        "2013",
        least=0,
        most=3,
    )
    spontaneous_hz: float = setting(
        0.2,
        unit="Hz",
        source="assumption: rate that no stimulus drives, mean over cells",
        least=0,
        most=50,
    )
    gain_sd: float = setting(
        0.4,
        unit="1",
        source="assumption: of the rate over trials, as a share of its mean. Model: Goris, Movshon "
        "& Simoncelli, Nature Neuroscience 2014",
        least=0,
        most=2,
    )
    gain_shared: float = setting(
        0.5,
        unit="1",
        source="assumption: share of the gain's variance that all cells have in common",
        least=0,
        most=1,
    )
    nu: float = setting(
        2.0,
        unit="% Hz^-1/2",
        source="assumption: median over cells of the noise level of one field. Near 1 in the Allen "
        "Brain Observatory, 3 to 4 decent for populations: Rupprecht et al., Nature Neuroscience "
        "2021",
        least=0,
        most=100,
    )
    nu_spread: float = setting(
        0.4,
        unit="1",
        source="assumption: standard deviation over cells of log nu",
        least=0,
        most=2,
    )
    frame_rate_hz: float = setting(
        30.0,
        unit="Hz",
        source="one plane of a resonant scanner, as in the Allen Brain Observatory; fields share "
        "it",
        least=0.1,
        most=10_000,
    )
    fields: int = setting(
        1,
        unit="1",
        source="planes or fields that share the laser in turn: each has so many times fewer frames "
        "per second, and nu grows with the square root",
        least=1,
        most=1000,
    )
    baseline_s: float = setting(
        1.0,
        unit="s",
        source="assumption: before each stimulus, for F0",
        least=0.01,
        most=600,
    )
    scale_cv: float = setting(
        0.5,
        unit="1",
        source="assumption: coefficient of variation over cells of dF/F per spike",
        least=0,
        most=3,
    )
    scale_drift: float = setting(
        0.1,
        unit="1",
        source="assumption: coefficient of variation over sessions of a cell's dF/F per spike",
        least=0,
        most=1,
    )
    neuropil_error: float = setting(
        0.2,
        unit="1",
        source="assumption: standard deviation over cells of the true neuropil coefficient less "
        "the one subtracted; that cells differ: Huang et al., eLife 2021",
        least=0,
        most=2,
    )
    neuropil_sd: float = setting(
        0.05,
        unit="dF/F",
        source="assumption: standard deviation of the neuropil's signal over trials",
        least=0,
        most=5,
    )
    bleaching: float = setting(
        0.1,
        unit="1/h",
        source="assumption: share of the fluorescence lost per hour, 0 to 0.2",
        least=0,
        most=0.99,
    )
    session_hours: float = setting(
        1.0, unit="h", source="assumption: duration of a session, 1 to 1.5", least=0, most=24
    )
    least_events: float = setting(
        0.6,
        unit="1/min",
        source="assumption: rate of transients at which activity finds half of the cells; 0 where "
        "anatomy finds all",
        least=0,
        most=1000,
    )
    days_between: float = setting(
        1.0,
        unit="d",
        source="assumption: from one checkpoint of the cohort to the next",
        least=0,
        most=365,
    )
    tracked_next: float = setting(
        0.85,
        unit="1",
        source="assumption: share of the first session's cells found at the next checkpoint",
        least=0,
        most=1,
    )
    tracked_late: float = setting(
        0.4, unit="1", source="assumption: share of cells that are never lost", least=0, most=1
    )
    tracked_days: float = setting(
        10.0,
        unit="d",
        source="assumption: time constant of the loss in between",
        least=0.01,
        most=10_000,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "indicator", find_indicator(self.indicator).name)
        self._check_transient()
        frames = self.window_s * self.frame_rate_hz / self.fields
        if frames < 1:
            raise UsageError(
                f"the window of {self.window_s:g} s holds {frames:.2g} frames: {self.fields} "
                f"fields share {self.frame_rate_hz:g} frames per second; expected at least one; "
                "use a longer window_s, fewer fields or a higher frame_rate_hz"
            )
        if self.tracked_late > self.tracked_next:
            raise UsageError(
                f"tracked_late is {self.tracked_late:g} and tracked_next {self.tracked_next:g}; "
                "expected no more cells late than one interval later"
            )

    def _check_transient(self) -> None:
        """Refuse one that falls faster than it rises."""
        known = find_indicator(self.indicator)
        transient(self.rise_s or known.rise_s, self.decay_s or known.decay_s)

    @property
    def written_trials(self) -> int:
        """Trials of each stimulus."""
        return self.trials_per_stimulus

    @property
    def written_window_s(self) -> float:
        """The window of a trial in seconds."""
        return self.window_s

    def assumptions(self) -> list[str]:
        """Say what is assumed of rates, and what that makes of spikes."""
        return [
            f"assumed: the mean activation of a population in the first session stands for "
            f"{self.rate_hz:g} Hz, and a spike for {100 * self.spike_dff:.3g} % dF/F at its peak, "
            f"of which {100 * self.seen_spikes:.2g} % would be seen alone; no network says how "
            "fast a neuron fires"
        ]

    @property
    def transient(self) -> Transient:
        """What a spike adds to dF/F over time."""
        known = find_indicator(self.indicator)
        return transient(self.rise_s or known.rise_s, self.decay_s or known.decay_s)

    @property
    def spike_dff(self) -> float:
        """Peak dF/F of one spike."""
        return self.amplitude or find_indicator(self.indicator).amplitude

    @property
    def field_nu(self) -> float:
        """Median noise level in % per sqrt(Hz) of each of the fields that share the laser."""
        return self.nu * float(np.sqrt(self.fields))

    @property
    def seen_spikes(self) -> float:
        """Share of single spikes that are seen, at 1% false positives.

        Notes
        -----
        The best filter sees a transient of amplitude A and time constant tau at a signal-to-noise
        ratio of A sqrt(tau / 2) 0.954 / nu.
        """
        if self.field_nu == 0:
            return 1.0
        ratio = 100 * self.spike_dff * np.sqrt(self.transient.slow_s / 2) * STEP / self.field_nu
        return float(norm.cdf(ratio + norm.ppf(_FALSE_ALARMS)))

    def tracked_share(self, intervals: np.ndarray) -> np.ndarray:
        """Return the share of a session's cells that are still followed some intervals later."""
        days = self.days_between * (np.asarray(intervals) - 1)
        decay = np.exp(-np.maximum(days, 0) / self.tracked_days)
        later = self.tracked_late + (self.tracked_next - self.tracked_late) * decay
        return np.where(np.asarray(intervals) <= 0, 1.0, later)

    def trials(
        self,
        signal: np.ndarray,
        *,
        trials: int,
        noise_sd: float,
        course: Course,
        rng: np.random.Generator,
    ) -> np.ndarray:
        """Return the mean dF/F of each trial's window, in the network's unit."""
        fade = self._fading(trials)
        return self._recorded(signal, course, rng, pooled=1, fading=fade[:, None])

    def means(
        self,
        signal: np.ndarray,
        *,
        noise_sd: Sequence[float],
        course: Course,
        rng: np.random.Generator,
    ) -> Iterator[np.ndarray]:
        """Yield means over `trials_per_stimulus` trials; `noise_sd` only says how often.

        Spikes, gains and normal noise of several trials add to what one draw gives: the law is that
        of a mean over single trials.
        """
        pooled = self.trials_per_stimulus
        fade = self._fading(pooled).mean()
        made = self._recorded(signal, course, rng, pooled=pooled, fading=np.full((1, 1), fade))
        for _ in noise_sd:
            yield made[..., 0, :].copy()

    def variance(self, measured: np.ndarray, *, noise_sd: float, course: Course) -> np.ndarray:
        """Return the variance of the noise of means over trials, for each cell right on average.

        Notes
        -----
        With a mean m it is V = (a m + g m^2 + c) / n for n trials: a of counting, g of the gain, c
        of what does not depend on the response. Of a measured x, (a x + g x^2 + c) / (n + g) is V
        on average, since x^2 is m^2 + V. Where the indicator saturates it is near that.
        """
        unit = self._unit(course.first)
        cells = self._cells(measured.shape[-1], len(measured), course).over_stimuli()
        mean, square = self.transient.weight(self.window_s)
        left = cells.neuropil * self._neuropil(course.first)[:, None]
        dff = measured.astype(np.float64) * unit - left
        bent = np.clip(1 - dff / self._most, 0.1, None)
        linear = dff / bent
        spike = self.spike_dff * cells.scale
        calcium = spike * square / mean * linear + (self.gain_sd * linear) ** 2
        calcium += spike**2 * self._background(cells)
        at_rest = self._shot(cells) ** 2 * self._fading(self.trials_per_stimulus).mean()
        total = bent**4 * calcium + at_rest * (1 + dff)
        total += (cells.neuropil * self.neuropil_sd) ** 2
        # No cell is quieter than its shot noise; noise in x can make the sum seem so.
        found = np.maximum(total, at_rest) / (self.trials_per_stimulus + self.gain_sd**2)
        return np.asarray(found / unit**2, dtype=np.float32)

    def gain(self, signal: np.ndarray, *, trials: int, noise_sd: float, window_s: float) -> float:
        """Return the dF/F that one unit of activation stands for."""
        return self._unit(signal[0])

    @property
    def _most(self) -> float:
        return self.saturation or find_indicator(self.indicator).most

    def _spikes(self, first: np.ndarray) -> float:
        """Return the spikes in a window that a unit of activation is; 0 if nothing is active."""
        mean = float(np.nanmean(np.maximum(first, 0), dtype=np.float64))
        return self.rate_hz * self.window_s / mean if mean > 0 else 0.0

    def _unit(self, first: np.ndarray) -> float:
        """Return the dF/F that a unit of activation is in a cell like the mean; 1 in silence."""
        return self._spikes(first) * self.spike_dff * self.transient.weight(self.window_s)[0] or 1.0

    def _neuropil(self, first: np.ndarray) -> np.ndarray:
        """Return the neuropil's response in dF/F, (stimulus,): that of the population at first."""
        mean = np.nanmean(np.maximum(first, 0), axis=-1, dtype=np.float64)
        return np.asarray(mean * self._unit(first))

    def _fading(self, trials: int) -> np.ndarray:
        """Return how bleaching multiplies the variance of shot noise, (trial,): over a session."""
        hours = self.session_hours * (np.arange(trials) + 0.5) / trials
        return np.asarray((1 - self.bleaching) ** -hours)

    def _shot(self, cells: _Cells) -> np.ndarray:
        """Return the standard deviation of a window's shot noise in dF/F, its baseline's included.

        Of a cell at rest; dF/F raises the variance as it raises the light.
        """
        level = window_noise(self.field_nu, self.window_s)
        return cells.nu * level * np.sqrt(1 + self.window_s / self.baseline_s)

    def _background(self, cells: _Cells) -> np.ndarray:
        """Return the variance that spontaneous spikes give a window, in squares of a spike.

        Those of the baseline count, too, as F0 is subtracted.
        """
        each = self.transient.background(self.window_s, self.baseline_s)
        return self.spontaneous_hz * cells.rate * each

    def _cells(self, units: int, sessions: int, course: Course) -> _Cells:
        """Draw what is peculiar to each cell, and stays so."""
        fixed = Draws(course.key, (1 if course.tracked else sessions, units))
        drift = Draws(course.key, (sessions, units)).normal("scale over sessions")
        return _Cells(
            scale=log_normal(fixed.normal("scale"), self.scale_cv)
            * log_normal(drift, self.scale_drift),
            rate=log_normal(fixed.normal("rate"), self._lacking_cv(course.first)),
            nu=np.exp(self.nu_spread * fixed.normal("nu")),
            neuropil=self.neuropil_error * fixed.normal("neuropil"),
        )

    def _lacking_cv(self, first: np.ndarray) -> float:
        """Return the coefficient of variation that makes rates over cells as uneven as asked.

        Independent factors multiply their 1 + CV^2, which is exp(sd^2) of a log-normal number.
        """
        recorded = first[:, np.isfinite(first).all(axis=0)]
        of_cells = np.maximum(recorded, 0).mean(axis=0, dtype=np.float64)
        mean = of_cells.mean() if of_cells.size else 0.0
        own = of_cells.var() / mean**2 if mean > 0 else 0.0
        return float(np.sqrt(max(np.exp(self.rate_spread**2) / (1 + own) - 1, 0)))

    def _found(self, rates_hz: np.ndarray, course: Course) -> np.ndarray:
        """Return which cells (session, unit) of some rates are found, and still followed."""
        sessions, units = rates_hz.shape
        fixed = Draws(course.key, (1 if course.tracked else sessions, units))
        threshold = np.exp(fixed.normal("faint")) * self.least_events
        found = 60 * self.seen_spikes * rates_hz >= threshold
        if course.tracked:
            share = self.tracked_share(course.places(sessions))
            found = found & (fixed.uniform("lost") < share[:, None])
        return np.asarray(found)

    def _recorded(
        self,
        signal: np.ndarray,
        course: Course,
        rng: np.random.Generator,
        *,
        pooled: int,
        fading: np.ndarray,
    ) -> np.ndarray:
        """Return means over some trials each (session, stimulus, trial, unit).

        Parameters
        ----------
        signal, course, rng
            As in `trials`.
        pooled : int
            How many trials each value is the mean of.
        fading : array (trial, 1)
            By what bleaching multiplies the variance of shot noise.
        """
        sessions, stimuli, units = signal.shape
        shape = (sessions, stimuli, len(fading), units)
        cells = self._cells(units, sessions, course)
        each = _Cells(*(one[:, None, None] for one in cells))
        active = np.nan_to_num(np.maximum(signal, 0), nan=0.0).astype(np.float64)
        expected = self._spikes(course.first) * active[..., None, :] * each.rate
        draw = Draws.of(rng, shape)
        count = draw.poisson("spikes", pooled * expected * self._gains(draw, pooled)) / pooled
        mean, square = self.transient.weight(self.window_s)
        spike = self.spike_dff * each.scale
        linear = spike * mean * expected
        clean = saturated(linear, self._most)
        slope = np.square(1 - clean / self._most)
        jitter = count * (square - mean**2) + self._background(each)
        variance = (slope * spike) ** 2 * jitter + self._shot(each) ** 2 * fading * (1 + clean)
        neuropil = self._neuropil(course.first)[:, None, None]
        neuropil = neuropil + self.neuropil_sd / np.sqrt(pooled) * draw.shared_normal("neuropil")
        dff = clean + slope * (spike * mean * count - linear) + each.neuropil * neuropil
        dff += np.sqrt(variance / pooled) * draw.normal("noise")
        spontaneous = self.spontaneous_hz * cells.rate
        rates_hz = expected[..., 0, :].mean(axis=1) / self.window_s + spontaneous
        seen = self._found(rates_hz, course)[:, None, None] & ~np.isnan(signal[..., None, :])
        return np.where(seen, dff / self._unit(course.first), np.nan).astype(np.float32)

    def _gains(self, draw: Draws, pooled: int) -> np.ndarray:
        """Return the mean gain of some trials, that of single ones being 1 on average.

        It is a weighted mean of one that all cells share and one of each cell, both of a gamma
        distribution: means over trials are then of one, too.
        """
        variance, gain = self.gain_sd**2 / pooled, np.zeros(())
        shared, own = self.gain_shared, 1 - self.gain_shared
        if shared > 0:
            gain = gain + shared * draw.shared_gamma("shared gain", variance / shared)
        if own > 0:
            gain = gain + own * draw.gamma("gain", variance / own)
        return gain
