"""Stack size: how many organisms to train together, on what is at hand."""

from __future__ import annotations

import ctypes
import os
import platform
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from lrplan.cohort.spec import OrganismSpec
from lrplan.simulate.architectures import architectures
from lrplan.simulate.learn.probes import STATISTICS_EXAMPLES, populations_of
from lrplan.simulate.learn.storage import Storage
from lrplan.simulate.learn.train import network_for
from lrplan.simulate.network import Network, Pass
from lrplan.simulate.tasks import tasks

MOST = {"cpu": 64, "cuda": 512}
"""Organisms of a stack beyond which it is hardly any faster."""

FEW_WEIGHTS = 100_000
"""On a CPU core, networks without convolutions and with fewer weights are stacked.

A step of the others is arithmetic, which a stack does not save, and alone they stay in the cache.
Measured on one core, time of 16 steps alone over that of one step of a stack of 16, MLPs of three
layers: 64 units (13 thousand weights) 3, 128 units (43 thousand) 1.8, 256 units (150 thousand)
1.1, 512 units (560 thousand) 0.8. `benchmarks/training.py` measures it anew.
"""

SHARE_OF_FREE = 0.8


def stack_size(
    specs: Sequence[OrganismSpec],
    storage: Storage,
    device: torch.device | str,
    free_bytes: int | None = None,
) -> int:
    """Return how many of these organisms should train as one stack.

    Parameters
    ----------
    specs : sequence of OrganismSpec
        With equal `stack_key`.
    storage : Storage
        What is kept of them.
    device : torch.device or str
        Where they are to train. On a CPU it is one core of which.
    free_bytes : int, optional
        Memory to fill; by default what the device has free.

    Returns
    -------
    int
        At least 1, at most the number of organisms.
    """
    device = torch.device(device)
    shape = _shape(specs[0])
    network = network_for(specs[0], shape)
    weights = sum(int(np.prod(layer.shape)) for layer in network.layers)
    convolves = any(len(layer.shape) > 2 for layer in network.layers)
    if device.type == "cpu" and (convolves or weights > FEW_WEIGHTS):
        return 1
    if free_bytes is None:
        free_bytes = _free_bytes(device)
    each = organism_bytes(specs[0], storage, device)
    fit = int(SHARE_OF_FREE * free_bytes / each)
    return max(1, min(fit, MOST.get(device.type, MOST["cuda"]), len(specs)))


def organism_bytes(
    spec: OrganismSpec, storage: Storage, device: torch.device | str = "meta"
) -> int:
    """Estimate the memory that one more organism in a stack takes.

    The activations that a pass keeps for its way back are counted in a pass: on a CPU, where only
    small networks are asked about, one of zeros; otherwise one without memory, on torch's meta
    device, whose first use takes a second. No data are read. For a GPU that is here,
    `lrplan.simulate.run.memory` counts more closely.
    """
    shape = _shape(spec)
    network = network_for(spec, shape)
    weights = sum(int(np.prod(layer.shape)) for layer in network.layers)
    # Weights, gradients, two moments and one temporary; backward weights, drawn and moved.
    learning = 4 * weights * 7
    where = torch.device("cpu" if torch.device(device).type == "cpu" else "meta")
    activations = _saved_bytes(network, (spec.batch_size * _views(spec, shape), *shape), where)
    example = torch.zeros(1, *shape)
    populations = populations_of(network, storage, example)
    everywhere = populations_of(network, replace(storage, populations="all"), example)
    widest = max(p.units + p.inputs for p in everywhere)
    # A pass that learns nothing holds a few layers at a time; jacobians hold a row per pair.
    shown = 3 * 4 * widest * STATISTICS_EXAMPLES
    jacobians = 2 * 4 * widest * storage.pairs * storage.pair_stimuli
    kept = storage.stimuli * storage.units + storage.synapses
    kept += storage.pair_stimuli * storage.pairs**2
    on_host = 4 * kept * len(populations) * spec.checkpoints
    # What autograd needs on the way back is about as much again.
    return learning + max(2 * activations, shown, jacobians) + on_host


def _shape(spec: OrganismSpec) -> tuple[int, int, int]:
    """Return the shape of the examples, which are not read for it."""
    task = tasks.get(spec.task)
    settings = task.settings | dict(spec.settings.get("task", {}))
    return task.extent(architectures.get(spec.architecture).size, settings).shape


def _views(spec: OrganismSpec, shape: tuple[int, int, int]) -> int:
    """Return how many views of an example a network sees."""
    task = tasks.get(spec.task)
    settings = task.settings | dict(spec.settings.get("task", {}))
    drawn = task.augmentation(np.random.default_rng(0), 1, 1, settings)
    shown = torch.zeros(1, *shape)
    return len(task.views(shown, None if drawn is None else torch.from_numpy(drawn[0])))


def _saved_bytes(network: Network, shape: tuple[int, ...], device: torch.device) -> int:
    """Return what a pass of examples in this shape keeps for its way back."""
    params = {}
    for layer in network.layers:
        params[f"{layer.name}.weight"] = torch.zeros(layer.shape, device=device)
        for part in ("bias", "scale", "shift"):
            params[f"{layer.name}.{part}"] = torch.zeros(layer.shape[0], device=device)
    known = {p.untyped_storage()._cdata for p in params.values()}
    saved: dict[int, torch.Tensor] = {}

    def keep(t: torch.Tensor) -> torch.Tensor:
        if t.untyped_storage()._cdata not in known:
            # Held until the end, so that no address is given twice.
            saved[t.untyped_storage()._cdata] = t
        return t

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        network.forward(
            Pass({k: p.requires_grad_() for k, p in params.items()}),
            torch.zeros(shape, device=device),
        )
    return sum(t.untyped_storage().nbytes() for t in saved.values())


def _free_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return 2**31


M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # glibc's malloc.h


def keep_memory() -> bool:
    """Make this process keep the memory it frees, for the next step of training.

    Each step frees its activations and asks for as much again. glibc gives large blocks back to
    the system each time, and a tenth of a small network's time goes into getting them cleared
    again. Other systems are left as they are.

    Returns
    -------
    bool
        Whether it could be set.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL(None)
    # Older versions of glibc take no more than 32 MiB.
    large = libc.mallopt(M_MMAP_THRESHOLD, 2**30) or libc.mallopt(M_MMAP_THRESHOLD, 2**25)
    return bool(large and libc.mallopt(M_TRIM_THRESHOLD, 2**30))
