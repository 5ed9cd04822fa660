"""Sign symmetry without stored weights: errors go back through the signs of W."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from lrplan.simulate.credits import Credit, Operation, carry_back, credits
from lrplan.simulate.optimizers.sgdm import SGDM
from lrplan.simulate.rules import Rule, rules


@credits.register("sign_symmetry")
@dataclass(frozen=True, kw_only=True)
class SignSymmetry(Credit):
    """Errors go back through sign(W) times the mean of |W|."""

    summary: ClassVar[str] = "errors go back through the signs of the forward weights"
    cites: ClassVar[str] = "Liao et al., AAAI 2016; Xiao et al., ICLR 2019"

    def apply(self, op: Operation, x: Tensor, weight: Tensor, backward: Tensor | None) -> Tensor:
        """Return z = W x; the error that reaches x is S^T dz, S = sign(W) mean |W|."""
        return carry_back(op, x, weight, torch.sign(weight) * weight.abs().mean())


rules.add(
    "sign_symmetry",
    Rule(
        name="sign_symmetry",
        credit=SignSymmetry(),
        optimizer=SGDM(),
        learning_rate=0.05,
        summary="errors go back through the signs of the forward weights + SGD with momentum",
        cites="Liao et al., AAAI 2016; Xiao et al., ICLR 2019",
    ),
)
