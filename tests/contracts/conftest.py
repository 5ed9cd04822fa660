"""Contract tests share one thread, as the workers of a run do; and the made cohorts."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch

# Fixtures of tests/lrplan, which no folder above both holds.
_spec = importlib.util.spec_from_file_location(
    "made_cohorts", Path(__file__).parents[1] / "lrplan" / "conftest.py"
)
_made = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_made)
make_cohort, separable, light = _made.make_cohort, _made.separable, _made.light


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
