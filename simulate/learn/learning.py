"""Learning: one update of a stack of organisms, each under its own rule."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lrplan.simulate.credits import (
    Credit,
    LearnedFeedback,
    Observed,
    Operation,
    OwnUpdate,
    Visit,
)
from lrplan.simulate.learn.passes import (
    TrainingPass,
    goes_as_one,
    over_stack,
    with_channels_last,
)
from lrplan.simulate.network import Network, trial_pass
from lrplan.simulate.optimizers import kind, together
from lrplan.simulate.rules import Rule
from lrplan.simulate.tasks import Task

Seen = dict[str, list[dict[str, Tensor]]]
"""Of each layer, what it saw at each visit: the tensors of a `Visit`."""


def way_back_key(credit: Credit) -> str:
    """Return what organisms must share to send their errors back in one stack.

    Backpropagation is feedback alignment whose backward weights are the forward ones, so both,
    and whatever moves the backward weights meanwhile, share a stack.
    """
    return "" if credit.way_back != "own" else f"{type(credit).__module__}.{credit!r}"


def rule_order(rule: Rule) -> str:
    """Return a key that, sorted by, puts rules that are worked on together side by side."""
    return repr((kind(rule.optimizer), rule.credit, rule.optimizer))


@dataclass
class _Updates:
    """Organisms that one call of an optimizer updates.

    Parameters
    ----------
    rows : slice
        Which of the stack.
    optimizer : Optimizer
        With the settings that all share, or those of each.
    rate : int or slice
        Where their learning rate stands, or that of each.
    params : dict of str to Tensor
        Views of their parameters.
    state : Any
        The optimizer's.
    """

    rows: slice
    optimizer: Any
    rate: int | slice
    params: dict[str, Tensor]
    state: Any

    def step(self, grads: dict[str, Tensor], rates: Tensor) -> None:
        """Update the parameters in place, by gradients and at rates of the whole stack."""
        mine = {k: g[self.rows] for k, g in grads.items()}
        new, self.state = self.optimizer.step(self.params, mine, self.state, rates[self.rate])
        for name, p in self.params.items():
            if new[name] is not p:
                p.copy_(new[name])


class Learners:
    """A stack of organisms that learn together.

    Parameters
    ----------
    network : Network
        Shared by the stack.
    rules : sequence of Rule
        One per organism, in the order of `rule_order`, with equal `way_back_key`. Of neighbours
        with equal rules and learning rates one call of the optimizer updates all.
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
        self.params, self.feedback = params, feedback
        self.learning_rates = learning_rates
        self.half = half
        self.organisms = len(rules)
        self.convolves = any(p.ndim == 5 for p in params.values())
        self.as_one = goes_as_one(params)
        self.operations: dict[str, Operation] = {}
        self.credit = _credit_of_all(rules)
        # What is differentiated. One organism alone has no axis for organisms there, through which
        # each derivative would have to go.
        alone = self.organisms == 1
        self.leaves, self.leaves_back = (
            {k: t.detach().squeeze(0) if alone else t.detach() for k, t in tensors.items()}
            for tensors in (params, feedback)
        )
        for leaf in self.leaves.values():
            leaf.requires_grad_()
        self.updates = _updates(rules, learning_rates, params)
        credits = [r.credit for r in rules]
        self.tied = [
            rows
            for rows in _runs([c.way_back for c in credits])
            if feedback and credits[rows.start].way_back == "forward weights"
        ]
        each = [(rows, credits[rows.start]) for rows in _runs(credits)]
        self.moving = [(rows, c) for rows, c in each if isinstance(c, LearnedFeedback)]
        self.updating = [(rows, c) for rows, c in each if isinstance(c, OwnUpdate)]
        self.readouts = {layer.name: layer.readout for layer in network.layers}
        self.drives: dict[str, list[torch.Size]] = {}
        self._tie()

    def learn(self, images: Tensor, labels: Tensor, share: float | Tensor) -> None:
        """Make one update.

        All numbers that differ from update to update are read from tensors on the device, and none
        is read back, so that an update can be recorded (`lrplan.simulate.learn.recorded`).

        Parameters
        ----------
        images, labels : Tensor (organism, example, ...)
            One batch for each organism.
        share : float or Tensor ()
            Of the peak learning rate.
        """
        if self.convolves:
            images = channels_last(images)
        taps = self._taps(images)
        losses, seen, rewards = self._losses_of_all(taps, images, labels)
        grads, seen = self._gradients(losses, taps, seen)
        with torch.no_grad():
            for rows, name, change in self._asked(self.updating, "update", seen, rewards):
                grads[f"{name}.weight"][rows] = -change
            known = {name: seen[name] for name in self.feedback} if self.moving else {}
            moves = self._asked(self.moving, "update_backward", known, rewards)
            rates = self.learning_rates * share
            for updates in self.updates:
                updates.step(grads, rates)
            for rows, name, move in moves:
                self.feedback[name][rows].add_(move * share)
            self._tie()

    def _losses_of_all(
        self, taps: Mapping[str, list[Tensor]], images: Tensor, labels: Tensor
    ) -> tuple[Tensor, Seen, list[Tensor]]:
        """Return what `_losses` does, each with a first axis for the organism but the losses."""
        params, back, tree_map = self.leaves, self.leaves_back, torch.utils._pytree.tree_map
        if self.as_one:
            taps = {name: [t.flatten(0, 1) for t in each] for name, each in taps.items()}
            images = images.flatten(0, 1)
            return self._losses(params, back, taps, images, labels, organisms=self.organisms)
        if self.organisms == 1:
            rest = tree_map(lambda t: t.squeeze(0), (taps, images, labels))
            losses, *others = self._losses(params, back, *rest)
            seen, rewards = tree_map(lambda t: t[None], others)
            return losses, seen, rewards
        found: tuple[Tensor, Seen, list[Tensor]] = over_stack(self._losses, self.organisms)(
            params, back, taps, images, labels
        )
        return found

    def _taps(self, images: Tensor) -> dict[str, list[Tensor]]:
        """Return a zero (organism, example, ...) for each drive whose error is to be known."""
        if not self.updating:
            return {}
        if not self.drives:
            visits = trial_pass(self.network, images[0, :1]).visits
            self.drives = {name: [v.z.shape[1:] for v in each] for name, each in visits.items()}
        return {
            name: [images.new_zeros(*images.shape[:2], *shape).requires_grad_() for shape in each]
            for name, each in self.drives.items()
        }

    def _gradients(
        self, losses: Tensor, taps: Mapping[str, list[Tensor]], seen: Seen
    ) -> tuple[dict[str, Tensor], Seen]:
        """Return the gradient of each parameter, and `seen` with the errors that were tapped."""
        # Each loss depends on its own organism alone, so their sum has every gradient.
        tapped = [t for each in taps.values() for t in each]
        # Where a way back ends, and at the last of several time steps, nothing arrives.
        ends = bool(taps) or self.credit.way_back == "own"
        found = torch.autograd.grad(
            losses.sum(), [*self.leaves.values(), *tapped], materialize_grads=ends
        )
        grads = dict(zip(self.leaves, found, strict=False))
        errors = iter(found[len(grads) :])
        for name in taps:
            seen[name] = [visit | {"error": next(errors)} for visit in seen[name]]
        if self.organisms == 1:
            grads = {k: g[None] for k, g in grads.items()}
        return grads, seen

    def _losses(
        self,
        params: Mapping[str, Tensor],
        feedback: Mapping[str, Tensor],
        taps: Mapping[str, Sequence[Tensor]],
        images: Tensor,
        labels: Tensor,
        *,
        organisms: int = 1,
    ) -> tuple[Tensor, Seen, list[Tensor]]:
        """Return the loss, and what credits learn from: what layers saw, and the reward."""
        run = TrainingPass(
            params,
            backward=feedback,
            credit=self.credit,
            taps=taps,
            organisms=organisms,
            half=self.half,
            under_vmap=self.organisms > organisms,
        )
        output = self.network.forward(run, images)
        output = output.to(self.learning_rates.dtype)
        self.operations = run.operations

        def loss(output: Tensor, labels: Tensor) -> Tensor:
            return self.task.loss(output, labels, self.settings)

        def apart(visit: Visit) -> dict[str, Tensor]:
            held = {"x": visit.x, "z": visit.z} | ({} if visit.y is None else {"y": visit.y})
            return {k: run.apart(t.detach()) for k, t in held.items()}

        def reward(output: Tensor, labels: Tensor) -> Tensor:
            if self.task.objective == "supervised":
                return -torch.func.vmap(lambda o, y: loss(o[None], y[None]))(output, labels)
            return -loss(output, labels).expand(len(output))

        wanted = run.visits if self.updating else feedback if self.moving else ()
        seen = {name: [apart(visit) for visit in run.visits[name]] for name in wanted}

        def of_each(function: Callable[[Tensor, Tensor], Tensor], output: Tensor) -> Tensor:
            if organisms == 1:
                return function(output, labels)
            found: Tensor = torch.func.vmap(function)(run.apart(output), labels)
            return found

        rewards = [of_each(reward, output.detach())] if self.updating else []
        return of_each(loss, output), seen, rewards

    def _asked(
        self, credits: Sequence[tuple[slice, Any]], what: str, seen: Seen, rewards: list[Tensor]
    ) -> list[tuple[slice, str, Tensor]]:
        """Return what credits answer, for their organisms and each layer, to what it saw."""
        answers = []
        for rows, credit in credits:
            for name, visits in seen.items():
                weight = self.params[f"{name}.weight"].detach()
                # Rows without B of their own hold W, which is nothing a credit is to see.
                has_one = credit.backward_weights and name in self.feedback
                backward = [self.feedback[name]] if has_one else []
                as_seen = what == "update_backward" and getattr(credit, "any_precision", False)
                mine = torch.utils._pytree.tree_map(
                    partial(_some, rows=rows, dtype=None if as_seen else weight.dtype),
                    (visits, weight, backward, rewards),
                )
                one = over_stack(self._asking(getattr(credit, what), name), rows.stop - rows.start)
                answers += [(rows, name, answer) for answer in one(*mine)]
        return answers

    def _asking(
        self, ask: Callable[[Observed], Tensor | None], name: str
    ) -> Callable[..., tuple[Tensor, ...]]:
        """Return a function of one organism's tensors that asks its credit about a layer."""

        def one(
            visits: list[dict[str, Tensor]],
            weight: Tensor,
            backward: list[Tensor],
            rewards: list[Tensor],
        ) -> tuple[Tensor, ...]:
            answer = ask(
                Observed(
                    self.operations[name],
                    weight,
                    backward[0] if backward else None,
                    [Visit(**visit) for visit in visits],
                    rewards[0] if rewards else None,
                    self.readouts[name],
                )
            )
            return () if answer is None else (answer,)

        return one

    def _tie(self) -> None:
        """Give organisms without backward weights of their own the forward ones."""
        with torch.no_grad():
            for rows in self.tied:
                for name, b in self.feedback.items():
                    b[rows].copy_(self.params[f"{name}.weight"][rows])


