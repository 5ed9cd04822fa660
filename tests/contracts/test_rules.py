"""Every rule, credit and optimizer keeps its contract."""

from __future__ import annotations

import pytest

from lrplan.simulate.credits import credits
from lrplan.simulate.optimizers import optimizers
from lrplan.simulate.rules import rules
from lrplan.testing import CreditContract, OptimizerContract, RuleContract

KINDS = ((RuleContract, rules), (CreditContract, credits), (OptimizerContract, optimizers))


@pytest.mark.parametrize(
    ("contract", "name", "check"),
    [(c, n, check) for c, registry in KINDS for n in registry.names() for check in c.checks()],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_a_plug_in_keeps_its_contract(contract, name, check):
    contract.run(name, check)
