"""Files that commands write: what they may be called, and how they are written."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from lrplan.errors import UsageError


def check_file(option: str, path: Path, endings: Sequence[str], *, force: bool) -> None:
    """Raise `UsageError` if a file cannot be written there, before any work is done."""
    if path.suffix.lower() not in endings:
        raise UsageError(f"{option} {path}: expected a name that ends in {', '.join(endings)}")
    if path.is_dir() or (not force and os.path.lexists(path)):
        raise UsageError(f"{option} {path} exists; give another name, or --force to replace a file")
    if not path.parent.is_dir():
        raise UsageError(f"{option} {path}: there is no directory {path.parent}; make it first")
    if not os.access(path.parent, os.W_OK):
        raise UsageError(f"{option} {path}: {path.parent} is not writable; give another directory")


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`, to which it is renamed when all has been written."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
