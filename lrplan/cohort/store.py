"""Cohorts: organisms on disk, with labels."""

from __future__ import annotations

import json
import zipfile
from collections import OrderedDict
from collections.abc import Sequence
from functools import cached_property
from itertools import product
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import xarray as xr
import zarr

from lrplan.cohort import format as schema
from lrplan.errors import DataError, UsageError
from lrplan.registry import nearest
from lrplan.terms import POSITIONS

PACKAGED = ("starter",)
CACHE_BYTES = 256_000_000
"""How much of the decoded chunks a cohort keeps in memory."""

MEASURE_VARIABLE = {"activity": "responses", "weights": "synapses", "paired": "paired"}


def packaged_path(name: str) -> Path:
    """Return where a cohort that ships with lrplan lies."""
    return Path(__file__).parents[1] / "data" / f"{name}.zarr.zip"


def open_cohort(name_or_path: str | Path) -> Cohort:
    """Open a cohort that ships with lrplan, by name, or one on disk, by path.

    Parameters
    ----------
    name_or_path : str or Path
        ``"starter"``, a Zarr directory, or a ``.zip`` file of one.

    Returns
    -------
    Cohort
        Opened for reading; labels are loaded and checked, arrays are read when needed.

    Raises
    ------
    DataError
        If there is nothing, if it is not a cohort, is unfinished, damaged, or of a newer format.

    Examples
    --------
    >>> open_cohort("starter").checkpoints
    21
    """
    name = str(name_or_path)
    path = packaged_path(name) if name in PACKAGED else Path(name_or_path)
    try:
        return Cohort(path, name=name if name in PACKAGED else None)
    except (PermissionError, IsADirectoryError, NotADirectoryError) as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None


def _raw(path: Path) -> tuple[dict[str, bytes], set[str]]:
    """Return the metadata documents of a store by name, and the names of all its files."""
    if path.is_dir():
        names = {p.relative_to(path).as_posix(): p for p in path.rglob("*") if p.is_file()}
        return {n: p.read_bytes() for n, p in names.items() if n.endswith("zarr.json")}, set(names)
    try:
        with zipfile.ZipFile(path) as archive:
            listed = set(archive.namelist())
            return {n: archive.read(n) for n in listed if n.endswith("zarr.json")}, listed
    except (zipfile.BadZipFile, OSError, NotImplementedError, RuntimeError) as error:
        raise DataError(
            f"{path} is damaged ({error}); restore it from a copy, or pack or simulate it again"
        ) from None


