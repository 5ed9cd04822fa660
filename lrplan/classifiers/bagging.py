"""Bagging by organism: honest votes for every recording from one forest."""

from __future__ import annotations

import numpy as np

from lrplan.classifiers._forest import grow_tree, sum_votes
from lrplan.classifiers._search import class_weights
from lrplan.randomness import keyed_rng

TREES = 100
# About the share of different recordings that a tree of `calibrated_forest` sees in a forecast: it
# draws half of four fifths, with replacement.
SHARE = 0.3


def out_of_bag_votes(
    values: np.ndarray,
    rules: np.ndarray,
    groups: np.ndarray,
    *,
    seed: int,
    unseen: np.ndarray | None = None,
    trees: int = TREES,
) -> np.ndarray:
    """Predict each recording by the trees of a forest that saw nothing of its organism.

    Each tree is grown on all recordings of three tenths of the organisms, drawn without
    replacement, of each rule alike (at least one, never all); the trees whose part lacks an
    organism vote on its recordings. So one forest does the work of a grouped cross-validation
    (Breiman, Machine Learning 2001, out-of-bag estimates; here whole organisms are in the bag or
    out of it).

    Parameters
    ----------
    values : array (recording, feature) of float32
        Finite features.
    rules, groups : array (recording,)
        What is predicted, and what is never on both sides.
    seed : int
        Of organisms and trees. The same seed draws the same organisms whatever the values are.
    unseen : array (recording,) of bool, optional
        Recordings of organisms that no tree sees; then only these are predicted, by all trees.
    trees : int, default 100
        How many.

    Returns
    -------
    array (recording, rule)
        Shares of the votes, rules sorted; NaN in the rare case that all trees saw an organism,
        and for all others where `unseen` says which are predicted.
    """
    kinds, index = np.unique(rules, return_inverse=True)
    _, first, organism = np.unique(groups, return_index=True, return_inverse=True)
    seen = np.ones(len(index), dtype=bool) if unseen is None else ~unseen
    weight = np.zeros(len(index))
    weight[seen] = class_weights(index[seen], len(kinds))
    members = [np.flatnonzero((index[first] == k) & seen[first]) for k in range(len(kinds))]
    drawn = [min(max(1, round(SHARE * len(m))), len(m) - 1) for m in members]
    values = np.ascontiguousarray(values, dtype=np.float32)
    y = index.astype(np.float64)
    votes = np.zeros((len(values), len(kinds)))
    voters = np.zeros(len(values))
    rng = keyed_rng(seed, "bags")
    for _ in range(trees):
        bag = np.zeros(len(first), dtype=bool)
        for own, n in zip(members, drawn, strict=True):
            bag[rng.permutation(own)[:n]] = True
        inside = bag[organism]
        tree = grow_tree(
            values,
            y,
            np.where(inside, weight, 0),
            max_features="sqrt",
            seed=int(rng.integers(2**31)),
        )
        asked = ~inside if unseen is None else unseen
        votes[asked] += sum_votes([tree], values[asked], len(kinds))
        voters[asked] += 1
    with np.errstate(invalid="ignore"):
        return votes / voters[:, None]
