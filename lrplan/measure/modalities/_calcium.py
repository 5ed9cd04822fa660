"""Calcium imaging in formulas: indicators, the transient of a spike, and the noise of dF/F.

dF/F is a fraction here (0.19 is 19%); `nu` alone is in the unit in which labs state it, % per
square root of Hz.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.optimize import brentq
from scipy.signal import lfilter

from lrplan.errors import UsageError
from lrplan.registry import nearest

STEP = 0.954
"""Median of |difference of two normal numbers|, in their standard deviation: 0.6745 sqrt(2)."""
STEEPEST = 0.59
"""Largest time to peak that a double exponential can have, as a share of its half-decay time."""

_CHEN = "times: Chen et al., Nature 2013 (as cited by others), in vivo; amplitude: assumption"
_ZHANG = "Zhang et al., Nature 2023 (table of the authors' institute), neurons in culture"
_DANA = "largest dF/F by Dana et al., Nature Methods 2019 (F_max / F_0 less 1, as cited by others)"
_BEND = "largest dF/F from the slopes over 1 to 10 and 1 to 40 spikes in the same paper, by our fit"


@dataclass(frozen=True)
class Indicator:
    """A calcium indicator.

    Parameters
    ----------
    name : str
        As its makers write it.
    rise_s, decay_s : float
        Seconds from a spike to the peak of its transient, and from there to half of it.
    amplitude : float
        dF/F at the peak of the transient of one spike.
    most : float
        dF/F at which it saturates.
    source : str
        Where the numbers come from.
    """

    name: str
    rise_s: float
    decay_s: float
    amplitude: float
    most: float
    source: str


INDICATORS = {
    "6f": Indicator("GCaMP6f", 0.045, 0.142, 0.19, 24.2, f"{_CHEN}; {_DANA}"),
    "6s": Indicator("GCaMP6s", 0.179, 0.550, 0.23, 26.2, f"{_CHEN}; {_DANA}"),
    "7f": Indicator("jGCaMP7f", 0.0995, 0.1819, 0.21, 29.2, f"{_ZHANG}; {_DANA}"),
    "8f": Indicator("jGCaMP8f", 0.0248, 0.0674, 0.41, 4.0, f"{_ZHANG}; {_BEND}"),
    "8m": Indicator("jGCaMP8m", 0.0290, 0.1183, 0.76, 4.5, f"{_ZHANG}; {_BEND}"),
    "8s": Indicator("jGCaMP8s", 0.0570, 0.3067, 1.11, 5.0, f"{_ZHANG}; {_BEND}"),
}


def find_indicator(name: str) -> Indicator:
    """Return an indicator by its name, however a lab writes it: "GCaMP6F", "jGCaMP8s", "6f".

    Raises
    ------
    UsageError
        If it is unknown.
    """
    folded = "".join(c for c in name.lower() if c.isalnum()).removeprefix("j")
    found = INDICATORS.get(folded.removeprefix("gcamp"))
    if found is None:
        known = [one.name for one in INDICATORS.values()]
        raise UsageError(f"indicator is {name!r}; {nearest(name, known)}")
    return found


@dataclass(frozen=True)
class Transient:
    """What a spike adds to dF/F: k(t) = scale (exp(-t / slow) - exp(-t / fast)), at its peak 1.

    Parameters
    ----------
    slow_s, fast_s : float
        Time constants in seconds.
    scale : float
        Makes the peak 1.

    Notes
    -----
    exp(-t / decay) (1 - exp(-t / rise)) is the same with slow = decay and
    1 / fast = 1 / decay + 1 / rise.
    """

    slow_s: float
    fast_s: float
    scale: float

    def at(self, seconds: np.ndarray) -> np.ndarray:
        """Return the transient some time after its spike, of the shape of `seconds`."""
        t = np.maximum(seconds, 0)
        return np.asarray(self.scale * (np.exp(-t / self.slow_s) - np.exp(-t / self.fast_s)))

    def area(self, seconds: np.ndarray | float) -> np.ndarray:
        """Return the integral (s) of the transient until some time after its spike."""
        t = np.maximum(seconds, 0)
        slow = -self.slow_s * np.expm1(-t / self.slow_s)
        fast = -self.fast_s * np.expm1(-t / self.fast_s)
        return np.asarray(self.scale * (slow - fast))

    def weight(self, window_s: float) -> tuple[float, float]:
        """Return what a spike within a window adds to the mean of dF/F over that window.

        Parameters
        ----------
        window_s : float
            Length of the window in seconds.

        Returns
        -------
        mean, mean_square : float
            Over times of the spike, all alike likely.

        Notes
        -----
        A spike u before the end of a window of T seconds adds area(u) / T. With a rate lambda that
        begins with the window, dF/F is lambda T times `mean` on average, and its variance over
        trials lambda T times `mean_square`, since spikes of a Poisson process add independently.
        """
        u, share = _nodes(window_s)
        added = self.area(u) / window_s
        return float(share @ added), float(share @ added**2)

    def background(self, window_s: float, baseline_s: float) -> float:
        """Return the variance of a window's mean less its baseline's, per Hz of steady spikes.

        Parameters
        ----------
        window_s, baseline_s : float
            Lengths in seconds of the window, and of what is just before it, from which F0 comes.
        """
        inside = self.weight(window_s)[1] * window_s
        # Spikes of the baseline, and of a few time constants before it, reach into both.
        reach = 12 * self.slow_s
        bend = min(reach, baseline_s)
        before = 0.0
        for first, last in ((0, bend), (bend, baseline_s), (baseline_s, baseline_s + reach)):
            s, share = _nodes(last - first)
            s = first + s
            in_window = (self.area(window_s + s) - self.area(s)) / window_s
            in_baseline = (self.area(s) - self.area(s - baseline_s)) / baseline_s
            before += (last - first) * float(share @ (in_window - in_baseline) ** 2)
        return inside + before


@lru_cache(maxsize=256)
def transient(rise_s: float, decay_s: float) -> Transient:
    """Return the double exponential that peaks at `rise_s` and falls to half in `decay_s` more.

    Raises
    ------
    UsageError
        If there is none: it cannot fall much faster than it rises.
    """
    if decay_s <= 0 or rise_s <= 0 or rise_s > STEEPEST * decay_s:
        raise UsageError(
            f"the transient rises for {rise_s:g} s and falls to half in {decay_s:g} s; expected "
            f"times above 0, and a rise of at most {STEEPEST:g} of the half-decay: a sum of two "
            "exponentials cannot fall faster"
        )
    # The shape depends on the ratio of the two time constants alone.
    ratio = brentq(lambda q: np.divide(*_times(q)) - rise_s / decay_s, 1e-9, 1 - 1e-6)
    slow = rise_s / _times(ratio)[0]
    peak = np.exp(-rise_s / slow) - np.exp(-rise_s / (ratio * slow))
    return Transient(slow, ratio * slow, float(1 / peak))


def _times(ratio: float) -> tuple[float, float]:
    """Return time to peak and half-decay time for time constants of 1 and `ratio` below 1."""

    def shape(t: float) -> float:
        return float(np.exp(-t) - np.exp(-t / ratio))

    top = float(-np.log(ratio) * ratio / (1 - ratio))
    half = brentq(lambda t: shape(t) - shape(top) / 2, top, top + 10)
    return top, half - top


def _nodes(length: float) -> tuple[np.ndarray, np.ndarray]:
    """Return places from 0 to `length` and weights whose sum is 1, for means over them."""
    places, weights = _legendre()
    return places * length, weights


@lru_cache(maxsize=1)
def _legendre() -> tuple[np.ndarray, np.ndarray]:
    """Return Gauss and Legendre's places from 0 to 1, and weights; to make them takes long."""
    places, weights = np.polynomial.legendre.leggauss(200)
    return (places + 1) / 2, weights / 2


