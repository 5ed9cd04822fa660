"""Learning: one update of a stack of organisms, each under its own rule."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lrplan.simulate.credits import Backpropagation, FixedFeedback, Operation
from lrplan.simulate.learn.passes import TrainingPass, goes_as_one, over_stack
from lrplan.simulate.network import Network
from lrplan.simulate.optimizers import kind, together
from lrplan.simulate.rules import Rule
from lrplan.simulate.tasks import Task


def way_back(rule: Rule) -> Backpropagation | None:
    """Return what organisms must share to send their errors back in one stack.

    Backpropagation is feedback alignment whose backward weights are the forward ones, so both,
    and whatever moves the backward weights meanwhile, share a stack: None stands for them.
    """
    known = (Backpropagation.apply, FixedFeedback.apply)
    return None if type(rule.credit).apply in known else rule.credit


def rule_order(rule: Rule) -> str:
    """Return a key that, sorted by, puts rules that are worked on together side by side."""
    return repr((kind(rule.optimizer), rule.credit))


class Learners:
    """A stack of organisms that learn together.

    Parameters
    ----------
    network : Network
        Shared by the stack.
    rules : sequence of Rule
        One per organism, in the order of `rule_order`, with equal `way_back`.
    task, settings : Task, dict
        What they learn.
    params, feedback : dict of str to Tensor (organism, ...)
        Forward parameters, and backward weights, empty if no rule has any. Both are changed in
        place. Rows of organisms without backward weights of their own hold the forward ones.
    learning_rates : Tensor (organism,)
        At their peak.
    half : torch.dtype, optional
        As in `TrainingPass`.
    """

    def __init__(
        self,
        network: Network,
        rules: Sequence[Rule],
        task: Task,
        settings: dict[str, Any],
        params: dict[str, Tensor],
        feedback: dict[str, Tensor],
        learning_rates: Tensor,
        *,
        half: torch.dtype | None = None,
    ) -> None:
        self.network, self.task, self.settings = network, task, settings
        self.params = {k: p.requires_grad_() for k, p in params.items()}
        self.feedback = feedback
        self.learning_rates = learning_rates
        self.half = half
        self.organisms = len(rules)
        self.convolves = any(p.ndim == 5 for p in params.values())
        self.as_one = goes_as_one(params)
        self.operations: dict[str, Operation] = {}
        self.credit = _credit_of_all(rules)
        device = learning_rates.device
        self.optimizers = [
            (rows, together([r.optimizer for r in rules[rows]], device))
            for rows in _runs([kind(r.optimizer) for r in rules])
        ]
        self.states = [opt.init(self._rows(params, rows)) for rows, opt in self.optimizers]
        credits = [r.credit for r in rules]
        self.tied = [
            rows
            for rows in _runs([c.backward_weights for c in credits])
            if feedback and not credits[rows.start].backward_weights
        ]
        self.moving = [
            (rows, credits[rows.start])
            for rows in _runs(credits)
            if type(credits[rows.start]).backward_gradient is not Backpropagation.backward_gradient
        ]
        self._tie()

    def learn(self, images: Tensor, labels: Tensor, share: float) -> None:
        """Make one update.

        Parameters
        ----------
        images, labels : Tensor (organism, example, ...)
            One batch for each organism.
        share : float
            Of the peak learning rate.
        """
        if self.convolves:
            images = channels_last(images)
        if self.as_one:
            losses, seen = self._losses(
                self.params, self.feedback, images.flatten(0, 1), labels, organisms=self.organisms
            )
        else:
            args = (self.params, self.feedback, images, labels)
            losses, seen = over_stack(self._losses, self.organisms)(*args)
        # Each loss depends on its own organism alone, so their sum has every gradient.
        grads = torch.autograd.grad(losses.sum(), list(self.params.values()))
        with torch.no_grad():
            moves = self._moves(seen)
            self._step(dict(zip(self.params, grads, strict=True)), share)
            for rows, name, move in moves:
                self.feedback[name][rows].sub_(move, alpha=share)
            self._tie()

    def _losses(
        self,
        params: Mapping[str, Tensor],
        feedback: Mapping[str, Tensor],
        images: Tensor,
        labels: Tensor,
        *,
        organisms: int = 1,
    ) -> tuple[Tensor, dict[str, tuple[Tensor, Tensor]]]:
        """Return the loss, and what backward weights learn from: inputs and drives of layers."""
        run = TrainingPass(
            params,
            backward=feedback,
            credit=self.credit,
            organisms=organisms,
            half=self.half,
            under_vmap=self.organisms > organisms,
        )
        output = self.network.forward(run, images)
        output = output.to(self.learning_rates.dtype)
        self.operations = run.operations

        def loss(output: Tensor, labels: Tensor) -> Tensor:
            return self.task.loss(output, labels, self.settings)

        seen = {
            name: (run.apart(run.inputs[name].detach()), run.apart(run.drives[name].detach()))
            for name in (feedback if self.moving else ())
        }
        if organisms == 1:
            return loss(output, labels), seen
        return torch.func.vmap(loss)(run.apart(output), labels), seen

    def _moves(self, seen: dict[str, Any]) -> list[tuple[slice, str, Tensor]]:
        """Return how the backward weights of some organisms are to move."""
        moves = []
        for rows, credit in self.moving:
            for name, (x, z) in seen.items():
                weight, backward = self.params[f"{name}.weight"], self.feedback[name]

                def one(x: Any, z: Any, w: Any, b: Any, name: str = name, c: Any = credit) -> Any:
                    move = c.backward_gradient(self.operations[name], x, z, w, b)
                    return () if move is None else (move,)

                args = (x.to(weight.dtype), z.to(weight.dtype), weight.detach(), backward)
                found = over_stack(one, rows.stop - rows.start)(*(t[rows] for t in args))
                moves += [(rows, name, move) for move in found]
        return moves

    def _step(self, grads: dict[str, Tensor], share: float) -> None:
        """Let each optimizer update its organisms."""
        rates = self.learning_rates * share
        for i, (rows, optimizer) in enumerate(self.optimizers):
            mine = self._rows(self.params, rows)
            new, self.states[i] = optimizer.step(
                mine, self._rows(grads, rows), self.states[i], rates[rows]
            )
            for name, p in mine.items():
                if new[name] is not p:
                    p.copy_(new[name])

    def _rows(self, tensors: dict[str, Tensor], rows: slice) -> dict[str, Tensor]:
        """Return views of some organisms' tensors."""
        return {k: t.detach()[rows] for k, t in tensors.items()}

    def _tie(self) -> None:
        """Give organisms without backward weights of their own the forward ones."""
        with torch.no_grad():
            for rows in self.tied:
                for name, b in self.feedback.items():
                    b[rows].copy_(self.params[f"{name}.weight"][rows])


