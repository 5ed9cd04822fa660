"""The card: a GPU whose memory several processes share, seen from outside and from inside one."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch

from lrplan.cohort.spec import OrganismSpec
from lrplan.simulate.learn.storage import Storage
from lrplan.simulate.learn.train import Trained, train
from lrplan.simulate.run.memory import CONTEXT_BYTES, process_bytes


class Card(Protocol):
    """A device and its memory. It is sent to the processes that train on it."""

    @property
    def name(self) -> str:
        """As organisms' files and messages call it."""
        ...

    def total_bytes(self) -> int:
        """Return its memory."""
        ...

    def free_bytes(self) -> int:
        """Return what no process holds, of this user or another."""
        ...

    def stack_bytes(self, specs: list[OrganismSpec], storage: Storage) -> int:
        """Return what a process is expected to hold that trains a stack."""
        ...

    def used_bytes(self) -> int:
        """Return what this process holds."""
        ...

    def release(self) -> None:
        """Give back what this process holds and does not need."""
        ...

    def train(
        self, specs: list[OrganismSpec], storage: Storage, on_checkpoint: Callable[[int], None]
    ) -> list[Trained]:
        """Train a stack; the errors of a lack of memory are torch's."""
        ...


@dataclass(frozen=True)
class Gpu:
    """The GPU that torch uses by default; which one, CUDA_VISIBLE_DEVICES says.

    Parameters
    ----------
    name : str
        Of the model.
    """

    name: str

    @classmethod
    def here(cls) -> Gpu:
        """Return this machine's."""
        return cls(torch.cuda.get_device_name())

    def total_bytes(self) -> int:
        """Return its memory."""
        return int(torch.cuda.mem_get_info()[1])

    def free_bytes(self) -> int:
        """Return what no process holds."""
        return int(torch.cuda.mem_get_info()[0])

    def stack_bytes(self, specs: list[OrganismSpec], storage: Storage) -> int:
        """Return what a process is expected to hold that trains a stack."""
        return process_bytes(specs, storage)

    def used_bytes(self) -> int:
        """Return what this process holds: a context, and the most of torch's allocator."""
        torch.cuda.synchronize()  # there is a context then
        return int(torch.cuda.max_memory_reserved()) + CONTEXT_BYTES

    def release(self) -> None:
        """Give back what torch's allocator keeps for later."""
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()

    def train(
        self, specs: list[OrganismSpec], storage: Storage, on_checkpoint: Callable[[int], None]
    ) -> list[Trained]:
        """Train a stack."""
        return train(specs, storage, device="cuda", on_checkpoint=on_checkpoint)
