"""Passive exposure: a stack of organisms sees stimuli, and nothing tells it what to make of them.

Recordings drift where animals see the same stimuli again and again and learn nothing (Deitch, Rubin
& Ziv, Current Biology 2021; Marks & Goard, Nature Communications 2021), and what is seen steers the
drift (Bauer, Hübener & Rose, Nature Communications 2024). Meanwhile the similarities between
responses to different stimuli hold (Deitch et al.). Which plasticity does this is not known. Taken
here is a Hebbian rule that is driven by stimuli alone and keeps units different from each other:
networks with it drift so that similarities hold (Qin et al., Nature Neuroscience 2023).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lrplan.cohort.spec import OrganismSpec
from lrplan.simulate.credits import Observed, Operation, Visit
from lrplan.simulate.learn.learning import channels_last
from lrplan.simulate.learn.passes import TrainingPass, goes_as_one, over_stack
from lrplan.simulate.network import Network

PLASTICITY = 0.05
"""By default, the share of their length that a layer's weights move in all of an exposure."""

MOVES_PER_CHECKPOINT = 4
"""How often weights move from one checkpoint to the next, at most."""


def plasticity_of(spec: OrganismSpec) -> float:
    """Return how far an organism under passive exposure is to move."""
    return float(spec.settings["training"].get("plasticity", PLASTICITY))


def moments(checkpoints: Sequence[int], plasticity: Sequence[float]) -> list[int]:
    """Return the steps, from 0, whose batches move weights; none if nothing is plastic.

    Weights move so little that a few batches from one checkpoint to the next stand for all. What is
    shown in between leaves no trace, and need not be computed. Over 20 epochs of digits responses
    came out as with all batches, but for 0.02 (KNet4) and 0.1 (MLP) of their change.

    Parameters
    ----------
    checkpoints : sequence of int
        After how many steps each checkpoint is taken.
    plasticity : sequence of float
        Of each organism.
    """
    if not any(plasticity):
        return []
    spans = zip(checkpoints, checkpoints[1:], strict=False)
    most = MOVES_PER_CHECKPOINT
    return sorted({a + (b - a) * i // most for a, b in spans if b > a for i in range(most)})


def subspace_rule(seen: Observed, length: Tensor) -> Tensor:
    """Return the direction in which Oja's subspace rule moves the weights W of a layer.

    It is E[z x^T] - E[z z^T] W / length, over examples and places, with x and z = W x less their
    means: Hebbian growth, and a decay through which units compete. The units' weights turn
    towards the subspace in which inputs vary most, at right angles to each other.

    Under the rule for one unit (Oja, Journal of Mathematical Biology 1982), whose decay lacks the
    other units, all turn to one direction and become alike.

    Source: Oja, International Journal of Neural Systems 1989, for weights of another length than
    1. A network with lateral connections has it from local signals alone: Pehlevan, Hu &
    Chklovskii, Neural Computation 2015.

    Parameters
    ----------
    seen : Observed
        What the layer of one organism saw of a batch.
    length : Tensor ()
        The squared length that a unit's weights have on average before exposure.
    """
    x, z = (_centred(t) for t in (seen.x, seen.z))
    growth = seen.op.weight_gradient(x, z, seen.weight)
    units = z.transpose(0, 1).flatten(1)
    decay = (units @ units.mT) @ seen.weight.flatten(1)
    # From zero weights nothing decays.
    decay = torch.where(length > 0, decay / length, 0.0)
    return growth - decay.reshape(seen.weight.shape)


def _centred(values: Tensor) -> Tensor:
    """Take off the mean of each unit, or channel, over examples and places."""
    return values - values.mean((0, *range(2, values.ndim)), keepdim=True)


class Exposed:
    """A stack of organisms under passive exposure.

    In each update the weights of every layer but readouts and contrastive heads, which the task
    alone needs, move in the direction of `subspace_rule`, by the same share of their length before
    exposure. So exposures of any length, of layers of any size, on inputs of any scale, come to a
    change of a stated size, and none runs away. Biases, and scales and shifts of normalisation,
    stay.

    Parameters
    ----------
    network : Network
        Shared by the stack.
    params : dict of str to Tensor (organism, ...)
        Forward parameters, changed in place.
    plasticity : sequence of float
        Of each organism, the share of its length that a layer's weights move in all updates: their
        way, of which their distance from where they were is at most as long.
    updates : int
        In all, as many as there are `moments`.
    half : torch.dtype, optional
        As in `TrainingPass`.
    """

    def __init__(
        self,
        network: Network,
        params: dict[str, Tensor],
        plasticity: Sequence[float],
        updates: int,
        *,
        half: torch.dtype | None = None,
    ) -> None:
        self.network, self.params, self.half = network, params, half
        self.organisms = len(plasticity)
        weights = {
            layer.name: params[f"{layer.name}.weight"]
            for layer in network.layers
            if not layer.readout
        }
        some = next(iter(params.values()))
        share = torch.tensor(plasticity, device=some.device, dtype=some.dtype) / max(updates, 1)
        squares = {name: w.flatten(1).square().sum(1) for name, w in weights.items()}
        self.lengths = {name: squares[name] / w.shape[1] for name, w in weights.items()}
        self.way = {name: share * each.sqrt() for name, each in squares.items()}
        self.operations: dict[str, Operation] = {}

    def learn(self, images: Tensor, labels: Tensor, share: float) -> None:
        """Make one update.

        Parameters
        ----------
        images : Tensor (organism, example, ...)
            One batch for each organism.
        labels, share
            As for `Learners.learn`; nothing of either is known here.
        """
        with torch.no_grad():
            for name, visits in self._seen(images).items():
                weight = self.params[f"{name}.weight"]
                find = over_stack(self._direction(name), self.organisms)
                direction = find(visits, weight, self.lengths[name])
                size = direction.flatten(1).norm(dim=1)
                # Where nothing drives a layer it stays as it is.
                step = torch.where(size > 0, self.way[name] / size, 0.0)
                weight.add_(step.reshape(-1, *[1] * (weight.ndim - 1)) * direction)

    def _direction(self, name: str) -> Any:
        """Return `subspace_rule` as a function of one organism's tensors."""

        def one(visits: list[dict[str, Tensor]], weight: Tensor, length: Tensor) -> Tensor:
            each = [Visit(**{k: t.to(weight.dtype) for k, t in v.items()}) for v in visits]
            return subspace_rule(Observed(self.operations[name], weight, None, each), length)

        return one

    def _seen(self, images: Tensor) -> dict[str, list[dict[str, Tensor]]]:
        """Return what each plastic layer took in and what drove it, (organism, example, ...)."""
        if images.ndim == 5 and any(p.ndim == 5 for p in self.params.values()):
            images = channels_last(images)
        if goes_as_one(self.params):
            return self._pass(self.params, images.flatten(0, 1), organisms=self.organisms)
        found: dict[str, list[dict[str, Tensor]]]
        found = over_stack(self._pass, self.organisms)(self.params, images)
        return found

    def _pass(
        self, params: dict[str, Tensor], images: Tensor, *, organisms: int = 1
    ) -> dict[str, list[dict[str, Tensor]]]:
        run = TrainingPass(
            params,
            organisms=organisms,
            half=self.half,
            under_vmap=self.organisms > organisms,
        )
        self.network.forward(run, images)
        self.operations = run.operations
        return {
            name: [{"x": run.apart(v.x), "z": run.apart(v.z)} for v in run.visits[name]]
            for name in self.lengths
            if name in run.visits
        }
