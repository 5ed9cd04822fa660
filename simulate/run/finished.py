"""The organisms that a run has finished so far, one file each, in ``OUT.partial``.

Several processes, on several machines, may work on one such directory at a time: what keeps
them apart are file locks, which the system frees when their holder dies. On a file system that
does not honour locks an organism may be trained twice; then the same bytes are written twice,
each time under a temporary name that is renamed, and nothing is lost.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path

from filelock import FileLock, Timeout

from lrplan.cohort.spec import OrganismSpec
from lrplan.errors import UsageError
from lrplan.simulate.learn.train import LAW
from lrplan.simulate.run.angles import angles_file, write_angles
from lrplan.simulate.run.pack import pack, read_part
from lrplan.simulate.run.recipe import Recipe

SUFFIX = ".npz"
RECIPE = "recipe.sha256"
CLAIMED = "claims"
"""Where processes lock the organisms that they work on."""
SHARDS = "shards"
PATIENCE_SECONDS = 60.0
"""How long a process waits for a lock that others hold for moments only."""
PACKING_SECONDS = 3600.0
"""How long a shard waits while another one packs."""


class FinishedOrganisms:
    """The finished organisms of one recipe.

    Parameters
    ----------
    out : Path
        Where the cohort is to stand; the directory stands beside it.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        self.path = out.with_name(out.name + ".partial") if out.name else out

    def file(self, spec: OrganismSpec) -> Path:
        """Return where an organism's file is or will be."""
        return self.path / (spec.hash + SUFFIX)

    def holds(self, spec: OrganismSpec) -> bool:
        """Say whether an organism is finished; a file without its end does not count.

        A power cut may leave such a file, which the end of a zip archive shows.
        """
        return zipfile.is_zipfile(self.file(spec))

    def missing(self, specs: Sequence[OrganismSpec]) -> list[OrganismSpec]:
        """Return those organisms that are not finished."""
        return [s for s in specs if not self.holds(s)]

    def write(self, spec: OrganismSpec, content: bytes) -> None:
        """Put an organism's file in place: whole, or not at all."""
        final = self.file(spec)
        temporary = self.path / f".{final.name}.{socket.gethostname()}-{os.getpid()}"
        try:
            temporary.write_bytes(content)
            os.replace(temporary, final)
        except BaseException:
            # A full disk needs the space.
            temporary.unlink(missing_ok=True)
            raise

    @contextmanager
    def only_writer(self, recipe: Recipe) -> Iterator[bool]:
        """Hold the directory alone: no other run, and no shard, writes to it meanwhile.

        Yields
        ------
        bool
            False if another run has just put the cohort in place.

        Raises
        ------
        UsageError
            If another process does, or the directory holds parts of another recipe.
        """
        with self._locked(0.0):
            for lock in sorted((self.path / SHARDS).glob("*")):
                if _is_held(lock):
                    raise UsageError(
                        f"shard {lock.name.replace('-of-', '/')} is writing {self.path}; wait for "
                        "it, run the other shards with --shard, or give another --out"
                    )
            if self.out.exists():
                yield False
                return
            self._take(recipe)
            self._tidy()
            yield True

    @contextmanager
    def shard(self, recipe: Recipe, index: int, count: int) -> Iterator[bool]:
        """Be one of several processes that write to the directory.

        Yields
        ------
        bool
            False if another shard has just put the cohort in place.

        Raises
        ------
        UsageError
            If this shard runs already, another run holds the directory alone, or it holds parts
            of another recipe.
        """
        with ExitStack() as held:
            with self._locked(PATIENCE_SECONDS):
                if self.out.exists():
                    yield False
                    return
                self._take(recipe)
                (self.path / SHARDS).mkdir(exist_ok=True)
                (self.path / CLAIMED).mkdir(exist_ok=True)
                lock = FileLock(self.path / SHARDS / f"{index}-of-{count}")
                try:
                    held.enter_context(lock.acquire(timeout=0))
                except Timeout:
                    raise UsageError(
                        f"shard {index}/{count} of {self.path} is running already; wait for it, "
                        "or run another shard"
                    ) from None
            yield True

    @contextmanager
    def claim(self, specs: Sequence[OrganismSpec]) -> Iterator[bool]:
        """Claim organisms for this process; gives False if another one works on any of them."""
        with ExitStack() as held:
            try:
                # In one order for all, or two processes with some organisms in common could each
                # keep the other from them.
                for spec in sorted(specs, key=lambda s: s.hash):
                    lock = FileLock(self.path / CLAIMED / spec.hash)
                    held.enter_context(lock.acquire(timeout=0))
            except Timeout:
                held.close()
                yield False
                return
            for spec in specs:
                # Left by a process that died, for none other writes these now.
                for leftover in self.path.glob(f".{spec.hash}{SUFFIX}.*"):
                    leftover.unlink(missing_ok=True)
            yield True

    def pack(self, recipe: Recipe) -> None:
        """Make the cohort of all parts and put it in place; the caller is the only writer."""
        packed = self.path / ("packed.zip" if self.out.suffix == ".zip" else "packed")
        files = [self.file(s) for s in recipe.specs]
        pack(recipe, files, packed)
        if recipe.storage.angles:
            write_angles(angles_file(self.out), (read_part(file) for file in files))
        os.replace(packed, self.out)

    def pack_if_whole(self, recipe: Recipe) -> int:
        """Pack if no organism is missing, while other shards may do the same.

        Returns
        -------
        int
            How many organisms are missing.
        """
        try:
            with self._locked(PACKING_SECONDS):
                if self.out.exists():
                    return 0
                missing = len(self.missing(recipe.specs))
                if not missing:
                    self._tidy(shards=False)
                    self.pack(recipe)
                return missing
        except FileNotFoundError:
            # Another shard has packed and cleared the directory meanwhile.
            if self.out.exists():
                return 0
            raise

    def clear(self) -> None:
        """Remove the directory, after the cohort is in place."""
        shutil.rmtree(self.path, ignore_errors=True)

    def belong_to(self, recipe: Recipe) -> bool:
        """Say whether the parts that lie there are this recipe's."""
        try:
            return (self.path / RECIPE).read_text(encoding="utf-8") == digest(recipe)
        except OSError:
            return False

    @contextmanager
    def _locked(self, patience_s: float) -> Iterator[None]:
        """Hold the lock on the directory; the system frees it even after a kill."""
        self.path.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.path / ".lock")
        try:
            lock.acquire(timeout=patience_s)
        except Timeout:
            raise UsageError(
                f"another process is writing {self.path}; wait for it or give another --out"
            ) from None
        try:
            yield
        finally:
            lock.release()

    def refuse_others(self, recipe: Recipe) -> None:
        """Raise `UsageError` if the parts that lie there are another recipe's."""
        if (self.path / RECIPE).exists() and not self.belong_to(recipe):
            raise UsageError(
                f"{self.path} holds the start of another recipe, or of this one by an lrplan that "
                "trains otherwise; finish that one, remove the directory, or give another --out"
            )

    def _take(self, recipe: Recipe) -> None:
        """Write down whose parts these are, or refuse those of another recipe."""
        self.refuse_others(recipe)
        temporary = self.path / ".recipe"
        temporary.write_text(digest(recipe), encoding="utf-8")
        os.replace(temporary, self.path / RECIPE)

    def _tidy(self, *, shards: bool = True) -> None:
        """Remove what a process that died has left half-written."""
        hidden = self.path.glob(".*") if shards else self.path.glob(".packed*")
        for leftover in (*hidden, *self.path.glob("packed*")):
            if leftover.is_dir():
                shutil.rmtree(leftover)
            elif leftover.name != ".lock":
                leftover.unlink(missing_ok=True)


def digest(recipe: Recipe) -> str:
    """Return the digest of what a recipe's parts depend on."""
    content = {
        "organisms": [s.hash for s in recipe.specs],
        "storage": asdict(recipe.storage),
        "law": LAW,
    }
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _is_held(path: Path) -> bool:
    try:
        with FileLock(path).acquire(timeout=0):
            return False
    except Timeout:
        return True
