"""Train on this machine's cores: one process for each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from threadpoolctl import threadpool_limits

from lrplan.cohort.spec import OrganismSpec
from lrplan.errors import DataError
from lrplan.simulate.learn.storage import Storage
from lrplan.simulate.run.finished import FinishedOrganisms
from lrplan.simulate.run.processes import Inherited, interrupts_later, processes
from lrplan.simulate.run.work import trained_parts

Finished = Callable[[OrganismSpec, bool], None]


def train_and_write(
    stack: list[OrganismSpec],
    storage: Storage,
    parts: FinishedOrganisms,
    device: str,
    shared: bool,
    finished: Finished | None = None,
) -> list[tuple[str, bool]]:
    """Train a stack and write its organisms.

    Parameters
    ----------
    stack : list of OrganismSpec
        Train together.
    storage : Storage
        What is kept.
    parts : FinishedOrganisms
        Where they are written; what is there already is not written again.
    device : {"cpu", "cuda"}
        Where to train.
    shared : bool
        Whether other processes than this run's write there: then the stack is claimed first, and
        left to the process that has claimed it before.
    finished : callable, optional
        Called with each organism that was written and whether it diverged.

    Returns
    -------
    list of (str, bool)
        The hashes of what was written, and whether it diverged.
    """
    done = []
    with parts.claim(stack) if shared else nullcontext(True) as mine:
        # Other shards may have packed the cohort, and cleared its parts, before this was claimed.
        if not mine or parts.out.exists() or not parts.missing(stack):
            return []
        for spec, diverged, content in trained_parts(stack, storage, device):
            if parts.holds(spec):
                continue
            parts.write(spec, content)
            done.append((spec.hash, diverged))
            if finished is not None:
                finished(spec, diverged)
    return done


def on_cores(
    stacks: list[list[OrganismSpec]],
    storage: Storage,
    parts: FinishedOrganisms,
    workers: int,
    finished: Finished,
    *,
    shared: bool = False,
) -> None:
    """Train stacks in a process per core; the arguments are those of `train_and_write`.

    Raises
    ------
    DataError
        If a worker process died.
    """
    if not stacks:
        return
    if len(stacks) == 1:
        # Nothing would be beside it, and a process takes seconds to start.
        with _as_a_worker():
            train_and_write(stacks[0], storage, parts, "cpu", shared, finished)
        return
    with processes() as context:
        _in_processes(context, stacks, storage, parts, workers, finished, shared)


@contextmanager
def _as_a_worker() -> Iterator[None]:
    """Compute as a worker does, on one thread: a sum over two threads is another sum."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(before)


def _in_processes(
    context: Any,
    stacks: list[list[OrganismSpec]],
    storage: Storage,
    parts: FinishedOrganisms,
    workers: int,
    finished: Finished,
    shared: bool,
) -> None:
    """Train stacks in several processes."""
    by_hash = {s.hash: s for stack in stacks for s in stack}
    pool = ProcessPoolExecutor(
        min(workers, len(stacks)), mp_context=context, initializer=Inherited.now().take
    )
    try:
        # Workers start here, and are not to see a Ctrl-C before they can ignore it; one that comes
        # meanwhile reaches this process afterwards.
        with interrupts_later():
            waiting: set[Future[list[tuple[str, bool]]]] = {
                pool.submit(train_and_write, s, storage, parts, "cpu", shared) for s in stacks
            }
        while waiting:
            ready, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            for future in ready:
                for spec_hash, diverged in future.result():
                    finished(by_hash[spec_hash], diverged)
        pool.shutdown()
    except BrokenProcessPool:
        raise DataError(
            "a worker process died, perhaps for lack of memory. Finished organisms are kept; run "
            "the same command again, with fewer --workers if need be"
        ) from None
    except BaseException:
        # What is in training is given up at once; its temporary file goes with the next run.
        processes = list((pool._processes or {}).values())
        pool.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            process.kill()
        raise
