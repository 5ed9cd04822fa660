"""What is stored of a stack of organisms at one checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lrplan.observables import Family, families
from lrplan.simulate.network import Network, Pass, layer_positions
from lrplan.simulate.recipe import Storage
from lrplan.simulate.tasks import Data
from lrplan.spec import OrganismSpec

STATISTICS_EXAMPLES = 256


def over_stack(function: Callable[..., Any], organisms: int) -> Callable[..., Any]:
    """Apply a function of one organism to stacked arguments; None stands for shared ones.

    One organism alone is not vmapped: on a CPU that saves the grouped convolutions.
    """

    def apply(*args: Any, shared: tuple[Any, ...] = ()) -> Any:
        if organisms == 1:
            first = torch.utils._pytree.tree_map(lambda t: t[0], args)
            return torch.utils._pytree.tree_map(lambda t: t[None], function(*first, *shared))
        in_dims = (0,) * len(args) + (None,) * len(shared)
        return torch.func.vmap(function, in_dims=in_dims)(*args, *shared)

    return apply


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
    params = {}
    for layer in network.layers:
        params[f"{layer.name}.weight"] = torch.zeros(layer.shape, device=example.device)
        params[f"{layer.name}.scale"] = torch.ones(layer.shape[0], device=example.device)
        params[f"{layer.name}.shift"] = torch.zeros(layer.shape[0], device=example.device)
    run = Pass(params)
    network.forward(run, example)
    every = [
        Population(
            layer.name,
            i,
            position,
            run.outputs[layer.name].numel(),
            run.inputs[layer.name].numel(),
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
    data : Data
        Whose held-out images are the stimuli.
    device : torch.device
        Where to compute.
    """

    def __init__(
        self,
        network: Network,
        specs: list[OrganismSpec],
        storage: Storage,
        data: Data,
        device: torch.device,
    ) -> None:
        self.network = network
        self.storage = storage
        self.organisms = len(specs)
        test = torch.from_numpy(data.test).to(device)
        self.stimuli = test[_stimuli(data.test_labels, storage.stimuli)]
        self.validation = test[: storage.validation]
        train = torch.from_numpy(data.train).to(device)
        self.statistics_examples = train[:STATISTICS_EXAMPLES]
        self.populations = populations_of(network, storage, test[:1])

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

        def one(params: dict[str, Tensor], images: Tensor) -> Any:
            run = Pass(params)
            self.network.forward(run, images)
            return run.batch_statistics

        return over_stack(one, self.organisms)(params, shared=(self.statistics_examples,))

    def evaluate(self, params: Mapping[str, Tensor], statistics: Any, images: Tensor) -> Any:
        """Return the network's output and features (organism, example, ...) for images."""

        def one(params: Any, statistics: Any, images: Tensor) -> Any:
            run = Pass(params, statistics=statistics)
            return self.network.forward(run, images), run.outputs["features"]

        return over_stack(one, self.organisms)(params, statistics, shared=(images,))

    def measure(self, params: Mapping[str, Tensor], statistics: Any) -> dict[str, list[Any]]:
        """Return, for each population, arrays over the stack.

        Returns
        -------
        dict
            ``responses`` (organism, stimulus, unit), ``synapses`` (organism, synapse),
            ``paired`` (organism, stimulus, post, pre), ``observables`` (organism, 45), each a
            list with one tensor per population.
        """
        shown = self._outputs(params, statistics, self.stimuli)
        valid = self._outputs(params, statistics, self.validation)
        totals = self._totals(params, statistics)
        paired = self._paired(params, statistics)
        out: dict[str, list[Any]] = {
            k: [] for k in ("responses", "synapses", "paired", "observables")
        }
        for p in self.populations:
            units = self.units[p.layer][:, None].expand(-1, len(self.stimuli), -1)
            out["responses"].append(shown[p.layer].gather(2, units))
            weights = params[f"{p.layer}.weight"].flatten(1)
            out["synapses"].append(weights.gather(1, self.synapses[p.layer]))
            out["paired"].append(paired[p.layer])
            observed = [
                _observe(family, valid[p.layer], weights, totals[p.layer], p.units)
                for _, family in families.items()
            ]
            out["observables"].append(torch.cat(observed, dim=-1))
        return out

    def _outputs(self, params: Any, statistics: Any, images: Tensor) -> dict[str, Tensor]:
        """Return what each stored layer puts out, (organism, example, unit)."""
        names = [p.layer for p in self.populations]

        def one(params: Any, statistics: Any, images: Tensor) -> Any:
            run = Pass(params, statistics=statistics)
            self.network.forward(run, images)
            return {name: run.outputs[name].flatten(1) for name in names}

        return over_stack(one, self.organisms)(params, statistics, shared=(images,))

    def _inputs(self, params: Any, statistics: Any, images: Tensor) -> dict[str, Tensor]:
        """Return zeros in the shape of each stored layer's input, for one organism."""
        run = Pass(params, statistics=statistics)
        self.network.forward(run, images)
        return {p.layer: torch.zeros_like(run.inputs[p.layer]) for p in self.populations}

    def _totals(self, params: Any, statistics: Any) -> dict[str, Tensor]:
        """Return the derivative of each layer's summed output by its inputs.

        Probes cut the network between layers, so one backward pass serves all of them.
        """

        def one(params: Any, statistics: Any, images: Tensor) -> Any:
            def total(probes: dict[str, Tensor]) -> Tensor:
                run = Pass(params, statistics=statistics, probes=probes)
                self.network.forward(run, images)
                return torch.stack([run.outputs[name].sum() for name in probes]).sum()

            change = torch.func.grad(total)(self._inputs(params, statistics, images))
            return {name: c.flatten(1) for name, c in change.items()}

        return over_stack(one, self.organisms)(params, statistics, shared=(self.validation,))

    def _paired(self, params: Any, statistics: Any) -> dict[str, Tensor]:
        """Return d post / d pre of the sampled pairs, (organism, stimulus, post, pre).

        Each stimulus is shown once for each sampled output, whose derivative that copy gives.
        """
        shown = self.stimuli[: self.storage.pair_stimuli]
        copies = max(t.shape[1] for t in self.post.values())
        images = shown.repeat_interleave(copies, dim=0)

        def one(params: Any, statistics: Any, post: Any, pre: Any, images: Tensor) -> Any:
            def total(probes: dict[str, Tensor]) -> Tensor:
                run = Pass(params, statistics=statistics, probes=probes)
                self.network.forward(run, images)
                sums = []
                for name in probes:
                    y = run.outputs[name].flatten(1)
                    y = y.reshape(len(shown), copies, -1)[:, : post[name].shape[0]]
                    chosen = post[name][None, :, None].expand(len(shown), -1, 1)
                    sums.append(y.gather(2, chosen).sum())
                return torch.stack(sums).sum()

            change = torch.func.grad(total)(self._inputs(params, statistics, images))
            out = {}
            for name, c in change.items():
                c = c.flatten(1).reshape(len(shown), copies, -1)[:, : post[name].shape[0]]
                out[name] = c.index_select(2, pre[name])
            return out

        return over_stack(one, self.organisms)(
            params, statistics, self.post, self.pre, shared=(images,)
        )


def _observe(
    family: Family, activity: Tensor, weights: Tensor, total: Tensor, n_out: int
) -> Tensor:
    """Return one family's observables over all units, (organism, observable)."""
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
    by_class = [np.flatnonzero(labels == c) for c in np.unique(labels)]
    rounds = [
        place[i] for i in range(max(map(len, by_class))) for place in by_class if i < len(place)
    ]
    return np.asarray(rounds[:count])
