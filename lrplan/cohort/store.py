"""Cohorts: organisms on disk, with labels."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from functools import cached_property
from itertools import product
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
import zarr

from lrplan.cohort.conditions import family_of, settings
from lrplan.cohort.format import BY_NAME, CATEGORIES, CODED, UNKNOWN, decode
from lrplan.cohort.integrity import (
    PACKAGED,
    StoreFiles,
    chunks,
    first_few,
    first_line,
    metadata_faults,
    missing_chunks,
    packaged_path,
    read_files,
    root_attributes,
    several_sizes,
    wrong_dimensions,
)
from lrplan.cohort.texts import info_lines
from lrplan.errors import DataError, UsageError
from lrplan.registry import nearest
from lrplan.terms import POSITIONS
from lrplan.texts import html, text

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

DAMAGED = "the cohort is half-written or damaged"
CACHE_BYTES = 256_000_000
"""How much of the decoded chunks a cohort keeps in memory."""

MEASURE_VARIABLE = {"activity": "responses", "weights": "synapses", "paired": "paired"}


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
    UsageError
        If it is neither a name nor a path.
    DataError
        If there is nothing, if it is not a cohort, is unfinished, damaged, or of a newer format.

    Examples
    --------
    >>> open_cohort("starter").checkpoints
    21
    """
    if not isinstance(name_or_path, str | Path) or not str(name_or_path).strip():
        raise UsageError(
            f"the cohort is {name_or_path!r}; expected a name ({', '.join(PACKAGED)}) or the path "
            "of a Zarr directory or zip file"
        )
    name = str(name_or_path)
    path = packaged_path(name) if name in PACKAGED else Path(name_or_path)
    try:
        return Cohort(path, name=name if name in PACKAGED else None)
    except (PermissionError, IsADirectoryError, NotADirectoryError) as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None


