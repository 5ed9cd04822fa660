"""Take some organisms out of a cohort."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lrplan.cohort._writing import Subset, new_cohort, refuse_existing, write_subsets
from lrplan.cohort.learned import NOT_LEARNED, UNKNOWN
from lrplan.cohort.merge import sources
from lrplan.cohort.references import with_twins
from lrplan.cohort.store import Cohort, as_cohort, open_cohort
from lrplan.errors import DataError, UsageError
from lrplan.registry import nearest


def select(
    cohort: Cohort | str | Path,
    out: str | Path,
    *,
    rule: Sequence[str] = (),
    architecture: Sequence[str] = (),
    task: Sequence[str] = (),
    objective: Sequence[str] = (),
    batch_size: Sequence[int] = (),
    organism: Sequence[str] = (),
    exclude_diverged: bool = False,
    exclude_unlearned: bool = False,
    name: str | None = None,
) -> Cohort:
    """Write a cohort of those organisms that satisfy every condition.

    Organisms under passive exposure go with their learning twins, whatever they learned; one
    that is named in `organism` comes along without.

    Parameters
    ----------
    cohort : Cohort, str or Path
        From which.
    out : str or Path
        A directory or ``.zip`` file that does not exist; it appears in one step, whole.
    rule, architecture, task, objective : sequence of str
        Any of these; all, if empty.
    batch_size : sequence of int
        Any of these; all, if empty.
    organism : sequence of str
        Identities, or the starts of identities; all, if empty.
    exclude_diverged : bool, default False
        Leave out organisms that diverged in training.
    exclude_unlearned : bool, default False
        Leave out organisms that did not learn their task (`lrplan.cohort.learned`); those of
        which it is unknown stay.
    name : str, optional
        What the new cohort calls itself; by default the stem of `out`.

    Returns
    -------
    Cohort
        The new one, with the organisms in their old order.

    Raises
    ------
    UsageError
        If a value is not in the cohort, if `out` exists, or if nothing satisfies all conditions.
    DataError
        If the cohort does not record what is asked for.
    """
    out = Path(out)
    refuse_existing(out)
    opened = as_cohort(cohort)
    conditions: dict[str, Sequence[Any]] = {
        "rule": rule,
        "architecture": architecture,
        "task": task,
        "objective": objective,
        "batch_size": batch_size,
    }
    chosen = np.ones(opened.organisms.sizes["organism"], dtype=bool)
    for label, wanted in conditions.items():
        if len(wanted):
            chosen &= _any_of(opened, label, wanted)
    if len(organism):
        chosen &= _identified(opened, organism)
    if exclude_diverged:
        if ("organisms", "diverged") not in opened.variables:
            raise DataError(f"the cohort {opened.name!r} does not record which organisms diverged")
        chosen &= opened.organisms["diverged"].values == 0
    if exclude_unlearned:
        if (opened.fates == UNKNOWN).all():
            raise DataError(f"the cohort {opened.name!r} does not record which organisms learned")
        chosen &= (opened.fates != NOT_LEARNED) | opened.passive
    sound = chosen
    chosen = with_twins(
        chosen, passive=opened.passive, preparations=opened.preparations, ids=opened.organism_ids
    )
    if exclude_diverged:
        chosen &= opened.organisms["diverged"].values == 0
    if len(organism):
        chosen |= sound
    asked = {k: list(v) for k, v in conditions.items() if len(v)}
    if len(organism):
        asked["organism"] = list(organism)
    if not chosen.any():
        told = ", ".join(f"{k} {' or '.join(map(str, v))}" for k, v in asked.items())
        without = " and not diverged" if exclude_diverged else ""
        without += " and not unlearned" if exclude_unlearned else ""
        raise UsageError(
            f"no organism of {opened.name!r} is {told}{without}; see `lrplan cohort organisms`"
        )
    attributes = {
        "name": name or out.name.removesuffix(".zip").removesuffix(".zarr"),
        "sources": sources(opened, int(chosen.sum())),
        "selected": asked
        | ({"exclude_diverged": True} if exclude_diverged else {})
        | ({"exclude_unlearned": True} if exclude_unlearned else {}),
    }
    with new_cohort(out) as path:
        write_subsets(path, [Subset(opened, np.flatnonzero(chosen))], attributes)
    return open_cohort(out)


def _any_of(cohort: Cohort, label: str, wanted: Sequence[Any]) -> np.ndarray:
    values = cohort.organisms[label].values
    if ("organisms", label) not in cohort.variables:
        raise DataError(f"the cohort {cohort.name!r} does not record the {label} of its organisms")
    known = set(values.tolist())
    for value in wanted:
        if value not in known:
            raise UsageError(
                f"no organism of {cohort.name!r} has the {label.replace('_', ' ')} {value!r}; "
                f"{nearest(str(value), map(str, known))}"
            )
    return np.isin(values, list(wanted))


def _identified(cohort: Cohort, wanted: Sequence[str]) -> np.ndarray:
    ids = cohort.organism_ids
    out = np.zeros(len(ids), dtype=bool)
    for start in wanted:
        found = [i for i, organism in enumerate(ids) if start and organism.startswith(start)]
        if len(found) != 1:
            what = f"{len(found)} organisms of" if found else "no organism of"
            told = ", ".join(ids[i] for i in found[:5]) if found else nearest_ids(start, ids)
            raise UsageError(
                f"{what} {cohort.name!r} {'have' if found else 'has'} an id that starts with "
                f"{start!r} ({told}); see `lrplan cohort organisms`"
            )
        out[found] = True
    return out


def nearest_ids(start: str, ids: Sequence[str]) -> str:
    """Say which identities a mistyped one may have meant, without listing a whole cohort."""
    from difflib import get_close_matches

    close = get_close_matches(start, ids, n=3, cutoff=0.6)
    return f"nearest: {', '.join(close)}" if close else "none is alike"
