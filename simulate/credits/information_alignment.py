"""Information alignment: backward weights learn to carry back what the layer took in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from lrplan.simulate.credits import Observed, credits
from lrplan.simulate.credits.feedback_alignment import FeedbackAlignment


@credits.register("information_alignment")
@dataclass(frozen=True, kw_only=True)
class InformationAlignment(FeedbackAlignment):
    """Backward weights learn, from activity alone, to carry back what the layer took in.

    B descends the local loss ``amp`` * -E[x^T B z] + ``null`` * E|B z|^2 + ``decay`` *
    (|W|^2 + |B|^2), z = W x, with x, z and W held constant. The step is scaled by the curvature
    of the null term, 2 null E|z|^2 (times the outputs that see one pixel of a convolution), as in
    normalised least mean squares: with the published coefficients and a plain step, B diverges
    within an epoch where no normalisation bounds z.

    Source: Kunin et al., ICML 2020 (loss and coefficients); the step's scale is ours.

    Parameters
    ----------
    amp, null, decay : float
        Coefficients of the alignment loss.
    rate : float
        Step size relative to the largest that is stable.
    """

    summary: ClassVar[str] = "errors go back through weights that learn by a local loss"
    cites: ClassVar[str] = "Kunin et al., ICML 2020"

    amp: float = 2e-3
    null: float = 1e-3
    decay: float = 1e-3
    rate: float = 0.5

    def update_backward(self, seen: Observed) -> Tensor:
        """Return the scaled step down the alignment loss."""
        x, z, weight, backward = seen.x, seen.z, seen.weight, seen.backward
        assert backward is not None
        examples = x.shape[0]
        carried = seen.op.transpose(z, backward, x)
        # d/dB of the mean over examples; `weight_gradient` sums over them.
        error = (-self.amp * x + 2 * self.null * carried) / examples
        gradient = seen.op.weight_gradient(error, z, weight) + 2 * self.decay * backward
        energy = (z * z).sum() / examples
        curvature = 2 * self.null * energy * seen.op.overlap(weight) + 2 * self.decay
        return -self.rate * gradient / curvature
