"""What a cohort knows of recordings beside their labels."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from lrplan.errors import DataError
from lrplan.measure.trajectories import Trajectories

if TYPE_CHECKING:
    from lrplan.cohort import Cohort


def performance(cohort: Cohort, populations: np.ndarray) -> np.ndarray:
    """Return the accuracy in the task of each population's organism (recording, checkpoint).

    Raises
    ------
    DataError
        If it is not finite somewhere.
    """
    of_organism = cohort.read_variable("behaviour", "performance").astype(float)
    values = of_organism[cohort.population_table["organism"].values[populations]]
    if not np.isfinite(values).all():
        raise DataError(
            f"the cohort {cohort.name!r} lacks the performance of some organisms at some "
            "checkpoints; organisms cannot be matched in it"
        )
    return values


def conditions(cohort: Cohort, data: Trajectories) -> dict[str, np.ndarray]:
    """Return what can be held out as a whole: a name for each recording under each heading."""
    organism = cohort.population_table["organism"].values[data.populations]
    o = cohort.organisms
    batch = o["batch_size"].values[organism]
    seed = o["data_seed"].values[organism]
    return {
        "architecture": data.labels["architecture"],
        "curriculum": np.array(
            [f"batch {b}, data seed {s}" for b, s in zip(batch, seed, strict=True)]
        ),
        "task": data.labels["task"],
        "learning_rate": _rate_ranks(
            data.labels, o["learning_rate"].values[organism].astype(float)
        ),
        "regularisation": np.array(
            [_weight_decay(_settings(s)) for s in o["spec"].values[organism]]
        ),
    }


def _rate_ranks(labels: Mapping[str, np.ndarray], rates: np.ndarray) -> np.ndarray:
    """Name rates by their rank within a rule, architecture and task: rules differ in range."""
    out = np.empty(len(rates), dtype=object)
    keys = np.stack([labels[k] for k in ("rule", "architecture", "task")], axis=1)
    _, kind = np.unique(keys, axis=0, return_inverse=True)
    for k in np.unique(kind):
        rows = kind.ravel() == k
        _, rank = np.unique(rates[rows], return_inverse=True)
        out[rows] = [f"rate {r + 1}" for r in rank.ravel()]
    return out.astype(str)


def _settings(spec: Any) -> Mapping[str, Any]:
    """Return the settings of a spec, none where it is unknown."""
    return dict(json.loads(str(spec) or "{}").get("settings", {}))


def _weight_decay(settings: Mapping[str, Any]) -> str:
    """Return the weight decay that settings name."""
    found: list[Any] = []

    def look(value: Any) -> None:
        if isinstance(value, Mapping):
            found.extend(v for k, v in value.items() if k == "weight_decay")
            for v in value.values():
                look(v)

    look(settings)
    return f"weight decay {found[0]:g}" if found else "weight decay by default"


def training_start(cohort: Cohort, data: Trajectories) -> np.ndarray:
    """Return from what weights each recording's organism started: ``random`` or what it says."""
    organism = cohort.population_table["organism"].values[data.populations]
    out = []
    for text in cohort.organisms["spec"].values[organism]:
        out.append(str(_settings(text).get("training", {}).get("start") or "random"))
    return np.array(out)
