"""Run a recipe: train what is missing, here or on many machines, and pack the cohort.

Each organism is written on its own under ``OUT.partial`` (temporary name, then rename), keyed by
the hash of its spec. The cohort appears under its own name only when it is whole, so a run that
is killed loses at most the organisms in training and the same command finishes it.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lrplan.cohort.spec import OrganismSpec
from lrplan.errors import DataError, LrplanError, UsageError
from lrplan.simulate.learn.storage import Storage
from lrplan.simulate.run.angles import angles_file
from lrplan.simulate.run.card import Gpu
from lrplan.simulate.run.cluster import (
    PATIENCE_SECONDS,
    Assignment,
    Delivery,
    check_scheduler,
    on_cluster,
)
from lrplan.simulate.run.finished import FinishedOrganisms
from lrplan.simulate.run.here import on_cores
from lrplan.simulate.run.on_card import MOST_PROCESSES, Reports, on_card
from lrplan.simulate.run.preflight import check_combinations, check_data, data_in
from lrplan.simulate.run.recipe import Recipe, parse_recipe
from lrplan.simulate.run.shards import Shard
from lrplan.simulate.run.work import (
    DEVICES,
    WORKER_GPU_BYTES,
    device_named,
    share_of,
    stacks_here,
    stacks_of,
    unfinished,
)
from lrplan.threads import threads


@dataclass(frozen=True)
class Outcome:
    """What a run came to.

    Parameters
    ----------
    new : bool
        False if the cohort was there already, whole.
    missing : int
        Organisms that other shards still have to train; with 0 the cohort is in place.
    """

    new: bool
    missing: int = 0


def simulate(
    recipe: Recipe,
    out: Path,
    *,
    workers: int | None = None,
    device: str = "auto",
    data: Path | None = None,
    scheduler: Any = None,
    shard: Shard | None = None,
    patience_s: float = PATIENCE_SECONDS,
    on_start: Callable[[int, int], None] | None = None,
    on_organism: Callable[[OrganismSpec, bool], None] | None = None,
    on_note: Callable[[str], None] | None = None,
    on_progress: Callable[[float], None] | None = None,
) -> Outcome:
    """Train every organism of a recipe and write the cohort.

    Parameters
    ----------
    recipe : Recipe
        What to train.
    out : Path
        Where the cohort goes: a directory, or one file if the name ends in ``.zip``.
    workers : int, optional
        Processes, one thread each; by default one per core, on a GPU at most eight, and as many
        as its memory holds.
    device : {"auto", "cpu", "cuda"}
        ``auto`` takes a GPU where there is one.
    data : Path, optional
        Folder of data that lrplan does not bring; by default what LRPLAN_DATA names.
    scheduler : str or cluster, optional
        Train on this Dask cluster: an address such as ``tcp://host:8786``, or a cluster object
        of `dask.distributed`. `data` is then a folder on its workers.
    shard : Shard, optional
        Train only this share, beside other processes that train the others and write to the
        same `out`.
    patience_s : float
        How long a Dask scheduler may be away, in seconds.
    on_start : callable, optional
        Called with the number of organisms done before and of all, or of all in the shard.
    on_organism : callable, optional
        Called with each finished organism's spec and whether it diverged.
    on_note : callable, optional
        Called with remarks, such as that a connection is lost and tried again.
    on_progress : callable, optional
        Called on a GPU with the share of this run's work that is done, 0 to 1, stacks in training
        included.

    Returns
    -------
    Outcome
        Whether there was anything to do, and what other shards still have to.

    Raises
    ------
    UsageError
        If `out` exists and is something else, or the same organisms with other things kept of
        them, or holds the start of another recipe, or another process writes to it; if the recipe
        has an organism that cannot be.
    DataError
        If data are missing, or the disk is full or cannot be written; what was finished stays.
    """
    if scheduler is not None and shard is not None:
        raise UsageError("a shard is trained on one machine; leave out the scheduler or the shard")
    by_default = workers is None
    if workers is None:
        workers = threads()
    elif isinstance(workers, bool) or not isinstance(workers, int) or workers < 1:
        raise UsageError(f"workers is {workers!r}; expected a whole number of at least 1")
    if scheduler is None:
        device = device_named(device)
        if by_default and device == "cuda":
            workers = min(workers, MOST_PROCESSES)
    else:
        check_scheduler(scheduler)
        if device not in DEVICES:
            raise UsageError(f"device is {device!r}; expected auto, cpu or cuda")
    parts = FinishedOrganisms(Path(out))
    if is_complete(recipe, parts.out):
        # A run that was killed after its last rename left the parts behind.
        if parts.belong_to(recipe):
            parts.clear()
        return Outcome(new=False)
    table = angles_file(parts.out)
    if recipe.storage.angles and table.exists() and not parts.belong_to(recipe):
        raise UsageError(
            f"{table}, where the angles are to go, exists; nothing is overwritten. Give another "
            "--out, or move it away"
        )
    run = _Run(
        recipe,
        parts,
        started=on_start or (lambda done, total: None),
        finished=on_organism or (lambda spec, diverged: None),
        note=on_note or (lambda text: None),
        progress=on_progress or (lambda share: None),
    )
    try:
        if scheduler is not None:
            check_combinations(recipe, elsewhere=True)
            with parts.only_writer(recipe) as ours:
                if ours:
                    run.on_cluster(scheduler, device, data, patience_s)
                    parts.pack(recipe)
        else:
            with data_in(data):
                check_combinations(recipe)
                check_data(recipe.specs)
                missing = run.share(shard, device, workers) if shard else run.all(device, workers)
            if missing:
                return Outcome(new=True, missing=missing)
        parts.clear()
    except OSError as error:
        raise _disk_error(error, parts.path) from error
    return Outcome(new=True)


@dataclass(frozen=True)
class _Run:
    """A recipe, where its organisms are written, and who is told of them."""

    recipe: Recipe
    parts: FinishedOrganisms
    started: Callable[[int, int], None]
    finished: Callable[[OrganismSpec, bool], None]
    note: Callable[[str], None]
    progress: Callable[[float], None]

    def all(self, device: str, workers: int) -> int:
        """Train what is missing on this machine, and pack; then nothing is missing."""
        with self.parts.only_writer(self.recipe) as ours:
            if ours:
                self._here(device, workers, None)
                self.parts.pack(self.recipe)
        return 0

    def share(self, shard: Shard, device: str, workers: int) -> int:
        """Train a shard, and pack if it was the last; return how many organisms are missing."""
        with self.parts.shard(self.recipe, shard.index, shard.count) as ours:
            if ours:
                self._here(device, workers, shard)
        return self.parts.pack_if_whole(self.recipe)

    def _here(self, device: str, workers: int, shard: Shard | None) -> None:
        """Train what is missing on this machine."""
        storage, shared = self.recipe.storage, shard is not None
        if device == "cuda":
            left = self._start(share_of(self.recipe.specs, storage, shard))
            reports = Reports(self.finished, self.progress, self.note)
            on_card(
                left,
                storage,
                self.parts,
                Gpu.here(),
                reports,
                most_processes=workers,
                shared=shared,
            )
            return
        stacks = stacks_here(self.recipe.specs, storage, device, shard)
        self._start([spec for stack in stacks for spec in stack])
        unwritten = unfinished(stacks, device, self.parts.missing)
        on_cores(unwritten, storage, self.parts, workers, self.finished, shared=shared)

    def on_cluster(self, scheduler: Any, device: str, data: Path | None, patience_s: float) -> None:
        """Train what is missing on a Dask cluster; its workers' devices are not known here."""
        device = "cuda" if device == "cuda" else "cpu"
        storage = self.recipe.storage
        stacks = stacks_of(self.recipe.specs, storage, device, WORKER_GPU_BYTES)
        new = {s.hash: s for s in self._start([spec for stack in stacks for spec in stack])}

        def receive(part: Delivery) -> None:
            spec_hash, diverged, content = part
            # What was there before, and is trained for the sake of its stack, stays as it is.
            spec = new.pop(spec_hash, None)
            if spec is not None:
                self.parts.write(spec, content)
                self.finished(spec, diverged)

        on_cluster(
            unfinished(stacks, device, self.parts.missing),
            Assignment(storage, device, None if data is None else str(data), version("lrplan")),
            scheduler,
            receive,
            note=self.note,
            patience_s=patience_s,
        )

    def _start(self, specs: list[OrganismSpec]) -> list[OrganismSpec]:
        """Say how many organisms there are to train; return those that are missing."""
        missing = self.parts.missing(specs)
        self.started(len(specs) - len(missing), len(specs))
        return missing


