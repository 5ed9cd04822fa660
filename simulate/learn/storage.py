"""What is kept of organisms at each checkpoint."""

from __future__ import annotations

from dataclasses import dataclass

from lrplan.measure.observables import Observable, stored_families


@dataclass(frozen=True, kw_only=True)
class Storage:
    """What is kept of each organism at each checkpoint.

    Parameters
    ----------
    populations : {"positions", "all"}
        One early, one middle and one deep layer (the last at that position that has `units`
        units, or else the largest), or every layer.
    units, stimuli : int
        Responses of a fixed random sample of units to the same stimuli.
    synapses : int
        Weights, a fixed random sample of each layer.
    pairs, pair_stimuli : int
        Derivatives of `pairs` outputs by `pairs` inputs, for the first stimuli.
    validation : int
        Held-out images over which the observables are averaged.
    bits : {4, 5, 6, 7, 8, 16}
        Precision in the packed cohort: integers, of which 2^bits steps span 8 standard
        deviations, or half-precision floats.
    angles : bool
        Whether to measure how well errors and backward weights align, and write a table of it
        beside the cohort.
    """

    populations: str = "positions"
    units: int = 512
    stimuli: int = 8
    synapses: int = 320
    pairs: int = 18
    pair_stimuli: int = 4
    validation: int = 64
    bits: int = 8
    angles: bool = False


def stored_observables() -> list[Observable]:
    """Return the stored observables, in the order of storage."""
    return [observable for family in stored_families() for observable in family.observables]
