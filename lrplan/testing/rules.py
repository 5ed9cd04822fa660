"""What every rule keeps to."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import numpy as np

from lrplan.errors import UsageError
from lrplan.registry import Registry
from lrplan.simulate.credits import credits
from lrplan.simulate.learn.train import train
from lrplan.simulate.optimizers import optimizers
from lrplan.simulate.rules import Rule, rules
from lrplan.simulate.run.recipe import parse_recipe
from lrplan.testing._contract import Contract, refused, told

RECIPE = """
[grid]
rule = "{rule}"
architecture = ["mlp", "knet4"]
task = ["digits", "digits_simclr"]
batch_size = 128
[training]
epochs = 1
checkpoints = 3
[storage]
units = 16
stimuli = 3
synapses = 24
pairs = 4
pair_stimuli = 2
validation = 4
[architectures.mlp]
width = 16
[architectures.knet4]
channels = [3, 4, 5]
"""


class RuleContract(Contract):
    """What every rule keeps to. Its credit and its optimizer have contracts of their own."""

    registry: ClassVar[Registry[Any]] = rules

    def _rule(self) -> Rule:
        return rules.get(self.name)

    def test_it_says_what_it_is(self) -> None:
        """Labels that go into cohorts: its name, its credit, its optimizer."""
        rule = self._rule()
        told(rule, "summary", "cites")
        assert type(rule.credit) is credits.get(rule.credit_name)
        assert type(rule.optimizer) is optimizers.get(rule.optimizer_name)
        assert 0 < rule.learning_rate < 10, f"learning_rate is {rule.learning_rate}"

    def test_it_is_settings_in_frozen_dataclasses(self) -> None:
        """A recipe sets each by its name, and the registered rule stays what it is."""
        rule = self._rule()
        for part in (rule, rule.credit, rule.optimizer):
            assert dataclasses.is_dataclass(part)
            with refused(dataclasses.FrozenInstanceError, f"a change of {type(part).__name__}"):
                part.name = "other"  # type: ignore[misc]
        parts: tuple[Any, ...] = (rule.credit, rule.optimizer)
        names = [f.name for part in parts for f in dataclasses.fields(part)]
        assert len(names) == len(set(names)), "credit and optimizer share the name of a setting"
        settings = rule.settings()
        assert sorted(settings) == sorted(names)
        for key, value in settings.items():
            assert isinstance(value, bool | int | float), f"{key} is neither number nor switch"
        assert rule.with_settings({}) == rule
        for key, value in settings.items():
            other = _another(value)
            changed = rule.with_settings({key: other})
            assert changed.settings() == settings | {key: other}
            assert self._rule().settings() == settings, "the registered rule was changed"

    def test_an_unknown_setting_is_refused_with_the_nearest(self) -> None:
        """As every unknown name is."""
        rule = self._rule()
        for known in rule.settings():
            said = f"has no setting '{known}x'; nearest: .*{known}"
            with refused(UsageError, f"the setting {known}x", said):
                rule.with_settings({known + "x": 1})

    def test_it_trains(self) -> None:
        """A small dense and a small convolutional network, on each objective, at its own rate."""
        made = parse_recipe(RECIPE.format(rule=self.name))
        for spec in made.specs:
            trained = train([spec], made.storage)[0]
            where = f"on {spec.architecture} and {spec.task}"
            assert not trained.diverged, f"it diverged {where} at its default learning rate"
            for key in ("responses", "synapses", "paired", "observables", "performance", "loss"):
                assert np.isfinite(trained.arrays[key]).all(), f"{key} is not finite {where}"
            moved = trained.arrays["synapses"]
            assert (moved[:, 0] != moved[:, -1]).any(axis=-1).all(), f"a layer stayed {where}"


def _another(value: bool | int | float) -> bool | int | float:
    """Return another value of a setting, of the same kind."""
    if isinstance(value, bool):
        return not value
    return value + 1 if isinstance(value, int) else value / 2 + 0.125
