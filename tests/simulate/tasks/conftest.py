"""A data folder of its own for tests that damage one."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest


@pytest.fixture
def data(small_data, tmp_path, monkeypatch) -> Path:
    """A copy of `small_data` that LRPLAN_DATA names."""
    folder = tmp_path / "data"
    shutil.copytree(small_data, folder)
    monkeypatch.setenv("LRPLAN_DATA", str(folder))
    return folder
