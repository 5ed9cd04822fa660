"""Memory that a stack takes on a GPU: counted, tensor by tensor, in a rehearsal without memory.

One update and one look at a checkpoint run on torch's meta device, where tensors have shapes and
no content, and every tensor that is made and let go of is counted. So what a way back holds, what
rules with updates of their own hold on to and what a look takes is whatever the code really does.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from lrplan.cohort.spec import OrganismSpec
from lrplan.simulate.learn.learning import Learners, rule_order, stacked
from lrplan.simulate.learn.performance import PROBE_EXAMPLES, SHOWN_AT_ONCE, Performance
from lrplan.simulate.learn.probes import STATISTICS_EXAMPLES, Probes
from lrplan.simulate.learn.storage import Storage
from lrplan.simulate.network import Layer
from lrplan.simulate.rules import rules
from lrplan.simulate.run.preflight import sized, task_of
from lrplan.simulate.tasks import Data

CONTEXT_BYTES = 2**29
"""Of a process on a GPU, outside of torch's allocator; measured on one H100."""
PROCESS_BYTES = 2 * CONTEXT_BYTES
"""What a process takes besides its tensors: the context, and workspaces of cuBLAS and cuDNN."""
RESERVE = 1.25
"""What torch's allocator holds, over the most that tensors take at a time: freed blocks of other
sizes."""
DATA_BYTES = 2**31
"""Training examples up to this size are taken to lie on the GPU, larger ones on disk."""
META, HOST = torch.device("meta"), torch.device("cpu")
CONVOLUTIONS = ("aten::convolution", "aten::convolution_backward")
NUMBER, COPY = "aten::_local_scalar_dense", "aten::_to_copy"
SORTS = ("aten::sort", "aten::topk")


def process_bytes(specs: Sequence[OrganismSpec], storage: Storage) -> int:
    """Return the memory of a GPU that a process takes which trains a stack.

    Parameters
    ----------
    specs : sequence of OrganismSpec
        The stack.
    storage : Storage
        What is kept of it.

    Returns
    -------
    int
        In bytes: `PROCESS_BYTES`, the task's data, and `RESERVE` times the most that tensors
        take at any time.
    """
    _, extent = sized(specs[0])
    each = 4 * int(np.prod(extent.shape))
    train = each * extent.train
    data = each * extent.test + (train if train <= DATA_BYTES else 0)
    return PROCESS_BYTES + data + round(RESERVE * tensor_bytes(specs, storage))


def tensor_bytes(specs: Sequence[OrganismSpec], storage: Storage) -> int:
    """Return the most bytes that tensors of a stack take at a time, in an update and a look.

    What an update takes is held on to while the stack is looked at, for the next one
    (`lrplan.simulate.learn.recorded`).

    Layers compute in bfloat16, as on any GPU that can. Convolutions and sorts, whose libraries
    take memory of their own, are counted with as much again as they read and write.
    """
    specs = sorted(specs, key=lambda s: rule_order(_rule(s)))
    spec, organisms = specs[0], len(specs)
    network, extent = sized(spec)
    task, settings = task_of(spec)
    labels = np.arange(STATISTICS_EXAMPLES + PROBE_EXAMPLES + SHOWN_AT_ONCE) % 2
    if getattr(task, "groups", None) is not None:
        # More columns than any task has kinds of label do no harm.
        labels = np.repeat(labels[:, None], 8, axis=1)
    # As many as are shown at a time, or held on to, but not the many more of which one has more
    # rounds.
    train, test = STATISTICS_EXAMPLES + PROBE_EXAMPLES, min(extent.test, SHOWN_AT_ONCE)
    shown = max(test, storage.stimuli, storage.validation)
    images = np.broadcast_to(np.float32(0), (max(train, shown), *extent.shape))
    data = Data(images[:train], labels[:train], images[:shown], labels[:shown])
    with _no_warnings(), _Counted() as counted:
        probes = Probes(network, list(specs), storage, task, data, META)
        performance = Performance(task, settings, data, META, torch.float32)
        each = [_rule(s) for s in specs]
        feedback = {}
        if any(r.credit.backward_weights for r in each):
            feedback = _empty({x.name: x.shape for x in network.layers[1:]}, organisms)
        learners = Learners(
            network,
            each,
            task,
            settings,
            _empty(_shapes(network.layers), organisms),
            feedback,
            torch.empty(organisms, device=META),
            half=torch.bfloat16,
        )
        held = counted.again()
        with torch.no_grad():
            statistics = probes.batch_statistics(learners.params)
            probes.measure(learners.params, statistics)
            performance(
                lambda shown: probes.evaluate(learners.params, statistics, shown), organisms
            )
        look = counted.most - held
        counted.again()
        views = task.views(
            torch.zeros(1, *extent.shape),
            _drawn(task.augmentation(np.random.default_rng(0), 1, 1, settings)),
        )
        batch = torch.empty(organisms, len(views) * spec.batch_size, *extent.shape, device=META)
        learners.learn(
            batch,
            torch.zeros(
                organisms, spec.batch_size, *labels.shape[1:], dtype=torch.int64, device=META
            ),
            1.0,
        )
    return look + counted.most


