"""Recorded updates: on a GPU a whole update is one graph of kernels, recorded once."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from lrplan.simulate.learn.learning import Learners

UPDATES_BEFORE = 3
"""Updates that are made before one is recorded: libraries choose kernels and take memory in them.

They are made on a stream of their own, as torch asks of what is to be recorded.
"""


def can_be_recorded(learners: Learners) -> bool:
    """Say whether all that changes from update to update lies in tensors that stay in place.

    So it is for optimizers that say so. Credits and tasks are functions of their arguments anyway.
    """
    some = next(iter(learners.params.values()))
    return some.is_cuda and all(getattr(u.optimizer, "recordable", False) for u in learners.updates)


class Recorded:
    """A stack on a GPU whose updates are recorded and then played again.

    An update of a stack is some thousand kernels, which Python takes longer to start than the GPU
    to run. A CUDA graph starts them at once. What it computes is the same.

    Parameters
    ----------
    learners : Learners
        For which `can_be_recorded` holds. Nothing else may move its tensors to other places.

    Attributes
    ----------
    reason : BaseException or None
        Why an update could not be recorded; all of them are started by Python then, as is told in
        a warning.
    """

    def __init__(self, learners: Learners) -> None:
        if not can_be_recorded(learners):
            raise ValueError("this stack is not on a GPU, or its optimizers cannot be recorded")
        self.learners = learners
        self.reason: BaseException | None = None
        self._made = 0
        self._graph: torch.cuda.CUDAGraph | None = None
        self._stream = torch.cuda.Stream()
        self._inputs: tuple[Tensor, Tensor] | None = None
        self._share = torch.zeros((), dtype=torch.float64, device=learners.learning_rates.device)

    @property
    def params(self) -> dict[str, Tensor]:
        """The stack's parameters."""
        return self.learners.params

    @property
    def is_recorded(self) -> bool:
        """Whether an update has been recorded, so that others are played."""
        return self._graph is not None

    def learn(self, images: Tensor, labels: Tensor, share: float) -> None:
        """Make one update, as `Learners.learn` does.

        Parameters
        ----------
        images, labels, share
            As there. Batches of another shape than the first ones are not played but made.
        """
        if self.reason is not None:
            self.learners.learn(images, labels, share)
            return
        if self._inputs is None:
            # Laid out as the first ones; those of every update are copied to this place.
            self._inputs = images.clone(), labels.clone()
        if any(t.shape != s.shape for t, s in zip((images, labels), self._inputs, strict=True)):
            self._on_a_stream(images, labels, share)
            return
        self._share.fill_(share)
        for place, t in zip(self._inputs, (images, labels), strict=True):
            place.copy_(t)
        if self._graph is None and self._made >= UPDATES_BEFORE:
            self._record()
        if self._graph is not None:
            self._graph.replay()
        else:
            self._on_a_stream(*self._inputs, self._share)
        self._made += 1

    def _on_a_stream(self, images: Tensor, labels: Tensor, share: float | Tensor) -> None:
        """Make an update on the stream on which one will be recorded."""
        here = torch.cuda.current_stream()
        self._stream.wait_stream(here)
        with torch.cuda.stream(self._stream):
            self.learners.learn(images, labels, share)
        here.wait_stream(self._stream)

    def _record(self) -> None:
        """Record an update, which is not made meanwhile."""
        assert self._inputs is not None
        graph = torch.cuda.CUDAGraph()
        try:
            # Threads that read the next examples may take memory of the host meanwhile.
            with torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"):
                self.learners.learn(*self._inputs, self._share)
        except RuntimeError as error:
            if _lacks_memory(error):
                raise
            self.reason = error
            warnings.warn(
                "an update of this stack could not be recorded as a CUDA graph, so Python starts "
                f"every kernel of every update, which is slower: {type(error).__name__}: {error}",
                RuntimeWarning,
                stacklevel=4,
            )
            return
        self._graph = graph


def _lacks_memory(error: BaseException | None) -> bool:
    """Say whether memory ran out, be it before the error that came of it."""
    while error is not None:
        if isinstance(error, torch.cuda.OutOfMemoryError):
            return True
        error = error.__context__
    return False
