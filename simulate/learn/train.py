"""Training: a stack of organisms learns together and is looked at on the way."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lrplan.cohort.spec import OrganismSpec
from lrplan.errors import UsageError
from lrplan.simulate.architectures import architectures
from lrplan.simulate.learn.angles import angles
from lrplan.simulate.learn.batches import Batches
from lrplan.simulate.learn.divergence import has_diverged, root_mean_squares
from lrplan.simulate.learn.exposure import Exposed, moments, plasticity_of
from lrplan.simulate.learn.learning import Learners, rule_order, stacked, way_back_key
from lrplan.simulate.learn.parts import halves, validation_split
from lrplan.simulate.learn.performance import Performance
from lrplan.simulate.learn.probes import Population, Probes
from lrplan.simulate.learn.recorded import Recorded, can_be_recorded
from lrplan.simulate.learn.storage import Storage
from lrplan.simulate.network import Network, init_backward, init_params
from lrplan.simulate.rules import Rule, rules
from lrplan.simulate.tasks import Data, Task, tasks

LAW = 2
"""Raised whenever organisms of one spec come out differently by more than rounding.

Parts that another law made are not mixed with new ones. 2: information alignment that aligns, and
the views and probe of SimCLR.
"""
PRETRAINING_RULE = "sgdm"
OF_ONE_TWIN = ("preparation", "plasticity")
"""Settings of training in which organisms under passive exposure that share a stack differ."""
PRECISIONS = ("auto", "float64", "float32", "bfloat16")


@dataclass(frozen=True)
class Trained:
    """One organism with its trajectory, as arrays over checkpoints.

    Parameters
    ----------
    spec : OrganismSpec
        What was trained.
    populations : list of Population
        The stored layers.
    layers : tuple of str
        All weighted layers, in the order in which a signal passes them.
    arrays : dict of str to numpy.ndarray
        ``responses`` (population, checkpoint, stimulus, unit), ``synapses``, ``paired``,
        ``observables``, ``performance``, ``loss``, ``examples`` (checkpoint,), and ``chance`` and
        ``held_out`` (), as `Performance.behind`. Populations with fewer units than asked are
        padded with NaN. With `Storage.angles` also ``angles`` (checkpoint, angle, layer), as
        `lrplan.simulate.learn.angles`; under passive exposure there is no error that could align.
    diverged : bool
        Whether it grew out of all bounds, as `has_diverged` says: what is kept of such an
        organism may have gaps.
    """

    spec: OrganismSpec
    populations: list[Population]
    layers: tuple[str, ...]
    arrays: dict[str, np.ndarray]
    diverged: bool


def stack_key(spec: OrganismSpec) -> tuple[Any, ...]:
    """Return what organisms must share to train as one stack.

    Rules that send errors back by the same operations share one, whatever their optimizers;
    learning rates, the rules' settings, how large weights start, and seeds may differ. So may whose
    preparation is under passive exposure, and how plastic it is.
    """
    settings = {k: v for k, v in spec.settings.items() if k != "rule"}
    settings["architecture"] = lasting_settings(spec)
    training = settings.get("training", {})
    settings["training"] = {k: v for k, v in training.items() if k not in OF_ONE_TWIN}
    return (
        way_back_key(_rule(spec).credit),
        spec.architecture,
        spec.task,
        spec.batch_size,
        spec.epochs,
        spec.checkpoints,
        repr(sorted((k, sorted(v.items())) for k, v in settings.items())),
    )


def lasting_settings(spec: OrganismSpec) -> dict[str, Any]:
    """Return a spec's settings of its architecture, but for those of the weights at the start."""
    initial = architectures.get(spec.architecture).initial
    return {k: v for k, v in spec.settings.get("architecture", {}).items() if k not in initial}


def _rule(spec: OrganismSpec) -> Rule:
    return rules.get(spec.rule).with_settings(spec.settings.get("rule", {}))


