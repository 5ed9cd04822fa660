"""Feedback alignment: errors go back through fixed random weights."""

from __future__ import annotations

from lrplan.simulate.credits.feedback_alignment import FeedbackAlignment
from lrplan.simulate.optimizers.sgdm import SGDM
from lrplan.simulate.rules import Rule, rules

rules.add(
    "feedback_alignment",
    Rule(
        name="feedback_alignment",
        credit=FeedbackAlignment(),
        optimizer=SGDM(),
        learning_rate=0.05,
        summary="fixed random feedback weights + SGD with Nesterov momentum",
        cites="Lillicrap et al., Nature Communications 2016",
    ),
)
