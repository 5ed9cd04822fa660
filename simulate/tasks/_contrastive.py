"""The contrastive loss of SimCLR."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def nt_xent(projections: Tensor, temperature: float) -> Tensor:
    """Return the normalised temperature-scaled cross-entropy of 2 n projections.

    Parameters
    ----------
    projections : Tensor (2 n, dimension)
        Rows i and i + n are two views of one image.
    temperature : float
        Divides the cosine similarities.

    Notes
    -----
    Chen et al., ICML 2020, equation 1.
    """
    z = F.normalize(projections, dim=1)
    similarity = z @ z.T / temperature
    total = z.shape[0]
    itself = torch.eye(total, dtype=torch.bool, device=z.device)
    similarity = torch.where(itself, torch.finfo(z.dtype).min, similarity)
    other = (torch.arange(total, device=z.device) + total // 2) % total
    return F.cross_entropy(similarity, other)
