"""Write a new cohort: where it goes, and organisms of others, block by block."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from lrplan.cohort.format import BY_NAME, CODED, FAST, UNKNOWN, CohortWriter
from lrplan.cohort.store import Cohort
from lrplan.errors import UsageError

BLOCK_CHUNKS = 4
"""Chunks that are compressed at once, each in a thread of its own."""

OWN_ATTRIBUTES = ("long_name", "units", "flag_values", "flag_meanings")
"""Attributes of a variable that the writer makes; the others are carried over."""


@dataclass(frozen=True)
class Subset:
    """Some organisms of one cohort.

    Parameters
    ----------
    cohort : Cohort
        Whose.
    organisms : array of int
        Which, in ascending order.
    """

    cohort: Cohort
    organisms: np.ndarray

    @cached_property
    def populations(self) -> np.ndarray:
        """The populations of these organisms, in the order in which they are stored."""
        return np.flatnonzero(
            np.isin(self.cohort.population_table["organism"].values, self.organisms)
        )

    def rows(self, group: str) -> np.ndarray:
        """Return the rows of a group's variables that belong to these organisms."""
        return self.organisms if group in ("organisms", "behaviour") else self.populations


@contextmanager
def new_cohort(out: Path) -> Iterator[Path]:
    """Yield a path to write a cohort to, which takes the name `out` in one step at the end.

    Raises
    ------
    UsageError
        If something lies at `out`.
    """
    refuse_existing(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    place = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        target = place / ("cohort.zip" if out.suffix == ".zip" else "cohort.zarr")
        yield target
        refuse_existing(out)
        os.rename(target, out)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def refuse_existing(out: Path) -> None:
    """Refuse a name that is taken."""
    if out.exists() or out.is_symlink():
        raise UsageError(f"{out} exists; name another --out, or remove it")
    if not out.name:
        raise UsageError(f"{str(out)!r} is no name for a cohort; name a directory or a .zip file")


def write_subsets(path: Path, subsets: Sequence[Subset], attributes: Mapping[str, Any]) -> None:
    """Write a cohort of the organisms of all subsets, in their order.

    Memory holds the labels and a few chunks, however large the cohorts.

    Parameters
    ----------
    path : Path
        A directory that does not exist yet, or ``....zip``.
    subsets : sequence of Subset
        Of cohorts that store the same variables in the same shapes; some may lack those that
        were added to the format later.
    attributes : mapping
        Root attributes.
    """
    writer = CohortWriter(path, attributes, level=FAST)
    held = {key: array for s in reversed(subsets) for key, array in s.cohort.variables.items()}
    for (group, name), array in held.items():
        kept = notes(name, array)
        if (group, name) == ("populations", "organism"):
            writer.write(group, name, _organism_index(subsets).astype(array.dtype), kept)
        elif "flag_meanings" in array.attrs:
            writer.write_categories(group, name, list(_words(subsets, group, name)), kept)
        elif BY_NAME[group, name].dims == ("observable",):
            writer.write(group, name, subsets[0].cohort.read_variable(group, name), kept)
        elif array.ndim == 1:
            columns = [_column(s, group, name) for s in subsets]
            writer.write(group, name, np.concatenate(columns), kept)
        else:
            _copy_rows(writer, subsets, group, name, kept)
    writer.close()


def notes(name: str, array: zarr.Array) -> dict[str, Any]:
    """Return the attributes of a variable that a cohort made of it takes over.

    Older cohorts hold codes of 8 bits and do not say so.
    """
    found = {k: v for k, v in dict(array.attrs).items() if k not in OWN_ATTRIBUTES}
    if name in CODED and array.dtype == np.uint8:
        found.setdefault("bits", 8)
    return found


def _organism_index(subsets: Sequence[Subset]) -> np.ndarray:
    """Return the place of each population's organism among those of all subsets."""
    out, before = [], 0
    for subset in subsets:
        owner = subset.cohort.population_table["organism"].values[subset.populations]
        out.append(before + np.searchsorted(subset.organisms, owner))
        before += len(subset.organisms)
    return np.concatenate(out)


def _words(subsets: Sequence[Subset], group: str, name: str) -> np.ndarray:
    tables = [
        s.cohort.organisms if group == "organisms" else s.cohort.population_table for s in subsets
    ]
    return np.concatenate(
        [t[name].values[s.rows(group)] for t, s in zip(tables, subsets, strict=True)]
    )


def _column(subset: Subset, group: str, name: str) -> np.ndarray:
    """Return a variable of one dimension; what is unknown, where the cohort lacks it."""
    rows = subset.rows(group)
    if (group, name) in subset.cohort.variables:
        return subset.cohort.read_variable(group, name)[rows]
    return np.full(len(rows), UNKNOWN[group, name])


def _copy_rows(
    writer: CohortWriter,
    subsets: Sequence[Subset],
    group: str,
    name: str,
    attributes: Mapping[str, Any],
) -> None:
    """Copy rows of one variable, as they are stored, into whole chunks of the new one."""
    first = subsets[0].cohort.variables[group, name]
    rows = [(s.cohort, s.rows(group)) for s in subsets]
    total = sum(len(r) for _, r in rows)
    target = writer.create(group, name, (total, *first.shape[1:]), first.dtype, attributes)
    step = target.chunks[0] * BLOCK_CHUNKS
    for start in range(0, total, step):
        wanted, blocks = (start, min(start + step, total)), []
        before = 0
        for cohort, own in rows:
            chosen = own[max(0, wanted[0] - before) : max(0, wanted[1] - before)]
            before += len(own)
            if len(chosen):
                blocks.append(gather(cohort, group, name, chosen))
        target[wanted[0] : wanted[1]] = np.concatenate(blocks)


def gather(cohort: Cohort, group: str, name: str, rows: np.ndarray) -> np.ndarray:
    """Read rows of one variable, holding no more than these and one chunk in memory.

    Parameters
    ----------
    cohort : Cohort
        Whose.
    group, name : str
        Which variable.
    rows : array of int
        Which rows, in any order.
    """
    array = cohort.variables[group, name]
    size = array.chunks[0]
    out = np.empty((len(rows), *array.shape[1:]), dtype=array.dtype)
    place = rows // size
    for chunk in np.unique(place):
        here = np.flatnonzero(place == chunk)
        low, high = int(rows[here].min()), int(rows[here].max()) + 1
        out[here] = cohort.read_variable(group, name, slice(low, high))[rows[here] - low]
    return out
