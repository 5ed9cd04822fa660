"""Cohorts that ship with lrplan."""
