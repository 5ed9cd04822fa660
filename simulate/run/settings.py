"""Settings in a recipe: of rules, architectures, tasks and training, checked where they stand."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lrplan.errors import UsageError
from lrplan.registry import Registry, nearest
from lrplan.simulate.architectures import architectures
from lrplan.simulate.rules import rules
from lrplan.simulate.run._values import (
    errors_at,
    is_distribution,
    is_number,
    like,
    only_known,
    refuse_distribution,
    table_of,
    whole,
)
from lrplan.simulate.tasks import Task, tasks

SCHEDULES = ("cosine", "constant")
STARTS = ("random", "pretrained")
TRAINING = ("epochs", "checkpoints", "schedule", "start", "pretrain_epochs")
REGISTRIES: dict[str, Registry[Any]] = {
    "rule": rules,
    "architecture": architectures,
    "task": tasks,
}
LARGEST_RATE = 1e6
PLACES = ("architecture", "task")
"""What a setting of a rule, and a rate, may stand by."""


@dataclass(frozen=True)
class Common:
    """What stands in a recipe for all its grids and draws: values, and no distributions.

    Parameters
    ----------
    origin : str
        What the recipe is called in messages.
    training : mapping
        ``[training]``.
    checkpoints : int
        Of every organism.
    settings : mapping
        By "rules", "architectures" or "tasks", name and setting.
    """

    origin: str
    training: Mapping[str, Any]
    checkpoints: int
    settings: Mapping[str, Mapping[str, Any]]

    @classmethod
    def parse(cls, raw: Mapping[str, Any], origin: str) -> Common:
        """Check what stands in a recipe for all; errors as for `check_settings`."""
        training = table_of(raw, "training", origin)
        only_known(training, TRAINING, f"{origin} [training]")
        checkpoints = whole(training.get("checkpoints", 21), "checkpoints", origin, least=2)
        kinds = ("rules", "architectures", "tasks")
        settings = {kind: table_of(raw, kind, origin) for kind in kinds}
        check_settings(settings, origin)
        training = {key: value for key, value in training.items() if key != "checkpoints"}
        return cls(origin, training, checkpoints, settings)

    @property
    def rules(self) -> Mapping[str, Any]:
        """Settings of rules, by rule; each may be tables by architecture and task."""
        return self.settings["rules"]

    def of(self, kind: str, name: str) -> dict[str, Any]:
        """Return the settings of one of the "architectures" or "tasks"."""
        return dict(self.settings[kind].get(name, {}))


def training_of(given: Mapping[str, Any], where: str) -> tuple[int, dict[str, Any]]:
    """Return the epochs, and the settings of training that go into a spec.

    A start from random weights is not written down: specs from before there was another keep
    their hash.
    """
    epochs = whole(given.get("epochs", 40), "epochs", where, least=1)
    schedule = given.get("schedule", "cosine")
    refuse_distribution(schedule, f"{where}: schedule")
    if schedule not in SCHEDULES:
        raise UsageError(f"{where}: unknown schedule {schedule!r}; {nearest(schedule, SCHEDULES)}")
    kept: dict[str, Any] = {"schedule": schedule}
    start = given.get("start", "random")
    refuse_distribution(start, f"{where}: start")
    if start not in STARTS:
        raise UsageError(f"{where}: unknown start {start!r}; {nearest(start, STARTS)}")
    if start == "pretrained":
        kept["start"] = start
        before = given.get("pretrain_epochs", epochs)
        kept["pretrain_epochs"] = whole(before, "pretrain_epochs", where, least=1)
    elif "pretrain_epochs" in given:
        raise UsageError(f"{where}: pretrain_epochs is given; it needs start = 'pretrained'")
    return epochs, kept


def check_settings(settings: Mapping[str, Mapping[str, Any]], origin: str) -> None:
    """Check tables of rules, architectures and tasks that hold values."""
    check_rule_settings(settings["rules"], origin)
    for kind in ("architectures", "tasks"):
        for name in settings[kind]:
            given = table_of(settings[kind], name, origin)
            where = f"{origin} [{kind}.{name}]"
            known = known_settings(kind, name, given, where)
            for key, value in given.items():
                like(value, known[key], key, where)


def known_settings(kind: str, name: str, given: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return the settings of an architecture or task; refuse one that is given and unknown.

    Parameters
    ----------
    kind : {"architectures", "tasks"}
        Of what.
    name : str
        As registered.
    given : mapping
        What a recipe gives, by setting.
    where : str
        The place in the recipe.
    """
    plugin = REGISTRIES[kind.removesuffix("s")].get(name)
    if isinstance(plugin, Task):
        _refuse_moved(given, plugin, where)
    only_known(given, tuple(plugin.settings), where)
    return dict(plugin.settings)


