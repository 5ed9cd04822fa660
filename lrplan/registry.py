"""Names for plug-ins: a folder of files, a decorator, and the entry points of other packages."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Callable, Iterable
from functools import partial
from importlib.metadata import entry_points
from typing import Generic, TypeVar

from lrplan.errors import UsageError

T = TypeVar("T")


def nearest(name: str, known: Iterable[str]) -> str:
    """Say which of the known names a mistyped one may have meant."""
    names = sorted(known)
    folded = {n.lower().replace("-", "_"): n for n in names}
    wanted = str(name).lower().replace("-", "_")
    close = [folded[n] for n in difflib.get_close_matches(wanted, folded, n=3, cutoff=0.5)]
    close += [n for n in names if wanted and wanted in n.lower() and n not in close]
    if close:
        return f"nearest: {', '.join(close)} (all: {', '.join(names)})"
    return f"known: {', '.join(names)}"


class Registry(Generic[T]):
    """Plug-ins of one kind, found in a package's files and in entry points.

    Parameters
    ----------
    kind : str
        What one plug-in is called in messages, such as ``"rule"``.
    package : str
        The package whose modules register plug-ins when they are imported.
    group : str
        The entry-point group through which other packages add theirs.
    """

    def __init__(self, kind: str, *, package: str, group: str) -> None:
        self.kind = kind
        self.package = package
        self.group = group
        self._entries: dict[str, T] = {}
        self._loaded = False

    def add(self, name: str, entry: T) -> T:
        """Register one plug-in; a name that is taken raises."""
        if name in self._entries:
            raise ValueError(f"{self.kind} {name!r} is registered twice")
        self._entries[name] = entry
        return entry

    def register(self, name: str) -> Callable[[T], T]:
        """Return a decorator that registers what it decorates under `name`."""
        return lambda entry: self.add(name, entry)

    def _load(self) -> None:
        if self._loaded:
            return
        self._loaded = True
        try:
            package = importlib.import_module(self.package)
            for module in sorted(pkgutil.iter_modules(package.__path__), key=lambda m: m.name):
                if not module.name.startswith("_"):
                    name = f"{self.package}.{module.name}"
                    self._whole(partial(importlib.import_module, name))
            for point in sorted(entry_points(group=self.group), key=lambda p: p.name):
                self._whole(point.load)
        except BaseException:
            self._loaded = False
            raise

    def _whole(self, load: Callable[[], object]) -> None:
        """Load a plug-in; one that fails leaves nothing behind, so that a retry fails alike."""
        before = dict(self._entries)
        try:
            load()
        except BaseException:
            self._entries = before
            raise

    def names(self) -> list[str]:
        """Return all names, sorted."""
        self._load()
        return sorted(self._entries)

    def get(self, name: str) -> T:
        """Return one plug-in; an unknown name raises `UsageError` with the nearest ones."""
        self._load()
        try:
            return self._entries[name]
        except (KeyError, TypeError):
            raise UsageError(
                f"unknown {self.kind} {name!r}; {nearest(str(name), self._entries)}"
            ) from None

    def items(self) -> list[tuple[str, T]]:
        """Return (name, plug-in) pairs, sorted by name."""
        return [(name, self._entries[name]) for name in self.names()]
