"""What every modality keeps to."""

from __future__ import annotations

import dataclasses
import importlib
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from lrplan import Design, UsageError, open_cohort, record
from lrplan.measure.modalities import make_modality, modalities, settings_of
from lrplan.terms import MEASURES

SHAPES = {"activity": (3, 40, 100), "weights": (3, 4000), "paired": (3, 4, 20, 50)}

GAIN = '''
"""A gain that all units of a population share in a trial."""
from dataclasses import dataclass

import numpy as np

from lrplan.measure.modalities import Modality, modalities, setting


@modalities.register("shared_gain")
@dataclass(frozen=True, kw_only=True)
class SharedGain(Modality):
    """Each trial multiplies all units by one number; each unit has white noise of its own."""

    summary = "a gain shared by the population, and white noise"
    measures = ("activity",)
    cites = "Goris, Movshon & Simoncelli, Nature Neuroscience 2014"
    shared: float = setting(0.5, unit="1", source="share of the variance", least=0, most=1)

    def trials(self, signal, *, trials, noise_sd, first, rng):
        size = np.sqrt(np.nanmean(np.square(first, dtype=np.float64)))
        one = noise_sd * np.sqrt(trials)
        # What is shared is drawn first: how many units there are must not move it.
        gain = rng.standard_normal((*signal.shape[:-1], trials, 1), np.float32)
        white = rng.standard_normal((signal.shape[-1], *gain.shape[:-1]), np.float32)
        response = signal[..., None, :].astype(np.float32)
        common = response * gain * (one * np.sqrt(self.shared) / size if size else 0)
        own = one * np.sqrt(1 - self.shared) * np.moveaxis(white, 0, -1)
        return (response + common + own).astype(np.float32)
'''


def signal(measure, seed=0):
    """Non-negative values, as rates are."""
    rng = np.random.default_rng(seed)
    return np.abs(rng.standard_normal(SHAPES[measure])).astype(np.float32)


def mean(modality, given, *, noise_sd, rng, first=None):
    """Return means over trials at one level of noise."""
    first = given[0] if first is None else first
    [found] = modality.means(given, noise_sd=[noise_sd], first=first, rng=rng)
    return found


def made(modality, given, *, noise_sd, seed=0, trials=6, first=None):
    """Return single trials."""
    rng = np.random.default_rng(seed)
    first = given[0] if first is None else first
    return modality.trials(given, trials=trials, noise_sd=noise_sd, first=first, rng=rng)


def says_what_it_is(modality, kind):
    assert modality.summary.strip()
    assert modality.cites.strip()
    assert modality.measures
    assert set(modality.measures) <= set(MEASURES)
    assert modality.writes in ("spikes", "dff")
    assert dataclasses.is_dataclass(modality)
    with pytest.raises(dataclasses.FrozenInstanceError):
        modality.summary = "changed"
    for name, one in settings_of(type(modality)).items():
        assert one.default is not dataclasses.MISSING, name
        assert one.metadata["unit"] and one.metadata["source"], name


def keeps_the_shape_and_its_input(modality, kind):
    for noise_sd in (0.0, 0.3):
        given = signal(kind)
        before = given.copy()
        found = mean(modality, given, noise_sd=noise_sd, rng=np.random.default_rng(1))
        each = made(modality, given, noise_sd=noise_sd)
        assert found.shape == given.shape
        assert each.shape == (*given.shape[:-1], 6, given.shape[-1])
        assert found.dtype == each.dtype == np.float32
        assert np.isfinite(found).all() and np.isfinite(each).all()
        np.testing.assert_array_equal(given, before)


def comes_from_the_given_rng_alone(modality, kind):
    given = signal(kind)
    np.random.seed(0)  # noqa: NPY002
    one = mean(modality, given, noise_sd=0.3, rng=np.random.default_rng(5))
    each = made(modality, given, noise_sd=0.3, seed=5)
    np.random.seed(1)  # noqa: NPY002
    again = mean(modality, given, noise_sd=0.3, rng=np.random.default_rng(5))
    np.testing.assert_array_equal(one, again)
    np.testing.assert_array_equal(each, made(modality, given, noise_sd=0.3, seed=5))
    other = mean(modality, given, noise_sd=0.3, rng=np.random.default_rng(6))
    assert (one != other).any()
    assert (each != made(modality, given, noise_sd=0.3, seed=6)).any()


