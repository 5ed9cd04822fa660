"""Training: a stack of organisms learns together and is looked at on the way."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lrplan.errors import UsageError
from lrplan.schema import CODED
from lrplan.simulate.architectures import architectures
from lrplan.simulate.measure import Population, Probes, over_stack
from lrplan.simulate.network import Network, Pass, init_backward, init_params
from lrplan.simulate.recipe import Storage
from lrplan.simulate.rules import Rule, rules
from lrplan.simulate.tasks import Data, Task, tasks
from lrplan.spec import OrganismSpec, keyed_rng

PROBE_RIDGE = 1.0
PROBE_EXAMPLES = 512
CONTRAST_EXAMPLES = 128


@dataclass(frozen=True)
class Trained:
    """One organism with its trajectory, as arrays over checkpoints.

    Parameters
    ----------
    spec : OrganismSpec
        What was trained.
    populations : list of Population
        The stored layers.
    arrays : dict of str to numpy.ndarray
        ``responses`` (population, checkpoint, stimulus, unit), ``synapses``, ``paired``,
        ``observables``, and ``performance``, ``loss``, ``examples`` (checkpoint,). Populations
        with fewer units than asked are padded with NaN.
    diverged : bool
        Whether a weight stopped being finite, or a stored value left the range of half
        precision (65,504): what is kept of such an organism has gaps.
    """

    spec: OrganismSpec
    populations: list[Population]
    arrays: dict[str, np.ndarray]
    diverged: bool


def stack_key(spec: OrganismSpec) -> tuple[Any, ...]:
    """Return what organisms must share to train as one stack."""
    return (
        spec.rule,
        spec.architecture,
        spec.task,
        spec.batch_size,
        spec.epochs,
        spec.checkpoints,
        repr(sorted((k, sorted(v.items())) for k, v in spec.settings.items())),
    )


def build(spec: OrganismSpec) -> tuple[Rule, Task, dict[str, Any], Data, Network]:
    """Return the rule, task with its settings, data and network that a spec names."""
    rule = rules.get(spec.rule).with_settings(spec.settings.get("rule", {}))
    task = tasks.get(spec.task)
    task_settings = task.settings | dict(spec.settings.get("task", {}))
    architecture = architectures.get(spec.architecture)
    data = task.load(architecture.size, task_settings)
    shape = data.train.shape[1:]
    settings = architecture.settings | dict(spec.settings.get("architecture", {}))
    network = architecture.build(shape, task.head(task_settings), **settings)
    return rule, task, task_settings, data, network


def checkpoint_steps(spec: OrganismSpec, examples: int) -> list[int]:
    """Return after how many updates each checkpoint is taken; the first is 0."""
    total = spec.epochs * (examples // spec.batch_size)
    if total < spec.checkpoints - 1:
        raise UsageError(
            f"{spec.epochs} epochs of {examples // spec.batch_size} updates are {total} updates, "
            f"too few for {spec.checkpoints} checkpoints; use more epochs or a smaller batch"
        )
    return [round(total * i / (spec.checkpoints - 1)) for i in range(spec.checkpoints)]


def train(
    specs: list[OrganismSpec],
    storage: Storage,
    *,
    device: torch.device | str = "cpu",
    on_checkpoint: Callable[[int], None] | None = None,
) -> list[Trained]:
    """Train organisms that share all but learning rate and seeds.

    Parameters
    ----------
    specs : list of OrganismSpec
        With equal `stack_key`.
    storage : Storage
        What to keep.
    device : torch.device or str
        Where to train. All random numbers are drawn on the host and keyed by organism, so they
        do not depend on the device or on which organisms share the stack.
    on_checkpoint : callable, optional
        Called with the checkpoint's index after each.

    Returns
    -------
    list of Trained
        In the order of `specs`.
    """
    device = torch.device(device)
    rule, task, task_settings, data, network = build(specs[0])
    spec = specs[0]
    steps = checkpoint_steps(spec, len(data.train))
    probes = Probes(network, specs, storage, data, device)
    batches = _Batches(specs, task, task_settings, data, steps[-1], device)

    params = _stack([init_params(network, s.rng("weights")) for s in specs], device)
    backward = {}
    if rule.credit.backward_weights:
        backward = _stack([init_backward(network, s.rng("feedback")) for s in specs], device)
    state = rule.optimizer.init(params)
    peak = torch.tensor([s.learning_rate for s in specs], device=device)
    gradients = _gradients(network, rule, task, task_settings, len(specs))
    judge = _judge(task, task_settings, data, probes, device)

    kept: list[dict[str, Any]] = []
    finite = torch.ones(len(specs), dtype=torch.bool, device=device)
    for step in range(steps[-1] + 1):
        while len(kept) < len(steps) and step == steps[len(kept)]:
            with torch.no_grad():
                statistics = probes.batch_statistics(params)
                snapshot: dict[str, Any] = dict(probes.measure(params, statistics))
                snapshot |= judge(params, statistics)
            for p in params.values():
                finite &= torch.isfinite(p).flatten(1).all(1)
            kept.append(_to_host(snapshot, storage))
            if on_checkpoint is not None:
                on_checkpoint(len(kept) - 1)
        if step == steps[-1]:
            break
        images, labels = batches(step)
        grads, moves = gradients(params, backward, images, labels)
        share = 1.0
        if spec.settings.get("training", {}).get("schedule", "cosine") == "cosine":
            share = 0.5 * (1 + math.cos(math.pi * step / steps[-1]))
        params, state = rule.optimizer.step(params, grads, state, peak * share)
        for name, move in moves.items():
            backward[name] = backward[name] - share * move

    examples = np.asarray(steps, dtype=np.int64) * spec.batch_size
    alive = finite.cpu().numpy()
    trained = []
    for i, s in enumerate(specs):
        arrays = _of_organism(kept, i) | {"examples": examples}
        diverged = not alive[i] or _out_of_range(arrays)
        trained.append(Trained(s, probes.populations, arrays, diverged))
    return trained


def _out_of_range(arrays: dict[str, np.ndarray]) -> bool:
    """Say whether a stored value is too large for half precision, in which it is kept."""
    most = np.finfo(np.float16).max
    return any(bool((np.abs(arrays[name]) > most).any()) for name in CODED)


def _gradients(
    network: Network, rule: Rule, task: Task, task_settings: dict[str, Any], organisms: int
) -> Callable[..., Any]:
    """Return the function that gives a stack's gradients and the moves of backward weights."""

    def one(params: Any, backward: Any, images: Tensor, labels: Tensor) -> Any:
        runs: list[Pass] = []

        def loss(params: Any) -> tuple[Tensor, Any]:
            run = Pass(params, backward=backward, credit=rule.credit)
            value = task.loss(network.forward(run, images), labels, task_settings)
            runs.append(run)
            seen = {n: (run.inputs[n].detach(), run.drives[n].detach()) for n in backward}
            return value, seen

        grads, seen = torch.func.grad(loss, has_aux=True)(params)
        moves = {}
        for name, (x, z) in seen.items():
            op = runs[0].operations[name]
            move = rule.credit.backward_gradient(op, x, z, params[f"{name}.weight"], backward[name])
            if move is not None:
                moves[name] = move
        return grads, moves

    return over_stack(one, organisms)


