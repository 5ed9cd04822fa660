"""Read a cohort from end to end and say what is wrong with it."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from lrplan.cohort.format import ADDED, BY_NAME, CATEGORIES, CODED, MISSING, UNKNOWN
from lrplan.cohort.integrity import (
    PACKAGED,
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
from lrplan.cohort.references import PASSIVE, conditions_of, preparations_of
from lrplan.terms import POSITIONS
from lrplan.texts import Line, counted, size, table, text

TWINS_SHARE = (*CATEGORIES, "batch_size", "learning_rate", "model_seed", "data_seed")
"""Labels of an organism under passive exposure that are those of its learning twin."""
WHOLE_BLOCK = 32
"""Rows that are looked at together."""


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, or worth knowing.

    Parameters
    ----------
    level : {"fault", "remark"}
        A cohort with a fault is not sound.
    where : str
        Group and variable, or file.
    what : str
        What was found, and what was expected.
    """

    level: str
    where: str
    what: str


@dataclass(frozen=True)
class Check:
    """What was read of a cohort and what was found.

    Parameters
    ----------
    path : Path
        Where it lies.
    organisms, populations : int or None
        How many; None if the tables cannot be read.
    chunks, bytes : int
        How many were read, and their size on disk.
    findings : list of Finding
        Faults first.
    """

    path: Path
    organisms: int | None
    populations: int | None
    chunks: int
    bytes: int
    findings: list[Finding] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        """Whether there is no fault."""
        return all(f.level != "fault" for f in self.findings)

    def to_json(self) -> dict[str, Any]:
        """Return the object that ``lrplan cohort check --json`` prints."""
        return {
            "schema": "lrplan.cohort-check/1",
            "path": str(self.path),
            "sound": self.sound,
            "organisms": self.organisms,
            "populations": self.populations,
            "chunks": self.chunks,
            "bytes": self.bytes,
            "findings": [vars(f) for f in self.findings],
        }

    def lines(self) -> list[Line]:
        """Return what a check self."""
        faults = [f for f in self.findings if f.level == "fault"]
        known = [
            counted(number, noun)
            for number, noun in ((self.organisms, "organism"), (self.populations, "population"))
            if number is not None
        ]
        verdict = "sound" if self.sound else f"not sound: {counted(len(faults), 'fault')}"
        read = ", ".join([*known, counted(self.chunks, "chunk") + " read", size(self.bytes)])
        lines: list[Line] = [f"Cohort {self.path}: {verdict} ({read})"]
        if self.findings:
            rows = [(f.level, f.where, f.what) for f in self.findings]
            lines.append(table(None, ("", "where", "what"), rows))
        if faults:
            lines.append(
                "Restore the cohort from a copy, or simulate, merge, select or import it again."
            )
        return lines

    def summary(self) -> str:
        """Return the text that ``lrplan cohort check`` prints."""
        return text(self.lines())


def check(name_or_path: str | Path) -> Check:
    """Read everything in a cohort and compare it with the format.

    Unlike `lrplan.open_cohort`, which stops at the first fault, it goes on and lists all. Memory
    holds the labels and one chunk.

    Parameters
    ----------
    name_or_path : str or Path
        ``"starter"``, a Zarr directory, or a ``.zip`` file of one.

    Raises
    ------
    DataError
        If there is nothing that could be a cohort, or of a newer format.
    """
    name = str(name_or_path)
    path = packaged_path(name) if name in PACKAGED else Path(name_or_path)
    return _Reading(path).check()


