"""Claims of papers, each tested on a cohort from a figure and its interval."""

from __future__ import annotations

from lrplan.claims.nayebi2020 import Claim, ClaimsReport, evaluate_claims

__all__ = ["Claim", "ClaimsReport", "evaluate_claims"]
