"""Every observable keeps its contract; the paper's are 45."""

from __future__ import annotations

import pytest

from lrplan.measure.observables import all_observables, families
from lrplan.testing import ObservableContract


@pytest.mark.parametrize("check", ObservableContract.checks())
@pytest.mark.parametrize("name", families.names())
def test_a_family_keeps_its_contract(name, check):
    ObservableContract.run(name, check)


def test_names_are_unique_and_45_are_the_papers():
    names = [o.name for _, o in all_observables()]
    assert len(names) == len(set(names))
    paper = {"act": 21, "grad": 3, "weight": 21}
    assert {n: len(families.get(n).observables) for n in paper} == paper
