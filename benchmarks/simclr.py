"""What contrastive learning of shapes learns, by how its views differ: the tables of docs/tasks.md.

Three parts, in the order of the document:

- ``views``: a KNet4 trained by a plain loop in PyTorch (`torch.optim`, cosine schedule). What is
  told of each way of making views is the contrastive loss on held-out images, and how many of them
  a ridge regression names from the features, before and after. It is fitted to 4,000 training
  examples, with the ridge, and the scale of each feature, that do best on a quarter of them.
- ``stored``: what `lrplan.simulate` itself stores of such networks, over training.
- ``digits``: both over digits, which leave little room.

A network takes one to four minutes on one core, all about an hour. With --quick everything is so
small that nothing is learned: it says whether the script runs.

    OMP_NUM_THREADS=1 python benchmarks/simclr.py
    OMP_NUM_THREADS=1 python benchmarks/simclr.py --part views --only 0 1
    OMP_NUM_THREADS=1 python benchmarks/simclr.py --quick
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lrplan.simulate.architectures import architectures
from lrplan.simulate.learn.train import train
from lrplan.simulate.network import Network, Pass, init_params
from lrplan.simulate.run.recipe import parse_recipe
from lrplan.simulate.tasks import Data, tasks
from lrplan.simulate.tasks.simclr import PHOTOGRAPHS

CHANNELS = [8, 16, 32]
PROBE_EXAMPLES = 4000
RIDGES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
CONTRASTED = 128
"""Held-out images whose loss is told."""
MOMENTUM = 0.9
CROP, HUE, NEGATIVE = {"smallest_crop": 0.4}, {"hue": 0.5}, {"negative": 0.5}
SHAPES = CROP | HUE | NEGATIVE
"""As the task ``shapes`` declares."""


@dataclass(frozen=True)
class Case:
    """One network of the plain loop.

    Parameters
    ----------
    what : str
        How its views differ from those of photographs.
    views : dict
        The same as a setting of the task ``simclr``.
    adam : bool
        Rather than stochastic gradient descent with momentum.
    rate : float
        The first learning rate.
    temperature : float
        Of the loss.
    batch : int
        Images.
    turn : float
        Largest rotation of a view, in radians.
    over : str
        Whose images.
    updates : int
        Of the weights.
    """

    what: str
    views: dict[str, float] = field(default_factory=dict)
    adam: bool = True
    rate: float = 0.002
    temperature: float = 0.2
    batch: int = 128
    turn: float = 0.0
    over: str = "shapes"
    updates: int = 250


VIEWS = (
    Case("nothing", adam=False, rate=0.1),
    Case("as over shapes: crop 0.4, hue 0.5, negative 0.5", SHAPES, adam=False, rate=0.1),
    Case("nothing"),
    Case("smallest_crop 0.4", CROP),
    Case("strength 1.0", {"strength": 1.0}),
    Case("negative 0.5", NEGATIVE),
    Case("hue 0.5", HUE),
    Case("grey 1.0", {"grey": 1.0}),
    Case("hue 0.5, negative 0.5", HUE | NEGATIVE),
    Case("as over shapes", SHAPES),
    Case("as over shapes, temperature 0.5", SHAPES, temperature=0.5),
    Case("as over shapes, learning rate 0.005", SHAPES, rate=0.005),
    Case("as over shapes, learning rate 0.0005", SHAPES, rate=0.0005),
    Case("as over shapes, batch 64", SHAPES, batch=64),
    Case("as over shapes, turned by up to 29 degrees", SHAPES, turn=0.5),
    Case("as over shapes, strength 1.0", SHAPES | {"strength": 1.0}),
)
DIGITS = tuple(
    Case(what, views, adam=adam, rate=rate, batch=64, over="digits", updates=220)
    for adam, rate in ((True, 0.002), (False, 0.04))
    for what, views in (("nothing", {}), ("smallest_crop 0.4", CROP))
)
# Architecture, its settings, rates of sgdm and adam, task, batch size, epochs.
KNET = ("knet4", f"channels = {CHANNELS}", 0.1, 0.002, "simclr", 128, 4)
ALEXNET = ("alexnet", 'width = 8\nstem = "small"', 0.03, 0.001, "simclr", 128, 6)
KNET_DIGITS = ("knet4", f"channels = {CHANNELS}", 0.05, 0.002, "digits_simclr", 64, 10)
MLP_DIGITS = ("mlp", "width = 64", 0.05, 0.002, "digits_simclr", 64, 10)
RECIPE = """
[grid]
rule = ["sgdm", "adam"]
architecture = "{0}"
task = "{4}"
batch_size = {5}
[grid.learning_rate]
sgdm = {2}
adam = {3}
[training]
epochs = {6}
checkpoints = 3
[storage]
units = 6
stimuli = 3
synapses = 6
pairs = 2
pair_stimuli = 2
validation = 3
[architectures.{0}]
{1}
{7}
"""


def images_of(case: Case, quick: bool) -> tuple[Any, dict[str, Any], Data]:
    """Return the task of a case, its settings and its images."""
    task = tasks.get("simclr")
    few = {"train": 600, "test": 200} if quick and case.over == "shapes" else {}
    settings = task.settings | {
        "over": case.over,
        "over_settings": few,
        "temperature": case.temperature,
        "views": PHOTOGRAPHS | case.views,
    }
    return task, settings, task.load(architectures.get("knet4").size, settings)


def turned(views: Tensor, most: float, rng: np.random.Generator) -> Tensor:
    """Rotate views (view, example, channel, row, column) by up to `most` radians either way."""
    if not most:
        return views
    flat = views.flatten(0, 1)
    angle = torch.from_numpy(rng.uniform(-most, most, len(flat))).float()
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    rows = torch.stack([cos, -sin, zero, sin, cos, zero], 1).reshape(-1, 2, 3)
    grid = F.affine_grid(rows, list(flat.shape), align_corners=False)
    found = F.grid_sample(flat, grid, padding_mode="border", align_corners=False)
    return found.reshape(views.shape)


def evaluated(
    network: Network, params: dict[str, Tensor], images: Tensor, statistics: Any, layer: str
) -> Tensor:
    """Return what a layer puts out for images as networks see them, (example, value)."""
    out = []
    with torch.no_grad():
        for some in images.split(500):
            run = Pass(params, statistics=statistics)
            network.forward(run, some)
            out.append(run.outputs[layer].flatten(1))
    return torch.cat(out)


def named(known: Tensor, labels: Tensor, new: Tensor, truth: Tensor, ridge: float) -> float:
    """Return the share of new examples that ridge regression from scaled features names."""
    known, new = known.double(), new.double()
    mean, spread = known.mean(0), known.std(0).clamp_min(1e-6)
    known, new = (known - mean) / spread, (new - mean) / spread
    target = F.one_hot(labels, 10).double()
    gram = known.T @ known
    gram += ridge * gram.trace() / len(known) * torch.eye(len(gram))
    weights = torch.linalg.solve(gram, known.T @ (target - target.mean(0)))
    return float(((new @ weights).argmax(1) == truth).double().mean())


def probe(known: Tensor, labels: Tensor, new: Tensor, truth: Tensor) -> float:
    """Return what the ridge finds that does best on the last quarter of the known examples."""
    fit = 3 * len(known) // 4
    shares = [named(known[:fit], labels[:fit], known[fit:], labels[fit:], r) for r in RIDGES]
    return named(known, labels, new, truth, RIDGES[int(np.argmax(shares))])


def plain(case: Case, *, seed: int, quick: bool) -> tuple[list[float], list[float]]:
    """Train one network by a plain loop; return losses and probes before and after."""
    task, settings, data = images_of(case, quick)
    rng = np.random.default_rng((seed, 1))
    train_images, test_images = torch.from_numpy(data.train), torch.from_numpy(data.test)
    labels, truth = torch.from_numpy(data.train_labels), torch.from_numpy(data.test_labels)
    architecture = architectures.get("knet4")
    given = architecture.settings | {"channels": CHANNELS}
    network = architecture.build(tuple(data.train.shape[1:]), task.head(settings), **given)
    drawn = init_params(network, np.random.default_rng(seed))
    params = {name: torch.from_numpy(v).clone().requires_grad_() for name, v in drawn.items()}
    optimizer = (
        torch.optim.Adam(params.values(), lr=case.rate)
        if case.adam
        else torch.optim.SGD(params.values(), lr=case.rate, momentum=MOMENTUM)
    )

    def views(images: Tensor, draws: np.random.Generator) -> Tensor:
        numbers = torch.from_numpy(task.augmentation(draws, 1, len(images), settings)[0])
        return turned(task.views(images, numbers), case.turn, draws).flatten(0, 1)

    contrasted = views(test_images[:CONTRASTED], np.random.default_rng((seed, 2)))

    def look() -> tuple[float, float]:
        run = Pass(params)
        with torch.no_grad():
            network.forward(run, task.prepare(train_images[:256]))
        seen = run.batch_statistics
        known, new = (
            evaluated(network, params, task.prepare(images), seen, "features")
            for images in (train_images[:PROBE_EXAMPLES], test_images)
        )
        out = evaluated(network, params, contrasted, seen, "head2")
        loss = float(task.loss(out, truth, settings))
        return loss, probe(known, labels[:PROBE_EXAMPLES], new, truth)

    looks = [look()]
    updates = 5 if quick else case.updates
    order = rng.permutation(len(train_images))
    for step in range(updates):
        for group in optimizer.param_groups:
            group["lr"] = case.rate * 0.5 * (1 + math.cos(math.pi * step / updates))
        if len(order) < case.batch:
            order = rng.permutation(len(train_images))
        batch, order = order[: case.batch], order[case.batch :]
        optimizer.zero_grad()
        seen = views(train_images[batch], rng)
        loss = task.loss(network.forward(Pass(params), seen), labels[batch], settings)
        loss.backward()
        optimizer.step()
    looks.append(look())
    losses, probes = zip(*looks, strict=True)
    return list(losses), list(probes)


def views_lines(cases: tuple[Case, ...], only: list[int] | None, seed: int, quick: bool) -> None:
    """Print one row for each case, as soon as it is there."""
    print("| what differs from views of photographs | rule, rate | loss | probe before | after |")
    print("|---|---|---|---|---|")
    for i, case in enumerate(cases):
        if only is not None and i not in only:
            continue
        losses, probes = plain(case, seed=seed, quick=quick)
        rule = f"{'adam' if case.adam else 'sgdm'} {case.rate:g}"
        found = f"{losses[0]:.1f} to {losses[1]:.1f} | {probes[0]:.3f} | {probes[1]:.3f}"
        print(f"| {case.what} | {rule} | {found} |", flush=True)


def stored_lines(networks: tuple[tuple[Any, ...], ...], quick: bool) -> None:
    """Print what `lrplan.simulate` stores of some networks, one row for each rule."""
    print("| | rate | updates | loss | performance before | half way | after |")
    print("|---|---|---|---|---|---|---|")
    for network in networks:
        few = "over_settings = { train = 400, test = 200 }\n"
        extra = f"[tasks.simclr]\n{few}" if quick and network[4] == "simclr" else ""
        row = (*network[:6], 2, extra) if quick else (*network, extra)
        recipe = parse_recipe(RECIPE.format(*row))
        for spec in recipe.specs:
            [found] = train([spec], recipe.storage)
            share, loss = found.arrays["performance"], found.arrays["loss"]
            n = int(found.arrays["held_out"])
            error = 1.96 * np.sqrt(share * (1 - share) / n)
            updates = int(found.arrays["examples"][-1]) // spec.batch_size
            cells = [f"{s:.3f} +- {e:.3f}" for s, e in zip(share, error, strict=True)]
            losses = f"{loss[0]:.2f} to {loss[-1]:.2f}"
            name = f"{spec.architecture}, {spec.rule}, {spec.task}"
            told = (name, f"{spec.learning_rate:g}", str(updates), losses, *cells)
            print("| " + " | ".join(told) + " |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--part", choices=("views", "stored", "digits"), help="default: all")
    parser.add_argument("--only", type=int, nargs="+", help="rows of the part 'views', from 0")
    parser.add_argument("--seed", type=int, default=0, help="of the plain loop")
    parser.add_argument("--quick", action="store_true", help="so small that nothing is learned")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    if asked.part in (None, "views"):
        some = [0, 14] if asked.quick and asked.only is None else asked.only
        views_lines(VIEWS, some, asked.seed, asked.quick)
    if asked.part in (None, "stored"):
        stored_lines((KNET,) if asked.quick else (KNET, ALEXNET), asked.quick)
    if asked.part in (None, "digits"):
        views_lines(DIGITS, [1] if asked.quick else None, asked.seed, asked.quick)
        stored_lines((MLP_DIGITS,) if asked.quick else (KNET_DIGITS, MLP_DIGITS), asked.quick)


if __name__ == "__main__":
    main()