def saturated(dff: np.ndarray, most: float) -> np.ndarray:
    """Return dF/F of an indicator that saturates at `most`, from that of one that does not."""
    return np.asarray(dff / (1 + dff / most))


def frame_noise(nu: float, frame_rate_hz: float) -> float:
    """Return the standard deviation of one frame's dF/F for a noise level in % per sqrt(Hz)."""
    return nu / 100 * float(np.sqrt(frame_rate_hz)) / STEP


def window_noise(nu: float, window_s: float) -> float:
    """Return the standard deviation of the mean dF/F of a window: the frame rate cancels."""
    return nu / 100 / STEP / float(np.sqrt(window_s))


def noise_level(dff: np.ndarray, frame_rate_hz: float) -> np.ndarray:
    """Return the noise level of traces, in % per sqrt(Hz).

    Parameters
    ----------
    dff : array (..., frame)
        dF/F as a fraction.
    frame_rate_hz : float
        Frames per second.

    Returns
    -------
    array (...)
        Median of the absolute difference between a frame and the next, over the root of the frame
        rate (Rupprecht et al., Nature Neuroscience 2021). Activity raises it.
    """
    steps = np.abs(np.diff(np.asarray(dff, dtype=np.float64), axis=-1))
    return np.asarray(100 * np.median(steps, axis=-1) / np.sqrt(frame_rate_hz))


def traces(
    spikes: np.ndarray,
    shape: Transient,
    *,
    amplitude: float,
    most: float,
    frame_rate_hz: float,
    nu: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """Return dF/F frame by frame.

    Forecasts need no frames, as means over windows have a closed form; this is what they are means
    of.

    Parameters
    ----------
    spikes : array (..., frame)
        Numbers of spikes in each frame, as at its beginning.
    shape : Transient
        Of one spike.
    amplitude, most : float
        Peak dF/F of one spike, and that at which the indicator saturates.
    frame_rate_hz, nu : float
        Frames per second, and the noise level in % per sqrt(Hz).
    rng : numpy.random.Generator
        Source of the noise.

    Returns
    -------
    array (..., frame)
        Of float64.
    """
    slow, fast = (np.exp(-1 / (t * frame_rate_hz)) for t in (shape.slow_s, shape.fast_s))
    # Sampled at frames, the transient is an autoregressive process of the second order.
    calcium = lfilter([0, shape.scale * (slow - fast)], [1, -slow - fast, slow * fast], spikes)
    clean = saturated(amplitude * np.asarray(calcium), most)
    return np.asarray(clean + frame_noise(nu, frame_rate_hz) * rng.standard_normal(clean.shape))
