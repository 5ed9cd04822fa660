"""What every modality keeps to."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar
from unittest import SkipTest

import numpy as np

from lrplan.errors import UsageError
from lrplan.measure.modalities import Course, Modality, make_modality, modalities, settings_of
from lrplan.registry import Registry
from lrplan.terms import MEASURES
from lrplan.testing._contract import Contract, refused, told

SHAPES = {"activity": (3, 40, 100), "weights": (3, 4000), "paired": (3, 4, 20, 50)}
TRIALS = 6
AVERAGED = 200
"""Measurements that are averaged where noise cannot be turned off."""


class ModalityContract(Contract):
    """What every modality keeps to, for each measure that it applies to.

    Attributes
    ----------
    settings : mapping
        What differs from the defaults.
    """

    registry: ClassVar[Registry[Any]] = modalities
    settings: Mapping[str, Any] = {}

    def _signals(self) -> Iterator[tuple[Modality, np.ndarray]]:
        """Yield the modality with signals (session, ..., unit) that are not negative, as rates."""
        for measure in modalities.get(self.name).measures:
            values = np.random.default_rng(0).standard_normal(SHAPES[measure])
            yield make_modality(self.name, self.settings), np.abs(values).astype(np.float32)

    def test_it_says_what_it_is(self) -> None:
        """What it applies to, its source, and what is written of it."""
        modality = make_modality(self.name, self.settings)
        told(modality, "summary", "cites")
        assert modality.measures and set(modality.measures) <= set(MEASURES), (
            f"measures is {modality.measures!r}; expected some of {MEASURES}"
        )
        assert modality.writes in ("spikes", "dff"), f"writes is {modality.writes!r}"

    def test_settings_have_units_sources_and_defaults(self) -> None:
        """A frozen dataclass whose fields are made by `setting`."""
        modality = make_modality(self.name, self.settings)
        assert dataclasses.is_dataclass(modality)
        with refused(dataclasses.FrozenInstanceError, "a change of a modality"):
            modality.summary = "changed"  # type: ignore[misc]
        for name, one in settings_of(type(modality)).items():
            assert one.default is not dataclasses.MISSING, f"the setting {name} has no default"
            assert one.metadata.get("unit") and one.metadata.get("source"), (
                f"the setting {name} has no unit or no source; make it by `setting`"
            )
            said = f"no setting '{name}x'; nearest: .*{name}"
            with refused(UsageError, f"the setting {name}x", said):
                make_modality(self.name, {name + "x": one.default})

    def test_a_measurement_keeps_the_shape_and_its_input(self) -> None:
        """Trials are an axis before that of units; values are float32."""
        for modality, given in self._signals():
            before = given.copy()
            for noise_sd in _levels(modality, 0.0, 0.3):
                found = _mean(modality, given, noise_sd)
                each = _trials(modality, given, noise_sd)
                assert found.shape == given.shape, f"means have the shape {found.shape}"
                expected = (*given.shape[:-1], _number(modality), given.shape[-1])
                assert each.shape == expected, f"trials have the shape {each.shape}"
                assert found.dtype == each.dtype == np.float32, "what is measured is float32"
                for values in (found, each):
                    assert modality.misses or np.isfinite(values).all()
                    assert np.isfinite(values).any() and not np.isinf(values).any()
                np.testing.assert_array_equal(given, before, err_msg="the signal was changed")

    def test_a_unit_is_missed_for_whole_sessions(self) -> None:
        """The same ones trial by trial and in means, whatever the noise."""
        for modality, given in self._signals():
            [level] = _levels(modality, 0.3)
            missed = [np.isnan(_mean(modality, given, level, seed=seed)) for seed in range(3)]
            missed.append(np.isnan(_trials(modality, given, level)).any(axis=-2))
            for other in missed:
                np.testing.assert_array_equal(other, missed[0])
            if given.ndim > 2:
                np.testing.assert_array_equal(missed[0], missed[0][:, :1] & np.isfinite(given))

    def test_a_measurement_comes_from_the_given_rng_alone(self) -> None:
        """The same seed, the same noise."""
        for modality, given in self._signals():
            [level] = _levels(modality, 0.3)
            for measured in (_mean, _trials):
                np.random.seed(0)  # noqa: NPY002
                one = measured(modality, given, level, seed=5)
                np.random.seed(1)  # noqa: NPY002
                np.testing.assert_array_equal(one, measured(modality, given, level, seed=5))
                other = measured(modality, given, level, seed=6)
                same = (one == other) | np.isnan(one)
                assert not same.all(), "two seeds give the same noise"

    def test_without_noise_every_trial_is_the_mean(self) -> None:
        """At a noise of 0."""
        if modalities.get(self.name).takes_noise == "none":
            raise SkipTest("its noise follows from its settings")
        for modality, given in self._signals():
            found = _mean(modality, given, 0.0)
            for trial in np.moveaxis(_trials(modality, given, 0.0), -2, 0):
                np.testing.assert_array_equal(trial, found)

    def test_the_noise_has_the_stated_size(self) -> None:
        """Units may share noise, so that only stimuli, sessions and seeds count: 1,600 at least."""
        if modalities.get(self.name).takes_noise == "none":
            raise SkipTest("its noise follows from its settings")
        for modality, given in self._signals():
            free = _mean(modality, given, 0.0).astype(np.float64)
            for noise_sd in (0.1, 0.5):
                found = np.stack(
                    [_mean(modality, given, noise_sd, seed=s) - free for s in range(40)]
                )
                size = np.sqrt(np.mean(np.square(found[:, 0])))
                assert abs(size / noise_sd - 1) < 0.15, (
                    f"the noise of the mean is {size:.3g} in the first session, not {noise_sd}"
                )
                # The mean of a seed's noise scatters around 0.
                centre = found.reshape(len(found), -1).mean(axis=1)
                assert abs(centre.mean()) < 5 * centre.std(ddof=1) / np.sqrt(len(centre)), (
                    f"the noise has a bias of {centre.mean():.3g}"
                )

    def test_the_variance_that_it_says_is_that_of_its_noise(self) -> None:
        """What observables take off, on average over stimuli, units and seeds."""
        for modality, given in self._signals():
            [level] = _levels(modality, 0.3)
            free = _free(modality, given)
            found = np.stack([_mean(modality, given, level, seed=s) for s in range(40)])
            told = Course(given[0])
            said = [
                np.broadcast_to(modality.variance(m, noise_sd=level, course=told), m.shape)
                for m in found
            ]
            squares = np.nanmean(np.square(found - free)[:, 0])
            variance = np.nanmean(np.mean(said, axis=0)[0])
            assert abs(variance / squares - 1) < 0.15, (
                f"variance is {variance:.3g} in the first session; noise has {squares:.3g}"
            )
            silent = modality.variance(
                np.zeros_like(given), noise_sd=level, course=Course(0 * given[0])
            )
            assert np.isfinite(silent).all(), "the variance in silence is not finite"

    def test_sessions_have_noise_of_their_own(self) -> None:
        """Otherwise a change between sessions would seem noiseless."""
        for modality, given in self._signals():
            given[:] = given[0]
            [level] = _levels(modality, 0.4)
            free = _free(modality, given)
            along = []
            for seed in range(40):
                noise = np.nan_to_num(_mean(modality, given, level, seed=seed) - free)
                along.append(np.corrcoef(noise.reshape(len(noise), -1))[0, 1])
            assert abs(np.mean(along)) < 5 * np.std(along, ddof=1) / np.sqrt(len(along)), (
                f"noise correlates by {np.mean(along):.3f} between sessions"
            )

    def test_the_mean_over_trials_has_the_law_of_means(self) -> None:
        """Mean and variance of each value, over seeds; and both of all values together."""
        seeds = 400
        for modality, signal in self._signals():
            given, first = signal[..., :12], signal[0]
            [level] = _levels(modality, 0.4)
            at_once, averaged = (
                np.nan_to_num(np.stack(each).astype(np.float64))
                for each in (
                    [_mean(modality, given, level, seed=(1, s), first=first) for s in range(seeds)],
                    [
                        _trials(modality, given, level, seed=(2, s), first=first).mean(axis=-2)
                        for s in range(seeds)
                    ],
                )
            )
            error = np.sqrt((at_once.var(axis=0) + averaged.var(axis=0)) / seeds)
            apart = np.abs(at_once.mean(axis=0) - averaged.mean(axis=0))
            assert (apart <= 6 * error + 1e-4).all(), "means and trials differ in their mean"
            for one, two in zip(at_once.var(axis=0)[:2], averaged.var(axis=0)[:2], strict=True):
                assert abs(one.mean() / two.mean() - 1) < 0.1, (
                    f"the variance is {one.mean():.3g} in means, {two.mean():.3g} over trials"
                )

    def test_silence_is_measured_as_finite_values(self) -> None:
        """A population may be silent in every session."""
        for modality, given in self._signals():
            [level] = _levels(modality, 0.2)
            for measured in (_mean, _trials):
                found = measured(modality, np.zeros_like(given), level)
                assert not np.isinf(found).any()
                assert modality.misses or np.isfinite(found).all()

    def test_each_level_of_noise_is_measured_as_if_alone(self) -> None:
        """A sweep gives what each of its designs gives."""
        for modality, given in self._signals():
            levels = _levels(modality, 0.2, 0.0, 0.7)
            together = modality.means(
                given, noise_sd=levels, course=Course(given[0]), rng=np.random.default_rng(3)
            )
            for level, found in zip(levels, together, strict=True):
                np.testing.assert_array_equal(found, _mean(modality, given, level, seed=3))

    def test_fewer_units_are_the_first_of_more(self) -> None:
        """Designs of different size meet the same chances."""
        for modality, given in self._signals():
            [level] = _levels(modality, 0.4)
            for measured in (_mean, _trials):
                everything = measured(modality, given, level)
                some = measured(modality, given[..., :7], level, first=given[0])
                np.testing.assert_array_equal(
                    some,
                    everything[..., :7],
                    err_msg="draw what units share first, and the rest unit by unit",
                )

    def test_what_is_missing_stays_missing(self) -> None:
        """NaN is a unit that was not recorded."""
        for modality, given in self._signals():
            [level] = _levels(modality, 0.4)
            before = np.isnan(_mean(modality, given, level))
            given[1, ..., 3] = np.nan
            missing = before | np.isnan(given)
            np.testing.assert_array_equal(np.isnan(_mean(modality, given, level)), missing)
            for trial in np.moveaxis(_trials(modality, given, level), -2, 0):
                np.testing.assert_array_equal(np.isnan(trial), missing)

    def test_trials_can_be_written(self) -> None:
        """Spikes: whole numbers, none below 0. dF/F: a finite gain above 0."""
        if "activity" not in modalities.get(self.name).measures:
            raise SkipTest("only activity is written")
        for modality, given in self._signals():
            if given.shape != SHAPES["activity"]:
                continue
            [level] = _levels(modality, 0.3)
            trials, window_s = _number(modality), modality.written_window_s
            gain = modality.gain(
                given.astype(np.float64), trials=trials, noise_sd=level, window_s=window_s
            )
            assert np.isfinite(gain) and gain > 0, f"gain is {gain}"
            if modality.writes == "spikes":
                spikes = gain * window_s * _trials(modality, given, level)
                spikes = spikes[np.isfinite(spikes)]
                assert (spikes >= 0).all(), "a number of spikes is below 0"
                np.testing.assert_allclose(spikes, np.rint(spikes), atol=1e-2)


def _levels(modality: Modality, *asked: float) -> list[float]:
    """Return levels of noise that the modality takes."""
    return [0.0] if modality.takes_noise == "none" else list(asked)


def _number(modality: Modality) -> int:
    """Return how many trials are made: of a noise of their own as many as means are over."""
    return modality.written_trials if modality.takes_noise == "none" else TRIALS


def _free(modality: Modality, given: np.ndarray) -> np.ndarray:
    """Return what would be measured without noise."""
    if modality.takes_noise != "none":
        return _mean(modality, given, 0.0).astype(np.float64)
    total = np.zeros(given.shape)
    for seed in range(AVERAGED):
        total += _mean(modality, given, 0.0, seed=(3, seed))
    return total / AVERAGED


def _mean(
    modality: Modality,
    given: np.ndarray,
    noise_sd: float,
    *,
    seed: int | tuple[int, ...] = 0,
    first: np.ndarray | None = None,
) -> np.ndarray:
    """Return means over trials at one level of noise."""
    first = given[0] if first is None else first
    rng = np.random.default_rng(seed)
    [found] = modality.means(given, noise_sd=[noise_sd], course=Course(first), rng=rng)
    return found


def _trials(
    modality: Modality,
    given: np.ndarray,
    noise_sd: float,
    *,
    seed: int | tuple[int, ...] = 0,
    first: np.ndarray | None = None,
) -> np.ndarray:
    """Return single trials."""
    first = given[0] if first is None else first
    rng = np.random.default_rng(seed)
    number = _number(modality)
    return modality.trials(given, trials=number, noise_sd=noise_sd, course=Course(first), rng=rng)
