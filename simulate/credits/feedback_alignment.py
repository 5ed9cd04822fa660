"""Feedback alignment: errors go back through random weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from lrplan.simulate.credits import Credit, Operation, WayBack, carry_back, credits


@credits.register("feedback_alignment")
@dataclass(frozen=True, kw_only=True)
class FeedbackAlignment(Credit):
    """Errors go back through random backward weights that never change."""

    summary: ClassVar[str] = "errors go back through fixed random weights"
    cites: ClassVar[str] = "Lillicrap et al., Nature Communications 2016"
    backward_weights: ClassVar[bool] = True
    way_back: ClassVar[WayBack] = "backward weights"

    def apply(self, op: Operation, x: Tensor, weight: Tensor, backward: Tensor | None) -> Tensor:
        """Return z = W x; the error that reaches x is B^T dz."""
        if backward is not None:
            return carry_back(op, x, weight, backward)
        if x.requires_grad:
            raise ValueError(
                "an error is to go back through a layer that has no backward weights: the first "
                "layer of a network has none, and takes in examples alone"
            )
        return op.forward(x, weight)
