"""Run a recipe: train what is missing, on all cores or one GPU, and pack the cohort.

Each organism is written on its own under ``OUT.partial`` (temporary name, then rename), keyed by
the hash of its spec. The cohort appears under its own name only when it is whole, so a run that
is killed loses at most the organisms in training and the same command finishes it.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import signal
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from lrplan.errors import DataError, UsageError
from lrplan.simulate.pack import pack, write_part
from lrplan.simulate.recipe import Recipe, Storage
from lrplan.simulate.train import build, checkpoint_steps, stack_key, train
from lrplan.spec import OrganismSpec

STACK = 64
PART = ".npz"
CLAIM = "recipe.sha256"


def simulate(
    recipe: Recipe,
    out: Path,
    *,
    workers: int | None = None,
    device: str = "auto",
    on_start: Callable[[int, int], None] | None = None,
    on_organism: Callable[[OrganismSpec, bool], None] | None = None,
) -> bool:
    """Train every organism of a recipe and write the cohort.

    Parameters
    ----------
    recipe : Recipe
        What to train.
    out : Path
        Where the cohort goes: a directory, or one file if the name ends in ``.zip``.
    workers : int, optional
        Processes on the CPU, one thread each; by default one per core.
    device : {"auto", "cpu", "cuda"}
        ``auto`` takes a GPU where there is one.
    on_start : callable, optional
        Called with the number of organisms done before and of all.
    on_organism : callable, optional
        Called with each finished organism's spec and whether it diverged.

    Returns
    -------
    bool
        False if the cohort was there already, whole.

    Raises
    ------
    UsageError
        If `out` exists and is something else, or holds the start of another recipe, or another
        process writes to it.
    DataError
        If the disk is full or cannot be written; what was finished stays.
    """
    out = Path(out)
    device = _device(device)
    workers = _workers(workers)
    partial = out.with_name(out.name + ".partial") if out.name else out
    if _complete(recipe, out):
        # A run that was killed after its last rename left the parts behind.
        if _claimed(recipe, partial):
            shutil.rmtree(partial, ignore_errors=True)
        return False
    for spec in {stack_key(s): s for s in recipe.specs}.values():
        # Impossible combinations are refused before hours of training, not after.
        _, _, _, data, _ = build(spec)
        checkpoint_steps(spec, len(data.train))
        for name in ("stimuli", "validation"):
            if getattr(recipe.storage, name) > len(data.test):
                raise UsageError(
                    f"[storage]: {name} is {getattr(recipe.storage, name)}, but {spec.task!r} has "
                    f"{len(data.test)} held-out images"
                )
    try:
        partial.mkdir(parents=True, exist_ok=True)
        with _only_writer(partial):
            _claim(recipe, partial)
            for leftover in (*partial.glob(".*"), *partial.glob("packed*")):
                if leftover.is_dir():
                    shutil.rmtree(leftover)
                elif leftover.name != ".lock":
                    leftover.unlink(missing_ok=True)
            # A power cut may leave a file without its end, which a zip archive shows.
            todo = [s for s in recipe.specs if not zipfile.is_zipfile(partial / (s.hash + PART))]
            if on_start is not None:
                on_start(len(recipe.specs) - len(todo), len(recipe.specs))
            finished = on_organism or (lambda spec, diverged: None)
            if device == "cuda":
                _on_gpu(todo, recipe.storage, partial, finished)
            else:
                _on_cores(todo, recipe.storage, partial, workers, finished)
            packed = partial / ("packed.zip" if out.suffix == ".zip" else "packed")
            attributes = {
                "lrplan_version": version("lrplan"),
                "torch_version": str(torch.__version__),
                "device": device if device == "cpu" else torch.cuda.get_device_name(),
            }
            parts = [partial / (s.hash + PART) for s in recipe.specs]
            pack(recipe, parts, packed, attributes)
            os.replace(packed, out)
        shutil.rmtree(partial)
    except OSError as error:
        raise _disk_error(error, partial) from error
    return True


def _device(asked: str) -> str:
    if asked not in ("auto", "cpu", "cuda"):
        raise UsageError(f"device is {asked!r}; expected auto, cpu or cuda")
    if asked == "cuda" and not torch.cuda.is_available():
        raise UsageError("device is 'cuda', but torch finds no GPU here; use --device cpu")
    if asked == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return asked


def _workers(asked: int | None) -> int:
    if asked is None:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    if isinstance(asked, bool) or not isinstance(asked, int) or asked < 1:
        raise UsageError(f"workers is {asked!r}; expected a whole number of at least 1")
    return asked


def _disk_error(error: OSError, partial: Path) -> Exception:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DataError(
            f"the disk is full: {partial} cannot grow. Finished organisms are kept; free some "
            "space and run the same command again to go on"
        )
    return DataError(f"{error.filename or partial} cannot be written: {error.strerror or error}")


def _complete(recipe: Recipe, out: Path) -> bool:
    """Say whether `out` is this recipe's cohort; anything else there is refused."""
    if not out.exists() and not out.is_symlink():
        return False
    from lrplan.cohort import open_cohort

    try:
        ids = open_cohort(out).organism_ids
    except DataError:
        ids = []
    if list(ids) == [s.hash for s in recipe.specs]:
        return True
    raise UsageError(
        f"{out} exists and is not this recipe's cohort; nothing is overwritten. "
        "Give another --out, or move it away"
    )


