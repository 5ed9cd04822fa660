"""All-optical mapping: stimulate one cell, read another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from lrplan.measure.modalities import Course, Modality, modalities, setting
from lrplan.measure.modalities._draws import Draws, log_normal


@modalities.register("paired")
@dataclass(frozen=True, kw_only=True)
class Paired(Modality):
    """Effect of a stimulated cell on another one, per unit of its added activity.

    An effect is the mean response of the read cell in trials in which the other is stimulated,
    less that in control trials, over the activity that stimulation adds on average. Control trials
    of a cell are shared by all its pairs, and what moves all read cells in a trial is shared, too.
    How strong one cell drives another is an assumption: effects of the first session have a root
    mean square of `effect` standard deviations of a response. Without noise a pair is the effect
    times one factor for each stimulated cell.
    """

    summary = "effect of photostimulating one cell on another, against control trials"
    measures = ("paired",)
    cites = "Chettih & Harvey, Nature 2019 (influence mapping)"
    takes_noise = "none"
    pairs_in_line = False

    trials_per_target: int = setting(
        30,
        unit="1",
        source="assumption: of each stimulated cell and stimulus, 20 to 60",
        least=1,
    )
    control_trials: int = setting(
        30, unit="1", source="assumption: as many of each stimulus", least=1
    )
    effect: float = setting(
        0.05,
        unit="SD",
        source="assumption: root mean square over pairs, in standard deviations of a response over "
        "trials, 0.02 to 0.1. One cell lowers the population's response to its preferred stimulus "
        "by about 2%: Chettih & Harvey, Nature 2019",
        least=0.0001,
        most=10,
    )
    added_cv: float = setting(
        0.5,
        unit="1",
        source="assumption: coefficient of variation over stimulated cells of the spikes added",
        least=0,
        most=3,
    )
    noise_spread: float = setting(
        0.5,
        unit="1",
        source="assumption: coefficient of variation over read cells of a response's variance",
        least=0,
        most=3,
    )
    noise_shared: float = setting(
        0.1,
        unit="1",
        source="assumption: share of the variance over trials that read cells have in common. "
        "Noise correlations of 0.1 to 0.2: Cohen & Kohn, Nature Neuroscience 2011",
        least=0,
        most=1,
    )

    @property
    def written_trials(self) -> int:
        """Trials of each stimulated cell."""
        return self.trials_per_target

    @property
    def pair_snr(self) -> float:
        """Root mean square of the effects over that of their noise, in the first session."""
        variance = 1 / self.trials_per_target + 1 / self.control_trials
        return self.effect / float(np.sqrt(variance))

    def assumptions(self) -> list[str]:
        """Say how strong effects are assumed to be."""
        return [
            f"assumed: an effect is {self.effect:g} standard deviations of a response, "
            f"{self.pair_snr:.2g} times its noise; no network says how strongly one neuron drives "
            "another"
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
        """Return effects of single trials, each with its share of the control trials."""
        return self._mapped(signal, course, rng, number=trials, pooled=1)

    def means(
        self,
        signal: np.ndarray,
        *,
        noise_sd: Sequence[float],
        course: Course,
        rng: np.random.Generator,
    ) -> Iterator[np.ndarray]:
        """Yield means over `trials_per_target` trials; `noise_sd` only says how often."""
        pooled = self.trials_per_target
        made = self._mapped(signal, course, rng, number=1, pooled=pooled)[..., 0, :]
        for _ in noise_sd:
            yield made.copy()

    def variance(self, measured: np.ndarray, *, noise_sd: float, course: Course) -> np.ndarray:
        """Return that of stimulated and of control trials together, for each read cell."""
        of_mean = (1 / self.trials_per_target + 1 / self.control_trials) * self._sd(course) ** 2
        return np.asarray(of_mean * self._post(measured.shape, course), dtype=np.float32)

    def _sd(self, course: Course) -> float:
        """Return the standard deviation of a response over trials, in the unit of effects."""
        return float(np.sqrt(np.nanmean(np.square(course.first, dtype=np.float64)))) / self.effect

    def _post(self, shape: tuple[int, ...], course: Course) -> np.ndarray:
        """Return the variance of each read cell, mean 1: (session or 1, 1, post, 1)."""
        sessions, _, post, _ = shape
        wide = 1 if course.tracked else sessions
        z = Draws(course.key, (wide, post)).normal("read cell")
        return log_normal(z, self.noise_spread)[:, None, :, None]

    def _mapped(
        self,
        signal: np.ndarray,
        course: Course,
        rng: np.random.Generator,
        *,
        number: int,
        pooled: int,
    ) -> np.ndarray:
        """Return means over some trials each, (session, stimulus, post, trial, pre)."""
        sessions, stimuli, post, pre = signal.shape
        wide = 1 if course.tracked else sessions
        added = log_normal(Draws(course.key, (wide, pre)).normal("stimulated cell"), self.added_cv)
        draw = Draws.of(rng, (sessions, stimuli, post, number, pre))
        common = Draws.of(rng, (sessions, stimuli, 1, number, pre))
        share = self.noise_shared
        stimulated = np.sqrt(1 - share) * draw.normal("stimulated")
        stimulated += np.sqrt(share) * common.normal("common")
        control = np.sqrt(1 - share) * draw.shared_normal("control")
        control += np.sqrt(share) * common.shared_normal("common control")
        each = np.sqrt(self.trials_per_target / self.control_trials)
        noise = (stimulated - each * control) / np.sqrt(pooled)
        spread = np.sqrt(self._post(signal.shape, course))[..., None, :]
        effects = (signal * added[:, None, None])[..., None, :]
        return np.asarray(effects + self._sd(course) * spread * noise, dtype=np.float32)
