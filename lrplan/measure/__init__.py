"""Measurement: from what organisms or animals do to trajectories of observables."""
