"""The conditions under which organisms were trained, to be held out as a whole."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from lrplan.cohort.settings import UNKNOWN, batch_names, rank_names, rate_names
from lrplan.errors import DataError

if TYPE_CHECKING:
    from lrplan.cohort.store import Cohort


def conditions(cohort: Cohort, populations: np.ndarray) -> dict[str, np.ndarray]:
    """Return what can be held out as a whole: a name for each population under each heading.

    Parameters
    ----------
    cohort : Cohort
        Whose.
    populations : array of int
        Which populations.

    Returns
    -------
    dict of str to array (population,) of str
        ``family``, ``architecture``, ``curriculum`` (batch size and data seed), ``task``,
        ``learning_rate`` (its rank, see `lrplan.cohort.settings.rate_ranks`),
        ``regularisation`` (weight decay) and ``setting`` (batch size and rank of the learning
        rate). Rates, batch sizes and decays that are too many go by thirds, see
        `lrplan.cohort.settings.rank_names`.
    """
    organism = _organisms(cohort, populations)
    o = {str(name): v.values for name, v in cohort.organisms.items()}
    curriculum = [
        f"{batch or f'batch {UNKNOWN}'}, data seed {_word(seed)}"
        for batch, seed in zip(batch_names(o), o["data_seed"], strict=True)
    ]
    rates = [f"rate {name.removeprefix('learning rate ') or UNKNOWN}" for name in rate_names(o)]
    return {
        "family": cohort.families[organism],
        "architecture": o["architecture"][organism],
        "curriculum": np.array(curriculum)[organism],
        "task": o["task"][organism],
        "learning_rate": np.array(rates)[organism],
        "regularisation": np.array(_decay_names(cohort, o))[organism],
        "setting": cohort.settings[organism],
    }


def training_start(cohort: Cohort, populations: np.ndarray) -> np.ndarray:
    """Return from what weights each population's organism started: ``random`` or what it says."""
    starts = [s.get("training", {}).get("start") or "random" for s in _settings_of(cohort)]
    return np.array(starts, dtype=str)[_organisms(cohort, populations)]


def performance(cohort: Cohort, populations: np.ndarray) -> np.ndarray:
    """Return the accuracy in the task of each population's organism (population, checkpoint).

    Raises
    ------
    DataError
        If it is not finite somewhere.
    """
    of_organism = cohort.read_variable("behaviour", "performance").astype(float)
    values = of_organism[_organisms(cohort, populations)]
    if not np.isfinite(values).all():
        raise DataError(
            f"the cohort {cohort.name!r} lacks the performance of some organisms at some "
            "checkpoints; organisms cannot be matched in it"
        )
    return values


def _organisms(cohort: Cohort, populations: np.ndarray) -> np.ndarray:
    return np.asarray(cohort.population_table["organism"].values[populations])


def _settings_of(cohort: Cohort) -> list[Mapping[str, Any]]:
    """Return the settings in each organism's spec, none where it is unknown."""
    specs = cohort.organisms["spec"].values
    return [dict(json.loads(str(spec) or "{}").get("settings", {})) for spec in specs]


def _decay_names(cohort: Cohort, labels: Mapping[str, np.ndarray]) -> list[str]:
    """Name the weight decay of each organism, or its third."""
    decays = np.array([_weight_decay(s) for s in _settings_of(cohort)])
    thirds = rank_names(labels, decays)
    words = [f"{d:g}" for d in decays] if thirds is None else thirds
    return [
        f"weight decay {'by default' if np.isnan(d) else word}"
        for d, word in zip(decays, words, strict=True)
    ]


def _weight_decay(settings: Mapping[str, Any]) -> float:
    """Return the weight decay that settings name, at any depth; NaN if they name none."""
    found: list[Any] = []

    def look(value: Any) -> None:
        if isinstance(value, Mapping):
            found.extend(v for k, v in value.items() if k == "weight_decay")
            for v in value.values():
                look(v)

    look(settings)
    return float(found[0]) if found else math.nan


def _word(value: Any) -> str:
    return UNKNOWN if np.isnan(value) else str(value)
