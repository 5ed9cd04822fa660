"""Work: how a recipe's organisms are put into stacks, and one stack trained anywhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from lrplan.cohort.spec import OrganismSpec
from lrplan.errors import DataError, LrplanError, UsageError
from lrplan.simulate.learn.storage import Storage
from lrplan.simulate.learn.train import lasting_settings, pretrain_epochs, stack_key, train
from lrplan.simulate.network import trial_pass
from lrplan.simulate.run.pack import part_bytes
from lrplan.simulate.run.preflight import sized
from lrplan.simulate.run.shards import Shard
from lrplan.simulate.run.stacks import stack_size

WORKER_BYTES = 2**30
"""Memory for one stack on a CPU core.

It is no measured value, because stacks must not depend on the machine: an organism is the same
to the last bit only in a stack of the same size.
"""
WORKER_GPU_BYTES = 8 * 2**30
"""Memory for one stack on a GPU of another machine; a stack that does not fit is halved there."""
MOST_ON_CPU = 16
"""Organisms of one stack on a CPU core. More would hardly be faster, and leave cores idle."""
DEVICES = ("auto", "cpu", "cuda")
NO_MEMORY = ("can't allocate memory", "not enough memory", "ALLOC_FAILED", "out of memory")


def device_named(asked: str) -> str:
    """Return "cpu" or "cuda"; "auto" takes a GPU where there is one."""
    if asked not in DEVICES:
        raise UsageError(f"device is {asked!r}; expected auto, cpu or cuda")
    if asked == "cuda" and not torch.cuda.is_available():
        raise UsageError("device is 'cuda', but torch finds no GPU here; use --device cpu")
    if asked == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return asked


def stacks_of(
    specs: Sequence[OrganismSpec],
    storage: Storage,
    device: str,
    gpu_bytes: int | None = None,
) -> list[list[OrganismSpec]]:
    """Put organisms into stacks that train together.

    Parameters
    ----------
    specs : sequence of OrganismSpec
        All organisms of the recipe, whatever is finished: then stacks on the CPU, and so results
        to the last bit, depend neither on the number of workers nor on interruptions.
    storage : Storage
        What is kept of them; it takes memory.
    device : {"cpu", "cuda"}
        On a GPU the size of stacks depends on its memory.
    gpu_bytes : int, optional
        Memory of a GPU that is not here; by default what is free on this machine's.

    Returns
    -------
    list of list of OrganismSpec
        In the order of the recipe's first organism in each.
    """
    groups: dict[Any, list[OrganismSpec]] = {}
    for spec in specs:
        groups.setdefault(stack_key(spec), []).append(spec)
    stacks = []
    for group in groups.values():
        number = -(-len(group) // _largest(group, storage, device, gpu_bytes))
        # Sizes differ by one at most: no organism is left to train alone.
        edges = [len(group) * i // number for i in range(number + 1)]
        stacks += [group[a:b] for a, b in zip(edges, edges[1:], strict=False)]
    return stacks


def share_of(
    specs: Sequence[OrganismSpec], storage: Storage, shard: Shard | None
) -> list[OrganismSpec]:
    """Return a shard's organisms for a GPU, or all of them.

    What a shard gets must not depend on the memory that happens to be free on its GPU: shares
    that were cut from different stacks would leave organisms to nobody. So a share is cut from
    stacks of a fixed size. Shards of one array all need the same device.
    """
    if shard is None:
        return list(specs)
    stacks = shard.of(stacks_of(specs, storage, "cuda", WORKER_GPU_BYTES))
    return [spec for stack in stacks for spec in stack]


def work_of(specs: Sequence[OrganismSpec]) -> dict[str, float]:
    """Return how much work each organism is, by its hash: activations that it computes.

    On a GPU time goes with them rather than with multiplications. Looks are left out.
    """
    units: dict[Any, int] = {}
    work = {}
    for spec in specs:
        chosen = (lasting_settings(spec), spec.settings.get("task"))
        key = (spec.architecture, spec.task, repr(chosen))
        network, extent = sized(spec)
        if key not in units:
            run = trial_pass(network, torch.empty(1, *extent.shape, device="meta"))
            units[key] = sum(v.z.numel() for visits in run.visits.values() for v in visits)
        epochs = spec.epochs + pretrain_epochs(spec)
        work[spec.hash] = float(units[key]) * extent.train * epochs
    return work


def stacks_here(
    specs: Sequence[OrganismSpec], storage: Storage, device: str, shard: Shard | None = None
) -> list[list[OrganismSpec]]:
    """Put organisms, or a shard's share of them, into stacks for this machine."""
    if device == "cpu":
        stacks = stacks_of(specs, storage, device)
        return stacks if shard is None else shard.of(stacks)
    return stacks_of(share_of(specs, storage, shard), storage, device)