class _Batches:
    """The order of examples and their augmentations, for every step of every organism."""

    def __init__(
        self,
        specs: list[OrganismSpec],
        task: Task,
        settings: dict[str, Any],
        data: Data,
        steps: int,
        device: torch.device,
    ) -> None:
        batch = specs[0].batch_size
        per_epoch = len(data.train) // batch
        orders, drawn = [], []
        for s in specs:
            rng = s.rng("order")
            epochs = [
                rng.permutation(len(data.train))[: per_epoch * batch] for _ in range(s.epochs)
            ]
            orders.append(np.concatenate(epochs).reshape(steps, batch))
            drawn.append(task.augmentation(s.rng("augmentation"), steps, batch, settings))
        self.task = task
        self.order = torch.from_numpy(np.stack(orders)).to(device)
        self.drawn = None
        if drawn[0] is not None:
            self.drawn = torch.from_numpy(np.stack(drawn)).to(device)  # type: ignore[arg-type]
        self.images = torch.from_numpy(data.train).to(device)
        self.labels = torch.from_numpy(data.train_labels).to(device)

    def __call__(self, step: int) -> tuple[Tensor, Tensor]:
        """Return images (organism, example, ...) and labels (organism, example) of one step."""
        places = self.order[:, step]
        images = self.images[places]
        drawn = None if self.drawn is None else self.drawn[:, step].flatten(0, 1)
        views = self.task.views(images.flatten(0, 1), drawn)
        # (view, organism * example, ...) -> (organism, view * example, ...)
        views = views.unflatten(1, tuple(places.shape)).transpose(0, 1).flatten(1, 2)
        return views, self.labels[places]


