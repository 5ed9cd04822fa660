"""Cochleagrams: how strong a sound is at each frequency and time, as an ear passes it on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import fft

from lrplan.errors import UsageError

Q, LOWEST_BANDWIDTH_HZ = 9.265, 24.7
COMPRESSION = 0.3


def erb_number(frequency_hz: np.ndarray | float) -> np.ndarray:
    """Return how many equivalent rectangular bandwidths lie below a frequency.

    Notes
    -----
    Glasberg & Moore, Hearing Research 1990.
    """
    return Q * np.log1p(np.asarray(frequency_hz) / (Q * LOWEST_BANDWIDTH_HZ))


@dataclass(frozen=True)
class Cochlea:
    """A bank of filters, the envelopes of what passes them, compressed.

    Filters are half a cosine wide on the scale of equivalent rectangular bandwidths, and their
    squares add to one. An envelope is the magnitude of the analytic signal, averaged over a
    Hann window of two frames and raised to the power of 0.3.

    Parameters
    ----------
    sample_rate_hz : float
        Of the sounds.
    samples : int
        In each sound.
    channels, frames : int
        Rows and columns of a cochleagram; low frequencies come first.
    low_hz : float
        Where the lowest filter begins; the highest ends at half the sample rate.

    Raises
    ------
    UsageError
        If there are more channels or frames than the sound can tell apart.

    Notes
    -----
    McDermott & Simoncelli, Neuron 2011. A sound is taken as one period of a longer one, so its
    end touches its beginning.
    """

    sample_rate_hz: float
    samples: int
    channels: int
    frames: int
    low_hz: float = 50.0

    def __post_init__(self) -> None:
        if self.sample_rate_hz <= 4 * self.low_hz:
            raise UsageError(
                f"a sample rate of {self.sample_rate_hz:g} Hz is too low for a cochleagram from "
                f"{self.low_hz:g} Hz; expected more than {4 * self.low_hz:g} Hz"
            )
        for first, gains in self.filters:
            if len(gains) == 0:
                at = first * self.sample_rate_hz / self.samples
                raise UsageError(
                    f"{self.channels} channels are too many for sounds of "
                    f"{self.samples / self.sample_rate_hz:g} s: at {at:.0f} Hz one lies between "
                    "two frequencies; use fewer channels or longer sounds"
                )
        if self.frames > self.samples:
            raise UsageError(
                f"{self.frames} frames of {self.samples} samples; expected fewer frames"
            )

    @property
    def _edges(self) -> np.ndarray:
        low, high = erb_number(self.low_hz), erb_number(self.sample_rate_hz / 2)
        return np.linspace(low, high, self.channels + 2)

    @cached_property
    def filters(self) -> list[tuple[int, np.ndarray]]:
        """For each channel its first Fourier component and the gains from there on."""
        bins = np.arange(self.samples // 2 + 1) * self.sample_rate_hz / self.samples
        place, edges = erb_number(bins), self._edges
        found = []
        for low, centre, high in zip(edges[:-2], edges[1:-1], edges[2:], strict=True):
            first, last = np.searchsorted(place, [low, high], side="right")
            gains = np.cos(np.pi / 2 * (place[first:last] - centre) / (centre - low))
            found.append((int(first), gains.clip(0).astype(np.float32)))
        return found

    @cached_property
    def _per_frame(self) -> int:
        """Points of an envelope in one frame: twice what its band needs."""
        widest = max(len(gains) for _, gains in self.filters)
        return -(-2 * widest // self.frames)

    @cached_property
    def _windows(self) -> np.ndarray:
        """Weights (point, frame) of a Hann window about each frame's middle."""
        point = (np.arange(self.frames * self._per_frame) + 0.5) / self._per_frame
        away = abs(point[:, None] - np.arange(self.frames) - 0.5)
        weights = np.where(away < 1, 1 + np.cos(np.pi * away), 0)
        return (weights / weights.sum(0)).astype(np.float32)

    def __call__(self, sounds: np.ndarray) -> np.ndarray:
        """Return cochleagrams (sound, channel, frame) of float32 of sounds (sound, sample)."""
        if sounds.shape[-1] != self.samples:
            raise ValueError(f"{sounds.shape[-1]} samples; expected {self.samples}")
        spectrum = fft.rfft(sounds.astype(np.float32, copy=False))
        points = self.frames * self._per_frame
        out = np.empty((len(sounds), self.channels, self.frames), dtype=np.float32)
        for channel, (first, gains) in enumerate(self.filters):
            # A band moved down to zero frequency has the same envelope, and needs few points.
            band = spectrum[:, first : first + len(gains)] * gains
            envelope = abs(fft.ifft(band, points)) * (2 * points / self.samples)
            out[:, channel] = envelope @ self._windows
        return out**COMPRESSION
