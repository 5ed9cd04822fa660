"""Training on a CPU: the engine and a plain PyTorch loop, the same work.

The work is organisms that learn `digits` by backpropagation with momentum (batch 64), on two
processes of one thread each.

- plain loop: what a user writes: nn.Module, torch.optim, one network after the other.
- tuned loop: the same with ``fused=True`` and, for convolutions, channels last.
- engine: the stacks that `lrplan simulate` would train.

They take turns, and medians of the turns count, with the smallest and largest. Time is that of the
processors (user and system), which another process on the machine disturbs less, and wall clock.
"training" is training alone; with "looks" responses, synapses, pairs, the 45 observables and
performance are taken before training and after each epoch, and the engine writes its organisms.
All must end at the same accuracy.

The last line of each network is the bound: the products and convolutions of a step alone, in their
best layout, over and over. What a loop takes beyond is the share that better code could save.

    OMP_NUM_THREADS=1 python benchmarks/training.py --json training.json
"""

from __future__ import annotations

import argparse
import json
import statistics as stats
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

from lrplan.cohort.spec import OrganismSpec
from lrplan.simulate.credits import Conv
from lrplan.simulate.learn.batches import Batches, first_images
from lrplan.simulate.learn.learning import Learners, stacked
from lrplan.simulate.learn.performance import Performance
from lrplan.simulate.learn.probes import Probes
from lrplan.simulate.learn.train import build, train
from lrplan.simulate.network import init_params, trial_pass
from lrplan.simulate.run.pack import part_bytes
from lrplan.simulate.run.recipe import Recipe, parse_recipe
from lrplan.simulate.run.stacks import keep_memory
from lrplan.simulate.run.work import stacks_of
from lrplan.simulate.tasks.digits import load_digits

RECIPE = """
[grid]
rule = "sgdm"
architecture = "{architecture}"
task = "digits"
model_seed = {seeds}
[training]
epochs = {epochs}
checkpoints = {checkpoints}
[architectures.{architecture}]
{settings}
"""
BATCH, RATE = 64, 0.05
LAYERS, STIMULI, VALIDATION, PAIRS, PAIR_STIMULI, UNITS = 3, 8, 64, 18, 4, 512
SAME_ACCURACY = 0.05
"""By how much the mean accuracies of loops may differ: organisms differ by their seeds."""


@dataclass(frozen=True)
class Work:
    """One network and how long so many of it are trained."""

    name: str
    architecture: str
    settings: str
    epochs: int
    organisms: int
    size: int | None

    def recipe(self) -> Recipe:
        """Return the recipe of the organisms."""
        return parse_recipe(
            RECIPE.format(
                architecture=self.architecture,
                settings=self.settings,
                seeds=list(range(self.organisms)),
                epochs=self.epochs,
                checkpoints=self.epochs + 1,
            )
        )


WORKS = (
    Work("MLP 64", "mlp", "width = 64", 8, 32, None),
    Work("MLP 512", "mlp", "width = 512", 4, 4, None),
    Work("KNet4", "knet4", "channels = [32, 32, 64]", 4, 2, 16),
    Work("ResNet-18/16", "resnet18", 'width = 16\nstem = "small"', 3, 2, 16),
)
QUICK = (
    Work("MLP 64", "mlp", "width = 64", 4, 32, None),
    Work("MLP 512", "mlp", "width = 512", 3, 2, None),
    Work("KNet4", "knet4", "channels = [32, 32, 64]", 3, 2, 16),
    Work("ResNet-18/16", "resnet18", 'width = 16\nstem = "small"', 2, 2, 16),
)


# --- the plain loop ------------------------------------------------------------------------------


