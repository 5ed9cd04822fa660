"""Cohorts: organisms on disk, with labels; to be opened, checked, merged, selected, imported."""

from __future__ import annotations

from lrplan.cohort.store import Cohort, as_cohort, open_cohort

__all__ = ["Cohort", "as_cohort", "open_cohort"]
