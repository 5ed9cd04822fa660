"""Draws: organisms whose settings are drawn at random, for every rule from the same distributions.

Nothing but the rule is to differ between rules, so each draw is trained with every one of them:
with the same architecture, task and settings. Where rules have distributions of their own (learning
rates and the rules' settings), all take theirs at the same quantile, so that the rank of a rate
tells nothing about the rule. Source of the idea: domain randomisation (Tobin et al., IROS 2017).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from functools import lru_cache, partial
from typing import Any

from lrplan.cohort.spec import OrganismSpec
from lrplan.errors import UsageError
from lrplan.randomness import keyed_rng
from lrplan.simulate.optimizers import optimizers
from lrplan.simulate.rules import rules
from lrplan.simulate.run._values import (
    errors_at,
    is_distribution,
    like,
    list_of,
    only_known,
    table_of,
    whole,
)
from lrplan.simulate.run.distributions import Choice, Distribution, Span, distribution
from lrplan.simulate.run.settings import (
    REGISTRIES,
    Common,
    at_place,
    check_rate,
    known_settings,
    over_places,
    rule_check,
    rule_settings,
    training_of,
)

DRAW = (
    *("count", "seed", "rule", "architecture", "task", "batch_size"),
    *("learning_rate", "learning_rate_batch"),
    *("training", "passive", "rules", "optimizers", "architectures", "tasks"),
)
TRAINING_LIKE: dict[str, Any] = {
    "epochs": 40,
    "schedule": "cosine",
    "start": "random",
    "pretrain_epochs": 40,
}
"""A value of the type of each setting of training that can be drawn."""

Drawn = Distribution | Mapping[str, Any]
"""A distribution, or tables that lead to distributions."""


@dataclass(frozen=True)
class Draws:
    """What one ``[[draw]]`` of a recipe says.

    Parameters
    ----------
    where : str
        Its place in the recipe, for messages.
    common : Common
        What stands in the recipe for all its tables.
    count : int
        How many draws.
    seed : int
        Draw `i` depends on it, on `i`, and on the distributions; not on `count`.
    rules : tuple of str
        With which each draw is trained.
    architecture, task, batch_size : Choice or Span
        Of a draw.
    learning_rate : mapping of str to distribution, or tables of them by place
        By rule, at the batch size `reference`; what it lacks has the rule's own rate.
    reference : int or None
        To which the rates are stated; None takes them as they are.
    training : mapping of str to distribution
        By setting.
    rule_tables : tuple of mapping
        By rule and setting: those of optimizers, then those of rules, which go before.
    settings : mapping
        By "architectures" or "tasks", name and setting.
    """

    where: str
    common: Common
    count: int
    seed: int
    rules: tuple[str, ...]
    architecture: Distribution
    task: Distribution
    batch_size: Distribution
    learning_rate: Mapping[str, Drawn]
    reference: int | None
    training: Mapping[str, Distribution]
    rule_tables: tuple[Mapping[str, Mapping[str, Drawn]], ...]
    settings: Mapping[str, Mapping[str, Mapping[str, Drawn]]]

    def specs(self) -> Iterator[OrganismSpec]:
        """Give the organisms: draw after draw, each with every rule."""
        for i in range(self.count):
            for rule in self.rules:
                yield self.spec(i, rule)

    def spec(
        self, i: int, rule: str, architecture: str | None = None, task: str | None = None
    ) -> OrganismSpec:
        """Return the organism of draw `i`, from 0, with a rule.

        Parameters
        ----------
        i, rule
            Which.
        architecture, task : str, optional
            In place of those that are drawn.
        """
        point = {
            "rule": rule,
            "architecture": architecture or self._value(self.architecture, i, "architecture"),
            "task": task or self._value(self.task, i, "task"),
        }
        batch = self._value(self.batch_size, i, "batch_size")
        training = dict(self.common.training)
        training |= {k: self._value(d, i, "training", k) for k, d in self.training.items()}
        if "start" in self.training and training["start"] == "random":
            # They stand for the draws that start pretrained.
            training.pop("pretrain_epochs", None)
        epochs, kept = training_of(training, self.where)
        drawn = rule_settings(self.rule_tables, point, self.where)
        fixed = rule_settings((self.common.rules,), point, self.where)
        rate = self._value(self.rate(point), i, "learning_rate")
        return OrganismSpec(
            **point,
            batch_size=batch,
            learning_rate=self.rate_at(rate, batch),
            model_seed=i,
            data_seed=self.seed,
            epochs=epochs,
            checkpoints=self.common.checkpoints,
            settings={
                "rule": fixed | {k: self._value(d, i, "rules", k) for k, d in drawn.items()},
                "architecture": self._settings("architectures", point["architecture"], i),
                "task": self._settings("tasks", point["task"], i),
                "training": kept,
            },
        )

    def places(self) -> list[dict[str, str]]:
        """Return the rules, architectures and tasks that may meet."""
        # Names are never drawn from a range.
        chosen = [d.possible() for d in (self.architecture, self.task) if isinstance(d, Choice)]
        return [
            {"rule": rule, "architecture": architecture, "task": task}
            for rule, architecture, task in itertools.product(self.rules, *chosen)
        ]

    def is_drawn(self, setting: str, point: Mapping[str, str]) -> bool:
        """Say whether a setting of the rule differs between draws."""
        drawn = rule_settings(self.rule_tables, point, self.where).get(setting)
        return isinstance(drawn, Span) or (isinstance(drawn, Choice) and len(drawn.possible()) > 1)

    def rate_at(self, rate: float, batch_size: int) -> float:
        """Return a learning rate, as it is stated, for a batch size."""
        return float(rate if self.reference is None else rate * batch_size / self.reference)

    def rate(self, point: Mapping[str, str]) -> Distribution:
        """Return the learning rates of a rule with an architecture and task."""
        rule = point["rule"]
        where = f"{self.where} learning_rate of {rule}"
        found = at_place(self.learning_rate.get(rule), point, where)
        return Choice((rules.get(rule).learning_rate,)) if found is None else found

    def _settings(self, kind: str, name: str, i: int) -> dict[str, Any]:
        fixed = self.common.of(kind, name)
        drawn = self.settings[kind].get(name, {})
        return fixed | {k: self._value(d, i, kind, k) for k, d in drawn.items()}

    def _value(self, drawn: Drawn, i: int, *place: str) -> Any:
        """Return the value of draw `i` at one place; a table is drawn entry by entry."""
        if isinstance(drawn, Mapping):
            return {key: self._value(d, i, *place, key) for key, d in drawn.items()}
        return drawn.at(_quantiles(self.seed, self.count, *place)[i])


@lru_cache(maxsize=1024)
def _quantiles(seed: int, count: int, *place: str) -> tuple[float, ...]:
    """Return the quantiles of all draws at one place; fewer draws have the first of them."""
    return tuple(keyed_rng("draw", seed, *place).random(count).tolist())


def parse_draws(raw: Mapping[str, Any], common: Common, where: str) -> Draws:
    """Check one ``[[draw]]`` of a recipe.

    Raises
    ------
    UsageError
        If it names what does not exist, values that cannot be, or what nothing is drawn from.
    """
    for key in ("model_seed", "data_seed"):
        if key in raw:
            raise UsageError(
                f"{where}: {key} is given; a draw has none, as its number, from 0, tells apart "
                "what is otherwise equal. Leave it out, or give seed"
            )
    only_known(raw, DRAW, where)
    if "count" not in raw:
        raise UsageError(f"{where}: count is missing; expected the number of draws")
    if is_distribution(raw.get("rule")):
        raise UsageError(
            f"{where}: rule is a distribution, but each draw is trained with every rule; expected "
            "a name or a list of names"
        )
    names = list_of(raw, "rule", where)
    for name in names:
        with errors_at(f"{where}: rule"):
            rules.get(name)
    reference = raw.get("learning_rate_batch")
    if reference is not None:
        whole(reference, "learning_rate_batch", where, least=1)
    return Draws(
        where=where,
        common=common,
        count=whole(raw["count"], "count", where, least=1),
        seed=whole(raw.get("seed", 0), "seed", where, least=0),
        rules=tuple(names),
        architecture=_names(raw, "architecture", where),
        task=_names(raw, "task", where),
        batch_size=_numbers(raw.get("batch_size", 64), 64, f"{where}: batch_size", least=2),
        learning_rate=_rates(raw.get("learning_rate", {}), names, where),
        reference=reference,
        training=_training(table_of(raw, "training", where), common, f"{where} [training]"),
        rule_tables=(
            _of_optimizers(table_of(raw, "optimizers", where), names, where),
            _of_rules(table_of(raw, "rules", where), where),
        ),
        settings={
            kind: _of_plugins(table_of(raw, kind, where), kind, where)
            for kind in ("architectures", "tasks")
        },
    )


def _names(raw: Mapping[str, Any], kind: str, where: str) -> Distribution:
    """Return the architectures or tasks that are drawn."""
    if kind not in raw:
        raise UsageError(f"{where}: {kind} is missing; expected a name, or a list to draw from")
    return distribution(raw[kind], "", f"{where}: {kind}", REGISTRIES[kind].get)


def _numbers(given: Any, default: int, where: str, *, least: int) -> Distribution:
    """Return the whole numbers that are drawn."""
    place, _, key = where.rpartition(": ")
    return distribution(given, default, where, lambda v: whole(v, key, place, least=least))


def _rates(given: Any, names: list[str], where: str) -> dict[str, Drawn]:
    """Return the learning rates that are drawn, by rule."""
    if not isinstance(given, dict) or is_distribution(given):
        given = dict.fromkeys(names, given)
    for rule in given:
        with errors_at(f"{where}: learning_rate"):
            rules.get(rule)
    return {rule: _rates_of(rule, value, where) for rule, value in given.items()}


def _rates_of(rule: str, value: Any, where: str) -> Drawn:
    """Return the learning rates of one rule, or tables of them by architecture and task."""
    default = rules.get(rule).learning_rate

    def make(leaf: Any) -> Distribution:
        place = f"{where}: learning_rate of {rule}"
        return distribution(leaf, default, place, lambda v: check_rate(v, rule, where))

    found: Drawn = over_places(value, make, f"{where} learning_rate of {rule}")
    return found


def _training(given: Mapping[str, Any], common: Common, where: str) -> dict[str, Distribution]:
    """Return the settings of training that are drawn; all that are listed are checked."""
    only_known(given, tuple(TRAINING_LIKE), where)

    def drawn(key: str, value: Any) -> Distribution:
        needs = {"start": "pretrained"} if key == "pretrain_epochs" else {}
        check = partial(_check_training, needs, key, where)
        return distribution(value, TRAINING_LIKE[key], f"{where}: {key}", check)

    found = {key: drawn(key, value) for key, value in given.items()}
    starts = found.get("start", Choice((common.training.get("start", "random"),)))
    if "pretrain_epochs" in found and "pretrained" not in getattr(starts, "values", ()):
        raise UsageError(f"{where}: pretrain_epochs is given; it needs start = 'pretrained'")
    return found


def _check_training(needs: Mapping[str, Any], key: str, where: str, value: Any) -> None:
    training_of({**needs, key: value}, where)


def _of_rules(given: Mapping[str, Any], where: str) -> dict[str, dict[str, Drawn]]:
    """Return the settings of rules that are drawn, by rule and setting."""
    return {
        name: {
            key: _of_rule(name, key, value, f"{where} [rules.{name}] {key}")
            for key, value in table_of(given, name, where).items()
        }
        for name in given
    }


def _of_optimizers(
    given: Mapping[str, Any], names: list[str], where: str
) -> dict[str, dict[str, Drawn]]:
    """Return the settings of optimizers that are drawn, by each rule that has the optimizer."""
    found: dict[str, dict[str, Drawn]] = {}
    for optimizer in given:
        known = [f.name for f in fields(optimizers.get(optimizer))]  # type: ignore[arg-type]
        mine = [rule for rule in names if rules.get(rule).optimizer_name == optimizer]
        if not mine:
            raise UsageError(
                f"{where} [optimizers.{optimizer}]: none of the rules {', '.join(names)} has the "
                f"optimizer {optimizer!r}; leave it out"
            )
        table = table_of(given, optimizer, where)
        only_known(table, known, f"{where} [optimizers.{optimizer}]")
        for rule in mine:
            found[rule] = {
                key: _of_rule(rule, key, value, f"{where} [optimizers.{optimizer}] {key}")
                for key, value in table.items()
            }
    return found


def _of_rule(name: str, key: str, value: Any, where: str) -> Drawn:
    """Return one setting of a rule, or tables of it by architecture and task."""
    check = rule_check(name, key, where)
    default = rules.get(name).settings().get(key, 0.0)
    found: Drawn = over_places(value, lambda leaf: distribution(leaf, default, where, check), where)
    return found


def _of_plugins(given: Mapping[str, Any], kind: str, where: str) -> dict[str, dict[str, Drawn]]:
    """Return the settings of architectures or tasks that are drawn, by name and setting."""
    found = {}
    for name in given:
        table, place = table_of(given, name, where), f"{where} [{kind}.{name}]"
        known = known_settings(kind, name, table, place)
        found[name] = {
            key: _of_plugin(value, known[key], key, place) for key, value in table.items()
        }
    return found


def _of_plugin(value: Any, default: Any, key: str, where: str) -> Drawn:
    """Return one setting; where it is a table itself, each of its entries may be drawn."""
    if isinstance(default, dict) and isinstance(value, dict) and not is_distribution(value):
        return {
            name: distribution(each, 0.0, f"{where} {key}.{name}", lambda v: None)
            if is_distribution(each)
            else Choice((each,))
            for name, each in value.items()
        }
    return distribution(value, default, f"{where}: {key}", lambda v: like(v, default, key, where))
