"""Train on a Dask cluster: workers train and hand back bytes, this process alone writes files.

So no file system needs to be shared and nothing can be written twice. A worker that dies, a
scheduler that restarts and a connection that is lost cost no more than what was in training.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import re
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from lrplan.cohort.spec import OrganismSpec
from lrplan.errors import DataError, UsageError
from lrplan.simulate.learn.storage import Storage

if TYPE_CHECKING:
    from distributed import Client, Future

PATIENCE_SECONDS = 600.0
"""How long a scheduler that was there before may be away."""
FIRST_PATIENCE_SECONDS = 15.0
"""How long a scheduler may take to answer for the first time."""
REMINDER_SECONDS = 60.0
POLL_SECONDS = 0.1
NOISY = ("distributed", "tornado", "asyncio")
ADDRESS = re.compile(r"[a-z]+://\S+")

Delivery = tuple[str, bool, bytes]
"""Hash of an organism, whether it diverged, and the content of its part."""


class _Lost(Exception):
    """The connection to the scheduler is gone, and with it what was submitted."""


@dataclass(frozen=True)
class Assignment:
    """What a worker needs to know besides the organisms.

    Parameters
    ----------
    storage : Storage
        What is kept.
    device : {"auto", "cpu", "cuda"}
        Where the worker trains; "auto" takes its GPU where it has one.
    data : str or None
        Folder of data on the workers; None leaves it to their own environment.
    lrplan_version : str
        That of the process that asks.
    """

    storage: Storage
    device: str
    data: str | None
    lrplan_version: str


def train_on_worker(texts: list[str], assignment: Assignment) -> list[Delivery]:
    """Train one stack in a worker of the cluster.

    Parameters
    ----------
    texts : list of str
        Specs as JSON.
    assignment : Assignment
        The rest.

    Returns
    -------
    list of (str, bool, bytes)
        Hash of each organism, whether it diverged, and the content of its part.
    """
    here = version("lrplan")
    if here != assignment.lrplan_version:
        raise UsageError(
            f"a worker has lrplan {here}, this process has {assignment.lrplan_version}; install "
            "the same version in both environments and start the workers again"
        )
    import torch

    from lrplan.simulate.run.preflight import check_data_once
    from lrplan.simulate.run.work import device_named, trained_parts
    from lrplan.simulate.tasks import DATA_VARIABLE

    # Holds for the calling thread, of which a worker may have several.
    torch.set_num_threads(1)
    if assignment.data is not None:
        os.environ[DATA_VARIABLE] = assignment.data
    stack = [OrganismSpec.from_json(text) for text in texts]
    check_data_once(stack[0], os.environ.get(DATA_VARIABLE, ""))
    device = device_named(assignment.device)
    return [
        (spec.hash, diverged, content)
        for spec, diverged, content in trained_parts(stack, assignment.storage, device)
    ]


def on_cluster(
    stacks: list[list[OrganismSpec]],
    assignment: Assignment,
    scheduler: Any,
    receive: Callable[[Delivery], None],
    *,
    note: Callable[[str], None] = lambda text: None,
    patience_s: float = PATIENCE_SECONDS,
) -> None:
    """Train stacks on the workers of a Dask cluster.

    Parameters
    ----------
    stacks : list of list of OrganismSpec
        Each is one task of the cluster.
    assignment : Assignment
        What is the same for all.
    scheduler : str or cluster
        Address such as ``tcp://host:8786``, or a cluster object of `dask.distributed`.
    receive : callable
        Called in this process with each organism, once.
    note : callable, optional
        Called with remarks: what is waited for.
    patience_s : float
        How long the scheduler may be away, in seconds, before this gives up.

    Raises
    ------
    UsageError
        If there is no scheduler, `dask.distributed` is not installed, or workers have another
        version of lrplan.
    DataError
        If the scheduler stays away, workers lack data, or one organism brings down every worker
        that trains it.
    """
    distributed = check_scheduler(scheduler)
    # Lost stacks come back here, and halves of stacks that brought down workers.
    waiting = list(stacks)
    patience = FIRST_PATIENCE_SECONDS
    with _quiet():
        while waiting:
            client = _connect(distributed, scheduler, patience, patience < patience_s)
            patience = patience_s
            try:
                _gather(distributed, client, waiting, assignment, receive, note)
            except _Lost:
                note(
                    f"the connection to the Dask scheduler is lost; trying again for "
                    f"{patience_s:.0f} s. What is finished is kept"
                )
            finally:
                with contextlib.suppress(Exception):
                    client.close(timeout=2)


def check_scheduler(scheduler: Any) -> Any:
    """Return the module `dask.distributed`; raise `UsageError` without it or for no address."""
    try:
        import distributed
    except ImportError:
        raise UsageError(
            "a Dask cluster needs dask.distributed; install it with: pip install 'lrplan[dask]'"
        ) from None
    if isinstance(scheduler, str) and not ADDRESS.fullmatch(scheduler):
        raise UsageError(
            f"scheduler is {scheduler!r}; expected an address such as tcp://127.0.0.1:8786, which "
            "`dask scheduler` prints when it starts"
        )
    return distributed


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep tracebacks about lost connections from the terminal; they are reported in words."""
    names = [n for n in logging.root.manager.loggerDict if n.split(".")[0] in NOISY]
    loggers = [logging.getLogger(name) for name in names]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


