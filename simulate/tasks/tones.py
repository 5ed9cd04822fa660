"""Generated words of gliding formants, spoken by several voices in noise."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from scipy import fft

from lrplan.randomness import keyed_rng
from lrplan.simulate.tasks import Data, Extent, tasks
from lrplan.simulate.tasks._cochleagram import Cochlea
from lrplan.simulate.tasks._disk import enlarge, enlarged, larger_shape, whole_setting
from lrplan.simulate.tasks._speech import (
    AT_ONCE,
    WordSpeakerNoise,
    as_bytes,
    cochlea_of,
    draw_snr_db,
    mix,
)

# Formants in Hz of vowels of American English (Peterson & Barney, JASA 1952, men), rounded.
VOWELS_HZ = {
    "i": (270, 2290, 3010),
    "e": (530, 1840, 2480),
    "a": (730, 1090, 2440),
    "o": (570, 840, 2410),
    "u": (300, 870, 2240),
    "r": (490, 1350, 1690),
}
# The vowels alone do not tell a word: five words share the same three, in different orders.
WORDS = ("iau", "uai", "aiu", "uia", "aui", "eor", "roe", "oer", "reo", "ero")
NOISES = ("white", "pink", "pulsed", "hum", "babble")
FORMANT_WIDTH_HZ = (70.0, 100.0, 140.0)
CONTROL_POINTS = 32
LENGTH = (0.3, 0.9)  # of a word, as a share of the clip
EVENNESS = 12.0  # of the lengths of a word's vowels
HARMONICS_BELOW_HZ = 0.95  # of half the sample rate
BABBLERS = 4


@dataclass(frozen=True)
class Voice:
    """How one speaker sounds.

    Parameters
    ----------
    pitch_hz : float
        Of the voice.
    formants : float
        Factor on all formants: that of a shorter throat is above 1.
    tilt_db : float
        By how much harmonics weaken per octave.
    vibrato : float
        Depth of its vibrato, as a share of the pitch.
    """

    pitch_hz: float
    formants: float
    tilt_db: float
    vibrato: float


VOICES = (
    Voice(95, 0.86, 6, 0.00),
    Voice(110, 0.98, 9, 0.03),
    Voice(125, 0.91, 5, 0.06),
    Voice(145, 1.04, 8, 0.00),
    Voice(170, 1.10, 6, 0.04),
    Voice(195, 1.22, 9, 0.01),
    Voice(220, 1.15, 5, 0.05),
    Voice(250, 1.28, 7, 0.02),
)


def speak(
    words: np.ndarray,
    speakers: np.ndarray,
    *,
    sample_rate_hz: float,
    samples: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Return sounds (clip, sample) of float32.

    A word is three vowels; formants glide from one to the next and the voice weakens between
    them. When it begins, how long it and each vowel last, and pitch and formants (by some
    percent) are drawn for each clip. The voice is a sum of harmonics, each as strong as the
    resonances about its frequency.

    Parameters
    ----------
    words, speakers : array (clip,) of int
        Places in `WORDS` and `VOICES`.
    sample_rate_hz, samples : float, int
        Of the sounds.
    rng : numpy.random.Generator
        Source of what varies.
    """
    n = len(words)
    seconds = samples / sample_rate_hz
    length = rng.uniform(*LENGTH, (n, 1))
    begin = rng.uniform(0, 1, (n, 1)) * (1 - length)
    shares = rng.dirichlet([EVENNESS] * 3, n)
    pitch = rng.normal(1, 0.04, n) * np.array([v.pitch_hz for v in VOICES])[speakers]
    throat = (
        rng.normal(1, 0.03, (n, 1, 3))
        * np.array([v.formants for v in VOICES])[speakers, None, None]
    )
    vibrato = np.array([v.vibrato for v in VOICES])[speakers]
    phase = rng.uniform(0, 2 * np.pi, n)
    fall = rng.uniform(-0.1, 0.02, n)

    # Formants and loudness at a few moments, between which they are interpolated.
    moment = np.linspace(0, 1, CONTROL_POINTS)
    progress = (moment - begin) / length  # within the word, (clip, moment)
    ends = np.cumsum(shares, axis=1)
    middles = ends - shares / 2
    vowels = np.array(list(VOWELS_HZ.values()), dtype=np.float64)
    names = list(VOWELS_HZ)
    spelled = np.array([[names.index(v) for v in word] for word in WORDS])[words]
    targets = vowels[spelled] * throat  # clip, vowel, formant
    formants = np.empty((n, CONTROL_POINTS, 3))
    for i in range(n):
        for f in range(3):
            formants[i, :, f] = np.interp(progress[i], middles[i], targets[i, :, f])
    inside = (progress > 0) & (progress < 1)
    gaps = np.exp(-(((progress[:, :, None] - ends[:, None, :2]) / 0.05) ** 2)).sum(-1)
    loud = np.sqrt(np.sin(np.pi * progress.clip(0, 1))) * inside * (1 - 0.7 * gaps.clip(0, 1))

    time = np.arange(samples) / sample_rate_hz
    wobble = vibrato[:, None] / (2 * np.pi * 5.5) * np.sin(2 * np.pi * 5.5 * time + phase[:, None])
    cycles = pitch[:, None] * (time * (1 + fall[:, None] * time / seconds / 2) + wobble)
    once = np.exp(2j * np.pi * cycles).astype(np.complex64)
    turned = np.ones_like(once)  # to the power of each harmonic in turn
    between = _interpolation(samples)
    out = np.zeros((n, samples), dtype=np.float32)
    tilt = np.array([v.tilt_db for v in VOICES])[speakers]
    highest = int(HARMONICS_BELOW_HZ * sample_rate_hz / 2 / pitch.min())
    for h in range(1, highest + 1):
        sounding = h * pitch * (1 + vibrato) < sample_rate_hz / 2
        strength = _resonance(h * pitch, formants) * loud
        strength *= (sounding * 10 ** (-tilt * np.log2(h) / 20))[:, None]
        turned *= once
        out += (strength.astype(np.float32) @ between) * turned.imag
    return out