def _rule(spec: OrganismSpec) -> Any:
    return rules.get(spec.rule).with_settings(spec.settings.get("rule", {}))


def _drawn(augmentation: np.ndarray | None) -> Tensor | None:
    return None if augmentation is None else torch.from_numpy(augmentation[0])


def _shapes(layers: Sequence[Layer]) -> dict[str, tuple[int, ...]]:
    """Return the shapes of an organism's parameters."""
    shapes: dict[str, tuple[int, ...]] = {}
    for x in layers:
        shapes[f"{x.name}.weight"] = x.shape
        names = ("bias",) * x.bias + ("scale", "shift") * x.norm
        shapes |= {f"{x.name}.{name}": x.shape[:1] for name in names}
    return shapes


def _empty(shapes: dict[str, tuple[int, ...]], organisms: int) -> dict[str, Tensor]:
    """Return parameters of a stack, without memory, laid out as those that are trained."""
    one = {k: np.broadcast_to(np.float32(0), shape) for k, shape in shapes.items()}
    # A host's memory is taken for one organism at a time.
    return {
        k: torch.empty_strided(
            (organisms, *t.shape[1:]), t.stride(), device=META, dtype=torch.float32
        )
        for k, t in stacked([one], torch.device("cpu"), torch.float32).items()
    }


@contextmanager
def _no_warnings() -> Iterator[None]:
    """Keep remarks about tensors without content from the terminal."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


class _Counted(TorchDispatchMode):
    """Counts the bytes of tensors on the meta device that are held at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self._held: dict[int, weakref.ref[Any]] = {}

    def again(self) -> int:
        """Begin to look for the most anew, and return what is held now."""
        self.most = self.now
        return self.now

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        name = func._schema.name
        without_content = bool(args) and isinstance(args[0], Tensor) and args[0].device == META
        if name == NUMBER and without_content:
            # A number read from a tensor without content, such as the highest label; or, below, all
            # of its numbers, such as learning rates.
            return 1
        if name == COPY and without_content and (kwargs or {}).get("device") == HOST:
            return torch.ones(args[0].shape, dtype=kwargs.get("dtype") or args[0].dtype)
        if not func._schema.returns:
            # In place, as optimizers do, some of whose kernels the meta device does not know.
            return None
        out = func(*args, **(kwargs or {}))
        made = [t for t in tree_leaves(out) if isinstance(t, Tensor)]
        for tensor in made:
            self._take(tensor)
        if name in CONVOLUTIONS or name in SORTS:
            read = [t for t in args if isinstance(t, Tensor)] if name in CONVOLUTIONS else []
            own = sum(t.untyped_storage().nbytes() for t in (*made, *read))
            self.most = max(self.most, self.now + own)
        return out

    def _take(self, tensor: Tensor) -> None:
        """Count a tensor's memory until the last of its views is gone."""
        if tensor.device != META:
            return
        memory = tensor.untyped_storage()
        key, size = memory._cdata, memory.nbytes()
        if key in self._held:
            return

        def gone(_: Any) -> None:
            self.now -= size
            del self._held[key]

        self._held[key] = weakref.ref(memory, gone)
        self.now += size
        self.most = max(self.most, self.now)
