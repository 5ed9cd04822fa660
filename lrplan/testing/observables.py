"""What every family of observables keeps to."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, ClassVar
from unittest import SkipTest

import numpy as np
import xarray as xr

from lrplan.measure.observables import Family, Needs, families
from lrplan.measure.observe import observe
from lrplan.measure.recording import DIMS, Recording
from lrplan.registry import Registry
from lrplan.terms import MEASURES
from lrplan.testing._contract import Contract, told

NOISE, DRAWS = 0.1, 64
BATCH, SESSIONS, STIMULI, UNITS, SYNAPSES, POST, PRE = 2, 3, 5, 40, 60, 8, 9
UNIT_AXES = {"activity": (-1,), "weights": (-1,), "paired": (-2, -1)}
STIMULUS_AXIS = {"activity": -2, "paired": -3}


class ObservableContract(Contract):
    """What every family of observables keeps to; `name` is that of the family."""

    registry: ClassVar[Registry[Any]] = families

    def _family(self) -> Family:
        """Return the family; one that needs the noise is told that it grows with the value."""
        family = families.get(self.name)
        if not family.needs.noise:
            return family
        told = {
            part: _with_noise(getattr(family, part))
            for part in ("compute", "scale", "summarise")
            if getattr(family, part) is not None
        }
        return replace(family, **told)

    def _values(self, seed: int = 0, *, fewest: bool = False) -> np.ndarray:
        """Draw values (recording, session, ..., unit), as few as the family allows or more."""
        family = self._family()
        needs = family.needs
        sessions = needs.sessions if fewest else max(SESSIONS, needs.sessions)
        stimuli = needs.stimuli if fewest else max(STIMULI, needs.stimuli)
        shapes: dict[str, tuple[int, ...]] = {
            "activity": (stimuli, needs.units if fewest else max(UNITS, needs.units)),
            "weights": (needs.units if fewest else max(SYNAPSES, needs.units),),
            "paired": (
                stimuli,
                POST,
                math.ceil(needs.units / POST) if fewest else max(PRE, needs.units),
            ),
        }
        shape = (BATCH, sessions, *shapes[family.measure])
        return np.random.default_rng(seed).standard_normal(shape)

    def test_it_says_what_it_is(self) -> None:
        """A family says what it is of, where it comes from and what it needs."""
        family = self._family()
        assert family.measure in MEASURES, f"measure is {family.measure!r}; one of {MEASURES}"
        told(family, "cites")
        assert isinstance(family.needs, Needs), "needs must be a Needs"
        least = {n: getattr(family.needs, n) for n in ("sessions", "stimuli", "units")}
        assert all(v >= 1 for v in least.values()), f"needs at least 1 of each, not {least}"
        assert family.observables, "a family has at least one observable"
        for o in family.observables:
            assert o.name.startswith(family.name + "_"), (
                f"the observable {o.name!r} must begin with its family's name, {family.name}_"
            )
            told(o, "summary")
            assert isinstance(o.degree, int), f"the degree of {o.name} must be a whole number"

    def test_no_name_is_that_of_another_observable(self) -> None:
        """A Design names sets, families and observables alike."""
        from lrplan.measure.observables import SETS, all_observables

        names = [o.name for _, o in all_observables()] + families.names() + list(SETS)
        own = {self.name, *(o.name for o in self._family().observables)}
        twice = sorted(n for n in own if names.count(n) > 1)
        assert not twice, f"these names are taken by others: {twice}"

    def test_the_last_axis_is_the_observable(self) -> None:
        """Values of shape (..., session, ..., unit) become (..., session, observable)."""
        family, values = self._family(), self._values()
        found = np.asarray(family.compute(values))
        expected = (*values.shape[:2], len(family.observables))
        assert found.shape == expected, f"compute gave the shape {found.shape}, not {expected}"
        assert np.isfinite(found).all(), "what is finite must have finite observables"
        scale = np.asarray(family.scale(values))
        assert scale.shape == values.shape[:2], (
            f"scale must leave an axis for each recording and session, not {scale.shape}"
        )
        assert (scale > 0).all(), "the scale of values that are not all 0 must be above 0"

    def test_leading_axes_are_a_batch(self) -> None:
        """Each recording is computed from itself, and each session unless the family says so."""
        family, values = self._family(), self._values()
        found, scale = np.asarray(family.compute(values)), np.asarray(family.scale(values))
        deeper = np.asarray(family.compute(values[None]))
        np.testing.assert_allclose(deeper[0], found, rtol=1e-12, err_msg="with one more axis")
        for i in range(BATCH):
            alone = family.compute(values[i])
            np.testing.assert_allclose(alone, found[i], rtol=1e-12, err_msg="recordings mix")
            np.testing.assert_allclose(family.scale(values[i]), scale[i], rtol=1e-12)
        for t in range(values.shape[1]):
            np.testing.assert_allclose(family.scale(values[:, t]), scale[:, t], rtol=1e-12)
            if not family.needs.trajectory:
                np.testing.assert_allclose(
                    family.compute(values[:, t]),
                    found[:, t],
                    rtol=1e-12,
                    err_msg="sessions mix; a family of whole trajectories says so in its needs",
                )

    def test_the_order_of_units_does_not_matter(self) -> None:
        """In all sessions the same other order; any in each, unless units must be tracked."""
        family, values = self._family(), self._values()
        expected, scale = np.asarray(family.compute(values)), np.asarray(family.scale(values))
        for axis in UNIT_AXES[family.measure]:
            rng = np.random.default_rng(1)
            same = np.take(values, rng.permutation(values.shape[axis]), axis=axis)
            each = same.copy()
            for t in range(values.shape[1]):
                order = rng.permutation(values.shape[axis])
                each[:, t] = np.take(values[:, t], order, axis=axis)
            for shuffled in (same,) if family.needs.tracked else (same, each):
                np.testing.assert_allclose(
                    family.compute(shuffled),
                    expected,
                    rtol=1e-10,
                    atol=1e-12,
                    err_msg="the order of units must not matter; a family that compares a unit "
                    "with itself between sessions says tracked=True in its needs",
                )
                np.testing.assert_allclose(family.scale(shuffled), scale, rtol=1e-12)

    def test_the_order_of_stimuli_does_not_matter(self) -> None:
        """Stimuli come without labels, the same in all sessions."""
        family, values = self._family(), self._values()
        if family.measure not in STIMULUS_AXIS:
            raise SkipTest("weights have no stimuli")
        axis = STIMULUS_AXIS[family.measure]
        order = np.random.default_rng(1).permutation(values.shape[axis])
        shuffled = np.take(values, order, axis=axis)
        np.testing.assert_allclose(
            family.compute(shuffled),
            family.compute(values),
            rtol=1e-10,
            atol=1e-12,
            err_msg="stimuli come without labels: their order must not matter",
        )
        np.testing.assert_allclose(family.scale(shuffled), family.scale(values), rtol=1e-12)

    def test_the_degree_is_the_power_of_the_unit(self) -> None:
        """`relative` features divide by the scale to this power, so it must be true."""
        family, values = self._family(), self._values()
        degrees = np.array([float(o.degree) for o in family.observables])
        before, scale = np.asarray(family.compute(values)), np.asarray(family.scale(values))
        for factor in (1e-3, 0.5, 7.0, 1e3):
            found = np.asarray(family.compute(factor * values))
            for i, o in enumerate(family.observables):
                np.testing.assert_allclose(
                    found[..., i],
                    before[..., i] * factor ** degrees[i],
                    rtol=1e-9,
                    atol=1e-12,
                    err_msg=f"{o.name} is not of degree {o.degree}",
                )
            np.testing.assert_allclose(family.scale(factor * values), factor * scale, rtol=1e-12)

    def test_constants_give_finite_values(self) -> None:
        """Equal values have finite observables, and silence has zeros."""
        family = self._family()
        for value in (0.0, 1.0, -2.5, 1e-12, 1e5):
            for fewest in (False, True):
                values = np.full_like(self._values(fewest=fewest), value, dtype=np.float32)
                found = np.asarray(family.compute(values))
                assert np.isfinite(found).all(), f"not finite where every value is {value}"
                assert np.isfinite(np.asarray(family.scale(values))).all()
                if value == 0:
                    assert (found == 0).all(), "the observables of silence must be 0"
                if not family.needs.trajectory:
                    assert np.isfinite(_of_torch(family.compute, values)).all(), (
                        f"not finite in torch where every value is {value}"
                    )

    def test_silent_units_and_stimuli_give_finite_values(self) -> None:
        """One active unit, one active stimulus, one active session, the rest silent."""
        family = self._family()
        for place in ((..., 0), _first_stimulus(family.measure), (slice(None), 0)):
            values = np.zeros_like(self._values(), dtype=np.float32)
            values[place] = 1
            found = np.asarray(family.compute(values))
            assert np.isfinite(found).all(), f"not finite where only {place} is active"

    def test_the_fewest_that_it_needs_give_finite_values(self) -> None:
        """So few sessions, stimuli and units as the family says it needs."""
        family = self._family()
        found = np.asarray(family.compute(self._values(fewest=True)))
        assert np.isfinite(found).all(), f"not finite with the fewest of its needs, {family.needs}"

    def test_the_input_is_not_changed(self) -> None:
        """Values are shared by families and designs."""
        family, values = self._family(), self._values()
        before = values.copy()
        family.compute(values)
        family.scale(values)
        np.testing.assert_array_equal(values, before, err_msg="compute or scale wrote to its input")

    def test_numpy_and_torch_agree(self) -> None:
        """Statistics of a session are also taken of torch tensors."""
        family = self._family()
        if family.needs.trajectory:
            raise SkipTest("families of whole trajectories take numpy arrays only")
        for dtype, rtol, atol in ((np.float32, 2e-4, 1e-5), (np.float64, 1e-10, 0.0)):
            values = self._values().astype(dtype)
            for function in (family.compute, family.scale):
                ours, theirs = np.asarray(function(values)), _of_torch(function, values)
                assert theirs.dtype == ours.dtype == dtype, "the precision of values must stay"
                np.testing.assert_allclose(
                    theirs, ours, rtol=rtol, atol=atol, err_msg="numpy and torch disagree"
                )

    def test_a_paired_family_gives_the_same_from_the_summed_change(self) -> None:
        """Whole layers have too many pairs to hold."""
        family = self._family()
        if family.measure != "paired" or family.needs.trajectory:
            raise SkipTest("only paired families take sums")
        assert family.compute_total is not None, "paired families need compute_total"
        values = self._values()
        found = family.compute_total(values.sum(axis=-2), values.shape[-2])
        np.testing.assert_allclose(found, family.compute(values), rtol=1e-12)

    def test_a_summary_serves_every_choice_of_sessions(self) -> None:
        """Schedules of a sweep share what is taken of all their sessions."""
        family = self._family()
        if family.summarise is None and family.of_summary is None:
            raise SkipTest("only families with a summary")
        assert family.summarise is not None and family.of_summary is not None, (
            "summarise and of_summary belong together"
        )
        assert family.needs.trajectory, "a summary is for families of whole trajectories"
        values = np.concatenate([self._values(), self._values(seed=1)], axis=1)
        sessions = values.shape[1]
        summary = family.summarise(values)
        for places in (range(sessions), range(0, sessions, 2), range(family.needs.sessions)):
            np.testing.assert_allclose(
                family.of_summary(summary, list(places)),
                family.compute(values[:, list(places)]),
                rtol=1e-9,
                atol=1e-12,
                err_msg=f"of_summary of the sessions {list(places)} is not what compute gives",
            )

    def test_what_families_share_gives_the_same(self) -> None:
        """A family that shares what is prepared says how, and is what it is alone."""
        family = families.get(self.name)
        if family.prepare is None and family.of_prepared is None:
            raise SkipTest("only families that share what they take")
        assert family.prepare is not None and family.of_prepared is not None, (
            "prepare and of_prepared belong together"
        )
        values = self._values()
        told = (values, NOISE * values * values) if family.needs.noise else (values,)
        found = family.of_prepared(family.prepare(*told))
        if family.of_summary is not None:
            found = family.of_summary(found, range(values.shape[1]))
        np.testing.assert_allclose(found, family.compute(*told), rtol=1e-9, atol=1e-12)

    def test_noise_that_is_known_is_taken_off(self) -> None:
        """Told the noise, observables move less with it than told that there is none."""
        family = families.get(self.name)
        if not family.needs.noise:
            raise SkipTest("only families that are told the noise")
        rng = np.random.default_rng(0)
        shape = (1, *np.repeat(self._values()[:1], 2, axis=-1).shape[1:])
        signal = rng.standard_normal(shape)
        noisy = signal + NOISE**0.5 * rng.standard_normal((DRAWS, *shape[1:]))
        known = np.full_like(noisy, NOISE)
        expected = family.compute(signal, np.zeros_like(signal))
        told, untold = (
            np.abs((family.compute(noisy, v) - expected).mean(axis=0))
            for v in (known, np.zeros_like(known))
        )
        assert told.mean() < untold.mean(), "noise moves the observables as if it were not known"

    def test_noise_that_is_the_same_throughout_may_be_one_number(self) -> None:
        """With an axis of 1 for each of the values'."""
        family = families.get(self.name)
        if not family.needs.noise:
            raise SkipTest("only families that are told the noise")
        values = self._values()
        sessions = np.linspace(NOISE, 2 * NOISE, values.shape[1])
        rest = (1,) * (values.ndim - 2)
        for short in (np.full((1, 1, *rest), NOISE), sessions.reshape(1, -1, *rest)):
            for function in (family.compute, family.scale):
                np.testing.assert_allclose(
                    function(values, short),
                    function(values, np.broadcast_to(short, values.shape)),
                    rtol=1e-9,
                    atol=1e-12,
                    err_msg="noise with axes of 1 is another than the same noise written out",
                )

    def test_a_recording_becomes_features(self) -> None:
        """The road that virtual and real recordings take, in both scalings."""
        family = self._family()
        values = self._values().astype(np.float32)
        held = {family.measure: values, f"{family.measure}_sem": NOISE**0.5 * np.abs(values)}
        recording = Recording(
            xr.Dataset({name: (DIMS[name], v) for name, v in held.items()}), "recording"
        )
        for scaling in ("relative", "raw"):
            found = observe(
                recording, observables=family.name, scaling=scaling, positioned=False
            ).features()
            assert np.isfinite(found.values).all(), f"{scaling} features are not finite"
            expected = [f"{o.name}@{t}" for t in range(values.shape[1]) for o in family.observables]
            assert found.names == expected


def _with_noise(function: Any) -> Any:
    """Return a function of values alone from one that is told the variance of their noise."""
    return lambda values: function(values, NOISE * values * values)


def _first_stimulus(measure: str) -> tuple[Any, ...]:
    if measure not in STIMULUS_AXIS:
        return (..., 0)
    return (..., 0, *(slice(None) for _ in UNIT_AXES[measure]))


def _of_torch(function: Any, values: np.ndarray) -> np.ndarray:
    """Apply a function of arrays to the values as a torch tensor."""
    import torch

    found = function(torch.from_numpy(values))
    assert isinstance(found, torch.Tensor), "given a torch tensor, it must return one"
    return np.asarray(found.numpy())