def _judge(
    task: Task,
    settings: dict[str, Any],
    data: Data,
    probes: Probes,
    device: torch.device,
) -> Callable[..., dict[str, Tensor]]:
    """Return the function that gives a stack's performance and loss on held-out images.

    Performance is the share of held-out images whose class is found: by the readout where the
    task trains one, otherwise by ridge regression from the features of some training images.
    """
    train = torch.from_numpy(data.train[:PROBE_EXAMPLES]).to(device)
    test = torch.from_numpy(data.test).to(device)
    train_labels = torch.from_numpy(data.train_labels[:PROBE_EXAMPLES]).to(device)
    labels = torch.from_numpy(data.test_labels).to(device)
    contrast: Tensor | None = None
    if task.objective == "self-supervised":
        # The same views for every organism and checkpoint, so that losses compare.
        shown = test[:CONTRAST_EXAMPLES]
        drawn = task.augmentation(keyed_rng(task.summary), 1, len(shown), settings)
        assert drawn is not None
        contrast = task.views(shown, torch.from_numpy(drawn[0]).to(device)).flatten(0, 1)

    def judge(params: Any, statistics: Any) -> dict[str, Tensor]:
        output, features = probes.evaluate(params, statistics, test)
        if contrast is None:
            scores = output
        else:
            _, known = probes.evaluate(params, statistics, train)
            scores = _ridge_scores(known.flatten(2), train_labels, features.flatten(2))
            output, _ = probes.evaluate(params, statistics, contrast)
        loss = torch.stack([task.loss(o, labels, settings) for o in output])
        return {
            "performance": (scores.argmax(-1) == labels).float().mean(-1),
            "loss": loss,
        }

    return judge


def _ridge_scores(known: Tensor, labels: Tensor, new: Tensor) -> Tensor:
    """Return class scores (organism, example, class) of new features by ridge regression."""
    mean = known.mean(1, keepdim=True)
    spread = known.std((1, 2), keepdim=True).clamp_min(1e-6)
    known, new = (known - mean) / spread, (new - mean) / spread
    target = torch.nn.functional.one_hot(labels).to(known.dtype)
    target = target - target.mean(0)
    gram = known.mT @ known
    gram = gram + PROBE_RIDGE * torch.eye(gram.shape[-1], device=gram.device)
    # An organism that diverged has no features to speak of; its scores are all equal.
    sound = torch.isfinite(gram).flatten(1).all(1)
    gram = torch.where(sound[:, None, None], gram, torch.eye(gram.shape[-1], device=gram.device))
    weights = torch.linalg.solve(gram, known.mT @ target)
    return new @ weights


def _stack(each: list[dict[str, np.ndarray]], device: torch.device) -> dict[str, Tensor]:
    """Stack the same arrays of several organisms along a new first axis."""
    return {k: torch.from_numpy(np.stack([e[k] for e in each])).to(device) for k in each[0]}


def _to_host(snapshot: dict[str, Any], storage: Storage) -> dict[str, np.ndarray]:
    """Bring a checkpoint to host memory as (organism, population, ...) arrays."""
    shape = {
        "responses": (storage.stimuli, storage.units),
        "synapses": (storage.synapses,),
        "paired": (storage.pair_stimuli, storage.pairs, storage.pairs),
    }
    out = {}
    for name, values in snapshot.items():
        if isinstance(values, Tensor):
            out[name] = values.float().cpu().numpy()
            continue
        padded = []
        for tensor in values:
            array = tensor.float().cpu().numpy()
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
