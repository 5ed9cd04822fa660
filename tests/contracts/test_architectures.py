"""Every architecture keeps its contract."""

from __future__ import annotations

import pytest

from lrplan.simulate.architectures import architectures
from lrplan.testing import ArchitectureContract


def narrow(settings):
    """Return widths small enough for many passes in a second."""
    widths = {"width": 6, "channels": [4, 5, 6, 7]}
    small = {k: v for k, v in widths.items() if k in settings}
    if "channels" in small:
        small["channels"] = small["channels"][: len(settings["channels"])]
    return small


@pytest.mark.parametrize("check", ArchitectureContract.checks())
@pytest.mark.parametrize("name", architectures.names())
def test_an_architecture_keeps_its_contract(name, check):
    settings = narrow(architectures.get(name).settings)
    ArchitectureContract.run(name, check, settings=settings)
