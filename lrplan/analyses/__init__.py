"""Analyses. One file registers one question that can be asked of a cohort."""
