"""Estimate a run before it starts: how many organisms, how long, how much disk, which data."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lrplan.cohort.references import LEARNING, PASSIVE
from lrplan.cohort.spec import OrganismSpec
from lrplan.errors import DataError
from lrplan.randomness import keyed_rng
from lrplan.simulate.learn.batches import Batches
from lrplan.simulate.learn.exposure import moments, plasticity_of
from lrplan.simulate.learn.learning import Learners, rule_order, stacked
from lrplan.simulate.learn.performance import PROBE_EXAMPLES
from lrplan.simulate.learn.probes import STATISTICS_EXAMPLES, populations_of
from lrplan.simulate.learn.storage import Storage, stored_observables
from lrplan.simulate.learn.train import (
    checkpoint_steps,
    lasting_settings,
    pretrain_epochs,
    stack_key,
)
from lrplan.simulate.network import trial_pass
from lrplan.simulate.rules import rules
from lrplan.simulate.run.finished import FinishedOrganisms
from lrplan.simulate.run.preflight import (
    TaskData,
    check_combination,
    data_report,
    distinct,
    sized,
    task_of,
)
from lrplan.simulate.run.recipe import Recipe
from lrplan.simulate.run.shards import Shard
from lrplan.simulate.run.simulate import is_complete
from lrplan.simulate.run.work import device_named, stacks_here, unfinished
from lrplan.simulate.tasks import Data, Extent, Task
from lrplan.threads import threads

FACTORS = ("rule", "architecture", "task", "batch_size", "model_seed", "data_seed")
FEW = 2
"""Examples of the smallest batch that is timed; batch normalisation needs two."""
LONG_STEP_S = 0.4
"""A step that takes longer is timed once."""
PACKED_SHARE = {"responses": 0.3, "synapses": 0.3, "paired": 0.1, "observables": 0.75}
"""What compression leaves of a variable, rounded (`benchmarks/storage.py`)."""
METADATA_BYTES = 60_000
PART_OVERHEAD_BYTES = 4_000
"""Of an organism's file: its spec, its populations and layers, and the headers of its arrays."""

NetworkKey = tuple[str, str, str]
"""Architecture, task, and settings of both."""
Kind = tuple[NetworkKey, tuple[str, ...]]
"""A network and the rules of a stack's organisms."""


@dataclass(frozen=True)
class Cost:
    """What a run will take.

    Parameters
    ----------
    organisms : int
        Of the recipe, or of the shard.
    done : int
        Of those, finished already.
    factors : dict
        How many organisms have each value of each factor, the learning rate left out; and in each
        ``condition``, if some are passive twins.
    data : list of TaskData
        Whether each task's data can be used on this machine.
    device : str
        "cpu" or the name of the GPU, on which steps were timed.
    workers : int
        Processes that train at a time.
    work_s : float or None
        Time of what is left to train, summed over processes; None if none could be timed.
    wall_s : float or None
        The same on all processes at once.
    timed : int
        Kinds of stack (architecture, task, rules) of which a step was timed.
    kinds : int
        Of how many; the times of the others are scaled from those of the same architecture.
    by_network : dict
        Seconds by architecture and task; None where they are not known.
    cohort_bytes : int
        Of the packed cohort.
    parts_bytes : int
        Of what lies beside it until it is packed.
    """

    organisms: int
    done: int
    factors: dict[str, dict[Any, int]]
    data: list[TaskData]
    device: str
    workers: int
    work_s: float | None
    wall_s: float | None
    timed: int
    kinds: int
    by_network: dict[tuple[str, str], float | None]
    cohort_bytes: int
    parts_bytes: int


