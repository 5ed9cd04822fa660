"""Observables: the aggregate statistics of a recording over its units.

One file is one family, computed together from the same values. The families of Nayebi et al.
(2020) are ``weight`` (21), ``act`` (21) and ``grad`` (3).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lrplan.registry import Registry

PAPER = "Nayebi et al., NeurIPS 2020"


@dataclass(frozen=True)
class Observable:
    """One statistic.

    Parameters
    ----------
    name : str
        ``family_function_statistic``, such as ``act_abs_median``.
    degree : int
        The power of the measured quantity's unit that the statistic carries (1 for a mean, 2
        for a variance, 0 for a kurtosis); features divide by the scale to this power.
    summary : str
        What it is, in one line.
    """

    name: str
    degree: int
    summary: str


@dataclass(frozen=True)
class Family:
    """Observables that are computed together.

    Parameters
    ----------
    name : str
        Prefix of the observables.
    measure : {"activity", "weights", "paired"}
        What a recording must hold.
    observables : tuple of Observable
        In the order of the last axis of what `compute` returns.
    compute : callable
        ``compute(values) -> array (..., observable)``, for numpy arrays and torch
        tensors. Values are (..., stimulus, unit) for activity, (..., synapse) for weights and
        (..., stimulus, post, pre) for paired.
    scale : callable
        ``scale(values) -> array (...)``, the root mean square of the values, by which
        `relative` features are scaled.
    cites : str
        Where the family comes from.
    scale_of_stored : callable, optional
        ``scale_of_stored(observed, outputs, inputs) -> array (...)``, the same scale from the
        family's observables (..., observable) of a whole layer with that many outputs and
        inputs. Without it, observables that a cohort stores ready-made can only be taken raw.
    compute_total : callable, optional
        For paired families: ``compute_total(total, n_out)``, from the derivative of the sum of all
        `n_out` outputs by each input, (..., stimulus, input).
    """

    name: str
    measure: str
    observables: tuple[Observable, ...]
    compute: Callable[[Any], Any]
    scale: Callable[[Any], Any]
    cites: str
    scale_of_stored: Callable[[Any, Any, Any], Any] | None = None
    compute_total: Callable[[Any, int], Any] | None = None


families: Registry[Family] = Registry(
    "observable family", package="lrplan.measure.observables", group="lrplan.observables"
)


def families_of(measure: str) -> list[Family]:
    """Return the families that are computed from one measure, sorted by name."""
    return [family for _, family in families.items() if family.measure == measure]


def all_observables() -> list[tuple[Family, Observable]]:
    """Return every observable with its family, in the order of storage."""
    return [(family, o) for _, family in families.items() for o in family.observables]