def without_noise_every_trial_is_the_mean(modality, kind):
    given = signal(kind)
    found = mean(modality, given, noise_sd=0.0, rng=np.random.default_rng(1))
    for trial in np.moveaxis(made(modality, given, noise_sd=0.0), -2, 0):
        np.testing.assert_array_equal(trial, found)


def the_noise_has_the_stated_size(modality, kind):
    """Units may share noise, so that only stimuli, sessions and seeds count: 1,600 at least."""
    given = signal(kind)
    free = mean(modality, given, noise_sd=0.0, rng=np.random.default_rng(1)).astype(np.float64)
    for noise_sd in (0.1, 0.5):
        found = [
            mean(modality, given, noise_sd=noise_sd, rng=np.random.default_rng(seed)) - free
            for seed in range(40)
        ]
        assert np.sqrt(np.mean(np.square(found)[:, 0])) == pytest.approx(noise_sd, rel=0.15)
        # No bias: the mean of a seed's noise scatters around 0.
        centre = np.array([f.mean() for f in found])
        assert abs(centre.mean()) < 5 * centre.std(ddof=1) / np.sqrt(len(centre))


def sessions_have_noise_of_their_own(modality, kind):
    given = signal(kind)
    given[:] = given[0]
    free = mean(modality, given, noise_sd=0.0, rng=np.random.default_rng(1))
    along = []
    for seed in range(40):
        noise = mean(modality, given, noise_sd=0.4, rng=np.random.default_rng(seed)) - free
        along.append(np.corrcoef(noise.reshape(len(noise), -1))[0, 1])
    assert abs(np.mean(along)) < 5 * np.std(along, ddof=1) / np.sqrt(len(along))


def the_mean_over_trials_has_the_law_of_means(modality, kind):
    """Mean and variance of each value, over seeds; and both of all values together."""
    given = signal(kind)[..., :12]
    first = signal(kind)[0]
    options = {"noise_sd": 0.4, "first": first}
    at_once = np.stack(
        [
            mean(modality, given, rng=np.random.default_rng((1, seed)), **options)
            for seed in range(400)
        ]
    ).astype(np.float64)
    averaged = np.stack(
        [
            made(modality, given, seed=(2, seed), trials=5, **options).mean(axis=-2)
            for seed in range(400)
        ]
    ).astype(np.float64)
    error = np.sqrt(at_once.var(axis=0) / 400 + averaged.var(axis=0) / 400)
    apart = np.abs(at_once.mean(axis=0) - averaged.mean(axis=0))
    assert (apart <= 6 * error + 1e-4).all()
    for one, two in zip(at_once.var(axis=0)[:2], averaged.var(axis=0)[:2], strict=True):
        assert one.mean() == pytest.approx(two.mean(), rel=0.1)


def silence_is_measured_as_finite_values(modality, kind):
    silent = np.zeros(SHAPES[kind], dtype=np.float32)
    assert np.isfinite(mean(modality, silent, noise_sd=0.2, rng=np.random.default_rng(0))).all()
    assert np.isfinite(made(modality, silent, noise_sd=0.2)).all()


def each_level_of_noise_is_measured_as_if_alone(modality, kind):
    given = signal(kind)
    levels = [0.2, 0.0, 0.7]
    together = modality.means(given, noise_sd=levels, first=given[0], rng=np.random.default_rng(3))
    for level, found in zip(levels, together, strict=True):
        alone = mean(modality, given, noise_sd=level, rng=np.random.default_rng(3))
        np.testing.assert_array_equal(found, alone)


def fewer_units_are_the_first_of_more(modality, kind):
    given = signal(kind)
    rng = np.random.default_rng
    everything = mean(modality, given, noise_sd=0.4, rng=rng(4))
    some = mean(modality, given[..., :7], noise_sd=0.4, first=given[0], rng=rng(4))
    np.testing.assert_array_equal(some, everything[..., :7])
    some = made(modality, given[..., :7], noise_sd=0.4, first=given[0])
    np.testing.assert_array_equal(some, made(modality, given, noise_sd=0.4)[..., :7])


def what_is_missing_stays_missing(modality, kind):
    given = signal(kind)
    given[1, ..., 3] = np.nan
    found = mean(modality, given, noise_sd=0.4, rng=np.random.default_rng(5))
    np.testing.assert_array_equal(np.isnan(found), np.isnan(given))
    for trial in np.moveaxis(made(modality, given, noise_sd=0.4), -2, 0):
        np.testing.assert_array_equal(np.isnan(trial), np.isnan(given))


