"""Information alignment: backward weights learn to carry back what the layer took in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from lrplan.arguments import finite_number, positive_int
from lrplan.errors import UsageError
from lrplan.simulate.credits import Observed, Operation, credits
from lrplan.simulate.credits.feedback_alignment import FeedbackAlignment

TINY = 1e-30
FEWEST_EXAMPLES = 8
PLACES_PER_WEIGHT = 4
"""Places of the input that are looked at, for each backward weight that meets in one of them."""


@credits.register("information_alignment")
@dataclass(frozen=True, kw_only=True)
class InformationAlignment(FeedbackAlignment):
    """Backward weights learn, from activity alone, to carry back what the layer took in.

    B descends the published loss of a layer z = W x, with x, z and W held constant (Kunin et al.,
    ICML 2020): ``amp`` * -E[x^T B z] + ``null`` * E|B z|^2 + ``decay`` * (|W|^2 + |B|^2), summed
    over units and places. Its minimum is the ridge regression of x on z.

    What the authors leave open is how inputs are normalised, and what is ours is the descent:

    - From each example its mean over units and places is taken (an option of the authors' code).
      Otherwise the mean of activity, by far the largest direction of z, is what B learns to
      carry back, and an error has no use of it.
    - Inputs are scaled such that a unit of z has a mean energy of 1 (summed over its places).
      So ``decay`` weighs alike in every layer: unscaled, the energy of a layer's drive, and with
      it the strength of the ridge, differs over four orders of magnitude between the first
      convolution of a ResNet and its readout.
    - ``amp`` is four times the published coefficient: the length of B is then about that of W,
      so that beside skip paths, which carry errors back as they are, it counts as W does.
    - A step down the gradient that is small enough for the largest direction of z leaves all
      others where they are. Here each update takes ``steps`` steps of conjugate gradients down
      the loss of the batch, and B moves by a share ``rate`` of the way that they go, so that it
      follows the mean over some 1 / ``rate`` batches. These steps are not scaled by the learning
      rate, but by its schedule.
    - Where convolutions see many places, the first examples of the batch suffice.

    Parameters
    ----------
    amp, null, decay : float
        Coefficients of the alignment loss.
    rate : float
        Share of the way to take, between 0 and 1.
    steps : int
        Steps of conjugate gradients in each update.
    """

    summary: ClassVar[str] = "errors go back through weights that learn by a local loss"
    cites: ClassVar[str] = "Kunin et al., ICML 2020"

    amp: float = 8e-3
    null: float = 1e-3
    decay: float = 1e-3
    rate: float = 0.3
    steps: int = 2

    def __post_init__(self) -> None:
        """Refuse settings under which B cannot settle."""
        for name in ("amp", "null", "decay"):
            finite_number(getattr(self, name), name)
        if not 0 < finite_number(self.rate, "rate") <= 1:
            raise UsageError(f"rate is {self.rate!r}; expected a share above 0, at most 1")
        positive_int(self.steps, "steps")

    def update_backward(self, seen: Observed) -> Tensor:
        """Return a share of the way that some steps of conjugate gradients go."""
        assert seen.backward is not None
        loss = AlignmentLoss(self, seen, examples=_enough(seen))
        way, _ = conjugate_gradients(loss, seen.backward, self.steps)
        return self.rate * way

    def minimiser(self, seen: Observed) -> Tensor:
        """Return the B at which the loss of these examples is least, to 1e-4 of its norm."""
        loss = AlignmentLoss(self, seen, examples=seen.x.shape[0])
        at = torch.zeros_like(seen.weight)
        # In exact arithmetic there are as many steps as weights; rounding asks for fresh starts.
        for _ in range(10):
            way, left = conjugate_gradients(loss, at, 100)
            at = at + way
            if float(left) < 1e-6 * float(loss.pull.norm()):
                break
        return at


class AlignmentLoss:
    """The alignment loss of one layer, a quadratic function of B.

    Parameters
    ----------
    credit : InformationAlignment
        With the loss's coefficients.
    seen : Observed
        Inputs and drives, before they are normalised.
    examples : int
        How many of them count, the first ones.

    Attributes
    ----------
    pull : Tensor, shaped like W
        Minus the loss's gradient at B = 0.
    """

    def __init__(self, credit: InformationAlignment, seen: Observed, *, examples: int) -> None:
        self.op: Operation = seen.op
        self.weight, self.decay = seen.weight, credit.decay
        x, z = normalised(seen, examples)
        self.x, self.z = x, z
        self.null = credit.null / examples
        self.pull = credit.amp / examples * self.op.weight_gradient(x, z, self.weight)

    def bend(self, direction: Tensor) -> Tensor:
        """Return the loss's second derivative times a direction in the space of B."""
        carried = self.op.transpose(self.z, direction, self.x)
        curved = self.op.weight_gradient(carried, self.z, self.weight)
        return 2 * self.null * curved + 2 * self.decay * direction


def normalised(seen: Observed, examples: int) -> tuple[Tensor, Tensor]:
    """Return the first inputs and drives, centred by example and scaled to units of energy 1."""
    x, z = seen.x[:examples], seen.z[:examples]
    axes = tuple(range(1, x.ndim))
    mean = x.mean(axes, keepdim=True)
    of_mean = seen.op.forward(torch.ones_like(x[:1]), seen.weight)
    x, z = x - mean, z - mean.reshape(-1, *[1] * (z.ndim - 1)) * of_mean
    energy = (z * z).sum() / (examples * z.shape[1])
    scale = torch.rsqrt(energy.clamp_min(TINY))
    return x * scale, z * scale


def conjugate_gradients(loss: AlignmentLoss, start: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """Go some steps of conjugate gradients down a loss.

    Returns
    -------
    way : Tensor
        From the start to where they end.
    left : Tensor
        The norm of the gradient there.

    Source: Hestenes and Stiefel 1952.
    """
    down = loss.pull - loss.bend(start)
    way, direction = torch.zeros_like(start), down
    size = (down * down).sum()
    for _ in range(steps):
        bent = loss.bend(direction)
        length = size / (direction * bent).sum().clamp_min(TINY)
        way = way + length * direction
        down = down - length * bent
        before, size = size, (down * down).sum()
        direction = down + size / before.clamp_min(TINY) * direction
    return way, size.sqrt()


def _enough(seen: Observed) -> int:
    """Return how many examples are looked at; a matter of shapes, not of values."""
    examples, places = seen.x.shape[0], seen.x[0, 0].numel()
    meeting = seen.weight.shape[0] * seen.op.overlap(seen.weight)
    return min(examples, max(FEWEST_EXAMPLES, -(-PLACES_PER_WEIGHT * meeting // places)))
