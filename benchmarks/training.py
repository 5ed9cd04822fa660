"""Training: organisms per hour of the engine and of a plain PyTorch loop, the same work.

The work is an organism of so many epochs on `digits` (batch 64), looked at before training and
after each epoch: responses, synapses, pairs, the 45 observables, performance. Half of the
organisms learn by backpropagation with momentum, half by feedback alignment.

- plain loop: the code one would write. nn.Module, torch.optim, one network after another, torch's
  default number of threads; observables layer by layer with numpy and autograd. Feedback alignment
  with the layers of BioTorch where it is installed, otherwise with an autograd.Function.
- two cores: two processes of one thread, stacks as `stack_size` has them, organisms written.
- stacks: one process of one thread, and the GPU if there is one, at given stack sizes.

Then the share of time that goes into observables and writing, and how the time grows with the
number of organisms.

    python benchmarks/training.py --json training.json
"""

from __future__ import annotations

import argparse
import json
import os
import statistics as stats
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

from lrplan.simulate.architectures import architectures
from lrplan.simulate.learn.performance import Performance
from lrplan.simulate.learn.probes import Probes
from lrplan.simulate.learn.train import train
from lrplan.simulate.run.pack import part_bytes
from lrplan.simulate.run.recipe import Recipe, parse_recipe
from lrplan.simulate.run.stacks import keep_memory, stack_size
from lrplan.simulate.tasks.digits import load_digits

try:
    from biotorch.layers.fa import Conv2d as FeedbackConv
    from biotorch.layers.fa import Linear as FeedbackLinear

    FEEDBACK = "BioTorch's layers"
except ImportError:
    FEEDBACK = "own autograd.Function (BioTorch is not installed)"

RECIPE = """
[grid]
rule = ["sgdm", "feedback_alignment"]
architecture = "{architecture}"
task = "digits"
model_seed = {seeds}
[training]
epochs = {epochs}
checkpoints = {checkpoints}
[architectures.{architecture}]
{settings}
"""
SIZES = (1, 8, 32, 128)
GROWTH = (8, 64, 512)
LAYERS, STIMULI, VALIDATION, PAIRS, PAIR_STIMULI, UNITS = 3, 8, 64, 18, 4, 512