def as_cohort(cohort: Cohort | str | Path) -> Cohort:
    """Return a cohort as it is, or open it by its name or path, as `open_cohort` does.

    Raises
    ------
    UsageError
        If it is neither a cohort, nor a name, nor a path.
    DataError
        If it cannot be opened.
    """
    return cohort if isinstance(cohort, Cohort) else open_cohort(cohort)


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
        files = read_files(path)
        self.attributes: dict[str, Any] = root_attributes(files)
        for where, what in metadata_faults(files, self.attributes):
            raise DataError(f"{path}: {where}: {what}; {DAMAGED}")
        self.name = name or str(self.attributes.get("name", path.stem))
        self._bytes = files.bytes
        self._store: Any
        self._store, root = files.open()
        self._arrays: dict[tuple[str, str], zarr.Array] = {}
        for group, variable in BY_NAME:
            where = f"{group}/{variable}"
            if f"{where}/zarr.json" in files.sizes:
                array = root[where]
                if not isinstance(array, zarr.Array):
                    raise DataError(f"{path}: {where} is no array; not a cohort")
                self._arrays[group, variable] = array
        self._check_arrays(files)
        self._cache: OrderedDict[tuple[str, int], np.ndarray] = OrderedDict()
        self._lock = Lock()
        self.organisms = self._table("organisms", "organism")
        self.population_table = self._table("populations", "population")

    def _check_arrays(self, files: StoreFiles) -> None:
        """Refuse arrays that lack chunks, or disagree on how many populations there are."""
        for key, array in self._arrays.items():
            where = "/".join(key)
            wrong = wrong_dimensions(key, array)
            if wrong:
                raise DataError(f"{self.path}: {where} {wrong}")
            missing = missing_chunks(key, array, files)
            if missing:
                raise DataError(f"{self.path}: chunk {where}/{missing[0]} is missing; {DAMAGED}")
        for dim, sizes in several_sizes(self._arrays):
            told = "; ".join(f"{size} in {first_few(where)}" for size, where in sizes.items())
            raise DataError(
                f"{self.path}: {dim} has several sizes: {told}; all organisms of a cohort must "
                "have the same"
            )

    def __repr__(self) -> str:
        return (
            f"<Cohort {self.name!r}: {self.organisms.sizes['organism']} organisms of "
            f"{len(self.rules)} rules, {self.population_table.sizes['population']} populations, "
            f"{self.checkpoints} checkpoints>"
        )

    # -- reading --------------------------------------------------------------------------------

    def _array(self, group: str, name: str) -> zarr.Array | None:
        return self._arrays.get((group, name))

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
                f"({first_line(error)}); restore it from a copy, or simulate it again"
            ) from error

    def _bad_chunk(self, group: str, name: str, array: zarr.Array) -> str:
        """Return the key of the first chunk that cannot be decoded."""
        for key, selection in chunks(array):
            try:
                array[selection]
            except Exception:
                return f"{group}/{name}/{key}"
        return f"{group}/{name}"

    @property
    def variables(self) -> dict[tuple[str, str], zarr.Array]:
        """The arrays of the format that it holds, by group and name, as they lie on disk."""
        return dict(self._arrays)

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
        for g, name in BY_NAME:
            if g != group:
                continue
            array = self._array(group, name)
            if array is None:
                if (group, name) not in UNKNOWN:
                    raise DataError(f"{self.path}: {group}/{name} is missing; not a whole cohort")
                # The first variable of a group is always there, and says how many.
                count = len(next(iter(variables.values()))[1])
                unknown = UNKNOWN[group, name]
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
        for group in ("behaviour", "observables", *CODED):
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
        of its rule, architecture and task.
        """
        return settings({str(name): v.values for name, v in self.organisms.items()})

    @cached_property
    def families(self) -> np.ndarray:
        """The family of each organism's architecture."""
        named = [family_of(str(a)) for a in self.organisms["architecture"].values]
        return np.array(named, dtype=object)

    def usable_populations(self, position: str | None = None) -> np.ndarray:
        """Return the populations at a position, of organisms that did not diverge.

        Parameters
        ----------
        position : {"early", "middle", "deep", "unknown"}, optional
            By default, and where it is unknown, all.

        Raises
        ------
        UsageError
            If there is no such position.
        """
        if position not in (None, "unknown", *POSITIONS):
            known = ("unknown", *POSITIONS)
            raise UsageError(f"unknown position {position!r}; {nearest(str(position), known)}")
        table = self.population_table
        sound = self.organisms["diverged"].values[table["organism"].values] == 0
        if position in POSITIONS:
            sound = sound & (table["layer_position"].values == position)
        return np.flatnonzero(sound)

    def labels(self, populations: np.ndarray) -> dict[str, np.ndarray]:
        """Return what is known of populations: organism and its labels, layer and position.

        Returns
        -------
        dict of str to array (population,)
            ``organism``, ``rule``, ``credit``, ``optimizer``, ``objective``, ``architecture``,
            ``task``, ``family``, ``setting``, ``layer`` and ``position``.

        Raises
        ------
        UsageError
            If there are no such populations.
        """
        table = self.population_table
        populations = _places(populations, "population", table.sizes["population"])
        organism = table["organism"].values[populations]
        out = {"organism": np.array(self.organism_ids, dtype=object)[organism]}
        for name in CATEGORIES:
            out[name] = self.organisms[name].values[organism]
        out["family"] = self.families[organism]
        out["setting"] = self.settings[organism]
        out["layer"] = table["layer"].values[populations]
        out["position"] = table["layer_position"].values[populations]
        return out

    def stores_units(self, measure: str) -> bool:
        """Return whether single units, synapses or pairs are stored, not observables alone.

        Raises
        ------
        UsageError
            If there is no such measure.
        """
        variable = _variable_of(measure)
        return self._array(variable, variable) is not None

    def stored_units(self, measure: str) -> np.ndarray:
        """Return how many units, synapses or pairs each population holds.

        Raises
        ------
        UsageError
            If there is no such measure.
        DataError
            If the cohort stores nothing of that measure.
        """
        variable = _variable_of(measure)
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
        variable = _variable_of(measure)
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

        Raises
        ------
        UsageError
            If there is no such measure, population or checkpoint.
        DataError
            If the cohort stores nothing of that measure, or a chunk is damaged.
        """
        name = _variable_of(measure)
        populations = _places(populations, "population", self.population_table.sizes["population"])
        at = _places(checkpoints, "checkpoint", self.checkpoints)
        codes = self._rows(name, populations)[:, at]
        if self._array(name, f"{name}_scale") is None:
            return codes.astype(np.float32)
        scale = self._rows(name, populations, "_scale")[:, at]
        offset = self._rows(name, populations, "_offset")[:, at]
        return decode(codes, scale, offset)

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
        UsageError
            If there is no such population or checkpoint.
        DataError
            If the cohort stores none, or not all of these.
        """
        populations = _places(populations, "population", self.population_table.sizes["population"])
        at = _places(checkpoints, "checkpoint", self.checkpoints)
        held = {str(n): i for i, n in enumerate(self._read("observables", "observable"))}
        missing = [n for n in names if n not in held]
        if missing:
            raise DataError(
                f"the cohort {self.name!r} stores no observable {missing[0]!r} "
                f"({len(missing)} of {len(names)} are missing)"
            )
        values = self._read("observables", "observables")[populations]
        return values[:, at][:, :, [held[n] for n in names]]

    def _rows(self, name: str, rows: np.ndarray, suffix: str = "") -> np.ndarray:
        """Read some populations of one variable, by whole chunks.

        A chunk is decoded once for all who read it one after the other; at most `CACHE_BYTES`
        are kept.
        """
        array = self._array(name, name + suffix)
        if array is None:
            raise DataError(f"the cohort {self.name!r} holds no {name}/{name + suffix}")
        depth = array.chunks[0]
        places = rows // depth
        if len(rows) == 1:
            return self._chunk(name, name + suffix, array, int(places[0]))[rows - places * depth]
        out = np.empty((len(rows), *array.shape[1:]), dtype=array.dtype)
        for chunk in np.unique(places):
            here = places == chunk
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
            "bytes": self._bytes,
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
        names = ("id", *CATEGORIES, "batch_size", "learning_rate", "model_seed", "data_seed")
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

    def to_dataframe(self) -> pd.DataFrame:
        """Return `organism_table` as a table of one row per organism, indexed by ``id``.

        The layers stand in one column, as a list of their names.
        """
        import pandas as pd

        records = [
            r | {"layers": [layer["layer"] for layer in r["layers"]]} for r in self.organism_table()
        ]
        return pd.DataFrame(records).set_index("id")

    def summary(self) -> str:
        """Return the text that ``lrplan cohort info`` prints."""
        return text(info_lines(self.info()))

    def plot(self, *, ax: Axes | None = None) -> Axes:
        """Draw what the organisms learned: final performance by rule and task.

        Where performance is not recorded, numbers of organisms are drawn.

        Parameters
        ----------
        ax : Axes, optional
            Where to draw; by default a new figure.
        """
        from lrplan.pictures import draw

        return draw("plot_cohort", self, ax=ax)

    def _repr_html_(self) -> str:
        return html(info_lines(self.info()))


def _known(value: Any) -> Any:
    """Return a label as Python has it; None if it is unknown."""
    plain = value.item() if hasattr(value, "item") else str(value)
    return None if isinstance(plain, float) and np.isnan(plain) else plain


def _variable_of(measure: str) -> str:
    """Return the variable that stores a measure."""
    if not isinstance(measure, str) or measure not in MEASURE_VARIABLE:
        raise UsageError(f"unknown measure {measure!r}; {nearest(str(measure), MEASURE_VARIABLE)}")
    return MEASURE_VARIABLE[measure]


def _places(values: Sequence[int] | np.ndarray, what: str, count: int) -> np.ndarray:
    """Return places of populations or checkpoints, or say which does not exist."""
    out = np.atleast_1d(np.asarray(values))
    if out.size and out.dtype.kind not in "iu":
        raise UsageError(f"{what} {out.ravel()[0]!r}; expected whole numbers, 0 to {count - 1}")
    bad = out[(out < 0) | (out >= count)]
    if bad.size:
        raise UsageError(f"there is no {what} {int(bad[0])}; the cohort has 0 to {count - 1}")
    return out.astype(int)
