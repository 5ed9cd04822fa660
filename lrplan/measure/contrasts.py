"""Areas of one animal in one row, and what differs between them and from a reference.

Architectures, and brains, differ in much that a learning rule does not decide. What two areas of
one animal have in common of it cancels in their difference, and so does what a recording has in
common with one of the same preparation that did not learn.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from lrplan.errors import UsageError
from lrplan.measure.trajectories import Trajectories


def places_of_areas(
    animals: np.ndarray, positions: np.ndarray, areas: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Find the areas of each animal among populations.

    Parameters
    ----------
    animals, positions : array (population,)
        Whose population it is, and where it lies.
    areas : sequence of str
        Positions.

    Returns
    -------
    places : array (animal, area) of int
        Which population is that area; of several at one position the last, as cohorts that store
        one of each do. -1 where the animal has none. Animals in the order of their first one.
    names : array (animal,)
    """
    names, first, index = np.unique(animals, return_index=True, return_inverse=True)
    places = np.full((len(names), len(areas)), -1)
    for column, area in enumerate(areas):
        for population in np.flatnonzero(positions == area):
            places[index[population], column] = population
    order = np.argsort(first)
    return places[order], names[order]


def against(
    trajectories: Trajectories, references: np.ndarray, reference: str, contrasts: str
) -> Trajectories:
    """Take recordings relative to others.

    Parameters
    ----------
    trajectories : Trajectories
        Of all of them.
    references : array (row,) of int
        Which recording is the reference of each of the first ones.
    reference : str
        What it is called.
    contrasts : {"both", "only"}
        Whether the observables themselves are taken, too.

    Returns
    -------
    Trajectories
        Of the first recordings. An observable's difference from that of the reference in the same
        session is called ``minus_passive:act_raw_mean`` and the like.

    Examples
    --------
    >>> from lrplan.measure.trajectories import Trajectories
    >>> two = Trajectories.of(np.array([[[5.0]], [[3.0]]]), ["x"], {"animal": np.array(["a", "b"])})
    >>> one = against(two, np.array([1]), "passive", "both")
    >>> one.observables, one.values.ravel().tolist()
    (['x', 'minus_passive:x'], [5.0, 2.0])
    """
    own = trajectories.take(np.arange(len(references)))
    values = [own.values - trajectories.values[references]]
    names = [f"minus_{reference}:{name}" for name in own.observables]
    if contrasts != "only":
        values, names = [own.values, *values], [*own.observables, *names]
    return Trajectories.of(
        np.concatenate(values, axis=2), names, own.labels, positioned=own.positioned
    )


