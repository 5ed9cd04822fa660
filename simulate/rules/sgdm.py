"""Backpropagation with momentum."""

from __future__ import annotations

from lrplan.simulate.credits.backpropagation import Backpropagation
from lrplan.simulate.optimizers.sgdm import SGDM
from lrplan.simulate.rules import Rule, rules

rules.add(
    "sgdm",
    Rule(
        name="sgdm",
        credit=Backpropagation(),
        optimizer=SGDM(),
        learning_rate=0.05,
        summary="backpropagation + SGD with Nesterov momentum",
        cites="Sutskever et al., ICML 2013",
    ),
)
