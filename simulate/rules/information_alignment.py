"""Information alignment: feedback weights learn to invert the layer."""

from __future__ import annotations

from lrplan.simulate.credits.information_alignment import InformationAlignment
from lrplan.simulate.optimizers.sgdm import SGDM
from lrplan.simulate.rules import Rule, rules

rules.add(
    "information_alignment",
    Rule(
        name="information_alignment",
        credit=InformationAlignment(),
        optimizer=SGDM(),
        learning_rate=0.05,
        summary="feedback weights trained by a local loss + SGD with Nesterov momentum",
        cites="Kunin et al., ICML 2020",
    ),
)
