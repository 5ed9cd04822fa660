"""The conditions under which organisms were trained, in words that compare between rules."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from lrplan.errors import DataError

if TYPE_CHECKING:
    from lrplan.cohort.store import Cohort

FAMILIES = ("alexnet", "knet", "mlp", "resnet")
UNKNOWN = "unknown"


def family_of(architecture: str) -> str:
    """Return the family of an architecture: the letters that its name begins with.

    An architecture of no known family is a family of its own.

    Examples
    --------
    >>> family_of("resnet18v2"), family_of("knet4_lrn"), family_of("my_net2")
    ('resnet', 'knet', 'my_net2')
    """
    letters = re.match(r"[a-z]*", architecture.lower())
    assert letters is not None
    return letters[0] if letters[0] in FAMILIES else architecture


def rate_ranks(labels: Mapping[str, np.ndarray], rates: np.ndarray) -> np.ndarray:
    """Rank learning rates among those of the same rule, architecture and task.

    Rules differ in their range of learning rates, and rates are chosen for each architecture and
    task (Nayebi et al., NeurIPS 2020), so that a rank compares between them and a rate does not.

    Parameters
    ----------
    labels : mapping of str to array (organism,)
        With ``rule``, ``architecture`` and ``task``.
    rates : array (organism,) of float
        Learning rates; NaN is unknown.

    Returns
    -------
    array (organism,) of int
        1 for the lowest rate; 0 where it is unknown.
    """
    keys = np.stack([labels[k].astype(str) for k in ("rule", "architecture", "task")], axis=1)
    kind = np.unique(keys, axis=0, return_inverse=True)[1].ravel()
    known = np.isfinite(rates)
    out = np.zeros(len(rates), dtype=int)
    for k in np.unique(kind):
        rows = known & (kind == k)
        out[rows] = np.unique(rates[rows], return_inverse=True)[1].ravel() + 1
    return out


def settings(labels: Mapping[str, np.ndarray]) -> np.ndarray:
    """Name the hyperparameter setting of organisms, in words that compare between rules.

    Parameters
    ----------
    labels : mapping of str to array (organism,)
        With ``batch_size`` and ``learning_rate``, and what `rate_ranks` needs.

    Returns
    -------
    array (organism,) of str
    """
    ranks = rate_ranks(labels, labels["learning_rate"].astype(float))
    out = []
    for batch, rank in zip(labels["batch_size"].astype(float), ranks, strict=True):
        said = [] if np.isnan(batch) else [f"batch {int(batch)}"]
        said += [f"learning rate {rank}"] if rank else []
        out.append(", ".join(said) or UNKNOWN)
    return np.array(out, dtype=object)


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
        ``architecture``, ``curriculum`` (batch size and data seed), ``task``, ``learning_rate``
        (its rank, see `rate_ranks`), ``regularisation`` (weight decay) and ``setting`` (batch
        size and rank of the learning rate).
    """
    organism = _organisms(cohort, populations)
    o = {str(name): v.values for name, v in cohort.organisms.items()}
    ranks = rate_ranks(o, o["learning_rate"].astype(float))
    decay = np.array([_weight_decay(s) for s in _settings_of(cohort)])
    curriculum = [
        f"batch {_word(b)}, data seed {_word(s)}"
        for b, s in zip(o["batch_size"], o["data_seed"], strict=True)
    ]
    return {
        "architecture": o["architecture"][organism],
        "curriculum": np.array(curriculum)[organism],
        "task": o["task"][organism],
        "learning_rate": np.array([f"rate {r or UNKNOWN}" for r in ranks])[organism],
        "regularisation": decay[organism],
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


def _weight_decay(settings: Mapping[str, Any]) -> str:
    """Return the weight decay that settings name, at any depth."""
    found: list[Any] = []

    def look(value: Any) -> None:
        if isinstance(value, Mapping):
            found.extend(v for k, v in value.items() if k == "weight_decay")
            for v in value.values():
                look(v)

    look(settings)
    return f"weight decay {found[0]:g}" if found else "weight decay by default"


def _word(value: Any) -> str:
    return UNKNOWN if np.isnan(value) else str(value)
