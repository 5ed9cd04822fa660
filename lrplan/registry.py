"""Names for plug-ins: a folder of files, a decorator, and the entry points of other packages."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from importlib.metadata import entry_points
from typing import Any, Generic, TypeVar

from lrplan.errors import PluginError, UsageError

T = TypeVar("T")
_EVERY: list[Registry[Any]] = []
MANY = 20
"""Names that a message may hold; of more it tells `TOLD`."""
TOLD = 5


def nearest(name: str, known: Iterable[str], *, listing: str = "") -> str:
    """Say which of the known names a mistyped one may have meant.

    Parameters
    ----------
    name : str
        What was given.
    known : iterable of str
        All names; of more than `MANY` only some are told.
    listing : str, optional
        The command that lists all.
    """
    names = sorted(known)
    folded = {n.lower().replace("-", "_"): n for n in names}
    wanted = str(name).lower().replace("-", "_")
    close = [folded[n] for n in difflib.get_close_matches(wanted, folded, n=3, cutoff=0.5)]
    close += [n for n in names if wanted and wanted in n.lower() and n not in close]
    if len(names) <= MANY:
        every = ", ".join(names)
        return f"nearest: {', '.join(close)} (all: {every})" if close else f"known: {every}"
    every = f"{len(names)} in all" + (f": `{listing}`" if listing else "")
    if close:
        return f"nearest: {', '.join(close[:TOLD])} ({every})"
    return f"known: {', '.join(names[:TOLD])}, ... ({every})"


class Registry(Generic[T]):
    """Plug-ins of one kind, found in a package's files and in entry points.

    Parameters
    ----------
    kind : str
        What one plug-in is called in messages, such as ``"rule"``.
    package : str
        The package whose modules register plug-ins when they are imported.
    group : str
        The entry-point group through which other packages add theirs; its last word is what
        ``lrplan list`` calls them.
    beside : sequence of (str, str), optional
        Packages and groups of other kinds whose modules may register some of this kind, too.
    meant : mapping of str to str, optional
        Other words that people use, in small letters without signs, and the names that they mean.
        A message says so; a name is always the registered one.
    """

    def __init__(
        self,
        kind: str,
        *,
        package: str,
        group: str,
        beside: Sequence[tuple[str, str]] = (),
        meant: Mapping[str, str] | None = None,
    ) -> None:
        self.kind = kind
        self.package = package
        self.group = group
        self._sources = [(package, group), *beside]
        self._meant = dict(meant or {})
        self._entries: dict[str, T] = {}
        self._origins: dict[str, str] = {}
        self._loading = ""
        self._loaded = False
        _EVERY.append(self)

    def add(self, name: str, entry: T) -> T:
        """Register one plug-in.

        Raises
        ------
        UsageError
            If the name is taken.
        """
        if name in self._entries:
            by = [o for o in (self._origins.get(name), self._loading) if o]
            raise UsageError(
                f"{self.kind} {name!r} is registered twice"
                + (f", by {' and by '.join(dict.fromkeys(by))}" if by else "")
                + "; remove one, or give it another name"
            )
        self._entries[name] = entry
        self._origins[name] = self._loading
        return entry

    def register(self, name: str) -> Callable[[T], T]:
        """Return a decorator that registers what it decorates under `name`."""
        return lambda entry: self.add(name, entry)

    def _load(self) -> None:
        if self._loaded:
            return
        self._loaded = True
        try:
            for where, _ in self._sources:
                package = importlib.import_module(where)
                for module in sorted(pkgutil.iter_modules(package.__path__), key=lambda m: m.name):
                    if not module.name.startswith("_"):
                        name = f"{where}.{module.name}"
                        self._whole(partial(importlib.import_module, name), name)
            for _, group in self._sources:
                for point in sorted(entry_points(group=group), key=lambda p: p.name):
                    owner = "" if point.dist is None else f" of {point.dist.name}"
                    self._whole(point.load, f"the entry point {group}: {point.name}{owner}")
        except BaseException:
            self._loaded = False
            raise

    def _whole(self, load: Callable[[], object], origin: str) -> None:
        """Load a plug-in; one that fails leaves nothing behind, so that a retry fails alike."""
        # A module may register plug-ins of several kinds.
        before = [(registry, dict(registry._entries)) for registry in _EVERY]
        self._loading = origin
        try:
            load()
        except BaseException as error:
            for registry, entries in before:
                registry._entries = entries
            if isinstance(error, PluginError) or not isinstance(error, Exception):
                raise
            raise PluginError(
                f"{origin} cannot be loaded: {type(error).__name__}: {error}; mend it, or "
                "uninstall its package (LRPLAN_DEBUG=1 shows where it fails)"
            ) from error
        finally:
            self._loading = ""

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
            listing = f"lrplan list {self.group.rpartition('.')[2]}"
            meant = self._meant.get("".join(c for c in str(name).lower() if c.isalnum()))
            if meant in self._entries:
                told = f"did you mean {meant!r}? (`{listing}` lists all)"
            else:
                told = nearest(str(name), self._entries, listing=listing)
            raise UsageError(f"unknown {self.kind} {name!r}; {told}") from None

    def items(self) -> list[tuple[str, T]]:
        """Return (name, plug-in) pairs, sorted by name."""
        return [(name, self._entries[name]) for name in self.names()]