def build(spec: OrganismSpec) -> tuple[Rule, Task, dict[str, Any], Data, Network]:
    """Return the rule, task with its settings, data and network that a spec names.

    The data are those that the organism learns while it is looked at: of an organism that starts
    pretrained, the half of the classes that it has not seen; of one that is tried in a search, a
    part of the training data in place of the test data (`lrplan.simulate.run.tune`).
    """
    rule = _rule(spec)
    task = tasks.get(spec.task)
    task_settings = task.settings | dict(spec.settings.get("task", {}))
    data = _loaded(spec, task, task_settings)
    if pretrain_epochs(spec):
        _, data = halves(data)
    return rule, task, task_settings, data, network_for(spec, data.train.shape[1:])


def _loaded(spec: OrganismSpec, task: Task, task_settings: dict[str, Any]) -> Data:
    """Return a task's data.

    Of an organism with a `validation` share among its settings of training, they are the training
    data alone, a part of which stands in place of the test data: nothing looks at the latter.
    """
    size = architectures.get(spec.architecture).size
    share = spec.settings.get("training", {}).get("validation")
    if share is None:
        return task.load(size, task_settings)
    return validation_split(*task.training(size, task_settings), share)


def network_for(spec: OrganismSpec, shape: Sequence[int]) -> Network:
    """Return the network of a spec for examples in the shape (channel, row, column)."""
    task = tasks.get(spec.task)
    head = task.head(task.settings | dict(spec.settings.get("task", {})))
    architecture = architectures.get(spec.architecture)
    settings = architecture.settings | dict(spec.settings.get("architecture", {}))
    return architecture.build(tuple(shape), head, **settings)


