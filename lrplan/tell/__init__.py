"""Telling rules apart: forecasts, sweeps and verdicts, with their uncertainty."""