def _updates(
    rules: Sequence[Rule], learning_rates: Tensor, params: dict[str, Tensor]
) -> list[_Updates]:
    """Share out organisms among calls of optimizers.

    A call for each optimizer and rate is a pass over memory in one kernel. If these are more than
    the parameters, a call for several, which takes one parameter after the other, is shorter.
    """
    made: list[tuple[slice, Any, int | slice]] = []
    rates = learning_rates.tolist()
    for rows in _runs([kind(r.optimizer) for r in rules]):
        each = [r.optimizer for r in rules[rows]]
        equal = _runs(list(zip(each, rates[rows], strict=True)))
        if len(equal) <= len(params):
            for run in equal:
                start, stop = rows.start + run.start, rows.start + run.stop
                made.append((slice(start, stop), each[run.start], start))
        else:
            made.append((rows, together(each, learning_rates.device), rows))
    found = []
    for rows, optimizer, rate in made:
        mine = {k: p.detach()[rows] for k, p in params.items()}
        found.append(_Updates(rows, optimizer, rate, mine, optimizer.init(mine)))
    return found


def _some(tensor: Tensor, *, rows: slice, dtype: torch.dtype | None) -> Tensor:
    return tensor[rows] if dtype is None else tensor[rows].to(dtype)


def _credit_of_all(rules: Sequence[Rule]) -> Credit:
    """Return the credit whose way back the whole stack takes."""
    with_feedback = [r.credit for r in rules if r.credit.way_back == "backward weights"]
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
        out[k] = with_channels_last(t) if t.ndim == 5 else t
    return out


def channels_last(images: Tensor) -> Tensor:
    """Lay out images (organism, example, channel, row, column) for convolutions.

    Those of a stack become convolutions with a group per organism, over all channels together.
    """
    organisms, _, channels = images.shape[:3]
    if organisms == 1:
        return with_channels_last(images)
    together = images.transpose(0, 1).flatten(1, 2)
    together = together.contiguous(memory_format=torch.channels_last)
    return together.unflatten(1, (organisms, channels)).transpose(0, 1)
