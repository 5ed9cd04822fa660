"""Join cohorts into one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lrplan.cohort._writing import (
    Subset,
    gather,
    new_cohort,
    notes,
    refuse_existing,
    write_subsets,
)
from lrplan.cohort.format import ADDED, BY_NAME, Variable
from lrplan.cohort.store import Cohort, as_cohort, open_cohort
from lrplan.errors import DataError, UsageError

SHOWN = 5
"""Identities that a message lists."""

BLOCK_ROWS = 64


def merge(
    cohorts: Sequence[Cohort | str | Path],
    out: str | Path,
    *,
    name: str | None = None,
    skip_duplicates: bool = False,
) -> Cohort:
    """Join cohorts into one that holds what packing their organisms together would hold.

    Parameters
    ----------
    cohorts : sequence of Cohort, str or Path
        Two or more, with the same checkpoints, stimuli, stored shapes and bits. Where an older
        one does not store chance and held-out examples, they stay unknown for its organisms.
    out : str or Path
        A directory or ``.zip`` file that does not exist; it appears in one step, whole.
    name : str, optional
        What the new cohort calls itself; by default the stem of `out`.
    skip_duplicates : bool, default False
        Take an organism that is in several cohorts from the first one, if what the others
        store of it is the same.

    Returns
    -------
    Cohort
        The new one. Its attribute ``sources`` says where each organism came from and which were
        skipped.

    Raises
    ------
    UsageError
        If fewer than two cohorts are given, or `out` exists.
    DataError
        If cohorts differ in what they store, or hold the same organism.
    """
    if len(cohorts) < 2:
        raise UsageError(f"{len(cohorts)} cohort given; merge takes two or more")
    out = Path(out)
    refuse_existing(out)
    opened = [as_cohort(c) for c in cohorts]
    for other in opened[1:]:
        _refuse_unlike(opened[0], other)
    subsets, skipped = _subsets(opened, skip_duplicates=skip_duplicates)
    attributes = {
        "name": name or out.name.removesuffix(".zip").removesuffix(".zarr"),
        "sources": [
            source | {"skipped": ids} if ids else source
            for subset, ids in zip(subsets, skipped, strict=True)
            for source in sources(subset.cohort, len(subset.organisms))
        ],
    }
    with new_cohort(out) as path:
        write_subsets(path, [s for s in subsets if len(s.organisms)], attributes)
    return open_cohort(out)


def sources(cohort: Cohort, organisms: int) -> list[dict[str, Any]]:
    """Return what a cohort was made from, to be kept in one that is made of it.

    Parameters
    ----------
    cohort : Cohort
        Which.
    organisms : int
        How many of its organisms are taken.
    """
    about = {
        k: v
        for k, v in cohort.attributes.items()
        if k not in ("format", "format_version", "metadata_sha256", "attributes_sha256")
    }
    return [about | {"organisms": organisms}]


def _refuse_unlike(a: Cohort, b: Cohort) -> None:
    """Refuse two cohorts that do not store the same things in the same form."""
    found = _differences(a, b)
    if found:
        more = f" (and {len(found) - SHOWN} more)" if len(found) > SHOWN else ""
        raise DataError(
            f"{a.path} and {b.path} cannot be merged: {'; '.join(found[:SHOWN])}{more}. "
            "Pack both with the same [storage] and [training] checkpoints"
        )


def _differences(a: Cohort, b: Cohort) -> list[str]:
    versions = [c.attributes["format_version"] for c in (a, b)]
    if versions[0] != versions[1]:
        return [f"the first has format {versions[0]}, the second {versions[1]}"]
    out = []
    first, second = a.variables, b.variables
    for key in BY_NAME:
        where = "/".join(key)
        if key not in first and key not in second:
            continue
        if key in ADDED and (key not in first or key not in second):
            continue
        if key not in first or key not in second:
            out.append(f"only the {'first' if key in first else 'second'} holds {where}")
            continue
        forms = [_form(BY_NAME[key], c) for c in (first[key], second[key])]
        if forms[0] != forms[1]:
            out.append(f"{where} is {forms[0]} in the first, {forms[1]} in the second")
            continue
        noted = [notes(key[1], c) for c in (first[key], second[key])]
        if noted[0] != noted[1]:
            out.append(f"{where} is noted as {noted[0]} in the first, {noted[1]} in the second")
    names = ("observables", "observable")
    if names in first and names in second and not out:
        told = [list(map(str, c.read_variable(*names))) for c in (a, b)]
        if told[0] != told[1]:
            unlike = sorted(set(told[0]) ^ set(told[1]))
            what = f": {', '.join(unlike[:SHOWN])}" if unlike else " in their order"
            out.append(f"their observables differ{what}")
    return out


def _form(variable: Variable, array: Any) -> str:
    """Return the type and the sizes of one row, in words."""
    kind = "text" if array.dtype.kind in "TOU" else str(array.dtype)
    if variable.dims == ("observable",):
        return f"{array.shape[0]} names"
    sizes = zip(variable.dims[1:], array.shape[1:], strict=False)
    return ", ".join([kind, *(f"{size} x {dim}" for dim, size in sizes)])


def _subsets(
    cohorts: Sequence[Cohort], *, skip_duplicates: bool
) -> tuple[list[Subset], list[list[str]]]:
    """Return which organisms are taken from each cohort, and the identities left out."""
    held: dict[str, tuple[Cohort, int]] = {}
    subsets, skipped = [], []
    for cohort in cohorts:
        taken, again = [], []
        for i, organism in enumerate(cohort.organism_ids):
            if organism in held:
                again.append((organism, i))
            else:
                held[organism] = (cohort, i)
                taken.append(i)
        if again:
            _refuse_or_compare(cohort, again, held, skip=skip_duplicates)
        subsets.append(Subset(cohort, np.array(taken, dtype=int)))
        skipped.append([organism for organism, _ in again])
    return subsets, skipped


def _refuse_or_compare(
    cohort: Cohort,
    again: Sequence[tuple[str, int]],
    held: dict[str, tuple[Cohort, int]],
    *,
    skip: bool,
) -> None:
    ids = [organism for organism, _ in again]
    told = ", ".join(ids[:SHOWN]) + (f" and {len(ids) - SHOWN} more" if len(ids) > SHOWN else "")
    if not skip:
        first = held[ids[0]][0]
        where = f"{cohort.path} twice" if first is cohort else f"{first.path} and {cohort.path}"
        raise DataError(
            f"the same organism is in {where}: {told}; an organism counts once. Use "
            "--skip-duplicates to keep the first of each, if they are equal"
        )
    by_origin: dict[int, list[tuple[str, int]]] = {}
    for organism, i in again:
        by_origin.setdefault(id(held[organism][0]), []).append((organism, i))
    for group in by_origin.values():
        origin = held[group[0][0]][0]
        _refuse_unequal(
            origin,
            np.array([held[organism][1] for organism, _ in group]),
            cohort,
            np.array([i for _, i in group]),
        )


def _refuse_unequal(a: Cohort, in_a: np.ndarray, b: Cohort, in_b: np.ndarray) -> None:
    """Refuse organisms of the same identity of which two cohorts store different things."""
    populations = [_populations_of(c, organisms) for c, organisms in ((a, in_a), (b, in_b))]
    for i, (own, other) in enumerate(zip(*populations, strict=True)):
        if len(own) != len(other):
            raise _unequal(a, b, a.organism_ids[in_a[i]], "their number of populations")
    owner = np.repeat(np.arange(len(in_a)), [len(p) for p in populations[0]])
    flat = [np.concatenate(p) if p else np.empty(0, dtype=int) for p in populations]
    tables = {"organisms": (a.organisms, b.organisms)}
    tables["populations"] = (a.population_table, b.population_table)
    for group, name in a.variables:
        if (group, name) == ("populations", "organism"):
            continue
        if BY_NAME[group, name].dims == ("observable",):
            continue
        if (group, name) not in b.variables:
            continue
        by_organism = group in ("organisms", "behaviour")
        rows = (in_a, in_b) if by_organism else (flat[0], flat[1])
        whose = np.arange(len(in_a)) if by_organism else owner
        for start in range(0, len(rows[0]), BLOCK_ROWS):
            block = slice(start, start + BLOCK_ROWS)
            if group in tables:
                # Words are compared as words: each cohort has its own codes.
                x, y = (t[name].values[r[block]] for t, r in zip(tables[group], rows, strict=True))
            else:
                x, y = (gather(c, group, name, r[block]) for c, r in zip((a, b), rows, strict=True))
            same = (x == y) | ((x != x) & (y != y))  # NaN equals NaN
            bad = np.flatnonzero(~same.reshape(len(same), -1).all(axis=1))
            if bad.size:
                organism = a.organism_ids[in_a[whose[block][bad[0]]]]
                raise _unequal(a, b, organism, f"{group}/{name}")


def _populations_of(cohort: Cohort, organisms: np.ndarray) -> list[np.ndarray]:
    owner = cohort.population_table["organism"].values
    order = np.argsort(owner, kind="stable")
    low = np.searchsorted(owner[order], organisms, side="left")
    high = np.searchsorted(owner[order], organisms, side="right")
    return [order[i:j] for i, j in zip(low, high, strict=True)]


def _unequal(a: Cohort, b: Cohort, organism: str, what: str) -> DataError:
    return DataError(
        f"organism {organism} is in {a.path} and {b.path}, which differ in {what}; find out which "
        "is right and take the other away with `lrplan cohort select`"
    )
