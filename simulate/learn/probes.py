"""What is stored of a stack of organisms at one checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lrplan.cohort.spec import OrganismSpec
from lrplan.measure.observables import Family, stored_families
from lrplan.simulate.learn.batches import first_images
from lrplan.simulate.learn.passes import (
    StackPass,
    goes_as_one,
    over_stack,
    with_channels_last,
)
from lrplan.simulate.learn.storage import Storage
from lrplan.simulate.network import Network, layer_positions, trial_pass
from lrplan.simulate.tasks import Data, Task

STATISTICS_EXAMPLES = 256


@dataclass(frozen=True)
class Population:
    """One stored layer."""

    layer: str
    layer_index: int
    layer_position: str
    units: int
    inputs: int
    weights: int


def populations_of(network: Network, storage: Storage, example: Tensor) -> list[Population]:
    """Choose the layers to store.

    Parameters
    ----------
    network : Network
        Sized for its task.
    storage : Storage
        Which populations, and how many units make one large enough.
    example : Tensor (1, channel, row, column)
        Any input, to learn the layers' sizes.
    """
    run = trial_pass(network, example)
    every = [
        Population(
            layer.name,
            i,
            position,
            run.outputs[layer.name].numel(),
            run.visits[layer.name][-1].x.numel(),
            int(np.prod(layer.shape)),
        )
        for i, (layer, position) in enumerate(
            zip(network.layers, layer_positions(network), strict=True)
        )
    ]
    if storage.populations == "all":
        return every
    chosen = []
    for position in ("early", "middle", "deep"):
        there = [p for p in every if p.layer_position == position]
        large = [p for p in there if p.units >= storage.units]
        if large:
            chosen.append(large[-1])
        elif there:
            chosen.append(max(there, key=lambda p: p.units))
    return chosen


class Probes:
    """Fixed random samples of units, synapses and pairs, and the stimuli, of a stack.

    Parameters
    ----------
    network : Network
        Shared by the stack.
    specs : list of OrganismSpec
        Each draws its own samples.
    storage : Storage
        How many.
    task : Task
        Which prepares its images for networks.
    data : Data
        Whose held-out images are the stimuli.
    device : torch.device
        Where to compute.
    dtype : torch.dtype
        Of what networks see.
    """

    def __init__(
        self,
        network: Network,
        specs: list[OrganismSpec],
        storage: Storage,
        task: Task,
        data: Data,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.network = network
        self.storage = storage
        self.organisms = len(specs)

        def shown(images: Tensor) -> Tensor:
            return with_channels_last(task.prepare(images.to(device)).to(dtype))

        self.stimuli = shown(
            torch.from_numpy(data.test[_stimuli(data.test_labels, storage.stimuli)])
        )
        self.validation = shown(torch.from_numpy(data.test[: storage.validation]))
        self.all_shown = with_channels_last(torch.cat([self.stimuli, self.validation]))
        self.statistics_examples = shown(first_images(data.train, STATISTICS_EXAMPLES))
        self.populations = populations_of(network, storage, self.validation[:1])
        visits = trial_pass(network, self.validation[:1]).visits
        self.input_shapes = {p.layer: visits[p.layer][-1].x.shape[1:] for p in self.populations}

        def draw(kind: str, count: Callable[[Population], int], most: int) -> dict[str, Tensor]:
            return {
                p.layer: torch.from_numpy(
                    np.stack(
                        [
                            np.sort(s.rng(f"{kind} {p.layer}").permutation(count(p))[:most])
                            for s in specs
                        ]
                    )
                ).to(device)
                for p in self.populations
            }

        self.units = draw("units", lambda p: p.units, storage.units)
        self.synapses = draw("synapses", lambda p: p.weights, storage.synapses)
        self.post = draw("post", lambda p: p.units, storage.pairs)
        self.pre = draw("pre", lambda p: p.inputs, storage.pairs)

    def batch_statistics(self, params: Mapping[str, Tensor]) -> Any:
        """Return mean and variance for batch normalisation, from training images.

        They are taken anew at each checkpoint from the same images, so that a checkpoint
        depends on its weights alone.
        """

        def look(run: StackPass, output: Tensor) -> Any:
            return run.batch_statistics

        return self._run(look, params, None, self.statistics_examples)

    def _run(
        self,
        look: Callable[[StackPass, Tensor], Any],
        params: Mapping[str, Tensor],
        statistics: Any,
        images: Tensor,
        probes: Any = None,
    ) -> Any:
        """Return what `look` finds of a stack that is shown the same images."""

        def one(params: Any, statistics: Any, probes: Any, images: Tensor) -> Any:
            run = StackPass(
                params, statistics=statistics or None, probes=probes, organisms=organisms
            )
            return look(run, self.network.forward(run, images))

        organisms = self.organisms if goes_as_one(params) else 1
        args = (params, statistics or {}, probes or {})
        if organisms == 1:
            return over_stack(one, self.organisms)(*args, shared=(images,))
        every = images.expand(organisms, *images.shape).flatten(0, 1)
        probes = {name: p.flatten(0, 1) for name, p in args[2].items()}
        return one(params, args[1], probes, every)

    def evaluate(
        self, params: Mapping[str, Tensor], statistics: Any, images: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the network's output and features (organism, example, ...) for images."""

        def look(run: StackPass, output: Tensor) -> Any:
            return run.apart(output), run.apart(run.outputs["features"])

        images = with_channels_last(images)
        found: tuple[Tensor, Tensor] = self._run(look, params, statistics, images)
        return found

    def measure(self, params: Mapping[str, Tensor], statistics: Any) -> dict[str, list[Any]]:
        """Return, for each population, arrays over the stack.

        Returns
        -------
        dict
            ``responses`` (organism, stimulus, unit), ``synapses`` (organism, synapse),
            ``paired`` (organism, stimulus, post, pre), ``observables`` (organism, 45), each a
            list with one tensor per population.
        """
        out: dict[str, list[Any]] = {
            k: [] for k in ("responses", "synapses", "paired", "observables")
        }
        shown = len(self.stimuli)
        inputs, outputs = self._pass(params, statistics, self.stimuli[: self.storage.pair_stimuli])
        for p in self.populations:
            out["paired"].append(self._paired(p.layer, inputs[p.layer], outputs[p.layer]))
        inputs, outputs = self._pass(params, statistics, self.all_shown)
        for p in self.populations:
            y = outputs.pop(p.layer)
            units = self.units[p.layer][:, None].expand(-1, shown, -1)
            out["responses"].append(y.detach()[:, :shown].gather(2, units))
            (total,) = torch.autograd.grad(y, inputs[p.layer], torch.ones_like(y))
            weights = params[f"{p.layer}.weight"].detach().flatten(1)
            out["synapses"].append(weights.gather(1, self.synapses[p.layer]))
            observed = [
                _observe(
                    family, y.detach()[:, shown:], weights, total.flatten(2)[:, shown:], p.units
                )
                for family in stored_families()
            ]
            out["observables"].append(torch.cat(observed, dim=-1))
        return out

    def _pass(
        self, params: Mapping[str, Tensor], statistics: Any, images: Tensor
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return what each stored layer puts out and a zero added to its input.

        Returns
        -------
        inputs, outputs : dict of str to Tensor (organism, example, ...)
            Zeros cut the network between layers: by an input of its own, an output (organism,
            example, unit) has the derivative of that layer alone.
        """
        inputs = {
            name: images.new_zeros(self.organisms, len(images), *shape)
            for name, shape in self.input_shapes.items()
        }
        inputs = {
            name: (with_channels_last(zero) if zero.ndim == 5 else zero).requires_grad_()
            for name, zero in inputs.items()
        }

        def look(run: StackPass, output: Tensor) -> Any:
            return {name: run.apart(run.outputs[name].flatten(1)) for name in inputs}

        fixed = {name: p.detach() for name, p in params.items()}
        with torch.enable_grad():
            outputs = self._run(look, fixed, statistics, images, inputs)
        return inputs, outputs

    def _paired(self, layer: str, inputs: Tensor, y: Tensor) -> Tensor:
        """Return d post / d pre of the sampled pairs, (organism, stimulus, post, pre)."""
        stimuli = y.shape[1]
        post, pre = self.post[layer], self.pre[layer]
        # Per sampled output one backward pass, all of them at once.
        places = post.T[:, :, None, None].expand(-1, -1, stimuli, -1)
        chosen = y.new_zeros(post.shape[1], *y.shape).scatter_(3, places, 1.0)
        (change,) = torch.autograd.grad(y, inputs, chosen, is_grads_batched=True)
        change = change.flatten(3)  # post, organism, stimulus, input
        wanted = pre[None, :, None].expand(len(chosen), -1, stimuli, -1)
        return change.gather(3, wanted).movedim(0, 2)


def _observe(
    family: Family, activity: Tensor, weights: Tensor, total: Tensor, n_out: int
) -> Tensor:
    """Return one family's observables over all units, (organism, observable).

    On a CPU numpy computes them: it sorts many times faster than torch.
    """
    if activity.device.type == "cpu":
        y, w, t = (values.contiguous().numpy() for values in (activity, weights, total))
        # What has diverged may overflow; it is marked as such.
        with np.errstate(over="ignore", invalid="ignore"):
            return torch.from_numpy(np.asarray(_compute(family, y, w, t, n_out)))
    found: Tensor = _compute(family, activity, weights, total, n_out)
    return found


def _compute(family: Family, activity: Any, weights: Any, total: Any, n_out: int) -> Any:
    if family.measure == "activity":
        return family.compute(activity)
    if family.measure == "weights":
        return family.compute(weights)
    if family.compute_total is None:
        raise ValueError(
            f"family {family.name!r} needs compute_total: whole layers have too many pairs"
        )
    return family.compute_total(total, n_out)


def _stimuli(labels: np.ndarray, count: int) -> np.ndarray:
    """Choose held-out images as stimuli, going round the classes."""
    labels = labels if labels.ndim == 1 else labels[:, 0]
    by_class = [np.flatnonzero(labels == c) for c in np.unique(labels)]
    rounds = [
        place[i] for i in range(max(map(len, by_class))) for place in by_class if i < len(place)
    ]
    return np.asarray(rounds[:count])
