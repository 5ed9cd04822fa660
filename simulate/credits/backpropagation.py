"""Backpropagation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from lrplan.simulate.credits import Credit, Operation, WayBack, credits


@credits.register("backpropagation")
@dataclass(frozen=True, kw_only=True)
class Backpropagation(Credit):
    """Errors go back through the transpose of the forward weights."""

    summary: ClassVar[str] = "errors go back through the forward weights"
    cites: ClassVar[str] = "Rumelhart, Hinton & Williams, Nature 1986"
    way_back: ClassVar[WayBack] = "forward weights"

    def apply(self, op: Operation, x: Tensor, weight: Tensor, backward: Tensor | None) -> Tensor:
        """Return z = W x."""
        return op.forward(x, weight)