def trials_can_be_written(modality, kind):
    """Spikes: whole numbers, none below 0. dF/F: a finite gain above 0."""
    if kind != "activity":
        return
    given = signal(kind).astype(np.float64)
    gain = modality.gain(given, trials=6, noise_sd=0.3, window_s=0.5)
    assert np.isfinite(gain) and gain > 0
    if modality.writes == "spikes":
        spikes = gain * 0.5 * made(modality, given, noise_sd=0.3)
        assert (spikes >= 0).all()
        np.testing.assert_allclose(spikes, np.rint(spikes), atol=1e-2)


PROMISES = [
    says_what_it_is,
    keeps_the_shape_and_its_input,
    comes_from_the_given_rng_alone,
    without_noise_every_trial_is_the_mean,
    the_noise_has_the_stated_size,
    sessions_have_noise_of_their_own,
    the_mean_over_trials_has_the_law_of_means,
    silence_is_measured_as_finite_values,
    each_level_of_noise_is_measured_as_if_alone,
    fewer_units_are_the_first_of_more,
    what_is_missing_stays_missing,
    trials_can_be_written,
]


@pytest.mark.parametrize("promise", PROMISES, ids=lambda p: p.__name__)
@pytest.mark.parametrize(
    ("name", "kind"), [(n, m) for n, entry in modalities.items() for m in entry.measures]
)
def test_a_modality_keeps_its_promise(name, kind, promise):
    promise(make_modality(name), kind)


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Return a function that registers a lab's own file for one test."""
    monkeypatch.syspath_prepend(str(tmp_path))
    modalities.names()
    monkeypatch.setattr(modalities, "_entries", dict(modalities._entries))

    def register(text):
        (tmp_path / "lab_modality.py").write_text(text)
        importlib.invalidate_caches()
        importlib.import_module("lab_modality")

    yield register
    sys.modules.pop("lab_modality", None)


@pytest.fixture
def shared_gain(install):
    install(GAIN)
    return "shared_gain"


@pytest.mark.parametrize("promise", PROMISES, ids=lambda p: p.__name__)
def test_noise_that_units_share_is_a_modality_too(shared_gain, promise):
    assert len(GAIN.splitlines()) < 60
    for settings in ({}, {"shared": 1}):
        promise(make_modality(shared_gain, settings), "activity")


def test_the_documented_modality_keeps_every_promise(install):
    text = (Path(__file__).parents[2] / "docs" / "plan.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    [code] = [b for b in blocks if "@modalities" in b]
    install(code)
    for promise in PROMISES:
        promise(make_modality("shared_gain"), "activity")


def test_a_shared_gain_moves_all_units_together(shared_gain):
    given = np.ones((1, 200, 30), dtype=np.float32)
    for share in (0.0, 0.5, 1.0):
        noise = made(make_modality(shared_gain, {"shared": share}), given, noise_sd=0.3) - 1
        together = np.corrcoef(noise.reshape(-1, 30), rowvar=False)
        assert together[0, 1:].mean() == pytest.approx(share, abs=0.15)


def test_settings_reach_the_recording_through_the_design(shared_gain):
    starter = open_cohort("starter")
    options = {"units": 20, "noise": 0.5, "modality": shared_gain}

    def recorded(**settings):
        design = Design(**options, settings=settings)
        return record(starter, design, rng=0, populations=[0]).data["activity"].values

    np.testing.assert_array_equal(recorded(), recorded(shared=0.5))
    assert (recorded() != recorded(shared=0.9)).any()
    assert Design(**options).to_json()["settings"] == {"shared": 0.5}
    assert Design(**options, settings={"shared": 1}).settings == {"shared": 1.0}
    assert len({Design(**options, settings={"shared": s}) for s in (0.1, 0.2, 0.2)}) == 2


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"sharde": 0.1}, "no setting 'sharde'; nearest: shared"),
        ({"shared": 1.5}, "shared is 1.5; expected a number of at least 0 and at most 1"),
        ({"shared": "much"}, "shared is 'much'; expected a number"),
        ({"shared": True}, "shared is True"),
        ({"shared": float("nan")}, "shared is nan"),
        ({5: 1}, "no setting 5"),
        ("shared=1", "settings is 'shared=1'"),
    ],
)
def test_wrong_settings_are_refused(shared_gain, settings, said):
    with pytest.raises(UsageError, match=said):
        Design(modality=shared_gain, settings=settings)


def test_a_modality_without_settings_says_so():
    with pytest.raises(UsageError, match="modality 'ideal' has no setting 'x'; it has no settings"):
        Design(settings={"x": 1})
    assert Design().settings == Design(settings=None).settings == {}
