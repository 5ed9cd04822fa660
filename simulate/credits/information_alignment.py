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
STEPS_TO_MINIMUM, FRESH_STARTS = 100, 10
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
    - Inputs and drives are both scaled such that a unit of x, and one of z, has a mean energy of
      1 (summed over its places), and B is the weights between them on these scales. So ``decay``
      is as strong in every layer, whatever its activity and number of places; and where W is
      short or long, B is, too, where a plain regression of x on z would be the opposite.
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
    any_precision: ClassVar[bool] = True

    amp: float = 2e-3
    null: float = 1e-3
    decay: float = 1e-3
    rate: float = 0.3
    steps: int = 2

    def __post_init__(self) -> None:
        """Refuse settings under which B cannot settle."""
        for name in ("amp", "null", "decay"):
            finite_number(getattr(self, name), name)
        if self.null + self.decay == 0:
            raise UsageError(
                "null and decay are both 0, so B would grow for ever; give one of them"
            )
        if not 0 < finite_number(self.rate, "rate") <= 1:
            raise UsageError(f"rate is {self.rate!r}; expected a share above 0, at most 1")
        positive_int(self.steps, "steps")

    def update_backward(self, seen: Observed) -> Tensor:
        """Return a share of the way that some steps of conjugate gradients go."""
        assert seen.backward is not None
        loss = AlignmentLoss(self, seen, examples=_enough(seen))
        return self.rate * conjugate_gradients(loss, seen.backward, self.steps)

    def minimiser(self, seen: Observed) -> Tensor:
        """Return the B at which the loss of these examples is least.

        Its gradient there is 1e-6 of that at zero, or as small as rounding lets it be.
        """
        loss = AlignmentLoss(self, seen, examples=seen.x.shape[0])
        at = torch.zeros_like(seen.weight)
        enough = 1e-6 * loss.down(at).norm()
        # As many steps as weights would do in exact arithmetic; rounding asks for fresh starts.
        for _ in range(FRESH_STARTS):
            at = at + conjugate_gradients(loss, at, STEPS_TO_MINIMUM)
            left = loss.down(at).norm()
            if not bool(left >= enough):  # or not finite
                break
        return at


class AlignmentLoss:
    """The alignment loss of one layer, a quadratic function of B.

    Inputs are centred: each example's mean over units and places is taken from x, and what the
    layer makes of it from z. That they are also scaled, to a mean energy of 1 for a unit of x and
    one of z, is left to the coefficients: with X and Z the energies as they are, the loss of
    B sqrt(X / Z), times Z / X, has ``amp`` / X, ``null`` / Z, and ``decay`` as it is.

    Parameters
    ----------
    credit : InformationAlignment
        With the loss's coefficients.
    seen : Observed
        Inputs and drives as they are.
    examples : int
        How many of them count, the first ones.

    Attributes
    ----------
    x, z : Tensor (example, ...)
        Inputs and drives, centred, in their own precision.
    """

    def __init__(self, credit: InformationAlignment, seen: Observed, *, examples: int) -> None:
        self.op: Operation = seen.op
        self.weight = seen.weight
        x, z = seen.x[:examples], seen.z[:examples]
        mean = x.mean(tuple(range(1, x.ndim)), keepdim=True)
        of_mean = seen.op.forward(torch.ones_like(x[:1]), seen.weight.to(x.dtype))
        self.x = x - mean
        self.z = torch.addcmul(z, mean.reshape(-1, *[1] * (z.ndim - 1)), of_mean, value=-1)
        # Squares summed over examples, averaged over units.
        of_x, of_z = ((_energy(t, self.weight) / t.shape[1]) for t in (self.x, self.z))
        of_x, of_z = of_x.clamp_min(TINY), of_z.clamp_min(TINY)
        self.amp, self.null, self.decay = credit.amp / of_x, credit.null / of_z, credit.decay
        # Factors of activity are taken to the weights: these are fewer, and in full precision.
        self.null_to_amp = self.null * of_x / credit.amp if credit.amp else None

    def down(self, backward: Tensor) -> Tensor:
        """Return minus the gradient."""
        shrink = 2 * self.decay * backward
        if self.null_to_amp is None:
            return -2 * self.null * self._pairs(self._carried(backward)) - shrink
        missing = self.x - self._carried(2 * self.null_to_amp * backward)
        return self.amp * self._pairs(missing) - shrink

    def bend(self, direction: Tensor) -> Tensor:
        """Return the second derivative times a direction in the space of B."""
        curved = self._pairs(self._carried(direction))
        return 2 * self.null * curved + 2 * self.decay * direction

    def curvature(self, direction: Tensor) -> Tensor:
        """Return the product of a direction and its `bend`, which takes one pass less."""
        curved = _energy(self._carried(direction), self.weight)
        return 2 * self.null * curved + 2 * self.decay * direction.square().sum()

    def _carried(self, backward: Tensor) -> Tensor:
        return self.op.transpose(self.z, backward, self.x)

    def _pairs(self, x: Tensor) -> Tensor:
        """Return the sum over examples and places of z x^T, in the shape of W."""
        return self.op.weight_gradient(x, self.z, self.weight)


def _energy(activity: Tensor, like: Tensor) -> Tensor:
    """Return the sum of squares, in the precision of another tensor."""
    return torch.linalg.vector_norm(activity, dtype=like.dtype).square()


def conjugate_gradients(loss: AlignmentLoss, start: Tensor, steps: int) -> Tensor:
    """Return the way that some steps of conjugate gradients go down a loss from a start.

    Source: Hestenes and Stiefel 1952.
    """
    down = loss.down(start)
    way, direction, size = torch.zeros_like(start), down, down.square().sum()
    for step in range(steps):
        if step == steps - 1:
            return way + size / loss.curvature(direction).clamp_min(TINY) * direction
        bent = loss.bend(direction)
        length = size / (direction * bent).sum().clamp_min(TINY)
        way = way + length * direction
        down = down - length * bent
        before, size = size, down.square().sum()
        direction = down + size / before.clamp_min(TINY) * direction
    return way


def _enough(seen: Observed) -> int:
    """Return how many examples are looked at; a matter of shapes, not of values."""
    examples, places = seen.x.shape[0], seen.x[0, 0].numel()
    meeting = seen.weight.shape[0] * seen.op.overlap(seen.weight)
    return min(examples, max(FEWEST_EXAMPLES, -(-PLACES_PER_WEIGHT * meeting // places)))
