"""Every rule, credit and optimizer keeps its contract."""

from __future__ import annotations

import dataclasses

import pytest

from lrplan.errors import UsageError
from lrplan.simulate.credits import credits
from lrplan.simulate.credits.backpropagation import Backpropagation
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


def test_a_rule_whose_half_is_not_registered_says_what_to_do():
    @dataclasses.dataclass(frozen=True)
    class Nameless(Backpropagation):
        pass

    rule = dataclasses.replace(rules.get("sgdm"), name="new", credit=Nameless())
    with pytest.raises(UsageError, match=r"Nameless of rule 'new' .* @credits.register\(NAME\)"):
        _ = rule.credit_name
