"""Backpropagation with Adam."""

from __future__ import annotations

from lrplan.simulate.credits.backpropagation import Backpropagation
from lrplan.simulate.optimizers.adam import Adam
from lrplan.simulate.rules import Rule, rules

rules.add(
    "adam",
    Rule(
        name="adam",
        credit=Backpropagation(),
        optimizer=Adam(),
        learning_rate=1e-3,
        summary="backpropagation + Adam",
        cites="Kingma & Ba, ICLR 2015",
    ),
)
