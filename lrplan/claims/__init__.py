"""Claims of papers, each tested on a cohort from a figure and its interval."""

from __future__ import annotations

from lrplan.claims.nayebi2020 import evaluate_claims
from lrplan.claims.report import Claim, ClaimsReport

__all__ = ["Claim", "ClaimsReport", "evaluate_claims"]