def estimate(
    recipe: Recipe,
    out: Path,
    *,
    workers: int | None = None,
    device: str = "auto",
    shard: Shard | None = None,
    budget_s: float = 60.0,
) -> Cost:
    """Estimate a run by timing some steps of every kind of stack, with random input.

    Parameters
    ----------
    recipe : Recipe
        What is to be trained.
    out : Path
        Where; what is finished there is not counted again.
    workers : int, optional
        Processes on the CPU; by default one per core.
    device : {"auto", "cpu", "cuda"}
        Where to time.
    shard : Shard, optional
        Only this share.
    budget_s : float
        Time for timing, in seconds; the kind that is being timed when it is over is finished.

    Raises
    ------
    UsageError
        If the recipe has an organism that cannot be, or `out` is something else. Missing data
        are reported, not raised.
    """
    device = device_named(device)
    workers = 1 if device == "cuda" else workers or threads()
    stacks = stacks_here(recipe.specs, recipe.storage, device, shard)
    specs = [s for stack in stacks for s in stack]
    extents = _extents(specs, recipe.storage)
    parts = FinishedOrganisms(Path(out))
    whole = is_complete(recipe, parts.out)
    parts.refuse_others(recipe)
    left = [] if whole else unfinished(stacks, device, parts.missing)
    steps = _Steps(device, extents, budget_s)
    with _one_thread(device):
        steps.time(left)
    seconds = [steps.seconds(stack) for stack in left]
    by_network: dict[tuple[str, str], float | None] = {}
    for stack, s in zip(left, seconds, strict=True):
        key = (stack[0].architecture, stack[0].task)
        so_far = by_network.get(key, 0.0)
        by_network[key] = None if s is None or so_far is None else so_far + s
    known = [s for s in seconds if s is not None]
    work_s = sum(known) if len(known) == len(seconds) else None
    cohort_bytes, parts_bytes = disk_bytes(specs, recipe.storage, extents)
    return Cost(
        organisms=len(specs),
        done=len(specs) if whole else len(specs) - len(parts.missing(specs)),
        factors={
            name: dict(sorted(Counter(getattr(s, name) for s in specs).items())) for name in FACTORS
        }
        | _conditions(specs),
        data=data_report(specs),
        device="cpu" if device == "cpu" else torch.cuda.get_device_name(),
        workers=workers,
        work_s=work_s,
        wall_s=None if work_s is None else max([work_s / workers, *known]),
        timed=len(steps.measured),
        kinds=steps.kinds,
        by_network=by_network,
        cohort_bytes=cohort_bytes,
        parts_bytes=parts_bytes,
    )


def _conditions(specs: Sequence[OrganismSpec]) -> dict[str, dict[Any, int]]:
    """Return how many organisms learn and how many are passive twins, if there are any."""
    passive = sum(spec.is_passive for spec in specs)
    return {"condition": {LEARNING: len(specs) - passive, PASSIVE: passive}} if passive else {}


def _network(spec: OrganismSpec) -> NetworkKey:
    """Return what fixes a network and its input, but for its weights."""
    settings = (lasting_settings(spec), spec.settings.get("task", {}))
    return spec.architecture, spec.task, repr(settings)


def _extents(specs: Sequence[OrganismSpec], storage: Storage) -> dict[NetworkKey, Extent]:
    """Return the size of each network's data, unless it cannot be known for want of them."""
    extents = {}
    for spec in distinct(specs, stack_key):
        try:
            check_combination(spec, storage)
        except DataError:
            continue
        extents[_network(spec)] = sized(spec)[1]
    return extents