def checkpoint_steps(spec: OrganismSpec, examples: int) -> list[int]:
    """Return after how many updates each checkpoint is taken; the first is 0."""
    total = spec.epochs * (examples // spec.batch_size)
    if total < spec.checkpoints - 1:
        raise UsageError(
            f"{spec.epochs} epochs of {examples // spec.batch_size} updates ({examples} training "
            f"examples in batches of {spec.batch_size}) are {total} updates, too few for "
            f"{spec.checkpoints} checkpoints; use more epochs or a smaller batch"
        )
    return [round(total * i / (spec.checkpoints - 1)) for i in range(spec.checkpoints)]


def train(
    specs: list[OrganismSpec],
    storage: Storage,
    *,
    device: torch.device | str = "cpu",
    precision: str = "auto",
    graphs: bool = True,
    on_checkpoint: Callable[[int], None] | None = None,
) -> list[Trained]:
    """Train organisms that share architecture, task, batch size and length of training.

    Those under passive exposure are shown what they would learn (`Exposed`).

    Parameters
    ----------
    specs : list of OrganismSpec
        With equal `stack_key`.
    storage : Storage
        What to keep.
    device : torch.device or str
        Where to train. All random numbers are drawn on the host and keyed by organism, so they
        do not depend on the device or on which organisms share the stack.
    precision : {"auto", "float64", "float32", "bfloat16"}
        ``bfloat16`` computes weighted layers in that precision while training; weights and what
        is stored stay float32. ``auto`` is that on a GPU that can, and float32 on a CPU.
    graphs : bool
        Whether updates on a GPU are recorded once as a CUDA graph and then played, where the
        optimizers allow it (`lrplan.simulate.learn.recorded`). It changes their time, and memory:
        what an update takes is held on to.
    on_checkpoint : callable, optional
        Called with the checkpoint's index after each.

    Returns
    -------
    list of Trained
        In the order of `specs`.
    """
    if len({stack_key(s) for s in specs}) != 1:
        raise ValueError("these organisms cannot train as one stack; their stack_key differ")
    device = torch.device(device)
    dtype, half = _precision(precision, device)
    asked, specs = specs, sorted(specs, key=lambda s: (rule_order(_rule(s)), s.learning_rate))
    spec = specs[0]
    each_rule = [_rule(s) for s in specs]
    _, task, task_settings, data, network = build(spec)
    steps = checkpoint_steps(spec, len(data.train))
    probes = Probes(network, specs, storage, task, data, device, dtype)
    performance = Performance(task, task_settings, data, device, dtype)

    # How large their weights start may differ, so each has a network of its own here.
    each_network = [network_for(s, data.train.shape[1:]) for s in specs]
    both = list(zip(each_network, specs, strict=True))
    params = stacked([init_params(n, s.rng("weights")) for n, s in both], device, dtype)
    if pretrain_epochs(spec):
        params = _pretrained(specs, each_network, task, task_settings, params, half, graphs)
    learners: Learners | Exposed
    when: Collection[int] = range(steps[-1])
    if spec.is_passive:
        plasticity = [plasticity_of(s) for s in specs]
        when = frozenset(moments(steps, plasticity))
        learners = Exposed(network, params, plasticity, len(when), half=half)
    else:
        feedback = {}
        if any(r.credit.backward_weights for r in each_rule):
            drawn = [init_backward(n, s.rng("feedback")) for n, s in both]
            feedback = stacked(drawn, device, dtype)
        peak = torch.tensor([s.learning_rate for s in specs], device=device, dtype=dtype)
        learners = Learners(
            network, each_rule, task, task_settings, params, feedback, peak, half=half
        )
    batches = Batches(specs, task, task_settings, data, spec.epochs, device, dtype).at(when)
    learn = _recorded(learners) if graphs else learners.learn
    schedule = spec.settings.get("training", {}).get("schedule", "cosine")

    kept: list[dict[str, Any]] = []
    sizes = []
    seen: list[list[np.ndarray]] = []
    for step in range(steps[-1] + 1):
        if step in when:
            images, labels = next(batches)
        while len(kept) < len(steps) and step == steps[len(kept)]:
            # What does not move looks as it did.
            again = when or not kept
            kept.append(_look(learners.params, probes, performance) if again else kept[0])
            sizes.append(root_mean_squares(learners.params))
            if storage.angles and isinstance(learners, Learners):
                # On the batch that comes next; at the end, on the last one.
                seen.append(_angles(learners, each_rule, images, labels))
            if on_checkpoint is not None:
                on_checkpoint(len(kept) - 1)
        if step in when:
            learn(images, labels, _share(schedule, step, steps[-1]))

    examples = np.asarray(steps, dtype=np.int64) * spec.batch_size
    every_size = torch.stack(sizes, dim=1).cpu().numpy()  # waits for all copies to the host
    is_weight = np.array([name.endswith(".weight") for name in learners.params])
    on_host = [_as_arrays(snapshot, storage) for snapshot in kept]
    trained = {}
    layers = tuple(layer.name for layer in network.layers)
    for i, s in enumerate(specs):
        arrays = _of_organism(on_host, i) | {"examples": examples} | performance.behind
        if seen:
            arrays["angles"] = np.stack([each[i] for each in seen])
        diverged = has_diverged(every_size[i], is_weight, arrays)
        trained[s.hash] = Trained(s, probes.populations, layers, arrays, diverged)
    return [trained[s.hash] for s in asked]


def _recorded(learners: Learners | Exposed) -> Callable[[Tensor, Tensor, float], None]:
    """Return what makes an update: one that is recorded, where that is possible."""
    if isinstance(learners, Learners) and can_be_recorded(learners):
        return Recorded(learners).learn
    return learners.learn


def _precision(asked: str, device: torch.device) -> tuple[torch.dtype, torch.dtype | None]:
    """Return the precision of weights, and that of weighted layers in training if it is lower."""
    if asked not in PRECISIONS:
        raise UsageError(f"precision is {asked!r}; expected one of {', '.join(PRECISIONS)}")
    if asked == "auto":
        able = device.type == "cuda" and torch.cuda.is_bf16_supported()
        asked = "bfloat16" if able else "float32"
    if asked == "bfloat16":
        return torch.float32, torch.bfloat16
    return getattr(torch, asked), None


def _share(schedule: str, step: int, total: int) -> float:
    """Return the learning rate at a step, as a share of its peak."""
    return 0.5 * (1 + math.cos(math.pi * step / total)) if schedule == "cosine" else 1.0


def _look(params: dict[str, Tensor], probes: Probes, performance: Performance) -> dict[str, Any]:
    """Return what is kept at a checkpoint, on its way to host memory."""
    with torch.no_grad():
        statistics = probes.batch_statistics(params)
        snapshot: dict[str, Any] = dict(probes.measure(params, statistics))
        snapshot |= performance(
            lambda images: probes.evaluate(params, statistics, images), probes.organisms
        )
        found: dict[str, Any] = torch.utils._pytree.tree_map(_to_host, snapshot)
        return found


def _angles(
    learners: Learners, rules: Sequence[Rule], images: Tensor, labels: Tensor
) -> list[np.ndarray]:
    """Return the angles (angle, layer) of each organism of a stack."""
    return [
        angles(
            learners.network,
            rule.credit,
            learners.task,
            learners.settings,
            {k: p[i] for k, p in learners.params.items()},
            {k: b[i] for k, b in learners.feedback.items()},
            images[i],
            labels[i],
        )
        for i, rule in enumerate(rules)
    ]


def _to_host(tensor: Tensor) -> Tensor:
    """Start to copy to host memory; on a GPU training goes on meanwhile."""
    if tensor.device.type == "cpu":
        return tensor.float()
    host = torch.empty(tensor.shape, dtype=torch.float32, pin_memory=True)
    return host.copy_(tensor, non_blocking=True)


def pretrain_epochs(spec: OrganismSpec) -> int:
    """Return how long an organism learned before; 0 if it starts from random weights."""
    training = spec.settings.get("training", {})
    if training.get("start", "random") == "random":
        return 0
    return int(training.get("pretrain_epochs", spec.epochs))


def _pretrained(
    specs: list[OrganismSpec],
    networks: list[Network],
    task: Task,
    task_settings: dict[str, Any],
    params: dict[str, Tensor],
    half: torch.dtype | None,
    graphs: bool,
) -> dict[str, Tensor]:
    """Return parameters that have learned the first half of the classes.

    An animal comes to a task with a circuit that has learned before, by whatever means. All
    organisms, whatever their rule, learn the first half by backpropagation with momentum at that
    rule's own learning rate, which falls along a cosine. Then the readout, or contrastive head,
    is drawn anew.
    """
    network = networks[0]
    epochs, device = pretrain_epochs(specs[0]), next(iter(params.values())).device
    dtype = next(iter(params.values())).dtype
    data, _ = halves(_loaded(specs[0], task, task_settings))
    streams = ("pretraining order", "pretraining augmentation")
    batches = Batches(specs, task, task_settings, data, epochs, device, dtype, streams=streams)
    if not batches.steps:
        raise UsageError(
            f"pretraining has {len(data.train)} examples, less than a batch of "
            f"{specs[0].batch_size}; use a smaller batch"
        )
    rule = rules.get(PRETRAINING_RULE)
    rate = torch.full((len(specs),), rule.learning_rate, device=device, dtype=dtype)
    learners = Learners(
        network, [rule] * len(specs), task, task_settings, params, {}, rate, half=half
    )
    learn = _recorded(learners) if graphs else learners.learn
    for step, (images, labels) in enumerate(batches):
        learn(images, labels, _share("cosine", step, batches.steps))
    drawn = [init_params(n, s.rng("readout")) for n, s in zip(networks, specs, strict=True)]
    fresh = stacked(drawn, device, dtype)
    heads = tuple(f"{layer.name}." for layer in network.layers if layer.readout)
    return {k: fresh[k] if k.startswith(heads) else p.detach() for k, p in params.items()}


def _as_arrays(snapshot: Mapping[str, Any], storage: Storage) -> dict[str, np.ndarray]:
    """Return a checkpoint as (organism, population, ...) arrays."""
    shape = {
        "responses": (storage.stimuli, storage.units),
        "synapses": (storage.synapses,),
        "paired": (storage.pair_stimuli, storage.pairs, storage.pairs),
    }
    out = {}
    for name, values in snapshot.items():
        if isinstance(values, Tensor):
            out[name] = values.numpy()
            continue
        padded = []
        for tensor in values:
            array = tensor.numpy()
            full = np.full((array.shape[0], *shape.get(name, array.shape[1:])), np.nan, np.float32)
            full[tuple(map(slice, array.shape))] = array
            padded.append(full)
        out[name] = np.stack(padded, axis=1)
    return out


def _of_organism(kept: list[dict[str, np.ndarray]], i: int) -> dict[str, np.ndarray]:
    """Return one organism's arrays with the checkpoint axis after the population axis."""
    out = {}
    for name in kept[0]:
        array = np.stack([k[name][i] for k in kept])
        out[name] = array if array.ndim == 1 else np.moveaxis(array, 0, 1)
    return out
