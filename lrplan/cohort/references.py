"""References: organisms under a known condition, beside those that learn under a rule.

An organism's spec says under ``settings.training`` what became of it besides learning:
``condition = "passive"`` is one that was exposed to the stimuli and did not learn its task, and
``preparation`` is the identity of the learning organism whose network it is, with the same initial
weights. It bears the labels of that organism, also its rule, and is never one of those told apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lrplan.randomness import keyed_rng

LEARNING, PASSIVE = "learning", "passive"
REFERENCES = ("passive", "control")
"""What a population may be compared with: its own preparation under passive exposure, or that of
another organism of the same architecture and task."""


def conditions_of(settings: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """Return the condition of each organism, (organism,), from the settings of its spec."""
    return np.array([_training(s).get("condition", LEARNING) for s in settings], dtype=object)


def preparations_of(settings: Sequence[Mapping[str, Any]], ids: Sequence[str]) -> np.ndarray:
    """Return whose network each organism is, (organism,): its own, or another's identity."""
    told = [_training(s).get("preparation", i) for s, i in zip(settings, ids, strict=True)]
    return np.array(told, dtype=object)


def _training(settings: Mapping[str, Any]) -> Mapping[str, Any]:
    training = settings.get("training", {})
    return training if isinstance(training, Mapping) else {}


def references_of(
    kind: str,
    *,
    organisms: np.ndarray,
    layers: np.ndarray,
    passive: np.ndarray,
    preparations: np.ndarray,
    alike: np.ndarray,
) -> np.ndarray:
    """Find the reference of each population.

    Parameters
    ----------
    kind : {"passive", "control"}
        One of `REFERENCES`.
    organisms, layers : array (population,)
        The organism's place, and the layer's name.
    passive : array (organism,) of bool
        Which may be references.
    preparations : array (organism,)
        Whose network each is.
    alike : array (organism,)
        What a control shares with the organism: a name of its architecture and task.

    Returns
    -------
    array (population,) of int
        A population of the same layer's name, -1 where there is none. Of several controls one is
        drawn, keyed by the organism, so that it is the same for all its layers and in all designs.
    """
    held: dict[tuple[Any, Any], list[int]] = {}
    for population in np.flatnonzero(passive[organisms]):
        owner = organisms[population]
        key = preparations[owner] if kind == PASSIVE else alike[owner]
        held.setdefault((key, layers[population]), []).append(int(population))
    found = np.full(len(organisms), -1)
    for population in np.flatnonzero(~passive[organisms]):
        owner = organisms[population]
        key = preparations[owner] if kind == PASSIVE else alike[owner]
        own = held.get((key, layers[population]), [])
        if kind != PASSIVE:
            own = [p for p in own if preparations[organisms[p]] != preparations[owner]]
        if len(own) > 1:
            draw = keyed_rng("reference", str(preparations[owner])).random()
            found[population] = own[int(draw * len(own))]
        elif own:
            found[population] = own[0]
    return found


def with_twins(
    chosen: np.ndarray, *, passive: np.ndarray, preparations: np.ndarray, ids: Sequence[str]
) -> np.ndarray:
    """Let organisms under passive exposure go with their learning twins.

    Parameters
    ----------
    chosen : array (organism,) of bool
        Which are chosen.
    passive, preparations : array (organism,)
        Which are under passive exposure, and whose network each is.
    ids : sequence of str
        Their identities.

    Returns
    -------
    array (organism,) of bool
        Of a passive organism whether its learning twin is chosen; where there is none, as it was.
    """
    place = {name: i for i, name in enumerate(ids) if not passive[i]}
    out = chosen.copy()
    for i in np.flatnonzero(passive):
        twin = place.get(str(preparations[i]))
        if twin is not None:
            out[i] = chosen[twin]
    return out
