"""What every classifier keeps to."""

from __future__ import annotations

from typing import Any, ClassVar
from unittest import SkipTest

import numpy as np
from sklearn.base import clone

from lrplan.classifiers import classifiers, make_classifier
from lrplan.errors import UsageError
from lrplan.registry import Registry
from lrplan.testing._contract import Contract, refused, told

SESSIONS, OBSERVABLES, STATIC = 6, 4, 2


class ClassifierContract(Contract):
    """What every classifier keeps to, besides scikit-learn's `check_estimator`."""

    registry: ClassVar[Registry[Any]] = classifiers

    def _make(self, **options: Any) -> Any:
        options = {"effort": "quick", **options}
        return make_classifier(self.name, sessions=SESSIONS, static=STATIC, **options)

    def test_it_says_what_it_is(self) -> None:
        """A line that says it, and its source."""
        told(classifiers.get(self.name), "summary", "cites")

    def test_it_learns_what_can_be_learned(self) -> None:
        """Four rules that differ by the rate at which one observable rises."""
        x, y, organisms = _trajectories(organisms=64, per_organism=1, effect=3.0)
        model = self._make().fit(x, y, organisms)
        unseen, truth, _ = _trajectories(effect=3.0, seed=1)
        p = model.predict_proba(unseen)
        np.testing.assert_allclose(p.sum(axis=1), 1, err_msg="probabilities must add up to 1")
        said = model.predict(unseen)
        assert (model.classes_[p.argmax(axis=1)] == said).all(), (
            "predict must give the most probable label"
        )
        accuracy = (said == truth).mean()
        assert accuracy > 0.5, f"accuracy {accuracy:.2f} on what is easily told; chance is 0.25"
        assert model.settings_, "settings_ must hold the settings, those that a search chose too"
        if "grid" in model.get_params():
            tried = "search_ must list what was tried, two settings at least"
            assert len(model.search_) >= 2, tried

    def test_recordings_of_one_organism_never_help_to_judge_each_other(self) -> None:
        """With labels that mean nothing, copies on both sides of a fold would be recognised."""
        x, _, organisms = _trajectories(effect=0.0, per_organism=4)
        y = np.random.default_rng(0).permutation(np.arange(32) % 4)[organisms]
        grouped = self._make().fit(x, y, organisms).out_of_fold_
        leaking = self._make().fit(x, y).out_of_fold_
        known = (leaking.argmax(axis=1) == y).mean()
        assert known > 0.6, "without groups each row is its own: copies must be recognised"
        accuracy = (grouped.argmax(axis=1) == y).mean()
        assert accuracy < 0.45, (
            f"out-of-fold accuracy {accuracy:.2f} where only copies of an organism could be known "
            "again; inner folds must keep groups together"
        )

    def test_same_seed_same_result_on_any_number_of_workers(self) -> None:
        """No result depends on the number of threads."""
        x, y, organisms = _trajectories(organisms=16)
        one = self._make(workers=1, random_state=3).fit(x, y, organisms)
        three = self._make(workers=3, random_state=3).fit(x, y, organisms)
        np.testing.assert_array_equal(
            one.predict_proba(x),
            three.predict_proba(x),
            err_msg="the same seed must give the same result on any number of workers",
        )
        assert one.settings_ == three.settings_

    def test_what_is_not_finite_in_training_is_left_out(self) -> None:
        """`kept_` says which features were used."""
        x, y, organisms = _trajectories(organisms=16)
        x[3, 1] = np.nan  # observable 1 of session 0
        x[5, OBSERVABLES + 2] = np.inf  # observable 2 of session 1
        model = self._make().fit(x, y, organisms)
        assert not model.kept_[[1, OBSERVABLES + 2]].any(), "a feature that is not finite was kept"
        assert model.kept_[[0, OBSERVABLES, -1]].all(), "a feature that is finite was left out"
        assert np.isfinite(model.predict_proba(x)).all(), (
            "what is not finite in a row to be judged must not spoil its probabilities"
        )

    def test_a_clone_is_the_same_and_not_fitted(self) -> None:
        """As scikit-learn has it: `__init__` only assigns."""
        model = self._make()
        assert clone(model).get_params() == model.get_params()
        assert not hasattr(clone(model), "classes_")

    def test_what_cannot_be_searched_is_said(self) -> None:
        """One class, groups of another length, a class in one organism."""
        x, y, groups = _trajectories(organisms=16)
        same = np.repeat("adam", len(y))
        rare = np.where(groups == 0, "rare", y)
        with refused(ValueError, "a single class", "one class"):
            self._make().fit(x, same, groups)
        with refused(ValueError, "groups of another length", "groups has shape"):
            self._make().fit(x, y, groups[:-1])
        with refused(ValueError, "a class in a single organism", "'rare' has one group"):
            self._make().fit(x, rare, groups)

    def test_an_unknown_setting_is_answered_with_the_nearest(self) -> None:
        """Of the grid that is searched."""
        x, y, organisms = _trajectories(organisms=16)
        grid = self._make().get_params().get("grid")
        if not grid:
            raise SkipTest("the classifier has no parameter grid")
        known = next(iter(grid))
        with refused(UsageError, "an unknown setting", f"nearest: .*{known}"):
            self._make().set_params(grid={known + "x": [1]}).fit(x, y, organisms)

    def test_folds_workers_and_seeds_that_cannot_be_are_refused(self) -> None:
        """All are checked in `fit`; a classifier that searches nothing may have no folds."""
        x, y, organisms = _trajectories(organisms=16)
        if "folds" in self._make().get_params():
            with refused(UsageError, "folds=1", "folds is 1; expected"):
                self._make().set_params(folds=1).fit(x, y, organisms)
        with refused(UsageError, "workers=0", "workers is 0; expected"):
            self._make(workers=0).fit(x, y, organisms)
        said = "random_state is None; expected a whole number"
        with refused(UsageError, "random_state=None", said):
            self._make(random_state=None).fit(x, y, organisms)


def _trajectories(
    *, organisms: int = 32, per_organism: int = 2, effect: float = 1.5, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Four rules; the first observable rises at a rate of its own. Session-major."""
    rng = np.random.default_rng(seed)
    rule = np.arange(organisms) % 4
    series = rng.standard_normal((organisms, SESSIONS, OBSERVABLES))
    series[:, :, 0] += effect * rule[:, None] * np.linspace(0, 2, SESSIONS)
    series = np.repeat(series, per_organism, axis=0)
    series += 0.01 * rng.standard_normal(series.shape)
    x = np.concatenate(
        [series.reshape(len(series), -1), rng.integers(0, 2, (len(series), STATIC))], axis=1
    )
    labels = np.array(["adam", "fa", "ia", "sgdm"])[rule]
    return x, np.repeat(labels, per_organism), np.repeat(np.arange(organisms), per_organism)