def _connect(distributed: Any, scheduler: Any, patience_s: float, first: bool) -> Client:
    """Return a client; the scheduler may be away for some time."""
    end = time.monotonic() + patience_s
    while True:
        try:
            left = max(1.0, end - time.monotonic())
            return distributed.Client(
                scheduler, timeout=min(left, 15.0), set_as_default=False, name="lrplan"
            )
        except (OSError, TimeoutError) as error:
            if time.monotonic() < end:
                time.sleep(0.2)
                continue
            if first:
                raise UsageError(
                    f"no Dask scheduler answers at {scheduler} ({_first_line(error)}); start one "
                    "with `dask scheduler`, and workers with `dask worker ADDRESS --nthreads 1`"
                ) from None
            raise DataError(
                f"the Dask scheduler at {scheduler} has been away for {patience_s:.0f} s. Finished "
                "organisms are kept; run the same command again when it is back"
            ) from None
        except ValueError as error:
            raise UsageError(
                f"scheduler is {scheduler!r} ({_first_line(error)}); expected an address such as "
                "tcp://127.0.0.1:8786"
            ) from None


def _gather(
    distributed: Any,
    client: Client,
    waiting: list[list[OrganismSpec]],
    assignment: Assignment,
    receive: Callable[[Delivery], None],
    note: Callable[[str], None],
) -> None:
    """Submit what is waiting and take what comes; leaves in `waiting` what did not.

    Futures are looked at, not waited for: when a scheduler dies, what waits for a future of its
    may wait for ever.
    """
    pending: dict[Future, list[OrganismSpec]] = {}

    def submit(stack: list[OrganismSpec]) -> None:
        # A key of its own: the scheduler must not give the outcome of an earlier run.
        key = f"lrplan-{stack[0].hash}-{uuid.uuid4().hex}"
        texts = [spec.to_json() for spec in stack]
        future = client.submit(train_on_worker, texts, assignment, key=key, pure=False)
        pending[future] = stack

    for stack in waiting:
        submit(stack)
    said = time.monotonic()
    while pending:
        if client.status != "running":
            raise _Lost
        for future in [f for f in pending if f.status != "pending"]:
            stack = pending[future]
            if future.status == "finished":
                parts = _result(distributed, client, future)
                if parts is None:  # the worker died with it; the scheduler has it trained again
                    continue
                for part in parts:
                    receive(part)
                waiting.remove(stack)
            elif future.status == "error":
                error = _error(distributed, client, future)
                if error is None:  # it did not come through; asked for again
                    continue
                halves = _after_failure(distributed, error, stack)
                waiting.remove(stack)
                waiting += halves
                for half in halves:
                    submit(half)
            else:
                raise _Lost
            del pending[future]
            future.release()
        now = time.monotonic()
        if now - said > REMINDER_SECONDS:
            said = now
            if not client.scheduler_info(n_workers=1)["workers"]:
                note("the Dask scheduler has no workers yet; waiting for one")
        time.sleep(POLL_SECONDS)


def _result(distributed: Any, client: Client, future: Future) -> list[Delivery] | None:
    try:
        return future.result(timeout=PATIENCE_SECONDS)
    except (OSError, TimeoutError, distributed.CancelledError):
        if client.status != "running":
            raise _Lost from None
        return None


def _error(distributed: Any, client: Client, future: Future) -> BaseException | None:
    """Return what a task failed with, None if it cannot be had for the moment."""
    try:
        failed: BaseException | None = future.exception(timeout=FIRST_PATIENCE_SECONDS)
    except (OSError, TimeoutError, distributed.CancelledError):
        if client.status != "running":
            raise _Lost from None
        return None
    return failed


def _after_failure(
    distributed: Any, error: BaseException, stack: list[OrganismSpec]
) -> list[list[OrganismSpec]]:
    """Return how to go on after a task failed: with halves, or not at all."""
    if isinstance(error, distributed.KilledWorker):
        if len(stack) > 1:
            half = math.ceil(len(stack) / 2)
            return [stack[:half], stack[half:]]
        spec = stack[0]
        raise DataError(
            f"organism {spec.hash} ({spec.architecture} on {spec.task}) brought down several "
            "workers, perhaps for lack of memory. Finished organisms are kept; give the workers "
            "more memory and run the same command again"
        ) from None
    if isinstance(error, ImportError | AttributeError):
        raise UsageError(
            f"a worker cannot import lrplan {version('lrplan')} ({_first_line(error)}); install "
            "the same version in the workers' environment and start them again"
        ) from None
    if isinstance(error, OSError):
        # Not to be taken for a disk of this machine.
        raise DataError(
            f"a worker failed: {error}. Finished organisms are kept; repair it and run the same "
            "command again"
        ) from error
    raise error


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