@contextmanager
def _only_writer(partial: Path) -> Iterator[None]:
    """Hold the lock on a partial cohort; the system frees it even after a kill."""
    try:
        with FileLock(partial / ".lock", timeout=0):
            yield
    except Timeout:
        raise UsageError(
            f"another process is writing {partial}; wait for it or give another --out"
        ) from None


def _digest(recipe: Recipe) -> str:
    """Return the digest of what a recipe's parts depend on."""
    content = {"organisms": [s.hash for s in recipe.specs], "storage": asdict(recipe.storage)}
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _claimed(recipe: Recipe, partial: Path) -> bool:
    """Say whether the parts that lie there are this recipe's."""
    try:
        return (partial / CLAIM).read_text(encoding="utf-8") == _digest(recipe)
    except OSError:
        return False


def _claim(recipe: Recipe, partial: Path) -> None:
    """Write down whose parts these are, or refuse those of another recipe."""
    if (partial / CLAIM).exists() and not _claimed(recipe, partial):
        raise UsageError(
            f"{partial} holds the start of another recipe; run that one to its end, remove the "
            "directory, or give another --out"
        )
    temporary = partial / ".recipe"
    temporary.write_text(_digest(recipe), encoding="utf-8")
    os.replace(temporary, partial / CLAIM)


def _train_and_write(
    specs: list[OrganismSpec], storage: Storage, partial: Path, device: str
) -> list[tuple[str, bool]]:
    """Train a stack and write its organisms; return their hashes and whether they diverged."""
    done = []
    for trained in train(specs, storage, device=device):
        name = trained.spec.hash + PART
        temporary = partial / f".{name}.{os.getpid()}"
        try:
            write_part(temporary, trained)
            os.replace(temporary, partial / name)
        except BaseException:
            # A full disk needs the space.
            temporary.unlink(missing_ok=True)
            raise
        done.append((trained.spec.hash, trained.diverged))
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
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _on_cores(
    todo: list[OrganismSpec],
    storage: Storage,
    partial: Path,
    workers: int,
    finished: Callable[[OrganismSpec, bool], None],
) -> None:
    """Train organisms one by one in a process per core."""
    if not todo:
        return
    by_hash = {s.hash: s for s in todo}
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    pool = ProcessPoolExecutor(
        min(workers, len(todo)),
        mp_context=get_context("spawn"),
        initializer=_start_worker,
        initargs=(os.getpid(),),
    )
    try:
        # Workers start here, and are not to see a Ctrl-C before they can ignore it; one that comes
        # meanwhile reaches this process afterwards.
        with _interrupts_later():
            waiting: set[Future[list[tuple[str, bool]]]] = {
                pool.submit(_train_and_write, [s], storage, partial, "cpu") for s in todo
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


def _on_gpu(
    todo: list[OrganismSpec],
    storage: Storage,
    partial: Path,
    finished: Callable[[OrganismSpec, bool], None],
) -> None:
    """Train stacks of organisms on the GPU; a stack that does not fit is halved."""
    groups: dict[object, list[OrganismSpec]] = {}
    for spec in todo:
        groups.setdefault(stack_key(spec), []).append(spec)
    stacks = [g[i : i + STACK] for g in groups.values() for i in range(0, len(g), STACK)]
    while stacks:
        stack = stacks.pop(0)
        try:
            done = _train_and_write(stack, storage, partial, "cuda")
        except torch.cuda.OutOfMemoryError:
            if len(stack) == 1:
                raise DataError("the GPU has too little memory for one organism") from None
            torch.cuda.empty_cache()
            half = len(stack) // 2
            stacks[:0] = [stack[:half], stack[half:]]
            continue
        by_hash = {s.hash: s for s in stack}
        for spec_hash, diverged in done:
            finished(by_hash[spec_hash], diverged)
