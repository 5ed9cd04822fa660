"""Observables of whole cohorts, kept in the cache."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from lrplan.cache import code_digest, content_digest, open_cache
from lrplan.errors import DataError
from lrplan.measure.observables import chosen, words_of
from lrplan.measure.virtual import usable

if TYPE_CHECKING:
    from lrplan.cohort import Cohort
    from lrplan.measure.design import Design

LARGEST_BYTES = 100_000_000
"""No more is kept of one recording: a sweep of many designs would push all others out."""


class Filled(Protocol):
    """What holds arrays that are filled in place."""

    @property
    def arrays(self) -> Mapping[str, np.ndarray]:
        """The arrays by name."""
        ...


def keep(
    observed: Filled,
    fill: Callable[[], None],
    *,
    cohort: Cohort,
    design: Design,
    asked: np.ndarray,
    key: int,
    **what: Sequence[Any],
) -> None:
    """Fill what is observed: with what was kept of the same, or by computing and keeping it.

    Only recordings of a whole cohort are kept, of a size that leaves room for others, and only what
    lrplan's own code made: of that of others it is not known when it changes.

    Parameters
    ----------
    observed : Filled
        Empty arrays, which are filled.
    fill : callable
        Computes them.
    cohort, design, key
        As `lrplan.measure.observe.observe_designs` takes them.
    asked : array of int
        Its populations, without those that are references.
    **what : sequence
        All else that it depends on, as plain values: units, noise, sessions.
    """
    cache = open_cache()
    arrays = observed.arrays
    if (
        cache is None
        or sum(a.nbytes for a in arrays.values()) > LARGEST_BYTES
        or not _whole(asked, cohort, design)
        or not own_code(design)
    ):
        return fill()
    digest = _digest(cohort)
    if digest is None:
        return fill()
    entry = {
        "kind": "observables",
        "code": code_digest(),
        "cohort": digest,
        # As it was opened: its file may be another one by now.
        "opened": cohort.attributes["attributes_sha256"],
        "design": design.to_json(),
        "populations": hashlib.sha256(asked.astype("<i8").tobytes()).hexdigest(),
        "key": key,
        **what,
    }
    found = cache.get(entry)
    if found is not None and _alike(found.arrays, arrays):
        for name, array in arrays.items():
            array[...] = found.arrays[name]
        return None
    fill()
    # What was read of files that changed meanwhile is of neither.
    if _digest(cohort) == digest:
        cache.put(entry, arrays)
    return None


def _digest(cohort: Cohort) -> str | None:
    """Return the digest of what lies in a cohort's files; None if it cannot be read any more."""
    try:
        return content_digest(cohort.path)
    except (OSError, zipfile.BadZipFile):
        return None


def _whole(populations: np.ndarray, cohort: Cohort, design: Design) -> bool:
    """Return whether these are all populations of a cohort that are fit for the design."""
    try:
        return np.array_equal(populations, usable(cohort, design, None))
    except DataError:
        return False


def own_code(design: Design) -> bool:
    """Return whether all that a design names is lrplan's own, and no plug-in's."""
    parts: list[Any] = [type(design.make_modality())]
    for family, _ in chosen(words_of(design.taken), design.measures):
        parts += [family.compute, family.scale, family.summarise, family.of_summary]
        parts += [family.prepare, family.of_prepared]
    return all(p.__module__.split(".")[0] == "lrplan" for p in parts if p is not None)


def _alike(found: Mapping[str, np.ndarray], wanted: Mapping[str, np.ndarray]) -> bool:
    """Return whether arrays have the names, shapes and types that are wanted."""
    return {n: (a.shape, a.dtype) for n, a in found.items()} == {
        n: (a.shape, a.dtype) for n, a in wanted.items()
    }
