"""Who says which word in which noise: what the tasks of recorded and generated speech share."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lrplan.errors import UsageError
from lrplan.simulate.architectures import Head
from lrplan.simulate.tasks import Task
from lrplan.simulate.tasks._cochleagram import Cochlea
from lrplan.simulate.tasks._disk import whole_setting

CITES = (
    "Kell et al., Neuron 2018 (word, speaker and noise); cochleagrams: McDermott & Simoncelli, "
    "Neuron 2011"
)
FULL_SCALE = 2.0
MIDDLE, SPREAD = 0.5, 0.2
AT_ONCE = 64
SNR_LIMIT_DB = 100.0


def mix(speech: np.ndarray, noise: np.ndarray, snr_db: np.ndarray) -> np.ndarray:
    """Return speech in noise, with a root mean square of 1.

    Parameters
    ----------
    speech, noise : array (clip, sample)
        Neither may be silent.
    snr_db : array (clip,)
        Ratio of the two powers over the whole clip, in decibels.
    """
    gain = _rms(speech) / _rms(noise) * 10 ** (-np.asarray(snr_db)[:, None] / 20)
    mixed = speech + gain * noise
    return (mixed / _rms(mixed)).astype(np.float32)


def _rms(sounds: np.ndarray) -> np.ndarray:
    return np.sqrt(np.mean(np.square(sounds, dtype=np.float64), axis=-1, keepdims=True))


def draw_snr_db(limits: list[float], count: int, *, rng: np.random.Generator) -> np.ndarray:
    """Draw signal-to-noise ratios (clip,) in decibels, uniform between two limits."""
    return rng.uniform(limits[0], limits[1], count)


def cochlea_of(settings: dict[str, Any], task: str) -> Cochlea:
    """Return the cochlea that a task's settings describe.

    Raises
    ------
    UsageError
        If they describe none.
    """
    rate = whole_setting(settings, "sample_rate_hz", task, least=1000)
    seconds = settings["seconds"]
    if not 0.05 <= seconds <= 60:
        raise UsageError(f"{task}.seconds is {seconds!r}; expected 0.05 to 60")
    limits = settings["snr_db"]
    if len(limits) != 2 or not -SNR_LIMIT_DB <= limits[0] <= limits[1] <= SNR_LIMIT_DB:
        raise UsageError(
            f"{task}.snr_db is {limits!r}; expected the lowest and the highest ratio in dB"
        )
    channels, frames = (whole_setting(settings, k, task) for k in ("channels", "frames"))
    return Cochlea(rate, round(rate * seconds), channels, frames)


def as_bytes(cochleagrams: np.ndarray) -> np.ndarray:
    """Return cochleagrams of sounds of unit power as uint8, 255 for the strongest."""
    return (255 / FULL_SCALE * cochleagrams.clip(0, FULL_SCALE)).round().astype(np.uint8)


class WordSpeakerNoise(Task):
    """Say which word it is, by whom, in which noise: the sum of three cross-entropies.

    The readout is three groups of scores side by side, in this order; performance is about the
    word. An example is a cochleagram, (1, channel, frame) of uint8, of a clip whose speech and
    noise are mixed once, when the data are loaded. Networks see it about zero.
    """

    objective = "supervised"
    cites = CITES
    inputs = "sounds"

    def groups(self) -> tuple[int, int, int]:
        """Return how many words, speakers and kinds of noise there are."""
        raise NotImplementedError

    def head(self, settings: dict[str, Any]) -> Head:
        """Return a readout of all words, speakers and kinds of noise."""
        return Head("readout", sum(self.groups()))

    def prepare(self, images: Tensor) -> Tensor:
        """Return cochleagrams about zero."""
        return (FULL_SCALE * super().prepare(images) - MIDDLE) / SPREAD

    def loss(self, output: Tensor, labels: Tensor, settings: dict[str, Any]) -> Tensor:
        """Return the sum of the mean cross-entropies of word, speaker and noise."""
        groups = output.split(self.groups(), dim=-1)
        each = [F.cross_entropy(scores, labels[:, i]) for i, scores in enumerate(groups)]
        return torch.stack(each).sum()

    def correct(self, output: Tensor, labels: Tensor) -> Tensor:
        """Say of each example whether the scores name its word."""
        return super().correct(output[..., : self.groups()[0]], labels)