def together(
    trajectories: Trajectories,
    areas: Sequence[str],
    contrasts: str,
    *,
    reference: str | None = None,
) -> Trajectories:
    """Put the areas of each animal into one row.

    Parameters
    ----------
    trajectories : Trajectories
        Of single populations whose animal (or organism) and position are known.
    areas, contrasts
        As in a Design.
    reference : str, optional
        Another area, of which differences alone are taken.

    Returns
    -------
    Trajectories
        One row per animal (and condition), of those that have all areas. Observables are called
        ``deep:act_raw_mean`` and, where it is a difference, ``deep-early:act_raw_mean``. ``area``,
        ``layer`` and ``position`` name all areas, ``population`` is the last area's; other labels
        are those of the animal. The position is no feature, since all rows have the same.

    Raises
    ------
    UsageError
        If positions are unknown, or no animal has all areas.

    Examples
    --------
    >>> from lrplan.measure.trajectories import Trajectories
    >>> labels = {"animal": np.array(["a", "a"]), "position": np.array(["early", "deep"])}
    >>> two = Trajectories.of(np.array([[[1.0]], [[3.0]]]), ["x"], labels)
    >>> one = together(two, ("early", "deep"), "both")
    >>> one.observables, one.values.ravel().tolist()
    (['early:x', 'deep:x', 'deep-early:x'], [1.0, 3.0, 2.0])
    """
    labels = trajectories.labels
    if "position" not in labels:
        raise UsageError("the positions of the recordings are unknown; name them, to take areas")
    animals = np.asarray(labels["animal"], dtype=str)
    if "condition" in labels:
        animals = np.char.add(np.char.add(animals, "\x1f"), np.asarray(labels["condition"], str))
    asked = areas if reference is None else (*areas, reference)
    places, _ = places_of_areas(animals, labels["position"], asked)
    places = places[(places >= 0).all(axis=1)]
    if not len(places):
        seen = ", ".join(sorted(set(map(str, labels["position"]))))
        raise UsageError(
            f"no animal was recorded in {' and '.join(asked)} together; areas seen: {seen}"
        )
    values = trajectories.values[places]  # animal, area, session, observable
    parts: dict[str, np.ndarray] = {}
    if contrasts != "only":
        parts |= {area: values[:, k] for k, area in enumerate(areas)}
    if contrasts != "none":
        for (j, one), (k, other) in combinations(enumerate(areas), 2):
            parts[f"{other}-{one}"] = values[:, k] - values[:, j]
    if reference is not None:
        for k, area in enumerate(areas):
            parts[f"{area}-{reference}"] = values[:, k] - values[:, -1]
    places = places[:, : len(areas)]
    own = {name: each[places[:, -1]] for name, each in labels.items()}
    for name in {"area", "layer", "position"} & own.keys():
        own[name] = np.array(["+".join(map(str, row)) for row in labels[name][places]])
    return Trajectories.of(
        np.concatenate(list(parts.values()), axis=2),
        [f"{part}:{name}" for part in parts for name in trajectories.observables],
        own,
        positioned=False,
    )


def refuse_few(places: np.ndarray, areas: Sequence[str], cohort: str) -> None:
    """Raise `UsageError` if most animals lack one of the areas.

    Parameters
    ----------
    places : array (animal, area) of int
        As `places_of_areas` returns them.
    areas : sequence of str
        Their names.
    cohort : str
        Its name, for the message.
    """
    held = places >= 0
    if held.all(axis=1).mean() >= 0.5:
        return
    told = ", ".join(f"{a} in {n}" for a, n in zip(areas, held.sum(axis=0), strict=True))
    common = [area for k, area in enumerate(areas) if held[:, k].mean() > 0.5]
    instead = f"--areas {','.join(common)}" if common else "other areas"
    raise UsageError(
        f"the design records {', '.join(areas)}, but {int((~held.all(axis=1)).sum())} of "
        f"{len(places)} organisms of the cohort {cohort!r} lack one of them ({told}); use "
        f"{instead} or another cohort"
    )


def lacking(places: np.ndarray, areas: Sequence[str]) -> list[str]:
    """Say how many animals are left out because they lack an area."""
    without = (places < 0).any(axis=1)
    if not without.any():
        return []
    missing = [area for k, area in enumerate(areas) if (places[:, k] < 0).any()]
    return [
        f"{int(without.sum())} of {len(places)} organisms have no {' or no '.join(missing)} area "
        "and were left out"
    ]


def refuse_few_references(references: np.ndarray, reference: str, cohort: str) -> None:
    """Raise `UsageError` if most populations lack a reference.

    Parameters
    ----------
    references : array (population,) of int
        -1 where there is none.
    reference, cohort : str
        What they are called, for the message.
    """
    lost = int((references < 0).sum())
    if lost * 2 <= len(references):
        return
    raise UsageError(
        f"the reference is {reference!r}, but {lost} of {len(references)} populations of the "
        f"cohort {cohort!r} have none: it needs organisms that were exposed to the stimuli and "
        "did not learn; use a cohort that has them, or --reference first or area:early"
    )


def lacking_references(references: np.ndarray, reference: str) -> list[str]:
    """Say how many populations are left out because they lack a reference."""
    lost = int((references < 0).sum())
    if not lost:
        return []
    return [
        f"{lost} of {len(references)} populations have no reference {reference!r} and were left out"
    ]