def is_complete(recipe: Recipe, out: Path) -> bool:
    """Say whether `out` is this recipe's cohort.

    Raises
    ------
    UsageError
        If it is anything else that exists.
    """
    if not out.exists() and not out.is_symlink():
        return False
    from lrplan.cohort.store import open_cohort

    try:
        there = open_cohort(out)
        ids, text = list(there.organism_ids), there.attributes.get("recipe")
    except DataError:
        ids, text = [], None
    if ids == [s.hash for s in recipe.specs]:
        kept = _storage_of(text, ids)
        if kept is not None and kept != recipe.storage:
            differs = [k for k, v in asdict(recipe.storage).items() if getattr(kept, k) != v]
            raise UsageError(
                f"{out} holds this recipe's organisms, but was made with another [storage]: "
                + ", ".join(f"{k} = {getattr(kept, k)!r}" for k in differs)
                + ". Nothing is overwritten. Give another --out, or move it away"
            )
        return True
    raise UsageError(
        f"{out} exists and is not this recipe's cohort; nothing is overwritten. "
        "Give another --out, or move it away"
    )


def _storage_of(text: Any, ids: list[str]) -> Storage | None:
    """Return what a cohort's recipe kept, None if it is not the recipe of these organisms."""
    try:
        made = parse_recipe(text) if isinstance(text, str) and text else None
    except LrplanError:
        # Of another version, or written by hand.
        return None
    return made.storage if made and [s.hash for s in made.specs] == ids else None


def _disk_error(error: OSError, partial: Path) -> Exception:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DataError(
            f"the disk is full: {partial} cannot grow. Finished organisms are kept; free some "
            "space and run the same command again to go on"
        )
    return DataError(f"{error.filename or partial} cannot be written: {error.strerror or error}")