class PlainMLP(nn.Module):
    """Three hidden layers."""

    def __init__(self, width: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Flatten()]
        fan_in = 64
        self.observed = []
        for _ in range(3):
            block = [nn.Linear(fan_in, width, bias=False), nn.BatchNorm1d(width), nn.ReLU()]
            self.observed.append((block[0], block[-1]))
            layers += block
            fan_in = width
        layers.append(nn.Linear(width, 10))
        self.body = nn.Sequential(*layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return class scores."""
        return self.body(x)


class PlainKNet(nn.Module):
    """Three convolutions."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        fan_in = 1
        self.observed = []
        for width in (32, 32, 64):
            block = [
                nn.Conv2d(fan_in, width, 5, padding=2, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(),
            ]
            self.observed.append((block[0], block[-1]))
            layers += [*block, nn.MaxPool2d(2)]
            fan_in = width
        self.body = nn.Sequential(*layers, nn.Flatten(), nn.Linear(64 * 2 * 2, 10))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return class scores."""
        return self.body(x)


class _PlainBlock(nn.Module):
    def __init__(self, fan_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(fan_in, width, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu1, self.relu2 = nn.ReLU(), nn.ReLU()
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.shortcut = nn.Sequential()
        if stride > 1:
            self.shortcut = nn.Sequential(
                nn.Conv2d(fan_in, width, 1, stride=stride, bias=False), nn.BatchNorm2d(width)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.relu1(self.bn1(self.conv1(x)))
        return self.relu2(self.bn2(self.conv2(y)) + self.shortcut(x))


class PlainResNet18(nn.Module):
    """Eight blocks with the stem for small images."""

    def __init__(self, width: int) -> None:
        super().__init__()
        relu = nn.ReLU()
        self.stem = nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), relu
        )
        blocks, fan_in = [], width
        for stage in range(4):
            for i in range(2):
                channels = width * 2**stage
                blocks.append(_PlainBlock(fan_in, channels, 2 if stage and not i else 1))
                fan_in = channels
        self.blocks = nn.Sequential(*blocks)
        self.readout = nn.Linear(fan_in, 10)
        self.observed = [
            (blocks[1].conv1, blocks[1].relu1),
            (blocks[3].conv1, blocks[3].relu1),
            (blocks[7].conv1, blocks[7].relu1),
        ]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return class scores."""
        return self.readout(self.blocks(self.stem(x)).mean((2, 3)))


def plain_network(work: Work) -> Any:
    if work.architecture == "mlp":
        return PlainMLP(int(work.settings.split()[-1]))
    return PlainKNet() if work.architecture == "knet4" else PlainResNet18(16)


def plain_organism(work: Work, seed: int, tuned: bool, looks: bool) -> float:
    """Train one network in the obvious way and return its accuracy."""
    torch.manual_seed(seed)
    data = load_digits(work.size)
    images, labels = torch.from_numpy(data.train), torch.from_numpy(data.train_labels)
    model = plain_network(work)
    if tuned and work.size is not None:
        model = model.to(memory_format=torch.channels_last)
        # Images of one channel: only strides tell channels last from first.
        images = images.squeeze(1).unsqueeze(-1).movedim(-1, 1)
    optimizer = torch.optim.SGD(
        model.parameters(), lr=RATE, momentum=0.9, nesterov=True, fused=True if tuned else None
    )
    steps = work.epochs * (len(images) // BATCH)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    samples = np.random.default_rng(seed)
    if looks:
        plain_look(model, data, samples)
    for _ in range(work.epochs):
        model.train()
        order = torch.randperm(len(images))
        for i in range(len(images) // BATCH):
            batch = order[i * BATCH : (i + 1) * BATCH]
            optimizer.zero_grad()
            F.cross_entropy(model(images[batch]), labels[batch]).backward()
            optimizer.step()
            schedule.step()
        if looks:
            found = plain_look(model, data, samples)["performance"]
    if not looks:
        model.eval()
        with torch.no_grad():
            right = model(torch.from_numpy(data.test)).argmax(1) == torch.from_numpy(
                data.test_labels
            )
        found = right.float().mean().item()
    return float(found)


def plain_organisms(work: Work, seeds: list[int], tuned: bool, looks: bool) -> list[float]:
    return [plain_organism(work, seed, tuned, looks) for seed in seeds]


def plain_statistics(values: np.ndarray) -> np.ndarray:
    """Take the 21 statistics over the last axis, one numpy call each."""
    out = []
    for v in (values, np.abs(values), values**2):
        mean, sd = np.mean(v, -1), np.std(v, -1) + 1e-12
        median = np.median(v, -1)
        out += [
            np.linalg.norm(v, axis=-1) / np.sqrt(v.shape[-1]),
            mean,
            np.var(v, -1),
            3 * (mean - median) / sd,
            np.mean((v - mean[..., None]) ** 4, -1) / sd**4,
            median,
            np.percentile(v, 75, axis=-1),
        ]
    return np.stack(out, -1)


def plain_look(model: Any, data: Any, rng: np.random.Generator) -> dict[str, Any]:
    """Return what is stored at a checkpoint."""
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]
    model.train()
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        model(torch.from_numpy(data.train[:256]))
    for norm in norms:
        norm.momentum = 0.1
    model.eval()
    inputs: dict[int, torch.Tensor] = {}
    outputs: dict[int, torch.Tensor] = {}
    hooks = []
    for i, (layer, after) in enumerate(model.observed):
        hooks.append(layer.register_forward_pre_hook(lambda m, x, i=i: inputs.update({i: x[0]})))
        hooks.append(after.register_forward_hook(lambda m, x, y, i=i: outputs.update({i: y})))
    test, labels = torch.from_numpy(data.test), torch.from_numpy(data.test_labels)
    with torch.no_grad():
        scores = model(test)
        performance = (scores.argmax(1) == labels).float().mean().item()
        loss = F.cross_entropy(scores, labels).item()
    stimuli = test[:STIMULI].clone().requires_grad_()
    model(stimuli)
    responses, synapses, paired = [], [], []
    for i, (layer, _) in enumerate(model.observed):
        y = outputs[i].flatten(1)
        units = rng.permutation(y.shape[1])[:UNITS]
        responses.append(y[:, units].detach().numpy())
        weights = layer.weight.detach().flatten().numpy()
        synapses.append(weights[rng.permutation(len(weights))[:320]])
        post = rng.permutation(y.shape[1])[:PAIRS]
        pre = rng.permutation(inputs[i][0].numel())[:PAIRS]
        rows = []
        for p in post:
            (g,) = torch.autograd.grad(y[:PAIR_STIMULI, p].sum(), inputs[i], retain_graph=True)
            rows.append(g[:PAIR_STIMULI].flatten(1)[:, pre].numpy())
        paired.append(np.stack(rows, axis=1))
    shown = test[:VALIDATION].clone().requires_grad_()
    model(shown)
    observables = []
    for i, (layer, _) in enumerate(model.observed):
        (total,) = torch.autograd.grad(outputs[i].sum(), inputs[i], retain_graph=True)
        change = total.flatten(1).numpy()
        n_out = outputs[i][0].numel()
        activity = plain_statistics(outputs[i].detach().flatten(1).numpy()).mean(0)
        weights = plain_statistics(layer.weight.detach().flatten().numpy())
        grad = [f(change).sum(1).mean() / n_out for f in (np.asarray, np.abs, np.square)]
        observables.append(np.concatenate([activity, grad, weights]))
    for hook in hooks:
        hook.remove()
    return {
        "performance": performance,
        "loss": loss,
        "observables": np.stack(observables),
        "stored": (responses, synapses, paired),
    }


# --- the engine ----------------------------------------------------------------------------------


def train_alone(work: Work, specs: list[OrganismSpec]) -> list[float]:
    """Train a stack without looking at it, and return the accuracies."""
    device, dtype = torch.device("cpu"), torch.float32
    rule, task, settings, data, network = build(specs[0])
    params = stacked([init_params(network, s.rng("weights")) for s in specs], device, dtype)
    rates = torch.tensor([s.learning_rate for s in specs])
    learners = Learners(network, [rule] * len(specs), task, settings, params, {}, rates)
    batches = Batches(specs, task, settings, data, work.epochs, device, dtype)
    for step, (images, labels) in enumerate(batches):
        learners.learn(images, labels, 0.5 * (1 + np.cos(np.pi * step / batches.steps)))
    probes = Probes(network, specs, work.recipe().storage, task, data, device)
    performance = Performance(task, settings, data, device, dtype)
    with torch.no_grad():
        statistics = probes.batch_statistics(params)
        found = performance(lambda images: probes.evaluate(params, statistics, images), len(specs))
    return [float(p) for p in found["performance"]]


def train_and_write(work: Work, specs: list[OrganismSpec]) -> list[float]:
    """Train a stack, look at it and write it, and return the accuracies."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for one in train(specs, work.recipe().storage):
            (Path(folder) / one.spec.hash).write_bytes(part_bytes(one))
            found.append(float(one.arrays["performance"][-1]))
    return found


def start_worker() -> None:
    torch.set_num_threads(1)
    keep_memory()


def _timed(function: Callable[..., list[float]], *given: Any) -> tuple[list[float], float]:
    start = time.process_time()
    return function(*given), time.process_time() - start


@dataclass
class Turn:
    """What one turn of a loop took, for each organism, and reached."""

    processor: float
    wall: float
    accuracy: float


def turn(pool: ProcessPoolExecutor, function: Any, pieces: list[tuple[Any, ...]]) -> Turn:
    """Let two processes do the pieces."""
    start = time.perf_counter()
    done = [f.result() for f in [pool.submit(_timed, function, *piece) for piece in pieces]]
    wall = time.perf_counter() - start
    accuracies = [a for found, _ in done for a in found]
    count = len(accuracies)
    return Turn(sum(s for _, s in done) / count, wall / count, float(np.mean(accuracies)))


def loops(work: Work, looks: bool) -> dict[str, tuple[Any, list[tuple[Any, ...]]]]:
    """Return the function and the pieces of work of each loop."""
    halves = [list(range(work.organisms))[i::2] for i in range(2)]
    recipe = work.recipe()
    specs = stacks_of(recipe.specs, recipe.storage, "cpu")
    return {
        "plain": (plain_organisms, [(work, half, False, looks) for half in halves]),
        "tuned": (plain_organisms, [(work, half, True, looks) for half in halves]),
        "engine": (train_and_write if looks else train_alone, [(work, s) for s in specs]),
    }


def measure(work: Work, looks: bool, pool: ProcessPoolExecutor, repeats: int) -> dict[str, Any]:
    """Let the loops take turns and print what they took."""
    turns: dict[str, list[Turn]] = {}
    for _ in range(repeats):
        for name, (function, pieces) in loops(work, looks).items():
            turns.setdefault(name, []).append(turn(pool, function, pieces))
    steps = work.epochs * (1437 // BATCH)
    accuracy = {name: stats.mean(t.accuracy for t in each) for name, each in turns.items()}
    row: dict[str, Any] = {"accuracy": accuracy}
    print(f"{work.name:13s} {'looks' if looks else 'training':9s}", end="")
    for name, each in turns.items():
        row[f"{name}_ms"] = stats.median(t.processor for t in each) / steps * 1e3
        print(f" {name} {row[f'{name}_ms']:7.3f}", end="")
    print(" ms a step;", end="")
    for against in ("plain", "tuned"):
        for clock in ("processor", "wall"):
            ratios = [
                getattr(a, clock) / getattr(b, clock)
                for a, b in zip(turns[against], turns["engine"], strict=True)
            ]
            middle, low, high = stats.median(ratios), min(ratios), max(ratios)
            row[f"{against}_{clock}"] = [middle, low, high]
            print(f" {against}/engine {clock} {middle:.2f} ({low:.2f} to {high:.2f})", end="")
    print("; accuracy " + ", ".join(f"{a:.3f}" for a in accuracy.values()), flush=True)
    if max(accuracy.values()) - min(accuracy.values()) > SAME_ACCURACY:
        raise SystemExit(f"{work.name}: the loops do not learn the same: {accuracy}")
    return row


# --- the bound and the shares --------------------------------------------------------------------


def bound(work: Work) -> dict[str, float]:
    """Return milliseconds and GFLOP/s of the products and convolutions of a step alone."""
    network = build(work.recipe().specs[0])[-1]
    data = load_digits(work.size)
    visits = trial_pass(network, first_images(data.train, 1))
    seconds = flops = 0.0
    for i, layer in enumerate(network.layers):
        visit = visits.visits[layer.name][0]
        op = visits.operations[layer.name]
        x = torch.randn(BATCH, *visit.x.shape[1:])
        weight, dz = torch.randn(layer.shape), torch.randn(BATCH, *visit.z.shape[1:])
        if isinstance(op, Conv):
            x, weight, dz = (t.to(memory_format=torch.channels_last) for t in (x, weight, dz))
            places = ([op.stride] * 2, [op.padding] * 2, [1, 1], False, [0, 0], 1)
            back = partial(torch.ops.aten.convolution_backward, dz, x, weight, None, *places)
            each = [partial(op.forward, x, weight), partial(back, [i > 0, True, False])]
        else:
            each = [partial(F.linear, x, weight), partial(torch.mm, dz.T, x)]
            each += [partial(torch.mm, dz, weight)] if i else []
        seconds += sum(_least(f) for f in each)
        flops += 2 * dz.numel() * weight[0].numel() * (3 if i else 2)
    return {"ms": seconds * 1e3, "gflops": flops / seconds / 1e9}


def _least(function: Callable[[], Any], repeats: int = 30) -> float:
    function()
    found = []
    with torch.no_grad():
        for _ in range(repeats):
            start = time.process_time()
            function()
            found.append(time.process_time() - start)
    return min(found)


@contextmanager
def timed(owner: Any, name: str, seconds: dict[str, float]) -> Iterator[None]:
    """Add up the processor time that a function takes."""
    original = getattr(owner, name)

    def wrapped(*args: Any, **options: Any) -> Any:
        start = time.process_time()
        try:
            return original(*args, **options)
        finally:
            seconds[name] = seconds.get(name, 0.0) + time.process_time() - start

    setattr(owner, name, wrapped)
    try:
        yield
    finally:
        setattr(owner, name, original)


def shares(work: Work) -> dict[str, float]:
    """Return the share of one process's time that each part takes."""
    recipe = work.recipe()
    seconds: dict[str, float] = {}
    with (
        timed(Probes, "batch_statistics", seconds),
        timed(Probes, "measure", seconds),
        timed(Performance, "__call__", seconds),
        timed(sys.modules[__name__], "part_bytes", seconds),
    ):
        start = time.process_time()
        train_and_write(work, stacks_of(recipe.specs, recipe.storage, "cpu")[0])
        total = time.process_time() - start
    looked = sum(seconds.get(k, 0.0) for k in ("batch_statistics", "measure"))
    return {
        "observables": looked / total,
        "writing": seconds["part_bytes"] / total,
        "performance": seconds["__call__"] / total,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer epochs, one turn each")
    parser.add_argument("--repeats", type=int, help="turns of each loop (default 5)")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="of these networks")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    repeats = asked.repeats or (1 if asked.quick else 5)
    start_worker()
    out: dict[str, Any] = {"torch": str(torch.__version__), "repeats": repeats}
    print(f"two processes of one thread each, torch {torch.__version__}, {repeats} turns")
    with ProcessPoolExecutor(2, mp_context=get_context("spawn"), initializer=start_worker) as pool:
        for work in QUICK if asked.quick else WORKS:
            if asked.only and work.name not in asked.only:
                continue
            for function, pieces in loops(QUICK[0], True).values():
                turn(pool, function, pieces)  # imports, data
            row = out[work.name] = {
                "training": measure(work, False, pool, repeats),
                "looks": measure(work, True, pool, repeats),
                "bound": bound(work),
                "shares": shares(work),
            }
            ms, rate = row["bound"]["ms"], row["bound"]["gflops"]
            print(
                f"{work.name:13s} bound     products and convolutions alone {ms:.3f} ms a step "
                f"({rate:.0f} GFLOP/s): plain/bound {row['training']['plain_ms'] / ms:.1f}, "
                f"engine/bound {row['training']['engine_ms'] / ms:.1f}\n"
                f"{work.name:13s} shares    observables {row['shares']['observables']:.1%}, "
                f"writing {row['shares']['writing']:.1%}, held-out performance "
                f"{row['shares']['performance']:.1%}",
                flush=True,
            )
    if asked.json is not None:
        asked.json.write_text(json.dumps(out, indent=2) + "\n")


if __name__ == "__main__":
    main()
