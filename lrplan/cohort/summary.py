"""What a cohort holds, counted, and its organisms as records."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import Any, Protocol

import numpy as np
import xarray as xr

from lrplan.cohort.format import CATEGORIES, VARIABLE_OF
from lrplan.cohort.learned import LEARNED, UNKNOWN, counts
from lrplan.cohort.references import LEARNING, PASSIVE


class Held(Protocol):
    """What is counted of a cohort."""

    name: str
    attributes: dict[str, Any]
    organisms: xr.Dataset
    population_table: xr.Dataset

    @property
    def rules(self) -> list[str]:
        """The rules, sorted."""

    @property
    def checkpoints(self) -> int:
        """Number of checkpoints."""

    @property
    def stimuli(self) -> int:
        """Number of stimuli."""

    @property
    def bytes(self) -> int:
        """Its size on disk."""

    @property
    def variables(self) -> Mapping[tuple[str, str], Any]:
        """What it stores, by group and name."""

    @property
    def passive(self) -> np.ndarray:
        """Whether each organism was under passive exposure."""

    @property
    def preparations(self) -> np.ndarray:
        """Whose network each organism is."""

    @property
    def fates(self) -> np.ndarray:
        """What became of each organism in training."""

    def final_performance(self) -> np.ndarray:
        """Return each organism's performance at the end."""

    def read_variable(self, group: str, name: str) -> np.ndarray:
        """Return one variable as it lies on disk."""

    def stores_units(self, measure: str) -> bool:
        """Return whether single units of a measure are stored."""

    def stored_units(self, measure: str) -> np.ndarray:
        """Return how many each population holds."""


def info_of(cohort: Held) -> dict[str, Any]:
    """Return what `Cohort.info` does."""
    o = cohort.organisms
    tasks = sorted(set(o["task"].values))
    stored = {m: int(cohort.stored_units(m).min()) for m in VARIABLE_OF if cohort.stores_units(m)}
    diverged = ("organisms", "diverged") in cohort.variables
    learners = {r: (o["rule"].values == r) & ~cohort.passive for r in cohort.rules}
    return {
        "name": cohort.name,
        "format_version": cohort.attributes["format_version"],
        "organisms": int(o.sizes["organism"]),
        "passive": int(cohort.passive.sum()),
        "by_rule": {r: int(chosen.sum()) for r, chosen in learners.items()},
        "rules": cohort.rules,
        "architectures": sorted(set(o["architecture"].values)),
        "tasks": tasks,
        "diverged": int(o["diverged"].values.sum()) if diverged else None,
        "fates": {r: counts(cohort.fates[chosen]) for r, chosen in learners.items()},
        "populations": int(cohort.population_table.sizes["population"]),
        "checkpoints": cohort.checkpoints,
        "stimuli": cohort.stimuli if "activity" in stored else None,
        "units_stored": stored.get("activity"),
        "stored": stored,
        "bytes": cohort.bytes,
        "chance": _medians(cohort, tasks, _chance(cohort)),
        "first_performance": _medians(cohort, tasks, _first_performance(cohort)),
        "final_performance": _medians(cohort, tasks, cohort.final_performance()),
    }


def _medians(
    cohort: Held, tasks: list[str], values: np.ndarray
) -> dict[str, dict[str, float | None]]:
    """Return the medians of values (organism,), by task and rule; passive twins left out."""
    o = cohort.organisms
    medians: dict[str, dict[str, float | None]] = {}
    for task, rule in product(tasks, cohort.rules):
        chosen = values[(o["task"].values == task) & (o["rule"].values == rule) & ~cohort.passive]
        chosen = chosen[np.isfinite(chosen)]
        medians.setdefault(task, {})[rule] = float(np.median(chosen)) if chosen.size else None
    return medians


def _chance(cohort: Held) -> np.ndarray:
    """Return the performance of who learned nothing, (organism,); NaN where it is not stored."""
    if ("behaviour", "chance") not in cohort.variables:
        return np.full(cohort.organisms.sizes["organism"], np.nan)
    return cohort.read_variable("behaviour", "chance")


def _first_performance(cohort: Held) -> np.ndarray:
    """Return the performance before training, (organism,); NaN where it is not stored."""
    if ("behaviour", "performance") not in cohort.variables:
        return np.full(cohort.organisms.sizes["organism"], np.nan)
    return cohort.read_variable("behaviour", "performance")[:, 0]


def organism_records(cohort: Held) -> list[dict[str, Any]]:
    """Return what `Cohort.organism_table` does."""
    final = cohort.final_performance()
    layers: dict[int, list[dict[str, Any]]] = {}
    table = cohort.population_table
    for i, organism in enumerate(table["organism"].values):
        layers.setdefault(int(organism), []).append(
            {
                "layer": str(table["layer"].values[i]),
                "position": str(table["layer_position"].values[i]),
                "units": _known(table["units"].values[i]),
            }
        )
    names = ("id", *CATEGORIES, "batch_size", "learning_rate", "model_seed", "data_seed")
    diverged = ("organisms", "diverged") in cohort.variables
    out = []
    for i in range(cohort.organisms.sizes["organism"]):
        record = {name: _known(cohort.organisms[name].values[i]) for name in names}
        marked = bool(cohort.organisms["diverged"].values[i])
        record["diverged"] = marked if diverged else None
        record["condition"] = PASSIVE if cohort.passive[i] else LEARNING
        record["preparation"] = str(cohort.preparations[i])
        fate = cohort.fates[i]
        record["learned"] = None if fate == UNKNOWN else bool(fate == LEARNED)
        record["layers"] = layers.get(i, [])
        record["final_performance"] = float(final[i]) if np.isfinite(final[i]) else None
        out.append(record)
    return out


def _known(value: Any) -> Any:
    """Return a label as Python has it; None if it is unknown."""
    plain = value.item() if hasattr(value, "item") else str(value)
    return None if isinstance(plain, float) and np.isnan(plain) else plain
