"""Backpropagation with Adam."""

from __future__ import annotations

from lrplan.simulate.credits import Backpropagation
from lrplan.simulate.optimizers.adam import Adam
from lrplan.simulate.rules import Rule, rules

rules.add(
    "adam",
    Rule(
        name="adam",
        credit=Backpropagation(),
        optimizer=Adam(),
        credit_name="backpropagation",
        optimizer_name="adam",
        learning_rate=1e-3,
        summary="backpropagation + Adam",
        cites="Kingma & Ba, ICLR 2015",
    ),
)
