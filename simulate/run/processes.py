"""Processes that train: started quickly, on one thread, deaf to Ctrl-C, gone with their parent."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import connection, get_context, parent_process
from typing import Any

PRELOADED = "lrplan.simulate.run.preloaded"
THREADS_VARIABLE = "OMP_NUM_THREADS"


def start_method() -> str:
    """Return how processes start: from a server that has imported torch, where there is one."""
    # On macOS a process that has loaded the system's numerical libraries must not be forked.
    return "forkserver" if sys.platform == "linux" else "spawn"


@contextmanager
def processes() -> Iterator[Any]:
    """Give the context in which processes start, each with one thread for numerical libraries."""
    context: Any = get_context(start_method())
    with one_thread_each():
        prepare()
        yield context


def prepare() -> None:
    """Begin to import torch in the server from which processes start; at once, for it takes long.

    Does nothing where there is no such server, or it runs already.
    """
    if start_method() != "forkserver":
        return
    from multiprocessing.forkserver import ensure_running, set_forkserver_preload

    set_forkserver_preload([PRELOADED])
    # The server is to see no Ctrl-C either: it would die, and processes with it.
    with interrupts_later(), one_thread_each():
        ensure_running()


@contextmanager
def interrupts_later() -> Iterator[None]:
    """Hold back Ctrl-C, here and in the processes that start meanwhile, where the system can."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def one_thread_each() -> Iterator[None]:
    """Let the numerical libraries of processes that start meanwhile use one thread each."""
    before = os.environ.get(THREADS_VARIABLE)
    os.environ.setdefault(THREADS_VARIABLE, "1")
    try:
        yield
    finally:
        if before is None:
            del os.environ[THREADS_VARIABLE]


@dataclass(frozen=True)
class Inherited:
    """What a process is to have of its parent; a server's children have the server's.

    Parameters
    ----------
    data : str or None
        The folder of data.
    """

    data: str | None

    @classmethod
    def now(cls) -> Inherited:
        """Return this process's."""
        from lrplan.simulate.tasks import DATA_VARIABLE

        return cls(os.environ.get(DATA_VARIABLE))

    def take(self) -> None:
        """Make a process single-threaded, deaf to Ctrl-C and unable to outlive its parent."""
        import torch

        from lrplan.simulate.run.stacks import keep_memory
        from lrplan.simulate.tasks import DATA_VARIABLE

        signal.signal(signal.SIGINT, signal.SIG_IGN)
        os.environ.pop(DATA_VARIABLE, None)
        if self.data is not None:
            os.environ[DATA_VARIABLE] = self.data
        torch.set_num_threads(1)
        keep_memory()
        parent = parent_process()
        assert parent is not None

        def watch() -> None:
            connection.wait([parent.sentinel])
            os._exit(1)

        threading.Thread(target=watch, daemon=True).start()
