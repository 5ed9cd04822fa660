"""The examples in docstrings run."""

from __future__ import annotations

import doctest
import importlib

import pytest

MODULES = (
    "lrplan",
    "lrplan.cohort.store",
    "lrplan.measure.recording",
    "lrplan.tell.forecast",
    "lrplan.tell.forecast_comparison",
    "lrplan.tell.pairing",
    "lrplan.nwb.read",
    "lrplan.nwb.write",
)


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_run(name):
    found = doctest.testmod(importlib.import_module(name))
    assert found.attempted
    assert not found.failed
