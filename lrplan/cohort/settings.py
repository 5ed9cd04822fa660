"""Architectures' families and hyperparameter settings, in words that compare between rules."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

FAMILIES = {
    "alexnet": "alexnet",
    "convnet": "knet",
    "densenet": "densenet",
    "knet": "knet",
    "mlp": "mlp",
    "resnet": "resnet",
}
"""The family of architectures whose names begin with these letters.

Each `Architecture` declares the same; a cohort knows names alone, and may be read without torch.
"""
UNKNOWN = "unknown"
MOST_RANKS = 4
"""Different values of one rule, architecture and task beyond which thirds of them are named."""
THIRDS = ("low", "middle", "high")


def family_of(architecture: str) -> str:
    """Return the family of an architecture, by the letters that its name begins with.

    An architecture of no built-in family, such as that of a plug-in, is a family of its own.

    Examples
    --------
    >>> family_of("resnet18v2"), family_of("knet4_lrn"), family_of("my_net2")
    ('resnet', 'knet', 'my_net2')
    """
    letters = re.match(r"[a-z]*", architecture.lower())
    assert letters is not None
    return FAMILIES.get(letters[0], architecture)


def rate_ranks(labels: Mapping[str, np.ndarray], rates: np.ndarray) -> np.ndarray:
    """Rank learning rates among those of the same rule, architecture and task.

    Rules differ in their range of learning rates, and rates are chosen for each architecture and
    task (Nayebi et al., NeurIPS 2020), so that a rank compares between them and a rate does not.

    Parameters
    ----------
    labels : mapping of str to array (organism,)
        With ``rule``, ``architecture`` and ``task``.
    rates : array (organism,) of float
        Learning rates, or other numbers; NaN is unknown.

    Returns
    -------
    array (organism,) of int
        1 for the lowest rate; 0 where it is unknown.
    """
    out = np.zeros(len(rates), dtype=int)
    for rows in _cells(labels, rates):
        out[rows] = np.unique(rates[rows], return_inverse=True)[1].ravel() + 1
    return out


def rank_names(labels: Mapping[str, np.ndarray], values: np.ndarray) -> np.ndarray | None:
    """Name thirds of the ranks of values where organisms have too many to name each.

    Where every organism draws its own learning rate, a rate that is held out is one organism. A
    third of the rates is a condition that all rules share.

    Parameters
    ----------
    labels : mapping of str to array (organism,)
        With ``rule``, ``architecture`` and ``task``.
    values : array (organism,) of float
        Learning rates, batch sizes or other numbers; NaN is unknown.

    Returns
    -------
    array (organism,) of str, or None
        ``low``, ``middle`` or ``high`` among the values of the same rule, architecture and task,
        and ``unknown`` where the value is. None if no rule has more than four different values
        on an architecture and task: then each can be named.
    """
    ranks = rate_ranks(labels, values)
    cells = _cells(labels, values)
    if max((ranks[rows].max() for rows in cells), default=0) <= MOST_RANKS:
        return None
    out = np.full(len(values), UNKNOWN, dtype=object)
    for rows in cells:
        # The middle of a rank's place between 0 and 1, so that a single value is in the middle.
        place = (ranks[rows] - 0.5) / ranks[rows].max()
        out[rows] = np.array(THIRDS, dtype=object)[(place * len(THIRDS)).astype(int)]
    return out


def _cells(labels: Mapping[str, np.ndarray], values: np.ndarray) -> list[np.ndarray]:
    """Return the places of known values, for each rule, architecture and task."""
    keys = np.stack([labels[k].astype(str) for k in ("rule", "architecture", "task")], axis=1)
    kind = np.unique(keys, axis=0, return_inverse=True)[1].ravel()
    known = np.isfinite(values)
    return [np.flatnonzero(known & (kind == k)) for k in np.unique(kind[known])]


def settings(labels: Mapping[str, np.ndarray]) -> np.ndarray:
    """Name the hyperparameter setting of organisms, in words that compare between rules.

    It is the batch size and the rank of the learning rate; where rates or batch sizes are too
    many, their third (`rank_names`).

    Parameters
    ----------
    labels : mapping of str to array (organism,)
        With ``batch_size`` and ``learning_rate``, and what `rate_ranks` needs.

    Returns
    -------
    array (organism,) of str
    """
    parts = [batch_names(labels), rate_names(labels)]
    said = [[word for word in words if word] for words in zip(*parts, strict=True)]
    return np.array([", ".join(words) or UNKNOWN for words in said], dtype=object)


def batch_names(labels: Mapping[str, np.ndarray]) -> list[str]:
    """Name the batch size of organisms, or its third; nothing where it is unknown."""
    sizes = labels["batch_size"].astype(float)
    thirds = rank_names(labels, sizes)
    words = [f"{size:.0f}" for size in sizes] if thirds is None else thirds
    return [
        "" if np.isnan(size) else f"batch {word}" for size, word in zip(sizes, words, strict=True)
    ]


def rate_names(labels: Mapping[str, np.ndarray]) -> list[str]:
    """Name the rank of the learning rate of organisms, or its third; nothing where unknown."""
    rates = labels["learning_rate"].astype(float)
    thirds = rank_names(labels, rates)
    words = rate_ranks(labels, rates) if thirds is None else thirds
    return [
        "" if np.isnan(rate) else f"learning rate {word}"
        for rate, word in zip(rates, words, strict=True)
    ]
