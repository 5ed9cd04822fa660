"""Every task keeps its contract."""

from __future__ import annotations

import pytest

from lrplan.simulate.tasks import tasks
from lrplan.testing import TaskContract


@pytest.mark.parametrize("check", TaskContract.checks())
@pytest.mark.parametrize("name", tasks.names())
def test_a_task_keeps_its_contract(name, check, small_data, small_settings, monkeypatch):
    monkeypatch.setenv("LRPLAN_DATA", str(small_data))
    TaskContract.run(name, check, settings=small_settings.get(name, {}))