def _refuse_moved(given: Mapping[str, Any], task: Task, where: str) -> None:
    """Refuse settings that stand in a table of the task by now, and say how."""
    for table in dict.fromkeys(task.moved[key] for key in given if key in task.moved):
        old = [key for key in given if task.moved.get(key) == table]
        now = ", ".join(f"{key} = {given[key]!r}" for key in old)
        raise UsageError(
            f"{where}: {' and '.join(old)} moved into the table {table}; write "
            f"{table} = {{ {now} }}"
        )


def check_rule_settings(given: Mapping[str, Any], origin: str) -> None:
    """Check the settings of rules, each a value or tables by architecture and task."""
    for name in given:
        for key, value in table_of(given, name, origin).items():
            where = f"{origin} [rules.{name}] {key}"
            over_places(value, rule_check(name, key, where), where)


def rule_check(name: str, key: str, where: str) -> Callable[[Any], None]:
    """Return what refuses a value that a rule's setting cannot have."""
    rule = rules.get(name)

    def check(value: Any) -> None:
        refuse_distribution(value, where)
        with errors_at(where):
            rule.with_settings({key: value})

    return check


def over_places(
    value: Any, make: Callable[[Any], Any], where: str, kinds: Sequence[str] = PLACES
) -> Any:
    """Return a value, or tables by architecture and task, with `make` applied to what they hold."""
    if not isinstance(value, dict) or is_distribution(value):
        return make(value)
    kind = _kind_of_keys(value, kinds, where)
    left = [k for k in kinds if k != kind]
    return {name: over_places(each, make, where, left) for name, each in value.items()}


def at_place(given: Any, point: Mapping[str, Any], where: str) -> Any:
    """Return what stands for one combination: a value for all, or tables that lead to it.

    Tables are by architecture or by task, and theirs by the other; ``default`` stands for the
    rest. What stands nowhere is None.
    """
    left = list(PLACES)
    while isinstance(given, dict) and not is_distribution(given):
        kind = _kind_of_keys(given, left, where)
        left.remove(kind)
        given = given.get(point[kind], given.get("default"))
    return given


def rule_settings(
    tables: Sequence[Mapping[str, Any]], point: Mapping[str, Any], where: str
) -> dict[str, Any]:
    """Return the settings of a rule for one architecture and task; the last table counts."""
    found = {}
    for table in tables:
        for key, value in table.get(point["rule"], {}).items():
            one = at_place(value, point, f"{where} [rules.{point['rule']}] {key}")
            if one is not None:
                found[key] = one
    return found


def check_rate(rate: Any, rule: str, where: str) -> None:
    """Refuse what is no learning rate."""
    refuse_distribution(rate, f"{where}: learning_rate of {rule}")
    if not is_number(rate) or not 0 < rate < LARGEST_RATE:
        raise UsageError(f"{where}: learning_rate {rate!r} of {rule}; expected a positive number")


def _kind_of_keys(table: Mapping[str, Any], kinds: Sequence[str], where: str) -> str:
    """Say whether a table is one by architecture or by task; an unknown name is refused."""
    names = [name for name in table if name != "default"]
    for kind in kinds:
        if any(name in REGISTRIES[kind].names() for name in names):
            for name in names:
                if name not in REGISTRIES[kind].names():
                    raise UsageError(
                        f"{where}: unknown {kind} {name!r}; "
                        f"{nearest(name, REGISTRIES[kind].names())}"
                    )
            return kind
    if names and kinds:
        known = [name for kind in kinds for name in REGISTRIES[kind].names()]
        raise UsageError(
            f"{where}: unknown {' or '.join(kinds)} {names[0]!r}; {nearest(names[0], known)}"
        )
    if not kinds:
        raise UsageError(f"{where} is a table within two tables; expected a number or a list")
    return kinds[0]