class _Reading:
    """One pass over a cohort, which collects findings."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.faults: list[Finding] = []
        self.remarks: list[Finding] = []
        self.chunks = 0
        self.tables: dict[tuple[str, str], np.ndarray] = {}
        """Variables of one dimension, words decoded; those that could not be read are absent."""

    def fault(self, where: str, what: str) -> None:
        self.faults.append(Finding("fault", where, what))

    def remark(self, where: str, what: str) -> None:
        self.remarks.append(Finding("remark", where, what))

    def check(self) -> Check:
        self.open()
        self.metadata()
        self.arrays = self.known_arrays()
        self.missing_chunks()
        self.dimensions()
        for key, array in self.arrays.items():
            if array.ndim == 1:
                self.table(key, array)
        self.organisms()
        self.learning()
        self.populations()
        for key, array in self.arrays.items():
            if array.ndim > 1:
                self.values(key, array)
        return Check(
            self.path,
            self.count("organisms", "id"),
            self.count("populations", "organism"),
            self.chunks,
            self.files.bytes,
            self.faults + self.remarks,
        )

    def count(self, group: str, name: str) -> int | None:
        table = self.tables.get((group, name))
        return None if table is None else len(table)

    # -- files ----------------------------------------------------------------------------------

    def open(self) -> None:
        """Open the store, or say that it is none."""
        self.files = read_files(self.path)
        self.attributes = root_attributes(self.files)
        if self.files.twice:
            self.fault(first_few(self.files.twice), "is in the zip file more than once")
        _, self.root = self.files.open()

    def metadata(self) -> None:
        """Compare all metadata with its checksums."""
        for where, what in metadata_faults(self.files, self.attributes):
            self.fault(where, what)
        digests = self.attributes.get("metadata_sha256")
        if isinstance(digests, dict):
            for name in sorted(set(self.files.documents) - set(digests) - {"zarr.json"}):
                self.fault(name, "has no checksum: it was added later")

    def known_arrays(self) -> dict[tuple[str, str], zarr.Array]:
        """Return the arrays of the format; say what is unreadable, missing or unknown."""
        out = {}
        for group, name in BY_NAME:
            where = f"{group}/{name}"
            if f"{where}/zarr.json" not in self.files.sizes:
                if group in ("organisms", "populations"):
                    if (group, name) in UNKNOWN:
                        self.remark(where, "is not recorded")
                    else:
                        self.fault(where, "is missing")
                elif (group, name) in ADDED:
                    self.remark(where, "is not recorded, and so not which organisms learned")
                continue
            try:
                array = self.root[where]
            except Exception as error:
                self.fault(where, f"its metadata cannot be read ({first_line(error)})")
                continue
            if not isinstance(array, zarr.Array):
                self.fault(where, "is no array")
                continue
            out[group, name] = array
        for name in CODED:
            if (name, name) not in out:
                self.remark(name, "is not stored")
        expected = {f"{'/'.join(k)}/" for k in out}
        other = [
            n
            for n in self.files.sizes
            if not n.endswith("zarr.json") and not any(n.startswith(e) for e in expected)
        ]
        if other:
            self.remark(first_few(other), "is not of this format and is not read")
        return out

    def missing_chunks(self) -> None:
        for (group, name), array in self.arrays.items():
            missing = missing_chunks((group, name), array, self.files)
            if missing:
                self.fault(f"{group}/{name}", f"lacks {len(missing)} chunks ({first_few(missing)})")

    # -- shapes ---------------------------------------------------------------------------------

    def dimensions(self) -> None:
        """Compare dimensions with the format and between groups."""
        for (group, name), array in list(self.arrays.items()):
            where = f"{group}/{name}"
            dims = BY_NAME[group, name].dims
            wrong = wrong_dimensions((group, name), array)
            if wrong:
                self.fault(where, wrong)
                del self.arrays[group, name]
                continue
            told = getattr(array.metadata, "dimension_names", None)
            if told is not None and tuple(told) != dims:
                self.fault(where, f"its dimensions are called {told}; expected {list(dims)}")
            base = name.removesuffix("_scale").removesuffix("_offset")
            if base in CODED and base == name:
                self.coding(group, name, array)
        for dim, found in several_sizes(self.arrays):
            told = "; ".join(f"{size} in {first_few(where)}" for size, where in found.items())
            self.fault(dim, f"has several sizes: {told}")

    def coding(self, group: str, name: str, array: zarr.Array) -> None:
        where = f"{group}/{name}"
        scales = [(group, name + part) in self.arrays for part in ("_scale", "_offset")]
        if array.dtype == np.uint8 and not all(scales):
            self.fault(where, "is in 8 bits, but has no scale and offset")
        elif array.dtype == np.float16 and any(scales):
            self.fault(where, "is in 16 bits, but has a scale or offset")
        elif array.dtype not in (np.uint8, np.float16):
            self.fault(where, f"is of type {array.dtype}; expected uint8 or float16")

    # -- labels ---------------------------------------------------------------------------------

    def table(self, key: tuple[str, str], array: zarr.Array) -> None:
        """Read one column; turn codes into words."""
        where = "/".join(key)
        blocks = [b for _, b in self.blocks(key, array)]
        if any(b is None for b in blocks):
            return
        values = np.concatenate([b for b in blocks if b is not None]) if blocks else np.empty(0)
        meanings = array.attrs.get("flag_meanings")
        categories = [("organisms", c) for c in CATEGORIES]
        if key in (*categories, ("populations", "layer_position")) and meanings is None:
            self.fault(where, "has codes without flag_meanings")
            return
        if isinstance(meanings, str):
            words = np.array(meanings.split(" "), dtype=object)
            if array.attrs.get("flag_values") != list(range(len(words))):
                self.fault(where, "its flag_values do not number its flag_meanings")
            bad = np.flatnonzero((values < 0) | (values >= len(words)))
            if bad.size:
                self.fault(
                    where,
                    f"{bad.size} codes have no meaning: {first_few(values[bad])}; there are "
                    f"{len(words)}",
                )
                return
            values = words[values]
        elif values.dtype.kind not in "biuf":
            values = values.astype(object)
        self.tables[key] = values

    def organisms(self) -> None:
        """Check identities, specs and labels of organisms."""
        ids = self.tables.get(("organisms", "id"))
        if ids is None:
            return
        twice = [i for i, n in Counter(map(str, ids)).items() if n > 1]
        if twice:
            self.fault(
                "organisms/id", f"{len(twice)} organisms are there twice: {first_few(twice)}"
            )
        if not len(ids):
            self.fault("organisms", "there is none")
        specs = self.tables.get(("organisms", "spec"))
        if specs is not None and len(specs) == len(ids):
            self.specs(ids, specs)
            self.twins(ids, specs)
        diverged = self.tables.get(("organisms", "diverged"))
        if diverged is not None and (n := int((diverged != 0).sum())):
            some = first_few(ids[: len(diverged)][diverged[: len(ids)] != 0])
            self.remark("organisms/diverged", f"{n} organisms diverged in training: {some}")
        finished = self.tables.get(("organisms", "finished"))
        if finished is not None and (n := int((finished == 0).sum())):
            self.fault("organisms/finished", f"{n} organisms are not trained to their end")

    def learning(self) -> None:
        """Check what performance is compared with; where both are unknown, that is no fault."""
        chance = self.tables.get(("behaviour", "chance"))
        if chance is not None:
            where = "behaviour/chance"
            if chance.dtype.kind != "f":
                self.fault(where, f"is of type {chance.dtype}; expected floating point")
                chance = None
            elif (bad := np.flatnonzero((chance < 0) | (chance > 1))).size:
                self.fault(where, f"{bad.size} rows lie outside 0 to 1: row {first_few(bad)}")
        held_out = self.tables.get(("behaviour", "held_out"))
        if held_out is not None:
            where = "behaviour/held_out"
            if held_out.dtype.kind not in "iu":
                self.fault(where, f"is of type {held_out.dtype}; expected whole numbers")
                held_out = None
            elif (bad := np.flatnonzero(held_out < 0)).size:
                self.fault(where, f"{bad.size} rows are below 0: row {first_few(bad)}")
        if chance is None or held_out is None or len(chance) != len(held_out):
            return
        lacking = np.isnan(chance)
        if (bad := np.flatnonzero(lacking & (held_out > 0))).size:
            self.fault("behaviour/chance", f"{bad.size} rows hold NaN: row {first_few(bad)}")
        if (bad := np.flatnonzero(~lacking & (held_out == 0))).size:
            self.fault(
                "behaviour/held_out",
                f"{bad.size} rows are 0, though chance is known: row {first_few(bad)}",
            )
        if n := int((lacking & (held_out == 0)).sum()):
            self.remark("behaviour/chance", f"of {n} organisms it is unknown whether they learned")

    def specs(self, ids: np.ndarray, specs: np.ndarray) -> None:
        """Compare identities and labels with the specs."""
        unlike, unread = [], []
        labels: dict[str, list[str]] = {}
        for i, (organism, told) in enumerate(zip(ids, specs, strict=True)):
            if hashlib.sha256(str(told).encode()).hexdigest()[:16] != str(organism):
                unlike.append(str(organism))
            try:
                spec = json.loads(str(told))
                items = {k: v for k, v in spec.items() if ("organisms", k) in self.tables}
            except (ValueError, AttributeError):
                unread.append(str(organism))
                continue
            for name, value in items.items():
                table = self.tables["organisms", name]
                if i < len(table) and table[i] != value:
                    labels.setdefault(name, []).append(str(organism))
        if unlike:
            self.fault(
                "organisms/id",
                f"{len(unlike)} are not the hash of their spec: {first_few(unlike)}",
            )
        if unread:
            self.fault("organisms/spec", f"{len(unread)} are no JSON object: {first_few(unread)}")
        for name, found in labels.items():
            self.fault(
                f"organisms/{name}",
                f"{len(found)} organisms have another in their spec: {first_few(found)}",
            )

    def twins(self, ids: np.ndarray, specs: np.ndarray) -> None:
        """Count organisms under passive exposure, and compare them with their learning twins."""
        try:
            settings = [dict(json.loads(str(told)).get("settings", {})) for told in specs]
        except (ValueError, AttributeError, TypeError):
            return  # said of the specs
        names = [str(i) for i in ids]
        preparations = preparations_of(settings, names)
        passive = np.flatnonzero(conditions_of(settings) == PASSIVE)
        if not passive.size:
            return
        where = "organisms/spec"
        self.remark(where, f"{passive.size} organisms were under passive exposure: references")
        place = {name: i for i, name in enumerate(names)}
        twin = {int(i): place[p] for i in passive if (p := str(preparations[i])) in place}
        if alone := [names[i] for i in passive if i not in twin]:
            some = first_few(alone)
            self.remark(where, f"of {len(alone)} of them the learning twin is not here: {some}")
        for name in TWINS_SHARE:
            table = self.tables.get(("organisms", name))
            if table is None or len(table) != len(ids):
                continue
            unlike = [names[i] for i, j in twin.items() if table[i] != table[j]]
            if unlike:
                self.fault(
                    f"organisms/{name}",
                    f"{len(unlike)} passive organisms have another than their learning twin: "
                    f"{first_few(unlike)}",
                )

    def populations(self) -> None:
        """Check which organism each population belongs to."""
        owner = self.tables.get(("populations", "organism"))
        count = self.count("organisms", "id")
        if owner is None or count is None:
            return
        where = "populations/organism"
        bad = np.flatnonzero((owner < 0) | (owner >= count))
        if bad.size:
            self.fault(
                where,
                f"{bad.size} populations belong to no organism (population {first_few(bad)}); "
                f"there are {count}",
            )
            return
        if (np.diff(owner) < 0).any():
            self.fault(where, "populations do not stand in the order of their organisms")
        without = np.setdiff1d(np.arange(count), owner)
        if without.size:
            ids = self.tables["organisms", "id"][without]
            self.fault(where, f"{without.size} organisms have no population: {first_few(ids)}")
        layers = self.tables.get(("populations", "layer"))
        if layers is not None and len(layers) == len(owner):
            pairs = Counter(zip(owner.tolist(), map(str, layers), strict=True))
            twice = [f"{layer} of organism {i}" for (i, layer), n in pairs.items() if n > 1]
            if twice:
                self.fault(where, f"{len(twice)} layers are there twice: {first_few(twice)}")
        position = self.tables.get(("populations", "layer_position"))
        if position is not None:
            strange = sorted(set(map(str, position)) - set(POSITIONS))
            if strange:
                self.fault(
                    "populations/layer_position",
                    f"has {first_few(strange)}; expected {', '.join(POSITIONS)}",
                )
        for name in ("units", "inputs", "weights"):
            sizes = self.tables.get(("populations", name))
            if sizes is not None and (sizes < 1).any():
                self.fault(f"populations/{name}", f"{int((sizes < 1).sum())} are smaller than 1")

    # -- arrays ---------------------------------------------------------------------------------

    def blocks(
        self, key: tuple[str, str], array: zarr.Array
    ) -> Iterator[tuple[slice, np.ndarray | None]]:
        """Yield each chunk with its rows; None if it is damaged, which is a fault."""
        where = "/".join(key)
        for name, selection in chunks(array):
            if f"{where}/{name}" not in self.files.sizes:
                yield selection[0], None
                continue
            try:
                values = np.asarray(array[selection])
            except Exception as error:
                self.fault(f"{where}/{name}", f"is damaged ({first_line(error)})")
                yield selection[0], None
                continue
            self.chunks += 1
            yield selection[0], values

    def values(self, key: tuple[str, str], array: zarr.Array) -> None:
        """Read one array chunk by chunk, and look at its values."""
        group, name = key
        look: _Missing | _NotFinite | _Range | None = None
        if name in CODED:
            if array.dtype not in (np.uint8, np.float16):
                return
            look = _Missing(self, name, array)
        elif name == "observables":
            look = _NotFinite(self)
        elif name == "performance":
            look = _Range(self, 0, 1)
        elif name.endswith(("_scale", "_offset")):
            low = 0 if name.endswith("_scale") else -np.inf
            look = _Range(self, low, float(np.finfo(np.float32).max))
        for rows, values in self.blocks(key, array):
            if values is not None and look is not None:
                look.see(rows, values)
        if look is not None:
            look.report(f"{group}/{name}")

    def diverged_populations(self, count: int) -> np.ndarray | None:
        """Say which populations are of organisms that diverged; None if it is not known."""
        owner = self.tables.get(("populations", "organism"))
        diverged = self.tables.get(("organisms", "diverged"))
        if owner is None or diverged is None or len(owner) != count:
            return None
        if not len(diverged) or owner.min() < 0 or owner.max() >= len(diverged):
            return None
        return diverged[owner] != 0

    def id_of(self, population: int) -> str:
        return str(
            self.tables["organisms", "id"][self.tables["populations", "organism"][population]]
        )


class _Range:
    """Looks for values outside a range; NaN is worth a remark, or a fault in scales."""

    def __init__(self, reading: _Reading, low: float, high: float) -> None:
        self.reading = reading
        self.low, self.high = low, high
        self.bad: list[int] = []
        self.unknown: list[int] = []

    def see(self, rows: slice, values: np.ndarray) -> None:
        flat = values.reshape(len(values), -1)
        outside = ((flat < self.low) | (flat > self.high)).any(axis=1)
        self.bad += (np.flatnonzero(outside) + rows.start).tolist()
        self.unknown += (np.flatnonzero(np.isnan(flat).any(axis=1)) + rows.start).tolist()

    def report(self, where: str) -> None:
        if self.bad:
            self.reading.fault(
                where,
                f"{len(self.bad)} rows lie outside {self.low:g} to {self.high:g}: row "
                f"{first_few(self.bad)}",
            )
        if self.unknown:
            say = self.reading.remark if where == "behaviour/performance" else self.reading.fault
            say(where, f"{len(self.unknown)} rows hold NaN: row {first_few(self.unknown)}")


class _NotFinite:
    """Looks for observables that are not finite."""

    def __init__(self, reading: _Reading) -> None:
        self.reading = reading
        self.observables: set[int] = set()
        self.populations: list[int] = []

    def see(self, rows: slice, values: np.ndarray) -> None:
        bad = ~np.isfinite(values)
        if bad.any():
            self.observables |= set(np.flatnonzero(bad.any(axis=(0, 1))).tolist())
            self.populations += (np.flatnonzero(bad.any(axis=(1, 2))) + rows.start).tolist()

    def report(self, where: str) -> None:
        if not self.populations:
            return
        names = self.reading.tables.get(("observables", "observable"))
        told = [
            str(names[i]) if names is not None and i < len(names) else f"number {i}"
            for i in sorted(self.observables)
        ]
        owner = self.reading.tables.get(("populations", "organism"))
        count = len(self.populations)
        whose = f"{count} populations"
        if owner is not None and max(self.populations) < len(owner):
            organisms = np.unique(owner[self.populations])
            whose += f" of {len(organisms)} organisms"
        what = f"{len(told)} observables are not finite in {whose}: {', '.join(told)}"
        shape = self.reading.arrays["observables", "observables"].shape[0]
        diverged = self.reading.diverged_populations(shape)
        if diverged is None or diverged[self.populations].all():
            self.reading.remark(where, what)
        else:
            sound = [p for p in self.populations if not diverged[p]]
            some = first_few(sorted({self.reading.id_of(p) for p in sound}))
            self.reading.fault(where, f"{what}; not all of them are marked as diverged: {some}")


class _Missing:
    """Looks for values that are missing within a layer's size, or present beyond it."""

    def __init__(self, reading: _Reading, name: str, array: zarr.Array) -> None:
        self.reading = reading
        tables = reading.tables
        self.ends: list[np.ndarray] | None = None
        sizes = {
            "responses": ("units",),
            "synapses": ("weights",),
            "paired": ("units", "inputs"),
        }[name]
        held = [tables.get(("populations", s)) for s in sizes]
        if all(h is not None and len(h) == array.shape[0] for h in held):
            trailing = array.shape[-len(sizes) :]
            self.ends = [
                np.minimum(h, t) for h, t in zip(held, trailing, strict=True) if h is not None
            ]
        self.diverged = reading.diverged_populations(array.shape[0])
        self.lacking: list[int] = []
        self.beyond: list[int] = []
        self.infinite: list[int] = []

    def see(self, rows: slice, values: np.ndarray) -> None:
        for start in range(0, len(values), WHOLE_BLOCK):
            block = values[start : start + WHOLE_BLOCK]
            self.see_block(rows.start + start, block)

    def see_block(self, start: int, block: np.ndarray) -> None:
        coded = block.dtype == np.uint8
        missing = block == MISSING if coded else np.isnan(block)
        if not coded:
            self.infinite += (
                np.flatnonzero(np.isinf(block).reshape(len(block), -1).any(axis=1)) + start
            ).tolist()
        if self.ends is None:
            return
        for i, row in enumerate(missing):
            population = start + i
            if self.diverged is not None and self.diverged[population]:
                continue
            within = tuple(slice(0, int(e[population])) for e in self.ends)
            inside = int(row[(..., *within)].sum())
            if inside:
                self.lacking.append(population)
            size = row[(..., *within)].size
            if int(row.sum()) - inside != row.size - size:
                self.beyond.append(population)

    def report(self, where: str) -> None:
        for found, what in (
            (self.lacking, "lack values of units that they have"),
            (self.beyond, "hold values of more units than they have"),
        ):
            if found:
                self.reading.fault(
                    where, f"{len(found)} populations {what}: population {first_few(found)}"
                )
        marked = self.diverged
        bad = [p for p in self.infinite if marked is None or not marked[p]]
        if bad:
            self.reading.fault(
                where, f"{len(bad)} populations hold infinite values: population {first_few(bad)}"
            )
