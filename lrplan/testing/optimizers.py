"""What every optimizer keeps to."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from lrplan.registry import Registry
from lrplan.simulate.optimizers import optimizers
from lrplan.testing._contract import Contract, told

RATES = (0.0, 0.01, 0.1)


class OptimizerContract(Contract):
    """What every optimizer keeps to, with its default settings."""

    registry: ClassVar[Registry[Any]] = optimizers

    def test_it_says_what_it_is(self) -> None:
        """A line that says it, its source, and settings with defaults."""
        optimizer: Any = optimizers.get(self.name)()
        told(optimizer, "summary", "cites")
        assert dataclasses.is_dataclass(optimizer)
        fields = dataclasses.fields(optimizer)
        assert all(f.default is not dataclasses.MISSING for f in fields), "a setting has no default"

    def test_it_steps_each_organism_of_a_stack_on_its_own(self) -> None:
        """Each with its own learning rate."""
        params, _, together = _stepped(self.name, [0, 1, 2])
        for i in range(len(RATES)):
            _, _, alone = _stepped(self.name, [i])
            for key, value in alone.items():
                assert torch.equal(together[key][i], value[0]), (
                    f"{key} of organism {i} moves otherwise in a stack than alone"
                )
        for key, value in together.items():
            assert value.shape == params[key].shape
            assert torch.isfinite(value).all()

    def test_the_rate_scales_the_step(self) -> None:
        """A rate of 0 moves nothing, any other rate does."""
        params, _, together = _stepped(self.name, [0, 1, 2])
        for key, value in together.items():
            assert torch.equal(value[0], params[key][0]), "a rate of 0 moved a weight"
            assert not torch.equal(value[1], params[key][1]), "a rate of 0.01 moved nothing"

    def test_one_rate_for_all_is_that_rate_for_each(self) -> None:
        """Organisms that share their rate are stepped with one number."""
        _, _, each = _stepped(self.name, [1, 1])
        _, _, together = _stepped(self.name, [1, 1], one_rate=True)
        for key, value in each.items():
            assert torch.allclose(together[key], value, rtol=0, atol=1e-10), (
                f"{key} moves otherwise at a rate that is one number"
            )

    def test_what_was_not_given_stays(self) -> None:
        """A step may write to what it is given, which are copies here."""
        params, kept, _ = _stepped(self.name, [0, 1, 2])
        for key, value in params.items():
            assert torch.equal(value, kept[key]), "a step changed tensors that it was not given"


def _stepped(
    name: str, chosen: list[int], *, one_rate: bool = False
) -> tuple[dict[str, Tensor], ...]:
    """Return the parameters of a stack, a copy made before, and some organisms after four steps."""
    rng = np.random.default_rng(0)

    def draw() -> dict[str, Tensor]:
        shapes = {"w": (len(RATES), 4, 3), "b": (len(RATES), 4)}
        return {k: torch.from_numpy(rng.standard_normal(s)) for k, s in shapes.items()}

    params, gradients = draw(), [draw() for _ in range(4)]
    kept = {k: v.clone() for k, v in params.items()}
    optimizer = optimizers.get(name)()
    mine = {k: v[chosen] for k, v in params.items()}
    state = optimizer.init(mine)
    rates = torch.tensor(RATES, dtype=torch.float64)[chosen[0] if one_rate else chosen]
    for step in gradients:
        grads = {k: v[chosen] for k, v in step.items()}
        mine, state = optimizer.step(mine, grads, state, rates)
    return params, kept, mine