def _interpolation(samples: int) -> np.ndarray:
    """Return weights (moment, sample) that interpolate linearly."""
    place = np.linspace(0, CONTROL_POINTS - 1, samples)
    away = abs(place - np.arange(CONTROL_POINTS)[:, None])
    return np.maximum(0, 1 - away).astype(np.float32)


def _resonance(frequency_hz: np.ndarray, formants_hz: np.ndarray) -> np.ndarray:
    """Return the gain (clip, moment) of three resonances at one frequency of each clip."""
    f = frequency_hz[:, None, None]
    away = (f - formants_hz) / np.array(FORMANT_WIDTH_HZ)
    return (np.array([1.0, 0.7, 0.4]) / (1 + away**2)).sum(-1)


def make_noise(
    kinds: np.ndarray, *, sample_rate_hz: float, samples: int, rng: np.random.Generator
) -> np.ndarray:
    """Return noises (clip, sample) of the given places in `NOISES`.

    White; pink; pink in pulses of 4 to 8 a second; a hum of harmonics of about 60 Hz with a
    little hiss; and several voices at once.
    """
    out = rng.standard_normal((len(kinds), samples), dtype=np.float32)
    frequency = np.arange(samples // 2 + 1) * sample_rate_hz / samples
    time = np.arange(samples) / sample_rate_hz
    rate = rng.uniform(4, 8, (len(kinds), 1))
    base = rng.uniform(55, 65, (len(kinds), 1))
    phase = rng.uniform(0, 2 * np.pi, (len(kinds), 1))

    rosy = np.flatnonzero((kinds == NOISES.index("pink")) | (kinds == NOISES.index("pulsed")))
    slope = np.sqrt(np.maximum(frequency, 50)).astype(np.float32)
    out[rosy] = fft.irfft(fft.rfft(out[rosy]) / slope, samples)
    pulsed = np.flatnonzero(kinds == NOISES.index("pulsed"))
    out[pulsed] *= (1 + np.cos(2 * np.pi * rate[pulsed] * time + phase[pulsed])) ** 2
    hums = np.flatnonzero(kinds == NOISES.index("hum"))
    out[hums] *= 0.05
    for h, strength in ((1, 0.5), (2, 1.0), (4, 0.8), (6, 0.5), (10, 0.3)):
        out[hums] += strength * np.sin(h * (2 * np.pi * base[hums] * time + phase[hums]))
    crowd = np.flatnonzero(kinds == NOISES.index("babble"))
    if len(crowd):
        many = len(crowd) * BABBLERS
        voices = speak(
            rng.integers(0, len(WORDS), many),
            rng.integers(0, len(VOICES), many),
            sample_rate_hz=sample_rate_hz,
            samples=samples,
            rng=rng,
        )
        shift = rng.integers(0, samples, many)
        rolled = voices[np.arange(many)[:, None], (np.arange(samples) + shift[:, None]) % samples]
        out[crowd] = rolled.reshape(len(crowd), BABBLERS, samples).sum(1)
    return out


def draw_clips(
    count: int, cochlea: Cochlea, snr_db: list[float], *, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Draw words in noise.

    Returns
    -------
    cochleagrams : array (clip, channel, frame) of uint8
    labels : array (clip, 3) of int64
        Word, speaker and noise; words come in turn, so they are balanced.
    """
    labels = np.stack(
        [
            rng.permutation(np.arange(count) % len(WORDS)),
            rng.integers(0, len(VOICES), count),
            rng.integers(0, len(NOISES), count),
        ],
        axis=1,
    ).astype(np.int64)
    out = np.empty((count, cochlea.channels, cochlea.frames), dtype=np.uint8)
    of: dict[str, Any] = {"sample_rate_hz": cochlea.sample_rate_hz, "samples": cochlea.samples}
    for i in range(0, count, AT_ONCE):
        words, speakers, kinds = labels[i : i + AT_ONCE].T
        speech = speak(words, speakers, **of, rng=rng)
        noise = make_noise(kinds, **of, rng=rng)
        ratio = draw_snr_db(snr_db, len(words), rng=rng)
        out[i : i + AT_ONCE] = as_bytes(cochlea(mix(speech, noise, ratio)))
    return out, labels


@lru_cache(maxsize=4)
def _drawn(
    part: str, count: int, cochlea: Cochlea, snr_db: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray]:
    return draw_clips(count, cochlea, list(snr_db), rng=keyed_rng("tones", part, count))


class Tones(WordSpeakerNoise):
    """Say which of ten generated words it is, by which of eight voices, in which of five noises."""

    summary = "name generated words, voices and noises from cochleagrams"
    needs = "nothing: the sounds are generated"
    settings: dict[str, Any] = {
        "train": 3200,
        "test": 800,
        "sample_rate_hz": 8000,
        "seconds": 0.5,
        "channels": 32,
        "frames": 32,
        "snr_db": [-5.0, 10.0],
    }

    def groups(self) -> tuple[int, int, int]:
        """Return ten words, eight voices and five kinds of noise."""
        return len(WORDS), len(VOICES), len(NOISES)

    def load(self, size: int | None, settings: dict[str, Any]) -> Data:
        """Return the cochleagrams as uint8, the same ones every time."""
        cochlea = cochlea_of(settings, "tones")
        found: list[np.ndarray] = []
        low, high = settings["snr_db"]
        for part in ("train", "test"):
            count = whole_setting(settings, part, "tones", least=len(WORDS))
            found += _drawn(part, count, cochlea, (low, high))
        images, labels, held_out, held_out_labels = found
        return Data(
            enlarged(images[:, None], size),
            labels,
            enlarge(held_out[:, None], size),
            held_out_labels,
        )

    def extent(self, size: int | None, settings: dict[str, Any]) -> Extent:
        """Return the size of the data, which are not generated for it."""
        cochlea = cochlea_of(settings, "tones")
        train, test = (
            whole_setting(settings, k, "tones", least=len(WORDS)) for k in ("train", "test")
        )
        return Extent((1, *larger_shape(cochlea.channels, cochlea.frames, size)), train, test)

    def check(self, settings: dict[str, Any]) -> None:
        """Check that the settings can be."""
        self.extent(None, settings)


tasks.add("tones", Tones())
