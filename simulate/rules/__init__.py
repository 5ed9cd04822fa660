"""Learning rules: credit assignment + optimizer. One file is one rule."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from lrplan.errors import UsageError
from lrplan.registry import Registry, nearest
from lrplan.simulate.credits import Credit, credits
from lrplan.simulate.optimizers import Optimizer, optimizers


@dataclass(frozen=True)
class Rule:
    """How credit reaches a weight, and how credit becomes an update.

    Parameters
    ----------
    name : str
        As registered.
    credit : Credit
    optimizer : Optimizer
        Registered frozen dataclasses whose fields are the rule's settings.
    learning_rate : float
        Peak step size where a recipe names none.
    summary, cites : str
        One line of what it is, and its source.
    """

    name: str
    credit: Credit
    optimizer: Optimizer
    learning_rate: float
    summary: str
    cites: str

    @property
    def credit_name(self) -> str:
        """The name under which the credit is registered."""
        return self._registered(credits, self.credit)

    @property
    def optimizer_name(self) -> str:
        """The name under which the optimizer is registered."""
        return self._registered(optimizers, self.optimizer)

    def _registered(self, registry: Registry[Any], part: object) -> str:
        for name, entry in registry.items():
            if entry is type(part):
                return name
        raise UsageError(
            f"the {registry.kind} {type(part).__name__} of rule {self.name!r} is not registered; "
            f"put @{registry.kind}s.register(NAME) above its class"
        )

    def settings(self) -> dict[str, Any]:
        """Return every setting with its value."""
        return {
            f.name: getattr(part, f.name)
            for part in (self.credit, self.optimizer)
            for f in fields(part)  # type: ignore[arg-type]
        }

    def with_settings(self, settings: Mapping[str, Any]) -> Rule:
        """Return the rule with some settings changed; an unknown one raises `UsageError`."""
        known = self.settings()
        for key, value in settings.items():
            if key not in known:
                raise UsageError(
                    f"rule {self.name!r} has no setting {key!r}; {nearest(key, known)}"
                )
            if type(known[key]) is bool and type(value) is not bool:
                raise UsageError(f"{self.name}.{key} is {value!r}; expected true or false")
            if type(known[key]) is not bool and (
                isinstance(value, bool)
                or not isinstance(value, int | float)
                or not math.isfinite(value)
            ):
                raise UsageError(f"{self.name}.{key} is {value!r}; expected a number")
        parts = []
        for part in (self.credit, self.optimizer):
            names = {f.name for f in fields(part)}  # type: ignore[arg-type]
            changes = {k: v for k, v in settings.items() if k in names}
            parts.append(replace(part, **changes))  # type: ignore[type-var]
        return replace(self, credit=parts[0], optimizer=parts[1])  # type: ignore[arg-type]


rules: Registry[Rule] = Registry("rule", package="lrplan.simulate.rules", group="lrplan.rules")