def _credit_of_all(rules: Sequence[Rule]) -> Backpropagation:
    """Return the way back that the whole stack takes."""
    with_feedback = [r.credit for r in rules if r.credit.backward_weights]
    return with_feedback[0] if with_feedback else rules[0].credit


def _runs(keys: Sequence[Any]) -> list[slice]:
    """Return the slices over which neighbouring keys are equal."""
    runs, start = [], 0
    for _, same in itertools.groupby(keys):
        stop = start + len(list(same))
        runs.append(slice(start, stop))
        start = stop
    return runs


def stacked(
    each: Sequence[dict[str, np.ndarray]], device: torch.device, dtype: torch.dtype
) -> dict[str, Tensor]:
    """Stack the same arrays of several organisms along a new first axis.

    Kernels of convolutions are laid out channels last, which makes the convolutions so: on a CPU
    they take two thirds of the time then, and a GPU needs it for its tensor cores.
    """
    out = {}
    for k in each[0]:
        t = torch.from_numpy(np.stack([e[k] for e in each])).to(device, dtype)
        if t.ndim == 5:
            t = t.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)
        out[k] = t
    return out


def channels_last(images: Tensor) -> Tensor:
    """Lay out images (organism, example, channel, row, column) for convolutions.

    Those of a stack become convolutions with a group per organism, over all channels together.
    """
    organisms, _, channels = images.shape[:3]
    if organisms == 1 and channels == 1:
        return images
    together = images.transpose(0, 1).flatten(1, 2)
    together = together.contiguous(memory_format=torch.channels_last)
    return together.unflatten(1, (organisms, channels)).transpose(0, 1)
