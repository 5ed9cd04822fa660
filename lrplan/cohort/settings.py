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