def _largest(
    group: list[OrganismSpec], storage: Storage, device: str, gpu_bytes: int | None
) -> int:
    """Return how many organisms of a group train as one stack at most."""
    try:
        if device == "cpu":
            return min(MOST_ON_CPU, stack_size(group, storage, "cpu", WORKER_BYTES))
        return stack_size(group, storage, device, gpu_bytes)
    except LrplanError:
        # The data lie on other machines, or are missing in a dry run. Tasks of that kind are for
        # convolutions, which are not stacked on a CPU; on a GPU a stack that is too large is
        # halved.
        return 1 if device == "cpu" else MOST_ON_CPU


def unfinished(
    stacks: Sequence[list[OrganismSpec]],
    device: str,
    missing: Callable[[list[OrganismSpec]], list[OrganismSpec]],
) -> list[list[OrganismSpec]]:
    """Return what is left to train of some stacks.

    On the CPU a stack of which an organism is missing is trained again whole, so that this one
    comes out as it would have. That is rare: the organisms of a stack are written one right
    after the other. On a GPU, where stacks depend on free memory anyway, only what is missing is.
    """
    left = [(stack, missing(stack)) for stack in stacks]
    return [stack if device == "cpu" else some for stack, some in left if some]


def trained_parts(
    stack: list[OrganismSpec], storage: Storage, device: str
) -> Iterator[tuple[OrganismSpec, bool, bytes]]:
    """Train a stack; one that does not fit into memory is halved.

    Yields
    ------
    tuple of OrganismSpec, bool, bytes
        Each organism, whether it diverged, and the content of its part.

    Raises
    ------
    DataError
        If not even one organism fits into memory.
    """
    name = device if device == "cpu" else torch.cuda.get_device_name()
    waiting = [stack]
    while waiting:
        specs = waiting.pop(0)
        done = _train_if_it_fits(specs, storage, device)
        if done is None:
            if device == "cuda":
                torch.cuda.empty_cache()
            half = len(specs) // 2
            waiting[:0] = [specs[:half], specs[half:]]
            continue
        for trained in done:
            yield trained.spec, trained.diverged, part_bytes(trained, device=name)


def _train_if_it_fits(specs: list[OrganismSpec], storage: Storage, device: str) -> Any:
    """Return the trained organisms, or None if there is not enough memory for so many."""
    try:
        return train(specs, storage, device=device)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        if len(specs) == 1:
            spec = specs[0]
            raise DataError(
                f"the {'GPU' if device == 'cuda' else 'machine'} has too little memory for one "
                f"organism ({spec.architecture} on {spec.task}, batch {spec.batch_size}); take a "
                "smaller batch_size or width, or a machine with more memory"
            ) from None
        return None


def is_out_of_memory(error: BaseException) -> bool:
    """Say whether an error of training is a lack of memory."""
    return isinstance(error, MemoryError | torch.cuda.OutOfMemoryError) or any(
        words in str(error) for words in NO_MEMORY
    )