@dataclass(frozen=True)
class Work:
    """One network and how long it is trained."""

    name: str
    architecture: str
    settings: str
    epochs: int
    organisms: int
    make: Callable[[bool], PlainNetwork]
    size: int | None

    def recipe(self, organisms: int, epochs: int | None = None) -> Recipe:
        """Return a recipe of so many organisms, half of each rule."""
        epochs = epochs or self.epochs
        recipe = parse_recipe(
            RECIPE.format(
                architecture=self.architecture,
                settings=self.settings,
                seeds=list(range(max(1, organisms // 2))),
                epochs=epochs,
                checkpoints=epochs + 1,
            )
        )
        return Recipe(recipe.name, recipe.specs[:organisms], recipe.storage, recipe.text)


# --- the plain loop ------------------------------------------------------------------------------


class _Feedback(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z: torch.Tensor, x: torch.Tensor, module: Any) -> torch.Tensor:
        ctx.save_for_backward(x)
        ctx.module = module
        return z.clone()

    @staticmethod
    def backward(ctx: Any, dz: torch.Tensor) -> Any:
        (x,) = ctx.saved_tensors
        return dz, ctx.module.carry(x, dz), None


class _OwnLinear(nn.Linear):
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.register_buffer("feedback", torch.empty_like(self.weight))
        nn.init.kaiming_normal_(self.feedback)

    def carry(self, x: torch.Tensor, dz: torch.Tensor) -> torch.Tensor:
        return dz @ self.feedback

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return _Feedback.apply(super().forward(x.detach()), x, self)


class _OwnConv(nn.Conv2d):
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.register_buffer("feedback", torch.empty_like(self.weight))
        nn.init.kaiming_normal_(self.feedback)

    def carry(self, x: torch.Tensor, dz: torch.Tensor) -> torch.Tensor:
        return nn.grad.conv2d_input(
            x.shape, self.feedback, dz, stride=self.stride, padding=self.padding
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return _Feedback.apply(super().forward(x.detach()), x, self)


if FEEDBACK.startswith("own"):
    FeedbackLinear, FeedbackConv = _OwnLinear, _OwnConv


class PlainNetwork(nn.Module):
    """A network whose `observed` modules take in and put out what is to be stored."""

    observed: list[tuple[nn.Module, nn.Module]]

    def __init__(self, feedback: bool) -> None:
        super().__init__()
        self.linear = FeedbackLinear if feedback else nn.Linear
        self.conv = FeedbackConv if feedback else nn.Conv2d


class PlainMLP(PlainNetwork):
    """Three hidden layers."""

    def __init__(self, feedback: bool, width: int) -> None:
        super().__init__(feedback)
        layers: list[nn.Module] = [nn.Flatten()]
        fan_in = 64
        self.observed = []
        for _ in range(3):
            block = [self.linear(fan_in, width, bias=False), nn.BatchNorm1d(width), nn.ReLU()]
            self.observed.append((block[0], block[-1]))
            layers += block
            fan_in = width
        layers.append(self.linear(width, 10))
        self.body = nn.Sequential(*layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return class scores."""
        return self.body(x)


class PlainKNet(PlainNetwork):
    """Three convolutions."""

    def __init__(self, feedback: bool) -> None:
        super().__init__(feedback)
        layers: list[nn.Module] = []
        fan_in = 1
        self.observed = []
        for width in (32, 32, 64):
            block = [
                self.conv(fan_in, width, 5, padding=2, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(),
            ]
            self.observed.append((block[0], block[-1]))
            layers += [*block, nn.MaxPool2d(2)]
            fan_in = width
        self.body = nn.Sequential(*layers, nn.Flatten(), self.linear(64 * 2 * 2, 10))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return class scores."""
        return self.body(x)


class _PlainBlock(nn.Module):
    def __init__(self, conv: Any, fan_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = conv(fan_in, width, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu1, self.relu2 = nn.ReLU(), nn.ReLU()
        self.conv2 = conv(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.shortcut = nn.Sequential()
        if stride > 1:
            self.shortcut = nn.Sequential(
                conv(fan_in, width, 1, stride=stride, bias=False), nn.BatchNorm2d(width)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.relu1(self.bn1(self.conv1(x)))
        return self.relu2(self.bn2(self.conv2(y)) + self.shortcut(x))


class PlainResNet18(PlainNetwork):
    """Eight blocks with the stem for small images."""

    def __init__(self, feedback: bool, width: int) -> None:
        super().__init__(feedback)
        relu = nn.ReLU()
        self.stem = nn.Sequential(
            self.conv(1, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), relu
        )
        blocks, fan_in = [], width
        for stage in range(4):
            for i in range(2):
                channels = width * 2**stage
                blocks.append(_PlainBlock(self.conv, fan_in, channels, 2 if stage and not i else 1))
                fan_in = channels
        self.blocks = nn.Sequential(*blocks)
        self.readout = self.linear(fan_in, 10)
        self.observed = [
            (blocks[1].conv1, blocks[1].relu1),
            (blocks[3].conv1, blocks[3].relu1),
            (blocks[7].conv1, blocks[7].relu1),
        ]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return class scores."""
        return self.readout(self.blocks(self.stem(x)).mean((2, 3)))


def plain_organism(work: Work, feedback: bool, seed: int) -> dict[str, Any]:
    """Train one network and look at it after each epoch, in the obvious way."""
    torch.manual_seed(seed)
    data = load_digits(work.size)
    images, labels = torch.from_numpy(data.train), torch.from_numpy(data.train_labels)
    model = work.make(feedback)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, nesterov=True)
    steps = work.epochs * (len(images) // 64)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    samples = np.random.default_rng(seed)
    kept = [plain_look(model, data, samples)]
    for _ in range(work.epochs):
        model.train()
        order = torch.randperm(len(images))
        for i in range(len(images) // 64):
            batch = order[i * 64 : (i + 1) * 64]
            optimizer.zero_grad()
            F.cross_entropy(model(images[batch]), labels[batch]).backward()
            optimizer.step()
            schedule.step()
        kept.append(plain_look(model, data, samples))
    return {k: np.stack([one[k] for one in kept]) for k in ("performance", "loss", "observables")}


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


def plain_look(model: PlainNetwork, data: Any, rng: np.random.Generator) -> dict[str, Any]:
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


def start_worker() -> None:
    torch.set_num_threads(1)
    keep_memory()


def train_and_write(specs: list[Any], storage: Any, device: str = "cpu") -> None:
    with tempfile.TemporaryDirectory() as folder:
        for one in train(specs, storage, device=device):
            (Path(folder) / one.spec.hash).write_bytes(part_bytes(one))


def two_cores(pool: ProcessPoolExecutor, recipe: Recipe) -> tuple[float, int]:
    """Return seconds, and the size of stacks, for all organisms of a recipe on two processes."""
    size = min(stack_size(recipe.specs, recipe.storage, "cpu"), -(-len(recipe.specs) // 2))
    specs = list(recipe.specs)
    stacks = [specs[i : i + size] for i in range(0, len(specs), size)]
    start = time.perf_counter()
    for done in [pool.submit(train_and_write, s, recipe.storage) for s in stacks]:
        done.result()
    return time.perf_counter() - start, size


@contextmanager
def timed(owner: Any, name: str, seconds: dict[str, float]) -> Iterator[None]:
    """Add up the time that a function takes; functions within it are not counted twice."""
    original = getattr(owner, name)

    def wrapped(*args: Any, **options: Any) -> Any:
        start = time.perf_counter()
        try:
            return original(*args, **options)
        finally:
            seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - start

    setattr(owner, name, wrapped)
    try:
        yield
    finally:
        setattr(owner, name, original)


def shares(work: Work, organisms: int) -> dict[str, float]:
    """Return the share of one process's time that each part takes."""
    recipe = work.recipe(organisms)
    seconds: dict[str, float] = {}
    storage = recipe.storage
    with (
        timed(Probes, "batch_statistics", seconds),
        timed(Probes, "measure", seconds),
        timed(Performance, "__call__", seconds),
        timed(sys.modules[__name__], "part_bytes", seconds),
    ):
        start = time.perf_counter()
        train_and_write(list(recipe.specs), storage)
        total = time.perf_counter() - start
    looked = sum(seconds.get(k, 0.0) for k in ("batch_statistics", "measure"))
    return {
        "observables": looked / total,
        "writing": seconds["part_bytes"] / total,
        "performance": seconds["__call__"] / total,
    }


# --- the table -----------------------------------------------------------------------------------


def works(quick: bool) -> list[Work]:
    part = 4 if quick else 1
    found = [
        Work("MLP 64", "mlp", "width = 64", 20 // part, 64 // part, _mlp(64), None),
        Work("MLP 512", "mlp", "width = 512", 8 // part, 8 // part, _mlp(512), None),
        Work("KNet4", "knet4", "channels = [32, 32, 64]", 4 // part, 4, PlainKNet, 16),
    ]
    if "resnet18" in architectures.names():
        settings = 'width = 16\nstem = "small"'
        found.append(Work("ResNet-18/16", "resnet18", settings, 2 // min(2, part), 2, _resnet, 16))
    return found


def _mlp(width: int) -> Callable[[bool], PlainNetwork]:
    return lambda feedback: PlainMLP(feedback, width)


def _resnet(feedback: bool) -> PlainNetwork:
    return PlainResNet18(feedback, 16)


def per_hour(organisms: int, seconds: float) -> float:
    return organisms * 3600 / seconds


def measure_work(work: Work, pool: ProcessPoolExecutor, asked: Any) -> dict[str, Any]:
    row: dict[str, Any] = {"network": work.name, "epochs": work.epochs}
    plain, engine = [], []
    for repeat in range(asked.repeats):
        torch.set_num_threads(os.cpu_count() or 1)
        start = time.perf_counter()
        for feedback in (False, True):
            found = plain_organism(work, feedback, repeat)
        plain.append(per_hour(2, time.perf_counter() - start))
        torch.set_num_threads(1)
        recipe = work.recipe(work.organisms)
        seconds, size = two_cores(pool, recipe)
        engine.append(per_hour(len(recipe.specs), seconds))
    row["plain"] = stats.median(plain)
    row["plain_performance"] = float(found["performance"][-1])
    row["two_cores"], row["stack"] = stats.median(engine), size
    row["gain"] = row["two_cores"] / row["plain"]
    print(
        f"{work.name:13s} {work.epochs:3d} epochs | plain loop {row['plain']:9.0f} | two cores "
        f"{row['two_cores']:9.0f} (stacks of {size}) = {row['gain']:.1f} x",
        flush=True,
    )
    for device in ("cpu", *(["cuda"] if torch.cuda.is_available() else [])):
        row[f"stacks_{device}"] = each = {}
        last = 0.0
        for size in SIZES:
            if last * size / 2 > asked.patience:
                each[size] = None
                continue
            recipe = work.recipe(max(2, size))
            specs = list(recipe.specs)[:size]
            try:
                train_and_write(list(work.recipe(2, 1).specs)[:1], recipe.storage, device)
                start = time.perf_counter()
                train_and_write(specs, recipe.storage, device)
            except (torch.cuda.OutOfMemoryError, MemoryError):
                each[size] = None
                continue
            seconds = time.perf_counter() - start
            last = seconds / size
            each[size] = per_hour(size, seconds)
        words = "  ".join(
            f"{s}: {'left out' if v is None else format(v, '.0f')}" for s, v in each.items()
        )
        print(f"{'':13s} one {'core' if device == 'cpu' else 'GPU'}, by stack size: {words}")
    row["shares"] = shares(work, 2 if work.size else 8)
    print(
        f"{'':13s} share of time: observables {row['shares']['observables']:.1%}, writing "
        f"{row['shares']['writing']:.1%}, held-out performance {row['shares']['performance']:.1%}",
        flush=True,
    )
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a quarter of the epochs, once")
    parser.add_argument("--repeats", type=int, default=None, help="of which the median is taken")
    parser.add_argument("--patience", type=float, default=40.0, help="seconds for one stack size")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    asked.repeats = asked.repeats or (1 if asked.quick else 3)
    keep_memory()
    made = works(asked.quick)
    print(f"organisms per hour; {os.cpu_count()} cores, torch {torch.__version__}")
    print(f"plain loop: feedback alignment with {FEEDBACK}\n")
    out: dict[str, Any] = {"torch": str(torch.__version__), "cores": os.cpu_count()}
    out["feedback_alignment"] = FEEDBACK
    with ProcessPoolExecutor(2, mp_context=get_context("spawn"), initializer=start_worker) as pool:
        for work in made:
            two_cores(pool, work.recipe(4, 1))
        out["networks"] = [measure_work(work, pool, asked) for work in made]
        print("\nseconds on two cores by number of organisms, MLP 64, 4 epochs")
        out["growth"] = {}
        for organisms in GROWTH[: 2 if asked.quick else None]:
            seconds, size = two_cores(pool, made[0].recipe(organisms, 4))
            out["growth"][organisms] = seconds
            print(
                f"{organisms:5d} organisms, stacks of {size:3d}: {seconds:6.2f} s, "
                f"{seconds / organisms * 1e3:.1f} ms each",
                flush=True,
            )
    if asked.json is not None:
        asked.json.write_text(json.dumps(out, indent=2) + "\n")


if __name__ == "__main__":
    main()
