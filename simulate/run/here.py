"""Train on this machine: one process per core, or one GPU."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, nullcontext
from multiprocessing import get_context

import torch

from lrplan.cohort.spec import OrganismSpec
from lrplan.errors import DataError
from lrplan.simulate.learn.storage import Storage
from lrplan.simulate.run.finished import FinishedOrganisms
from lrplan.simulate.run.stacks import keep_memory
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
        if not mine or not parts.missing(stack):
            return []
        for spec, diverged, content in trained_parts(stack, storage, device):
            if parts.holds(spec):
                continue
            parts.write(spec, content)
            done.append((spec.hash, diverged))
            if finished is not None:
                finished(spec, diverged)
    return done


@contextmanager
def _interrupts_later() -> Iterator[None]:
    """Hold back Ctrl-C, here and in the processes that start meanwhile, where the system can."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start_worker(parent: int) -> None:
    """Make a worker single-threaded, deaf to Ctrl-C and unable to outlive its parent."""
    torch.set_num_threads(1)
    keep_memory()
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Let the numerical libraries of processes that start meanwhile use one thread each."""
    name = "OMP_NUM_THREADS"
    before = os.environ.get(name)
    os.environ.setdefault(name, "1")
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]


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
    by_hash = {s.hash: s for stack in stacks for s in stack}
    pool = ProcessPoolExecutor(
        min(workers, len(stacks)),
        mp_context=get_context("spawn"),
        initializer=_start_worker,
        initargs=(os.getpid(),),
    )
    try:
        # Workers start here, and are not to see a Ctrl-C before they can ignore it; one that comes
        # meanwhile reaches this process afterwards.
        with _interrupts_later(), _one_thread_each():
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


def on_gpu(
    stacks: list[list[OrganismSpec]],
    storage: Storage,
    parts: FinishedOrganisms,
    finished: Finished,
    *,
    shared: bool = False,
) -> None:
    """Train one stack after the other on the GPU; the arguments are those of `train_and_write`."""
    for stack in stacks:
        train_and_write(stack, storage, parts, "cuda", shared, finished)