@contextmanager
def _one_thread(device: str) -> Iterator[None]:
    """Compute as a worker does."""
    before = torch.get_num_threads()
    if device == "cpu":
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class _Steps:
    """Times of single updates, as a line over the batch size.

    Parameters
    ----------
    device : str
        Where.
    extents : dict
        Sizes of data by `_network`; what is not in it is not timed.
    budget_s : float
        Time for all.
    """

    def __init__(self, device: str, extents: dict[NetworkKey, Extent], budget_s: float) -> None:
        self.device, self.extents = torch.device(device), extents
        self.budget_s = budget_s
        self.measured: dict[Kind, tuple[float, float]] = {}
        self.kinds = 0
        self.sizes: dict[NetworkKey, tuple[int, int]] = {}

    def time(self, stacks: Sequence[list[OrganismSpec]]) -> None:
        """Time one stack of each kind, in turn: one kind of every architecture comes first.

        Then come its tasks, then its rules, and where settings are drawn the first draws of each,
        which are a random sample.
        """
        kinds: dict[Kind, list[OrganismSpec]] = {}
        for stack in stacks:
            kinds.setdefault(_kind(stack), stack)
        self.kinds = len(kinds)
        turn: Counter[tuple[Any, ...]] = Counter()
        order: list[tuple[int, int, int, int, Kind]] = []
        for kind in kinds:
            network, names = kind
            if network in self.extents:
                among = (*network[:2], names), network[:2], network[:1]
                of_rules, of_task, of_architecture = (turn[each] for each in among)
                pixels = self._pixels(network)
                order.append((of_rules, of_task, of_architecture, pixels, kind))
                turn.update(among)
        end = time.monotonic() + self.budget_s
        for *_, kind in sorted(order):
            if time.monotonic() < end:
                self.measured[kind] = self._line(kinds[kind])
                self._size(kinds[kind])

    def _pixels(self, network: NetworkKey) -> int:
        return int(np.prod(self.extents[network].shape))

    def _line(self, stack: list[OrganismSpec]) -> tuple[float, float]:
        """Return seconds of an update, and more of them for each example of the batch."""
        spec = stack[0]
        network, extent = sized(spec)
        # Drawing all weights would take longer than the step.
        noise = 0.02 * keyed_rng("estimate").standard_normal(4096, dtype=np.float32)
        params = {f"{x.name}.weight": np.resize(noise, x.shape) for x in network.layers}
        for x in network.layers:
            names = ("bias",) * x.bias + ("scale", "shift") * x.norm
            params |= {f"{x.name}.{name}": np.ones(x.shape[0], np.float32) for name in names}
        task, settings = task_of(spec)
        each = sorted(
            (rules.get(s.rule).with_settings(s.settings.get("rule", {})) for s in stack),
            key=rule_order,
        )
        feedback = {}
        if any(r.credit.backward_weights for r in each):
            weights = {x.name: params[f"{x.name}.weight"] for x in network.layers[1:]}
            feedback = stacked([weights] * len(stack), self.device, torch.float32)
        half = None
        if self.device.type == "cuda" and torch.cuda.is_bf16_supported():
            half = torch.bfloat16
        learners = Learners(
            network,
            each,
            task,
            settings,
            stacked([params] * len(stack), self.device, torch.float32),
            feedback,
            torch.full((len(stack),), 1e-6, device=self.device),
            half=half,
        )

        def seconds(batch: int) -> float:
            images, labels = self._batch(stack, batch, task, settings, extent)

            def step() -> float:
                began = time.perf_counter()
                learners.learn(images, labels, 1.0)
                if self.device.type == "cuda":
                    torch.cuda.synchronize()
                return time.perf_counter() - began

            first = step()
            return first if first > LONG_STEP_S else min(step() for _ in range(3))

        low = seconds(FEW)
        most = max(spec.batch_size, 2 * FEW)
        many = min(most, max(2 * FEW, int(FEW * LONG_STEP_S / max(low, 1e-6))))
        high = seconds(many)
        slope = max((high - low) / (many - FEW), high / many * 0.1)
        return max(high - slope * many, 0.0), slope

    def _batch(
        self,
        stack: list[OrganismSpec],
        batch: int,
        task: Task,
        settings: dict[str, Any],
        extent: Extent,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return one batch of noise, augmented as the task does."""
        rng = keyed_rng("estimate", "images")
        images = rng.random((batch, *extent.shape), dtype=np.float32)
        # More columns than any task has kinds of label do no harm.
        several = getattr(task, "groups", None) is not None
        labels = np.zeros((batch, 8) if several else batch, dtype=np.int64)
        data = Data(images, labels, images[:1], labels[:1])
        small = [replace(s, batch_size=batch) for s in stack]
        return next(iter(Batches(small, task, settings, data, 1, self.device, torch.float32)))

    def seconds(self, stack: list[OrganismSpec]) -> float | None:
        """Return the time of a stack's whole training, None if it is not known."""
        extent = self.extents.get(_network(stack[0]))
        line = self.measured.get(_kind(stack)) or self._scaled(stack)
        if extent is None or line is None:
            return None
        spec = stack[0]
        fixed, slope = line
        step = fixed + slope * spec.batch_size
        train, test, epochs = extent.train, extent.test, spec.epochs
        before = pretrain_epochs(spec)
        if before:
            # Half of the classes are learned first, and the other half while it is looked at.
            train, test, epochs = train // 2, test // 2, epochs + before
        updates, looks = epochs * (train // spec.batch_size), spec.checkpoints
        if spec.is_passive:
            # Few batches move weights; an update takes somewhat less than one that learns.
            plasticity = [plasticity_of(s) for s in stack]
            updates = before * (train // spec.batch_size)
            updates += len(moments(checkpoint_steps(spec, train), plasticity))
            looks = looks if any(plasticity) else 1
        # Looking takes a forward pass, a third of an update; observables take all of one.
        shown = test + STATISTICS_EXAMPLES
        if task_of(spec)[0].objective == "self-supervised":
            shown += min(train, PROBE_EXAMPLES)
        look = slope * shown / 3
        return updates * step + looks * look

    def _scaled(self, stack: list[OrganismSpec]) -> tuple[float, float] | None:
        """Return a line scaled from the most alike stack of the architecture that was timed.

        That is one on the same task, of the same rules, and with about as many multiplications.
        What an update takes beside those of its examples goes with organisms and layers.
        """
        spec = stack[0]
        if _network(spec) not in self.extents:
            return None
        layers, products = self._size(stack)
        best: tuple[tuple[bool, int, float], tuple[float, float]] | None = None
        for (network, names), (fixed, slope) in self.measured.items():
            if network[0] != spec.architecture:
                continue
            its_layers, its_products = self.sizes[network]
            share = len(stack) / len(names)
            times = products / its_products
            alike = (
                network[1] == spec.task,
                len(set(names) & {s.rule for s in stack}),
                -abs(math.log(times)),
            )
            if best is None or alike > best[0]:
                best = (alike, (fixed * share * layers / its_layers, slope * share * times))
        return None if best is None else best[1]

    def _size(self, stack: list[OrganismSpec]) -> tuple[int, int]:
        """Return a network's weighted layers, and the multiplications of an example."""
        key = _network(stack[0])
        if key not in self.sizes:
            network, extent = sized(stack[0])
            run = trial_pass(network, torch.empty(1, *extent.shape, device="meta"))
            products = sum(
                v.z.numel() * math.prod(layer.shape[1:])
                for layer in network.layers
                for v in run.visits.get(layer.name, ())
            )
            self.sizes[key] = (len(network.layers), max(1, products))
        return self.sizes[key]


def _kind(stack: Sequence[OrganismSpec]) -> Kind:
    return _network(stack[0]), tuple(sorted(s.rule for s in stack))


def disk_bytes(
    specs: Sequence[OrganismSpec], storage: Storage, extents: dict[NetworkKey, Extent]
) -> tuple[int, int]:
    """Return the bytes of the packed cohort, and of the organisms' files before it is packed.

    Of networks whose input is not known, those of the same architecture are taken.
    """
    packed, parts = 0.0, 0.0
    each: dict[NetworkKey, tuple[float, float]] = {}
    for spec in specs:
        key = _network(spec)
        if key not in each and key in extents:
            each[key] = _checkpoint_bytes(spec, storage)
        known = each.get(key) or next((v for k, v in each.items() if k[0] == key[0]), (0.0, 0.0))
        packed += known[0] * spec.checkpoints
        parts += known[1] * spec.checkpoints + PART_OVERHEAD_BYTES
    return round(packed) + METADATA_BYTES, round(parts)


def _checkpoint_bytes(spec: OrganismSpec, storage: Storage) -> tuple[float, float]:
    """Return the bytes of one checkpoint of an organism, packed and in its own file."""
    network, extent = sized(spec)
    # Nothing is computed on the device of no memory.
    populations = populations_of(network, storage, torch.zeros((1, *extent.shape), device="meta"))
    observables = len(stored_observables())
    packed = {"responses": 0, "synapses": 0, "paired": 0, "observables": 0}
    for p in populations:
        packed["responses"] += storage.stimuli * min(storage.units, p.units)
        packed["synapses"] += min(storage.synapses, p.weights)
        block = min(storage.pairs, p.units) * min(storage.pairs, p.inputs)
        packed["paired"] += storage.pair_stimuli * block
        packed["observables"] += observables * 4
    # A half-precision float compresses to about as large a share as a code.
    size = {name: max(storage.bits / 8, 1.0) for name in packed} | {"observables": 1.0}
    size["responses"] = storage.bits / 8
    total = sum(count * size[name] * PACKED_SHARE[name] for name, count in packed.items())
    row = storage.stimuli * storage.units + storage.synapses
    row += storage.pair_stimuli * storage.pairs**2
    return total, len(populations) * (2 * row + 4 * observables)