class Cohort:
    """Organisms on disk, with labels.

    Open one with `open_cohort`.

    Parameters
    ----------
    path : Path
        A Zarr v3 directory or a zip file of one.
    name : str, optional
        How it is called in output; by default what the cohort calls itself.

    Attributes
    ----------
    path : Path
        Where it lies.
    name : str
        How it is called.
    attributes : dict
        Root attributes: format version, recipe, versions.
    organisms : xarray.Dataset
        Labels of each organism, words decoded.
    population_table : xarray.Dataset
        Organism, layer, position and size of each population.
    """

    def __init__(self, path: Path, *, name: str | None = None) -> None:
        self.path = path
        metadata = self._check_files()
        self.attributes: dict[str, Any] = metadata["attributes"]
        self.name = name or str(self.attributes.get("name", path.stem))
        self._store: Any = (
            zarr.storage.LocalStore(path, read_only=True)
            if path.is_dir()
            else zarr.storage.ZipStore(path, mode="r")
        )
        self._root = zarr.open_group(self._store, mode="r", use_consolidated=False)
        self._arrays: dict[tuple[str, str], zarr.Array] = {}
        self._cache: OrderedDict[tuple[str, int], np.ndarray] = OrderedDict()
        self._lock = Lock()
        self.organisms = self._table("organisms", "organism")
        self.population_table = self._table("populations", "population")
        self._check_chunks()
        self._check_sizes()

    # -- checks ---------------------------------------------------------------------------------

    def _check_files(self) -> dict[str, Any]:
        """Read the root metadata and compare all metadata with its checksums."""
        path = self.path
        if not path.exists():
            partial = path.with_name(path.name + ".partial")
            if partial.exists():
                done = len(list(partial.glob("*.npz")))
                raise DataError(
                    f"{path} is unfinished: {done} organisms are trained; run the same "
                    "`lrplan simulate` command again to finish it"
                )
            raise DataError(
                f"no cohort at {path}; expected a Zarr directory, a .zip of one, or a name "
                f"({nearest(str(path), PACKAGED)})"
            )
        if not path.is_dir() and not (path.is_file() and zipfile.is_zipfile(path)):
            raise DataError(
                f"{path} is not a cohort: it is neither a Zarr directory nor a zip file of one"
            )
        documents, self._files = _raw(path)
        if "zarr.json" not in documents:
            raise DataError(
                f"{path} is not a cohort: it has no zarr.json (a Zarr v3 group); "
                "`lrplan simulate` makes one"
            )
        try:
            metadata: dict[str, Any] = json.loads(documents["zarr.json"])
            attributes = metadata["attributes"]
            kind = attributes.get("format")
        except (ValueError, KeyError, AttributeError, TypeError):
            raise DataError(f"{path}: zarr.json is damaged; restore it from a copy") from None
        if kind != schema.FORMAT:
            raise DataError(f"{path} is a Zarr store but not an lrplan cohort")
        written = attributes.get("format_version")
        if isinstance(written, int) and written > schema.FORMAT_VERSION:
            raise DataError(
                f"{path} has cohort format {written}; this lrplan reads up to "
                f"{schema.FORMAT_VERSION}. Update lrplan"
            )
        if attributes.get("attributes_sha256") != schema.attributes_digest(attributes):
            raise DataError(f"{path}: zarr.json is damaged (its checksum differs)")
        for name, digest in attributes["metadata_sha256"].items():
            if name not in documents:
                raise DataError(f"{path}: {name} is missing; the cohort is half-written or damaged")
            if schema.sha256(documents[name]) != digest:
                raise DataError(f"{path}: {name} is damaged (its checksum differs)")
        return metadata

    def _check_chunks(self) -> None:
        """Refuse a store that lacks a chunk: Zarr would read it as zeros."""
        for group, name in schema.BY_NAME:
            array = self._array(group, name)
            if array is None:
                continue
            for key in _chunk_keys(array):
                if f"{group}/{name}/{key}" not in self._files:
                    raise DataError(
                        f"{self.path}: chunk {group}/{name}/{key} is missing; the cohort is "
                        "half-written or damaged"
                    )

    def _check_sizes(self) -> None:
        """Refuse arrays that disagree on how many populations or checkpoints there are."""
        populations = self.population_table.sizes["population"]
        for name in (*MEASURE_VARIABLE.values(), "observables"):
            array = self._array(name, name)
            if array is None:
                continue
            for axis, what, expected in (
                (0, "populations", populations),
                (1, "checkpoints", self.checkpoints),
            ):
                if array.shape[axis] != expected:
                    raise DataError(
                        f"{self.path}: {name} has {array.shape[axis]} {what}, the cohort "
                        f"{expected}; all organisms of a cohort must have the same checkpoints"
                    )

    # -- reading --------------------------------------------------------------------------------

    def _array(self, group: str, name: str) -> zarr.Array | None:
        if f"{group}/{name}/zarr.json" not in self._files:
            return None
        if (group, name) not in self._arrays:
            array = self._root[f"{group}/{name}"]
            assert isinstance(array, zarr.Array)
            self._arrays[group, name] = array
        return self._arrays[group, name]

    def _read(self, group: str, name: str, rows: slice | None = None) -> np.ndarray:
        """Read rows of one array; damage is named by its chunk."""
        array = self._array(group, name)
        if array is None:
            raise DataError(f"the cohort {self.name!r} holds no {group}/{name}")
        try:
            return np.asarray(array[...] if rows is None else array[rows])
        except Exception as error:
            raise DataError(
                f"{self.path}: chunk {self._bad_chunk(group, name, array)} is damaged "
                f"({_first_line(error)}); restore it from a copy, or simulate it again"
            ) from error

    def _bad_chunk(self, group: str, name: str, array: zarr.Array) -> str:
        """Return the key of the first chunk that cannot be decoded."""
        for key in _chunk_keys(array):
            places = [int(i) for i in key.split("/")[1:]]
            selection = tuple(
                slice(i * c, (i + 1) * c) for i, c in zip(places, array.chunks, strict=True)
            )
            try:
                array[selection]
            except Exception:
                return f"{group}/{name}/{key}"
        return f"{group}/{name}"

    @property
    def variables(self) -> dict[tuple[str, str], zarr.Array]:
        """The arrays of the format that it holds, by group and name, as they lie on disk."""
        held = {key: self._array(*key) for key in schema.BY_NAME}
        return {key: array for key, array in held.items() if array is not None}

    def read_variable(self, group: str, name: str, rows: slice | None = None) -> np.ndarray:
        """Read rows of one variable as it lies on disk: codes stay codes.

        Raises
        ------
        DataError
            If the cohort lacks it, or a chunk of it is damaged.
        """
        return self._read(group, name, rows)

    def _table(self, group: str, dim: str) -> xr.Dataset:
        """Return the variables of one group, with codes turned into words.

        What a cohort of others may lack is filled with what stands for the unknown.
        """
        variables: dict[str, tuple[str, np.ndarray]] = {}
        for g, name in schema.BY_NAME:
            if g != group:
                continue
            array = self._array(group, name)
            if array is None:
                if (group, name) not in schema.UNKNOWN:
                    raise DataError(f"{self.path}: {group}/{name} is missing; not a whole cohort")
                # The first variable of a group is always there, and says how many.
                count = len(next(iter(variables.values()))[1])
                unknown = schema.UNKNOWN[group, name]
                kind = object if isinstance(unknown, str) else None
                variables[name] = (dim, np.full(count, unknown, dtype=kind))
                continue
            values = self._read(group, name)
            meanings = array.attrs.get("flag_meanings")
            if isinstance(meanings, str):
                values = np.array(meanings.split(" "), dtype=object)[values]
            elif values.dtype.kind not in "biuf":
                values = values.astype(object)
            variables[name] = (dim, values)
        return xr.Dataset(variables)

    @cached_property
    def tree(self) -> xr.DataTree:
        """The whole store as a lazy `xarray.DataTree`, as it lies on disk."""
        return xr.open_datatree(self._store, engine="zarr", consolidated=False)

    # -- what it holds --------------------------------------------------------------------------

    @property
    def organism_ids(self) -> list[str]:
        """The hash of each organism's spec."""
        return [str(i) for i in self.organisms["id"].values]

    @property
    def rules(self) -> list[str]:
        """The rules in the cohort, sorted."""
        return sorted(set(self.organisms["rule"].values))

    @property
    def checkpoints(self) -> int:
        """Number of checkpoints."""
        for group in ("behaviour", "observables", *schema.CODED):
            name = "performance" if group == "behaviour" else group
            if self._array(group, name) is not None:
                return int(self._shape(group, name)[1])
        raise DataError(f"{self.path} holds organisms but nothing measured of them")

    @property
    def stimuli(self) -> int:
        """Number of stimuli with stored responses."""
        return int(self._shape("responses", "responses")[2])

    @property
    def pair_stimuli(self) -> int:
        """Number of stimuli with stored pairs."""
        return int(self._shape("paired", "paired")[2])

    def _shape(self, group: str, name: str) -> tuple[int, ...]:
        array = self._array(group, name)
        if array is None:
            raise DataError(f"the cohort {self.name!r} holds no {group}/{name}")
        return tuple(array.shape)

    @cached_property
    def settings(self) -> np.ndarray:
        """The hyperparameter setting of each organism, in words that compare between rules.

        Rules differ in their range of learning rates, so a rate is named by its rank among those
        of its rule and architecture.
        """
        o = self.organisms
        rates: dict[tuple[str, str], list[float]] = {}
        keys = list(zip(o["rule"].values, o["architecture"].values, strict=True))
        for key, rate in zip(keys, o["learning_rate"].values, strict=True):
            rates.setdefault(key, []).append(float(rate))
        ranks = {key: sorted(set(values)) for key, values in rates.items()}

        def told(key: tuple[str, str], batch: float, rate: float) -> str:
            said = [] if np.isnan(batch) else [f"batch {int(batch)}"]
            if not np.isnan(rate):
                said.append(f"learning rate {ranks[key].index(float(rate)) + 1}")
            return ", ".join(said) or "unknown"

        return np.array(
            [
                told(*organism)
                for organism in zip(
                    keys, o["batch_size"].values, o["learning_rate"].values, strict=True
                )
            ],
            dtype=object,
        )

    def usable_populations(self, position: str | None = None) -> np.ndarray:
        """Return the populations at a position, of organisms that did not diverge."""
        table = self.population_table
        sound = self.organisms["diverged"].values[table["organism"].values] == 0
        if position in POSITIONS:
            sound = sound & (table["layer_position"].values == position)
        return np.flatnonzero(sound)

    def labels(self, populations: np.ndarray) -> dict[str, np.ndarray]:
        """Return what is known of populations: organism and its labels, layer and position."""
        table = self.population_table
        organism = table["organism"].values[populations]
        out = {"organism": np.array(self.organism_ids, dtype=object)[organism]}
        for name in schema.CATEGORIES:
            out[name] = self.organisms[name].values[organism]
        out["setting"] = self.settings[organism]
        out["layer"] = table["layer"].values[populations]
        out["position"] = table["layer_position"].values[populations]
        return out

    def stores_units(self, measure: str) -> bool:
        """Return whether single units, synapses or pairs are stored, not observables alone."""
        variable = MEASURE_VARIABLE[measure]
        return self._array(variable, variable) is not None

    def stored_units(self, measure: str) -> np.ndarray:
        """Return how many units, synapses or pairs each population holds.

        Raises
        ------
        DataError
            If the cohort stores nothing of that measure.
        """
        variable = MEASURE_VARIABLE[measure]
        if not self.stores_units(measure):
            instead = ""
            if self._array("observables", "observables") is not None:
                instead = (
                    "; it holds observables of all units, without noise: use units='all' and "
                    "noise=0 (`lrplan design --units all --noise 0`)"
                )
            raise DataError(
                f"the cohort {self.name!r} stores no {variable}, which {measure!r} needs{instead}"
            )
        return self.stored_sides(measure).prod(axis=1)

    def stored_sides(self, measure: str) -> np.ndarray:
        """Return the extent of what each population holds, (population, 1 or 2).

        One number of units or synapses, or the numbers of outputs and inputs for ``paired``.
        """
        variable = MEASURE_VARIABLE[measure]
        shape = self._shape(variable, variable)
        sizes = {
            "activity": ("units",),
            "weights": ("weights",),
            "paired": ("units", "inputs"),
        }[measure]
        whole = np.stack([self.population_table[s].values for s in sizes], axis=1)
        return np.minimum(whole, shape[-len(sizes) :]).astype(int)

    def read(self, measure: str, populations: np.ndarray, checkpoints: Sequence[int]) -> np.ndarray:
        """Read one measure of some populations.

        Returns
        -------
        array (population, checkpoint, ...) of float32
            NaN where a population is smaller than what is stored of it.
        """
        name = MEASURE_VARIABLE[measure]
        codes = self._rows(name, populations)[:, checkpoints]
        if self._array(name, f"{name}_scale") is None:
            return codes.astype(np.float32)
        scale = self._rows(name, populations, "_scale")[:, checkpoints]
        offset = self._rows(name, populations, "_offset")[:, checkpoints]
        return schema.decode(codes, scale, offset)

    def stored_observables(
        self, names: Sequence[str], populations: np.ndarray, checkpoints: Sequence[int]
    ) -> np.ndarray:
        """Read observables that were taken of all units, without noise, when training.

        Parameters
        ----------
        names : sequence of str
            Which observables.
        populations : array of int
            Of which populations.
        checkpoints : sequence of int
            When.

        Returns
        -------
        array (population, checkpoint, observable) of float32

        Raises
        ------
        DataError
            If the cohort stores none, or not all of these.
        """
        held = {str(n): i for i, n in enumerate(self._read("observables", "observable"))}
        missing = [n for n in names if n not in held]
        if missing:
            raise DataError(
                f"the cohort {self.name!r} stores no observable {missing[0]!r} "
                f"({len(missing)} of {len(names)} are missing)"
            )
        values = self._read("observables", "observables")[np.asarray(populations, dtype=int)]
        return values[:, checkpoints][:, :, [held[n] for n in names]]

    def _rows(self, name: str, rows: np.ndarray, suffix: str = "") -> np.ndarray:
        """Read some populations of one variable, by whole chunks.

        A chunk is decoded once for all who read it one after the other; at most `CACHE_BYTES`
        are kept.
        """
        array = self._array(name, name + suffix)
        if array is None:
            raise DataError(f"the cohort {self.name!r} holds no {name}/{name + suffix}")
        depth = array.chunks[0]
        chunks = rows // depth
        if len(rows) == 1:
            return self._chunk(name, name + suffix, array, int(chunks[0]))[rows - chunks * depth]
        out = np.empty((len(rows), *array.shape[1:]), dtype=array.dtype)
        for chunk in np.unique(chunks):
            here = chunks == chunk
            out[here] = self._chunk(name, name + suffix, array, int(chunk))[
                rows[here] - chunk * depth
            ]
        return out

    def _chunk(self, group: str, name: str, array: zarr.Array, place: int) -> np.ndarray:
        """Return one chunk (population, ...), decoded now or kept from before."""
        key = (name, place)
        with self._lock:
            if key in self._cache:
                self._cache.move_to_end(key)
                return self._cache[key]
            depth = array.chunks[0]
            found = self._read(group, name, slice(place * depth, (place + 1) * depth))
            self._cache[key] = found
            kept = sum(c.nbytes for c in self._cache.values())
            while kept > CACHE_BYTES and len(self._cache) > 1:
                kept -= self._cache.popitem(last=False)[1].nbytes
            return found

    # -- summaries ------------------------------------------------------------------------------

    def final_performance(self) -> np.ndarray:
        """Return each organism's share of held-out examples whose class is found, at the end.

        NaN where the cohort does not say.
        """
        if self._array("behaviour", "performance") is None:
            return np.full(self.organisms.sizes["organism"], np.nan)
        return self._read("behaviour", "performance")[:, -1]

    def info(self) -> dict[str, Any]:
        """Return a summary: what the cohort holds, and what its organisms learned.

        ``final_performance`` is the median over organisms, by task and rule. What the cohort does
        not hold is None.
        """
        o = self.organisms
        final = self.final_performance()
        performance: dict[str, dict[str, float | None]] = {}
        tasks = sorted(set(o["task"].values))
        for task, rule in product(tasks, self.rules):
            chosen = final[(o["task"].values == task) & (o["rule"].values == rule)]
            chosen = chosen[np.isfinite(chosen)]
            value = float(np.median(chosen)) if chosen.size else None
            performance.setdefault(task, {})[rule] = value
        stored = {
            m: int(self.stored_units(m).min())
            for m, v in MEASURE_VARIABLE.items()
            if self._array(v, v) is not None
        }
        files = (
            [self.path] if self.path.is_file() else [p for p in self.path.rglob("*") if p.is_file()]
        )
        return {
            "name": self.name,
            "format_version": self.attributes["format_version"],
            "organisms": int(o.sizes["organism"]),
            "by_rule": {r: int((o["rule"].values == r).sum()) for r in self.rules},
            "rules": self.rules,
            "architectures": sorted(set(o["architecture"].values)),
            "tasks": tasks,
            "diverged": (
                None
                if self._array("organisms", "diverged") is None
                else int(o["diverged"].values.sum())
            ),
            "populations": int(self.population_table.sizes["population"]),
            "checkpoints": self.checkpoints,
            "stimuli": self.stimuli if "activity" in stored else None,
            "units_stored": stored.get("activity"),
            "stored": stored,
            "bytes": sum(p.stat().st_size for p in files),
            "final_performance": performance,
        }

    def organism_table(self) -> list[dict[str, Any]]:
        """Return one record per organism: labels, hyperparameters, layers, final performance."""
        final = self.final_performance()
        layers: dict[int, list[dict[str, Any]]] = {}
        table = self.population_table
        for i, organism in enumerate(table["organism"].values):
            layers.setdefault(int(organism), []).append(
                {
                    "layer": str(table["layer"].values[i]),
                    "position": str(table["layer_position"].values[i]),
                    "units": _known(table["units"].values[i]),
                }
            )
        names = ("id", *schema.CATEGORIES, "batch_size", "learning_rate", "model_seed", "data_seed")
        out = []
        for i in range(self.organisms.sizes["organism"]):
            record: dict[str, Any] = {}
            for name in names:
                record[name] = _known(self.organisms[name].values[i])
            diverged = self._array("organisms", "diverged")
            record["diverged"] = (
                None if diverged is None else bool(self.organisms["diverged"].values[i])
            )
            record["layers"] = layers.get(i, [])
            record["final_performance"] = float(final[i]) if np.isfinite(final[i]) else None
            out.append(record)
        return out


def _known(value: Any) -> Any:
    """Return a label as Python has it; None if it is unknown."""
    plain = value.item() if hasattr(value, "item") else str(value)
    return None if isinstance(plain, float) and np.isnan(plain) else plain


def _chunk_keys(array: zarr.Array) -> list[str]:
    counts = [-(-n // c) for n, c in zip(array.shape, array.chunks, strict=True)]
    return ["/".join(["c", *map(str, place)]) for place in product(*map(range, counts))]


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def as_cohort(cohort: Cohort | str | Path) -> Cohort:
    """Return a cohort as it is, or open the one that is named.

    Raises
    ------
    UsageError
        If it is neither a cohort nor a name or path.
    """
    if isinstance(cohort, Cohort):
        return cohort
    if not isinstance(cohort, str | Path):
        raise UsageError(f"cohort is {cohort!r}; expected a Cohort, or its name or path")
    return open_cohort(cohort)
