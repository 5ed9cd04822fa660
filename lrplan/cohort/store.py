"""Cohorts: organisms on disk, with labels."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
import zarr

from lrplan.cohort.arrays import StoredArrays
from lrplan.cohort.format import BY_NAME, CATEGORIES, CODED, UNKNOWN, VARIABLE_OF, decode
from lrplan.cohort.integrity import (
    DAMAGED,
    PACKAGED,
    metadata_faults,
    packaged_path,
    read_files,
    root_attributes,
)
from lrplan.cohort.learned import counts, fates, is_usable, kept, left_out, refuse_lost_rules
from lrplan.cohort.references import (
    PASSIVE,
    REFERENCES,
    conditions_of,
    preparations_of,
    references_of,
)
from lrplan.cohort.settings import family_of, settings
from lrplan.cohort.summary import info_of, organism_records
from lrplan.cohort.texts import info_lines
from lrplan.errors import DataError, UsageError
from lrplan.registry import nearest
from lrplan.terms import POSITIONS
from lrplan.texts import html, text

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


def open_cohort(name_or_path: str | Path, *, include_unlearned: bool = False) -> Cohort:
    """Open a cohort that ships with lrplan, by name, or one on disk, by path.

    Parameters
    ----------
    name_or_path : str or Path
        ``"starter"``, a Zarr directory, or a ``.zip`` file of one.
    include_unlearned : bool, default False
        Whether organisms that did not learn their task are used like others (see
        `lrplan.cohort.learned`). Those that diverged never are.

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
        return Cohort(
            path,
            name=name if name in PACKAGED else None,
            include_unlearned=include_unlearned,
        )
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
    include_unlearned : bool, default False
        Whether organisms that did not learn their task are used like others.

    Attributes
    ----------
    path : Path
        Where it lies.
    name : str
        How it is called.
    include_unlearned : bool
        As it was given.
    bytes : int
        Its size on disk.
    attributes : dict
        Root attributes: format version, recipe, versions.
    organisms : xarray.Dataset
        Labels of each organism, words decoded.
    population_table : xarray.Dataset
        Organism, layer, position and size of each population.
    """

    def __init__(
        self, path: Path, *, name: str | None = None, include_unlearned: bool = False
    ) -> None:
        self.path = path
        self.include_unlearned = include_unlearned
        files = read_files(path)
        self.attributes: dict[str, Any] = root_attributes(files)
        for where, what in metadata_faults(files, self.attributes):
            raise DataError(f"{path}: {where}: {what}; {DAMAGED}")
        self.name = name or str(self.attributes.get("name", path.stem))
        self.bytes = files.bytes
        self._arrays = StoredArrays(files, self.name)
        self.organisms = self._table("organisms", "organism")
        self.population_table = self._table("populations", "population")

    def __repr__(self) -> str:
        return (
            f"<Cohort {self.name!r}: {self.organisms.sizes['organism']} organisms of "
            f"{len(self.rules)} rules, {self.population_table.sizes['population']} populations, "
            f"{self.checkpoints} checkpoints>"
        )

    # -- reading --------------------------------------------------------------------------------

    @property
    def variables(self) -> dict[tuple[str, str], zarr.Array]:
        """The arrays of the format that it holds, by group and name, as they lie on disk."""
        return dict(self._arrays.held)

    def read_variable(self, group: str, name: str, rows: slice | None = None) -> np.ndarray:
        """Read rows of one variable as it lies on disk: codes stay codes.

        Raises
        ------
        DataError
            If the cohort lacks it, or a chunk of it is damaged.
        """
        return self._arrays.read(group, name, rows)

    def _table(self, group: str, dim: str) -> xr.Dataset:
        """Return the variables of one group, with codes turned into words.

        What a cohort of others may lack is filled with what stands for the unknown.
        """
        variables: dict[str, tuple[str, np.ndarray]] = {}
        for g, name in BY_NAME:
            if g != group:
                continue
            if (group, name) not in self._arrays:
                if (group, name) not in UNKNOWN:
                    raise DataError(f"{self.path}: {group}/{name} is missing; not a whole cohort")
                # The first variable of a group is always there, and says how many.
                count = len(next(iter(variables.values()))[1])
                unknown = UNKNOWN[group, name]
                kind = object if isinstance(unknown, str) else None
                variables[name] = (dim, np.full(count, unknown, dtype=kind))
                continue
            values = self._arrays.read(group, name)
            meanings = self._arrays.get(group, name).attrs.get("flag_meanings")
            if isinstance(meanings, str):
                words = np.array(meanings.split(" "), dtype=object)
                if values.size and not 0 <= values.min() <= values.max() < len(words):
                    raise DataError(
                        f"{self.path}: {group}/{name} has codes without a meaning; there are "
                        f"{len(words)}. `lrplan cohort check` lists what is wrong"
                    )
                values = words[values]
            elif values.dtype.kind not in "biuf":
                values = values.astype(object)
            variables[name] = (dim, values)
        return xr.Dataset(variables)

    @cached_property
    def tree(self) -> xr.DataTree:
        """The whole store as a lazy `xarray.DataTree`, as it lies on disk."""
        return xr.open_datatree(self._arrays.store, engine="zarr", consolidated=False)

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
            if (group, name) in self._arrays:
                return int(self._arrays.get(group, name).shape[1])
        raise DataError(f"{self.path} holds organisms but nothing measured of them")

    @property
    def stimuli(self) -> int:
        """Number of stimuli with stored responses."""
        return int(self._arrays.get("responses", "responses").shape[2])

    @property
    def pair_stimuli(self) -> int:
        """Number of stimuli with stored pairs."""
        return int(self._arrays.get("paired", "paired").shape[2])

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

    @cached_property
    def fates(self) -> np.ndarray:
        """What became of each organism: ``learned``, ``not learned``, ``diverged``, ``unknown``.

        `lrplan.cohort.learned.has_learned` says what that means. It is unknown where the cohort
        does not store the chance level and the number of held-out examples.

        Raises
        ------
        DataError
            If what it stores cannot be.
        """
        return fates(
            performance=self._behaviour("performance", 0, 1),
            loss=self._behaviour("loss"),
            chance=self._behaviour("chance", 0, 1),
            held_out=self._behaviour("held_out", 0),
            self_supervised=self.organisms["objective"].values == "self-supervised",
            diverged=self.organisms["diverged"].values != 0,
        )

    def _behaviour(self, name: str, low: float = -np.inf, high: float = np.inf) -> np.ndarray:
        """Return a variable of behaviour, NaN where the cohort does not say."""
        if ("behaviour", name) not in self._arrays:
            sizes = [self.organisms.sizes["organism"], 1]
            return np.full(sizes[: len(BY_NAME["behaviour", name].dims)], np.nan)
        values = self._arrays.read("behaviour", name)
        if values.dtype.kind not in "iuf" or ((values < low) | (values > high)).any():
            raise DataError(
                f"{self.path}: behaviour/{name} holds other than numbers from {low:g} to {high:g}; "
                "`lrplan cohort check` lists what is wrong"
            )
        return values.astype(float)

    @cached_property
    def passive(self) -> np.ndarray:
        """Whether each organism was exposed to the stimuli without learning, (organism,).

        Such organisms are references (`lrplan.cohort.references`) and not told apart.
        """
        return conditions_of(self._spec_settings) == PASSIVE

    @cached_property
    def preparations(self) -> np.ndarray:
        """Whose network each organism is, (organism,): its own identity or that of its twin."""
        return preparations_of(self._spec_settings, self.organism_ids)

    @cached_property
    def _spec_settings(self) -> list[dict[str, Any]]:
        """The settings in each organism's spec, none where it is unknown."""
        try:
            specs = [json.loads(str(s) or "{}") for s in self.organisms["spec"].values]
            return [dict(spec.get("settings", {})) for spec in specs]
        except (ValueError, AttributeError, TypeError):
            raise DataError(
                f"{self.path}: organisms/spec holds other than JSON objects; "
                "`lrplan cohort check` lists what is wrong"
            ) from None

    def reference_populations(self, kind: str) -> np.ndarray:
        """Return the reference of each population, (population,); -1 where it has none.

        Parameters
        ----------
        kind : {"passive", "control"}
            ``passive`` is the same layer of the same preparation under passive exposure,
            ``control`` that of another organism of the same architecture and task.

        Raises
        ------
        UsageError
            If there is no such kind.
        """
        if kind not in REFERENCES:
            raise UsageError(f"unknown reference {kind!r}; {nearest(str(kind), REFERENCES)}")
        if kind not in self._references:
            self._references[kind] = self._find_references(kind)
        return self._references[kind].copy()

    @cached_property
    def _references(self) -> dict[str, np.ndarray]:
        return {}

    def _find_references(self, kind: str) -> np.ndarray:
        table = self.population_table
        told = zip(*(self.organisms[n].values for n in ("architecture", "task")), strict=True)
        return references_of(
            kind,
            organisms=table["organism"].values,
            layers=table["layer"].values,
            passive=self.passive & (self.organisms["diverged"].values == 0),
            preparations=self.preparations,
            alike=np.array([" ".join(map(str, names)) for names in told], dtype=object),
        )

    def fate_counts(self) -> dict[str, int]:
        """Return how many organisms met each fate: ``learned``, ``not_learned``, and so on."""
        return counts(self.fates[~self.passive])

    def left_out(self) -> list[str]:
        """Say how many organisms are left out because they diverged or did not learn."""
        return left_out(self.fates[~self.passive], include_unlearned=self.include_unlearned)

    def fate_warnings(self) -> list[str]:
        """Say what is left out, and what is kept that did not learn or may not have learned."""
        doubtful = kept(
            self.fates[~self.passive], self.name, include_unlearned=self.include_unlearned
        )
        return self.left_out() + doubtful

    def refuse_lost_rules(self, asked: Sequence[str] | None = None) -> None:
        """Raise `DataError` if a rule, of those asked or of all, has no usable organism left."""
        refuse_lost_rules(
            self.fates[~self.passive],
            self.organisms["rule"].values[~self.passive],
            self.name,
            include_unlearned=self.include_unlearned,
            asked=asked,
        )

    def usable_populations(self, position: str | None = None) -> np.ndarray:
        """Return the populations at a position, of organisms that are fit to be recorded.

        Those that diverged are not, nor those that did not learn, unless the cohort was opened
        with `include_unlearned`. Those under passive exposure are not, either.

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
        usable = is_usable(self.fates, include_unlearned=self.include_unlearned) & ~self.passive
        sound = usable[table["organism"].values]
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
        return (variable, variable) in self._arrays

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
            if ("observables", "observables") in self._arrays:
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
        shape = self._arrays.get(variable, variable).shape
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
        codes = self._arrays.read_rows(name, name, populations)[:, at]
        if (name, f"{name}_scale") not in self._arrays:
            return codes.astype(np.float32)
        scale = self._arrays.read_rows(name, f"{name}_scale", populations)[:, at]
        offset = self._arrays.read_rows(name, f"{name}_offset", populations)[:, at]
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
        held = {str(n): i for i, n in enumerate(self._arrays.read("observables", "observable"))}
        missing = [n for n in names if n not in held]
        if missing:
            raise DataError(
                f"the cohort {self.name!r} stores no observable {missing[0]!r} "
                f"({len(missing)} of {len(names)} are missing)"
            )
        values = self._arrays.read("observables", "observables")[populations]
        return values[:, at][:, :, [held[n] for n in names]]

    # -- summaries ------------------------------------------------------------------------------

    def final_performance(self) -> np.ndarray:
        """Return each organism's share of held-out examples whose class is found, at the end.

        NaN where the cohort does not say.
        """
        if ("behaviour", "performance") not in self._arrays:
            return np.full(self.organisms.sizes["organism"], np.nan)
        return self._arrays.read("behaviour", "performance")[:, -1]

    def info(self) -> dict[str, Any]:
        """Return a summary: what the cohort holds, and what its organisms learned.

        ``chance``, ``first_performance`` and ``final_performance`` are medians over organisms, by
        task and rule. What the cohort does not hold is None.
        """
        return info_of(self)

    def organism_table(self) -> list[dict[str, Any]]:
        """Return one record per organism: labels, hyperparameters, layers, final performance."""
        return organism_records(self)

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


def _variable_of(measure: str) -> str:
    """Return the variable that stores a measure."""
    if not isinstance(measure, str) or measure not in VARIABLE_OF:
        raise UsageError(f"unknown measure {measure!r}; {nearest(str(measure), VARIABLE_OF)}")
    return VARIABLE_OF[measure]


def _places(values: Sequence[int] | np.ndarray, what: str, count: int) -> np.ndarray:
    """Return places of populations or checkpoints, or say which does not exist."""
    out = np.atleast_1d(np.asarray(values))
    if out.size and out.dtype.kind not in "iu":
        raise UsageError(f"{what} {out.ravel()[0]!r}; expected whole numbers, 0 to {count - 1}")
    bad = out[(out < 0) | (out >= count)]
    if bad.size:
        raise UsageError(f"there is no {what} {int(bad[0])}; the cohort has 0 to {count - 1}")
    return out.astype(int)
