"""Bagging by organism: honest votes for every recording from one forest."""

from __future__ import annotations

import numpy as np
from sklearn import config_context
from sklearn.tree import DecisionTreeClassifier

TREES = 100
SHARE = 0.3
"""About the share of different recordings that a tree of the rule classifier sees: it draws half of
four fifths, with replacement."""


def out_of_bag_votes(
    values: np.ndarray,
    rules: np.ndarray,
    organisms: np.ndarray,
    *,
    seed: int,
    trees: int = TREES,
    share: float = SHARE,
) -> np.ndarray:
    """Predict each recording by the trees of a forest that saw nothing of its organism.

    Each tree is grown on all recordings of a part of the organisms, drawn without replacement,
    of each rule alike; the trees whose part lacks an organism vote on its recordings. So one
    forest does the work of a grouped cross-validation (Breiman, Machine Learning 2001, out-of-bag
    estimates; here whole organisms are in the bag or out of it).

    Parameters
    ----------
    values : array (recording, feature) of float32
        Finite features.
    rules, organisms : array (recording,)
        What is predicted, and what is never on both sides.
    seed : int
        Of organisms and trees. The same seed draws the same organisms whatever the values are.
    trees : int, default 100
        Trees. Each votes on about a share of 1 - `share` of the recordings.
    share : float, default 0.3
        Share of each rule's organisms that a tree sees, at least one and never all.

    Returns
    -------
    array (recording, rule)
        Shares of the votes, rules sorted; NaN in the rare case that all trees saw an organism.
    """
    kinds, index = np.unique(rules, return_inverse=True)
    _, first, organism = np.unique(organisms, return_index=True, return_inverse=True)
    weight = 1 / np.bincount(index)[index]
    members = [np.flatnonzero(index[first] == k) for k in range(len(kinds))]
    drawn = [min(max(1, round(share * len(m))), len(m) - 1) for m in members]
    values = np.ascontiguousarray(values, dtype=np.float32)
    votes = np.zeros((len(values), len(kinds)))
    voters = np.zeros(len(values))
    rng = np.random.default_rng(seed)
    for _ in range(trees):
        bag = np.zeros(len(first), dtype=bool)
        for own, n in zip(members, drawn, strict=True):
            bag[rng.permutation(own)[:n]] = True
        inside = bag[organism]
        tree = DecisionTreeClassifier(max_features="sqrt", random_state=int(rng.integers(2**31)))
        # What is checked once for the forest need not be checked again for each tree.
        with config_context(assume_finite=True, skip_parameter_validation=True):
            tree.fit(values[inside], index[inside], weight[inside], check_input=False)
            votes[~inside] += tree.predict_proba(values[~inside], check_input=False)
        voters[~inside] += 1
    with np.errstate(invalid="ignore"):
        return votes / voters[:, None]
