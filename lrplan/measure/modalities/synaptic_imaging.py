"""Imaging of dendritic spines: their volume stands for the weights of excitatory synapses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from lrplan.measure.modalities import Course, Modality, modalities, setting
from lrplan.measure.modalities._draws import Draws, log_normal


@modalities.register("synaptic_imaging")
@dataclass(frozen=True, kw_only=True)
class SynapticImaging(Modality):
    """Spine volumes, in the unit of the weights that they stand for.

    A positive weight w has a spine of the size w exp(eta); eta is fixed for each synapse, and so
    wide that log size and log weight correlate as asked. It is measured with an error in
    proportion to its size. Nothing is seen of weights of 0 or below, of spines below the floor,
    of those that were lost, and of those that are not there yet. Without noise a spine that is
    seen is its weight times one factor per synapse.
    """

    summary = "spine volume as a noisy unsigned stand-in for the weight of excitatory synapses"
    measures = ("weights",)
    cites = (
        "Holler et al., Nature 2021 (size and strength); Loewenstein, Kuras & Rumpel, Journal of "
        "Neuroscience 2011 (log-normal sizes, changes in proportion)"
    )
    takes_noise = "none"
    misses = True

    size_correlation: float = setting(
        0.8,
        unit="1",
        source="assumption: correlation over synapses of log size and log weight. It is strong: "
        "Matsuzaki et al., Nature Neuroscience 2001",
        least=0.05,
        most=1,
    )
    size_cv: float = setting(
        0.15,
        unit="1",
        source="assumption: coefficient of variation of one spine's volume over image stacks, 0.1 "
        "to 0.2",
        least=0,
        most=1,
    )
    repeats: int = setting(
        1, unit="1", source="assumption: image stacks of each session", least=1, most=1000
    )
    floor: float = setting(
        0.2,
        unit="1",
        source="assumption: share of the spines at first that are too small to be seen, 0.1 to "
        "0.3. In CA1 super-resolution sees twice as many: Pfeiffer et al., eLife 2018",
        least=0,
        most=0.95,
    )
    floor_spread: float = setting(
        0.3,
        unit="1",
        source="assumption: standard deviation over sessions of the log size at which one is seen",
        least=0,
        most=3,
    )
    days_between: float = setting(
        1.0,
        unit="d",
        source="assumption: from one checkpoint of the cohort to the next",
        least=0,
        most=365,
    )
    lost_per_day: float = setting(
        0.01,
        unit="1/d",
        source="share of spines. Above 80% stay for three weeks: Majewska, Newton & Sur, Journal "
        "of Neuroscience 2006; in CA1 0.07 to 0.13: Attardo, Fitzgerald & Schnitzer, Nature 2015",
        least=0,
        most=0.99,
    )
    gained_per_day: float = setting(
        0.01,
        unit="1/d",
        source="assumption: as many as are lost, since density stays; a share of those at first",
        least=0,
        most=10,
    )

    @property
    def written_trials(self) -> int:
        """Image stacks of each session."""
        return self.repeats

    def assumptions(self) -> list[str]:
        """Say what a spine is taken for."""
        return [
            f"assumed: the volume of a spine stands for a positive weight, with a correlation of "
            f"{self.size_correlation:g} of their logarithms; negative weights are never seen"
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
        """Return volumes of each image stack, in the unit of the weights."""
        return self._imaged(signal, course, rng, stacks=trials, pooled=1)

    def means(
        self,
        signal: np.ndarray,
        *,
        noise_sd: Sequence[float],
        course: Course,
        rng: np.random.Generator,
    ) -> Iterator[np.ndarray]:
        """Yield means over `repeats` image stacks; `noise_sd` only says how often."""
        made = self._imaged(signal, course, rng, stacks=1, pooled=self.repeats)[..., 0, :]
        for _ in noise_sd:
            yield made.copy()

    def variance(self, measured: np.ndarray, *, noise_sd: float, course: Course) -> np.ndarray:
        """Return the variance of the error of measurement, right on average.

        With n stacks it is cv^2 m^2 / n for a mean m; a measured square exceeds m^2 by that much.
        """
        share = self.size_cv**2 / (self.repeats + self.size_cv**2)
        return np.square(measured) * np.float32(share)

    def seen_share(self, days: np.ndarray) -> np.ndarray:
        """Return the share of the spines of a day that are still there some days later."""
        return np.asarray((1 - self.lost_per_day) ** np.asarray(days, dtype=np.float64))

    def _imaged(
        self,
        signal: np.ndarray,
        course: Course,
        rng: np.random.Generator,
        *,
        stacks: int,
        pooled: int,
    ) -> np.ndarray:
        """Return means over some image stacks each, (session, stack, synapse)."""
        sessions, synapses = signal.shape
        weights = np.asarray(signal, dtype=np.float64)
        positive = course.first[course.first > 0]
        if not positive.size:
            # Nothing is excitatory at first: there is no size to compare with.
            return np.full((sessions, stacks, synapses), np.nan, dtype=np.float32)
        logs = np.log(positive.astype(np.float64))
        fixed = Draws(course.key, (1 if course.tracked else sessions, synapses))
        wider = np.sqrt(1 / self.size_correlation**2 - 1)
        size = weights * np.exp(wider * logs.std() * fixed.normal("size"))
        seen = self._above_floor(size, logs, Draws(course.key, signal.shape))
        if course.tracked:
            seen = seen & self._there(course.places(sessions), fixed)
        draw = Draws.of(rng, (sessions, stacks, synapses))
        error = log_normal(draw.normal("volume"), self.size_cv / np.sqrt(pooled))
        measured = size[:, None] * error
        return np.where(seen[:, None], measured, np.nan).astype(np.float32)

    def _above_floor(self, size: np.ndarray, logs: np.ndarray, draw: Draws) -> np.ndarray:
        """Return which spines are large enough to be seen.

        Sizes are distributed as weights are, but wider: the floor is that quantile of them.
        """
        with np.errstate(divide="ignore", invalid="ignore"):
            log_size = np.where(size > 0, np.log(size), -np.inf)
        if self.floor == 0:
            return np.isfinite(log_size)
        middle = logs.mean()
        floor = middle + (np.quantile(logs, self.floor) - middle) / self.size_correlation
        return np.asarray(log_size + self.floor_spread * draw.normal("focus") > floor)

    def _there(self, places: np.ndarray, fixed: Draws) -> np.ndarray:
        """Return in which sessions (session, synapse) spines exist.

        Of all that exist at some time, those there at first are one part, those gained until the
        last session the other, alike likely on each day.
        """
        days = self.days_between * places
        gained = self.gained_per_day * days.max()
        born = ((1 + gained) * fixed.uniform("gained") - 1) * days.max() / max(gained, 1e-12)
        born = np.where(born > 0, born, 0.0)
        age = days[:, None] - born
        return (age >= 0) & (fixed.uniform("lost") < self.seen_share(np.maximum(age, 0)))
