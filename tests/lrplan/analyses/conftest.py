"""Analyses are tested with classifiers that cost next to nothing."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def cheap(light):
    """Have ``light`` and ``nearest`` in every test."""
