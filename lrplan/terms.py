"""The words for what is recorded, where and how it is told, shared by cohorts and recordings."""

from __future__ import annotations

MEASURES = ("activity", "paired", "weights")
POSITIONS = ("early", "middle", "deep")
UNIT_DIMS = {"activity": ("unit",), "weights": ("synapse",), "paired": ("post", "pre")}
"""The dimensions over which what is recorded of each measure is counted."""
UNIT_NOUNS = {"activity": "unit", "weights": "synapse", "paired": "pair"}
"""What one of them is called."""

_FUNCTIONS = ("raw", "abs", "sq")
_STATISTICS = ("norm", "mean", "var", "skew", "kurtosis", "median", "thirdquartile")
STORED_OBSERVABLES = (
    *(f"act_{f}_{s}" for f in _FUNCTIONS for s in _STATISTICS),
    *(f"grad_{f}" for f in _FUNCTIONS),
    *(f"weight_{f}_{s}" for f in _FUNCTIONS for s in _STATISTICS),
)
"""The observables of whole layers that a cohort's format stores, in the order of storage: the 45 of
Nayebi et al. (2020)."""
