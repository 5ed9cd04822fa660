"""How noisy responses are, relative to what stimuli drive: one word for it, many ways to say it.

The noise of a response, the mean over a stimulus's trials, is the root mean square of its error.
It is told relative to a signal, and there are two: that *within* units, how the true response of
a unit varies over stimuli (its tuning), and that over stimuli *and* units, which holds what units
differ by whatever is shown. What labs report (d', reliability, signal-to-noise ratio of tuning) is
within units. Where rates are log-normal over units the two differ by two to four times.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import comb, factorial
from typing import TYPE_CHECKING, Any

import numpy as np

from lrplan.arguments import finite_number, generator, positive_int
from lrplan.errors import DataError, UsageError
from lrplan.measure.design import ABSOLUTE, RELATIVE, WITHIN
from lrplan.texts import percent

if TYPE_CHECKING:
    from lrplan.cohort.store import Cohort
    from lrplan.measure.design import Design
    from lrplan.measure.recording import Recording

RESAMPLES = 1000
SHUFFLES = 199
LEVEL = 0.01
"""Stimuli drive something if fewer than this share of shuffles of the labels show as much."""
MOST_POPULATIONS = 60
"""From how many populations the ratio of the two signals of a cohort is taken."""
MOST_NOISE = 2.0
"""More noise than this, relative to the signal, is asked about."""


@dataclass(frozen=True)
class NoiseEstimate:
    """How noisy the responses of a population are, from how its trials vary.

    Intervals hold 95% and are of units: other units of the same population under the same
    stimuli. Noise that units share in a trial is in the estimate, but widens no interval.

    Parameters
    ----------
    noise : (float, float, float)
        Root mean square of the responses' errors relative to the signal within units, and its
        interval. Infinite where no signal is seen.
    over_units : (float, float, float)
        The same relative to the signal over stimuli and units.
    signal_share : (float, float, float)
        Share of the variance of responses over stimuli, within units, that stimuli drive: what
        labs call the reliability of the mean. Where stimuli drive nothing it is 0 on average, and
        so may be below.
    p : float or None
        Share of shuffles of the trials' labels with as much signal; None without single trials, or
        with so few that no share could be small enough.
    driven : bool
        Whether stimuli are shown to drive responses: by the shuffles, or, where there are none, by
        an interval of `signal_share` above 0.
    trials : float or None
        Trials of a stimulus, harmonic mean over stimuli and units; None without single trials.
    stimuli, units : int
        How many the estimate is from: those that were repeated.
    """

    noise: tuple[float, float, float]
    over_units: tuple[float, float, float]
    signal_share: tuple[float, float, float]
    p: float | None
    driven: bool
    trials: float | None
    stimuli: int
    units: int

    def to_json(self) -> dict[str, Any]:
        """Return plain values for JSON; None for what is infinite."""
        return {
            "within": _interval_json(self.noise),
            "over_units": _interval_json(self.over_units),
            "signal_share": _interval_json(self.signal_share),
            "p": self.p,
            "driven": self.driven,
            "trials": self.trials,
            "stimuli": self.stimuli,
            "units": self.units,
        }

    def line(self) -> str:
        """Return both figures and what stimuli drive, in one line."""
        # Without bias a share is below 0 half of the time where there is none.
        share, low, high = (max(s, 0.0) for s in self.signal_share)
        told = (
            f"stimuli drive {percent(share)} ({percent(low)} to {percent(high)}) of the variance "
            "of responses within units"
        )
        if not self.driven:
            return f"no signal is shown: {told}" + self._chance()
        return (
            f"{_words(self.noise)} of the signal within units, {_words(self.over_units)} of "
            f"that over stimuli and units; {told}"
        )

    def _chance(self) -> str:
        if self.p is None:
            return ""
        return f"; {percent(self.p)} of shuffles of the labels show as much"


def estimate_noise(recording: Recording, *, rng: np.random.Generator | int) -> list[NoiseEstimate]:
    """Estimate the noise of each population of a recording in its first session.

    Averages of products of different trials hold no noise that trials do not share: the variance
    of a mean less its squared standard error is the average of products of all pairs of trials.
    So, for the mean r of stimulus s and unit u over trials and its standard error e,

    - the squared noise is the mean of e^2 over stimuli and units,
    - the signal variance within units is the mean over units of Var_s(r) - mean_s(e^2), the first
      with the divisor of an unbiased estimate,
    - that over stimuli and units is Var_su(r) - (1 - 1/N) mean_su(e^2), of N responses.

    Numerators and denominators are pooled over units before they are divided: ratios of single
    units, some with next to no signal, would have no finite mean. Stimuli that a unit saw but
    once, which tell no noise, are left out of all of it.

    Parameters
    ----------
    recording : Recording
        With trials, or means and standard errors.
    rng : numpy.random.Generator or int
        Source of bootstrap and shuffles, or a seed.

    Returns
    -------
    list of NoiseEstimate
        One for each population.

    Raises
    ------
    DataError
        If no stimulus was repeated, fewer than two were, or all responses are equal.

    References
    ----------
    Sahani & Linden, NeurIPS 2003 (signal power).
    """
    if "activity" not in recording.data:
        raise DataError(f"{recording.source} holds no activity; noise is that of responses")
    rng = generator(rng)
    first = recording.data.isel(session=0)
    sems = first["activity_sem"].values if "activity_sem" in first else None
    trials = first["trials"].values if "trials" in first else None
    found = []
    for place, responses in enumerate(first["activity"].values):
        sem = None if sems is None else sems[place].astype(np.float64)
        if sem is None or not np.isfinite(sem).any():
            raise DataError(
                f"{recording.source} repeats no stimulus in its first session, so its noise cannot "
                "be estimated; name it with --noise, or record at least 2 trials per stimulus"
            )
        found.append(
            _estimate(
                responses.astype(np.float64),
                sem,
                None if trials is None else trials[place].astype(np.float64),
                rng,
                recording.source,
            )
        )
    return found


def _estimate(
    responses: np.ndarray,
    sem: np.ndarray,
    trials: np.ndarray | None,
    rng: np.random.Generator,
    source: str,
) -> NoiseEstimate:
    """Return the estimate from responses and errors (stimulus, unit) and, if known, trials."""
    good = np.isfinite(responses) & np.isfinite(sem)
    kept = good.sum(axis=0) >= 2
    if not kept.any():
        raise DataError(
            f"{source} repeats fewer than two stimuli in its first session, so what stimuli drive "
            "cannot be told from noise; record at least 2 trials of at least 2 stimuli"
        )
    good, responses, sem = good[:, kept], responses[:, kept], sem[:, kept]
    pooled = _Pooled.of(np.where(good, responses, 0.0), np.where(good, sem, 0.0) ** 2, good)
    units = pooled.count.size
    error, within, over = pooled.variances(np.ones((1, units)))[:, 0]
    if error + max(within, 0.0) + max(over, 0.0) == 0:
        raise DataError(f"{source}: all responses of the first session are equal")
    draws = rng.multinomial(units, np.full(units, 1 / units), size=RESAMPLES)
    errors, withins, overs = pooled.variances(draws.astype(np.float64))
    share = _with_interval(_share, (within, error), (withins, errors))
    p = None if trials is None else _chance_of_signal(trials[..., kept], rng)
    shown = share[1] > 0 if p is None else within > 0 and p <= LEVEL
    return NoiseEstimate(
        noise=_with_interval(_ratio, (error, within), (errors, withins)),
        over_units=_with_interval(_ratio, (error, over), (errors, overs)),
        signal_share=share,
        p=p,
        driven=bool(shown),
        trials=None if trials is None else _harmonic_mean(trials[..., kept], good),
        stimuli=int(good.any(axis=1).sum()),
        units=units,
    )


@dataclass(frozen=True)
class _Pooled:
    """What is summed over units: arrays (unit,), of which each resample takes its own sums."""

    count: np.ndarray
    total: np.ndarray
    square: np.ndarray
    error: np.ndarray
    within: np.ndarray

    @classmethod
    def of(cls, responses: np.ndarray, squares: np.ndarray, good: np.ndarray) -> _Pooled:
        """Sum over stimuli: responses and squared errors (stimulus, unit), 0 where not good."""
        count = good.sum(axis=0).astype(np.float64)
        # Taken off, a common level cannot drown what varies in rounding; no variance sees it.
        centred = np.where(good, responses - responses.sum() / count.sum(), 0.0)
        mean = centred.sum(axis=0) / count
        error = squares.sum(axis=0) / count
        spread = np.where(good, centred - mean, 0.0)
        within = (spread**2).sum(axis=0) / (count - 1) - error
        return cls(count, centred.sum(axis=0), (centred**2).sum(axis=0), error, within)

    def variances(self, weights: np.ndarray) -> np.ndarray:
        """Return squared noise, and signal variance within units and over all, (3, resample).

        Parameters
        ----------
        weights : array (resample, unit)
            How often each unit is taken.
        """
        units = weights.sum(axis=1)
        error = weights @ self.error / units
        within = weights @ self.within / units
        n = weights @ self.count
        mean = weights @ self.total / n
        over = weights @ self.square / n - mean**2 - (1 - 1 / n) * error
        return np.stack([error, within, over])


def _ratio(error: np.ndarray, signal: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(signal > 0, np.sqrt(error / np.where(signal > 0, signal, 1)), np.inf)


def _share(within: np.ndarray, error: np.ndarray) -> np.ndarray:
    return within / (within + error)


def _with_interval(
    ratio: Callable[[Any, Any], np.ndarray], found: tuple[Any, Any], drawn: tuple[Any, Any]
) -> tuple[float, float, float]:
    # Order statistics: between two of them an infinite one has no mean.
    ordered = np.sort(ratio(*drawn))
    cut = round(0.025 * len(ordered))
    return float(ratio(*found)), float(ordered[cut]), float(ordered[-1 - cut])


def _harmonic_mean(trials: np.ndarray, good: np.ndarray) -> float:
    count = np.isfinite(trials).sum(axis=1)[good]
    return float(1 / np.mean(1 / count))


def _chance_of_signal(trials: np.ndarray, rng: np.random.Generator) -> float | None:
    """Return in what share of shuffles trials differ as much between labels.

    All units of a trial get the same label, so that what they share counts as the noise that it
    is. What a unit lacks is filled with its mean, which no label changes.

    Parameters
    ----------
    trials : array (stimulus, trial, unit)

    Returns
    -------
    float or None
        None where trials can be labelled in so few ways that no share could be small enough.
    """
    label, _ = np.nonzero(np.isfinite(trials).any(axis=2))
    held = trials[np.isfinite(trials).any(axis=2)]
    good = np.isfinite(held)
    mean = np.where(good, held, 0.0).sum(axis=0) / good.sum(axis=0)
    centred = np.where(good, held - mean, 0.0)
    starts = np.flatnonzero(np.diff(label, prepend=-1))
    sizes = np.diff(np.append(starts, len(label)))[:, None]
    if _ways(sizes.ravel().tolist()) * LEVEL < 1:
        return None

    def between(order: np.ndarray) -> float:
        sums = np.add.reduceat(centred[order], starts, axis=0)
        return float((sums**2 / sizes).sum())

    def shuffle() -> np.ndarray:
        # The trials as they are, under whatever names, count once, and not by chance once more.
        while True:
            order = rng.permutation(len(label))
            least, most = (f.reduceat(label[order], starts) for f in (np.minimum, np.maximum))
            if (least != most).any():
                return order

    # What rounding alone moves is no less than what is shown.
    least = between(np.arange(len(label))) * (1 - 1e-9)
    as_much = sum(between(shuffle()) >= least for _ in range(SHUFFLES))
    return (1 + as_much) / (1 + SHUFFLES)


def _ways(sizes: list[int]) -> int:
    """Return in how many ways trials fall into groups of these sizes, whatever these are called."""
    ways, left = 1, sum(sizes)
    for size in sizes:
        ways *= comb(left, size)
        left -= size
    for alike in Counter(sizes).values():
        ways //= factorial(alike)
    return ways


def refuse_without_signal(recording: Recording, estimates: list[NoiseEstimate]) -> None:
    """Raise `DataError` if in some population nothing shows that stimuli drive responses."""
    areas = recording.data["area"].values.tolist()
    for area, found in zip(areas, estimates, strict=True):
        if not found.driven:
            where = f", area {area}" if len(areas) > 1 else ""
            raise DataError(
                f"{recording.source}{where}, first session: {found.line()}; noise relative to a "
                "signal that is not there is not defined; check which stimulus each trial is "
                "(--label) and when its response is (--align, --window), record more trials, or "
                f"name the noise with --noise{_as_read(recording)}"
            )


def _as_read(recording: Recording) -> str:
    """Return what was noticed when a recording was read: it may be why it shows no signal."""
    noticed = recording.ingest.get("warnings", ())
    return f". Noticed in reading it: {'; '.join(noticed)}" if noticed else ""


def pooled_noise(estimates: list[NoiseEstimate], *, over_units: bool = False) -> float:
    """Return the noise of all populations together: the root mean square."""
    figures = [(e.over_units if over_units else e.noise)[0] for e in estimates]
    return float(np.sqrt(np.mean(np.square(figures))))


def signal_sd(first: np.ndarray, reference: str) -> float:
    """Return what a Design's noise is a multiple of, in the unit of noiseless responses.

    Parameters
    ----------
    first : array (stimulus, ...)
        All that is known of a population in the first session; NaN where there is nothing.
    reference : {"relative", "within", "absolute"}
        The standard deviation over everything; that over stimuli, root mean square over units
        (with the divisor of an unbiased estimate of its square, as in `estimate_noise`); or 1.

    Raises
    ------
    DataError
        If the signal is that within units and fewer than two stimuli are known.
    """
    if reference == ABSOLUTE:
        return 1.0
    if reference == RELATIVE:
        return float(np.nanstd(first, dtype=np.float64))
    if len(first) < 2:
        raise DataError(
            "noise is relative to the signal within units, but one stimulus alone is stored, which "
            f"shows none; use --noise-reference {RELATIVE}"
        )
    squares = np.var(first.astype(np.float64), axis=0, ddof=1)
    return float(np.sqrt(np.nanmean(squares)))


def both_references(
    cohort: Cohort, design: Design, *, populations: Sequence[int] | None = None
) -> dict[str, float] | None:
    """Return a design's noise relative to both signals, as they are in a cohort.

    Parameters
    ----------
    cohort, design
        What is recorded, and how.
    populations : sequence of int, optional
        Which; by default all that suit the design, of which at most 60 are looked at.

    Returns
    -------
    dict or None
        ``within`` and ``relative``: the one that the design names, and what it comes to in the
        median of the populations in the first session. None where the design has no
        noise, does not measure activity, or has it in absolute units, or the cohort stores no
        responses.
    """
    from lrplan.measure.virtual import usable

    if (
        design.noise_level == 0
        or design.noise_reference == ABSOLUTE
        or "activity" not in design.measures
        or design.all_units
        or not cohort.stores_units("activity")
        or cohort.stimuli < 2
    ):
        return None
    chosen = usable(cohort, design, populations)
    places = np.linspace(0, len(chosen) - 1, min(MOST_POPULATIONS, len(chosen)))
    session = design.schedule.checkpoints(cohort.checkpoints)[:1]
    ratios = []
    for population in chosen[np.unique(places.round().astype(int))]:
        first = cohort.read("activity", np.array([population]), session)[0, 0]
        over, within = signal_sd(first, RELATIVE), signal_sd(first, WITHIN)
        if over > 0 and within > 0:
            ratios.append(within / over)
    if not ratios:
        return None
    ratio = float(np.median(ratios))
    if design.noise_reference == WITHIN:
        return {WITHIN: design.noise_level, RELATIVE: design.noise_level * ratio}
    return {WITHIN: design.noise_level / ratio, RELATIVE: design.noise_level}


def from_snr(snr: float, *, trials: int) -> float:
    """Return the noise of a mean over trials, of a ratio of signal to noise variance of one trial.

    1 / sqrt(trials snr), relative to the signal that the ratio takes.
    """
    if _above_zero(snr, "snr") > 1e4:
        raise UsageError(
            f"snr is {snr!r}; expected the variance of the signal over that of a single trial, "
            "such as 0.5 (no decibels)"
        )
    return float(1 / np.sqrt(positive_int(trials, "trials") * snr))


def from_dprime(dprime: float, *, trials: int) -> float:
    """Return the noise, relative to the signal within units, of a d' of single trials.

    sqrt(2) / (d' sqrt(trials)), d' being the root mean square over pairs of stimuli and units of
    the difference of two means over the standard deviation of a trial: the mean square difference
    of two of several numbers is twice their variance.
    """
    if _above_zero(dprime, "dprime") > 100:
        raise UsageError(
            f"dprime is {dprime!r}; expected that between two stimuli in single trials of one "
            "unit, such as 0.5"
        )
    return float(np.sqrt(2 / positive_int(trials, "trials")) / dprime)


def from_reliability(reliability: float) -> float:
    """Return the noise of the mean over all trials, of the correlation r between its halves.

    sqrt((1 - r) / (2 r)): the reliability of the whole is 2 r / (1 + r) (Spearman 1910; Brown
    1910), and noise^2 = 1 / reliability - 1.
    """
    r = finite_number(reliability, "reliability")
    if not 0 < r < 1:
        percents = f"; if {r:g}% is meant, say {r / 100:g}" if 1 < r < 100 else ""
        raise UsageError(
            f"reliability is {reliability!r}; expected a correlation between halves of the trials, "
            f"above 0 and below 1{percents}"
        )
    return float(np.sqrt((1 - r) / (2 * r)))


def doubt(noise: float) -> str | None:
    """Say what a large noise may have been meant as; None for one that needs no question."""
    if noise <= MOST_NOISE:
        return None
    said = f"the noise of a response is {noise:.3g} times the signal"
    if noise >= 5 and float(noise).is_integer():
        said += f"; if {noise:g}% is meant, say --noise {noise / 100:g}"
    return said


def _above_zero(value: Any, what: str) -> float:
    number = finite_number(value, what)
    if number == 0:
        raise UsageError(f"{what} is {value!r}; expected a number above 0")
    return number


def _words(figures: tuple[float, float, float]) -> str:
    value, low, high = figures
    told = [f"{v:#.2g}".rstrip(".") for v in (value, low, high)]
    return f"{told[0]} ({told[1]} to {told[2]})"


def _interval_json(figures: tuple[float, float, float]) -> dict[str, float | None]:
    named = zip(("mean", "low", "high"), figures, strict=True)
    return {name: float(v) if np.isfinite(v) else None for name, v in named}
