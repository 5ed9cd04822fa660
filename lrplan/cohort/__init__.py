"""Cohorts: organisms on disk, with labels; to be opened, checked, merged, selected, imported."""

from __future__ import annotations

from lrplan.cohort.store import Cohort, open_cohort

__all__ = ["Cohort", "open_cohort"]
