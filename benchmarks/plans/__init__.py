"""The parts of `planning.py`: what a cohort can be planned on, as tables."""
