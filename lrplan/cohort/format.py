"""The cohort's format on disk: groups, variables, codecs and checksums.

Written out in ``docs/cohort-format.md``.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

FORMAT = "lrplan-cohort"
FORMAT_VERSION = 1
MISSING = 255
"""Code of a value that is not there, in variables stored as 8-bit integers."""
BITS = (4, 5, 6, 7, 8)
"""Precision of codes: 2^bits steps span 8 standard deviations."""

CATEGORIES = ("rule", "credit", "optimizer", "objective", "architecture", "task")
CHUNK_BYTES = 4_000_000
SMALL, FAST = 19, 3
"""Zstandard levels: `SMALL` saves a sixth of the space and takes a hundred times as long."""


@dataclass(frozen=True)
class Variable:
    """One variable of the format: where it stands, its dimensions and what it is."""

    group: str
    name: str
    dims: tuple[str, ...]
    long_name: str
    units: str


def _v(group: str, name: str, dims: str, long_name: str, units: str = "1") -> Variable:
    return Variable(group, name, tuple(dims.split()), long_name, units)


_CODED = (
    _v(
        "responses",
        "responses",
        "population checkpoint stimulus unit",
        "activity of sampled units",
        "activation",
    ),
    _v(
        "synapses", "synapses", "population checkpoint synapse", "sampled forward weights", "weight"
    ),
    _v(
        "paired",
        "paired",
        "population checkpoint stimulus post pre",
        "d post / d pre of sampled pairs",
        "activation/activation",
    ),
)
VARIABLES = (
    _v("organisms", "id", "organism", "hash of the organism's spec"),
    *(_v("organisms", c, "organism", f"{c} of the organism") for c in CATEGORIES),
    _v("organisms", "batch_size", "organism", "examples per update"),
    _v("organisms", "learning_rate", "organism", "peak learning rate"),
    _v("organisms", "model_seed", "organism", "model seed"),
    _v("organisms", "data_seed", "organism", "data seed"),
    _v("organisms", "finished", "organism", "whether training ran to its end"),
    _v(
        "organisms",
        "diverged",
        "organism",
        "whether it grew out of all bounds in training",
    ),
    _v("organisms", "spec", "organism", "the organism's spec, JSON"),
    _v(
        "behaviour",
        "performance",
        "organism checkpoint",
        "share of held-out examples whose class is found",
    ),
    _v("behaviour", "loss", "organism checkpoint", "loss on held-out examples", "nat"),
    _v("behaviour", "examples", "organism checkpoint", "training examples seen", "example"),
    _v("behaviour", "chance", "organism", "performance of who learned nothing"),
    _v("behaviour", "held_out", "organism", "held-out examples behind performance", "example"),
    _v("populations", "organism", "population", "index of the organism"),
    _v("populations", "layer", "population", "name of the layer"),
    _v("populations", "layer_index", "population", "place of the layer among the weighted layers"),
    _v("populations", "layer_position", "population", "early, middle or deep"),
    _v("populations", "units", "population", "units in the layer", "unit"),
    _v("populations", "inputs", "population", "inputs of the layer", "unit"),
    _v("populations", "weights", "population", "weights of the layer", "synapse"),
    *_CODED,
    *(
        _v(
            v.group,
            f"{v.name}_{part}",
            "population checkpoint",
            f"{part} of the codes of {v.name}",
            v.units,
        )
        for v in _CODED
        for part in ("scale", "offset")
    ),
    _v(
        "observables",
        "observables",
        "population checkpoint observable",
        "statistics over all units, noiseless",
    ),
    _v("observables", "observable", "observable", "name of the observable"),
)
BY_NAME = {(v.group, v.name): v for v in VARIABLES}
UNKNOWN: dict[tuple[str, str], Any] = {
    **{
        ("organisms", name): float("nan")
        for name in ("batch_size", "learning_rate", "model_seed", "data_seed", "finished")
    },
    ("organisms", "diverged"): 0,
    ("organisms", "spec"): "",
    ("behaviour", "chance"): float("nan"),
    ("behaviour", "held_out"): 0,
    **{
        ("populations", name): float("nan")
        for name in ("layer_index", "units", "inputs", "weights")
    },
}
"""Variables that a cohort may lack, if others trained it, and what stands for them in memory.

An organism is not known to have diverged where nothing says so.
"""
ADDED = (("behaviour", "chance"), ("behaviour", "held_out"))
"""Variables that older cohorts of this version lack; they merge with newer ones all the same."""
CODED = {v.name: v for v in _CODED}
VARIABLE_OF = {"activity": "responses", "weights": "synapses", "paired": "paired"}
"""The variable that holds each measure."""


def encode(values: np.ndarray, bits: int = 8) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Code values as 8-bit integers, each (population, checkpoint) with its own scale.

    The scale is 2^(3 - bits) standard deviations of the values, and more where their range would
    not fit into the codes.

    Parameters
    ----------
    values : array (population, checkpoint, ...)
        Values that are not finite are coded as missing.
    bits : {4, 5, 6, 7, 8}, default 8
        Precision: 2^bits steps span 8 standard deviations.

    Returns
    -------
    codes : array of uint8, same shape
        Value = offset + scale * code; 255 is missing.
    scale, offset : array (population, checkpoint) of float32
        The offset is a whole multiple of the scale, so that 0 stays exactly 0. 0 has the same
        code at all checkpoints of a population.
    """
    flat = values.reshape(*values.shape[:2], -1).astype(np.float64)
    sound = np.isfinite(flat)
    flat = np.where(sound, flat, 0)
    low, high = np.minimum(flat.min(axis=-1), 0), np.maximum(flat.max(axis=-1), 0)
    zero = _zero_code(low, high)
    counts = np.maximum(sound.sum(axis=-1), 1)
    mean = flat.sum(axis=-1) / counts
    sd = np.sqrt(np.where(sound, (flat - mean[..., None]) ** 2, 0).sum(axis=-1) / counts)
    needed = np.maximum(-low / np.maximum(zero, 1), high / np.maximum(MISSING - 1 - zero, 1))
    scale = np.maximum(sd * 2.0 ** (3 - bits), needed).astype(np.float32)
    step = np.where(scale > 0, scale, 1).astype(np.float64)
    codes = np.rint(flat / step[..., None]) + zero[..., None]
    codes = np.where(sound, np.clip(codes, 0, MISSING - 1), MISSING).astype(np.uint8)
    return codes.reshape(values.shape), scale, (-zero * scale).astype(np.float32)


def _zero_code(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Return the code of 0, one for all checkpoints of a population, from extremes of values.

    Parameters
    ----------
    low, high : array (population, checkpoint)
        At most 0, and at least 0.

    Returns
    -------
    array (population, 1)
        0 where nothing is negative.
    """
    extent = np.where(high > low, high - low, 1)
    negative, positive = (np.max(part / extent, axis=1, keepdims=True) for part in (-low, high))
    both = np.where(negative + positive > 0, negative + positive, 1)
    zero = np.ceil((MISSING - 1) * negative / both)
    return np.where(positive > 0, np.minimum(zero, MISSING - 2), zero)


def decode(codes: np.ndarray, scale: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """Return the float32 values of `encode`'s codes; missing ones are NaN."""
    extra = (..., *[None] * (codes.ndim - 2))
    # Not offset + scale * code, whose rounding leaves a trace where the value is 0.
    zero = np.rint(-offset / np.where(scale > 0, scale, 1)).astype(np.float32)
    values = codes.astype(np.float32)
    values -= zero[extra]
    values *= scale[extra]
    # Codes of others may have their 0 between two steps, or a step of 0.
    rest = (offset + zero * scale).astype(np.float32)
    rest[np.abs(rest) <= 1e-3 * scale] = 0
    if rest.any():
        values += rest[extra]
    missing = codes == MISSING
    if missing.any():
        values[missing] = np.nan
    return values


class CohortWriter:
    """Writes the arrays of a cohort, block by block, then seals it.

    Parameters
    ----------
    path : Path
        A directory that does not exist yet, or ``....zip`` for one file.
    attributes : mapping
        Root attributes.
    level : int, default `SMALL`
        Zstandard's compression level.
    """

    def __init__(self, path: Path, attributes: Mapping[str, Any], *, level: int = SMALL) -> None:
        import zarr

        self.path = Path(path)
        self.directory = self.path if self.path.suffix != ".zip" else self.path.with_suffix(".tmp")
        self._attributes = {"format": FORMAT, "format_version": FORMAT_VERSION, **attributes}
        self._root = zarr.create_group(str(self.directory), zarr_format=3)
        self._arrays: dict[tuple[str, str], Any] = {}
        self._level = level

    def create(
        self,
        group: str,
        name: str,
        shape: Sequence[int],
        dtype: Any,
        attributes: Mapping[str, Any] | None = None,
    ) -> Any:
        """Create one variable of the format and return its Zarr array."""
        from zarr.codecs import Crc32cCodec, TransposeCodec, ZstdCodec

        variable = BY_NAME[group, name]
        parent = self._root.require_group(group)
        itemsize = 32 if dtype is str else np.dtype(dtype).itemsize
        row = max(1, int(np.prod(shape[1:])) * itemsize)
        chunks = (max(1, min(shape[0], CHUNK_BYTES // row)), *shape[1:])
        # On disk all checkpoints of a unit lie together: they differ little, and so compress well.
        order = (0, *range(len(shape) - 1, 0, -1))
        array = parent.create_array(
            name,
            shape=tuple(shape),
            chunks=chunks,
            dtype=dtype,
            filters=[TransposeCodec(order=order)] if name in CODED else None,
            compressors=[ZstdCodec(level=self._level), Crc32cCodec()],
            dimension_names=variable.dims,
            attributes={"long_name": variable.long_name, "units": variable.units}
            | dict(attributes or {}),
            # A chunk that is missing on disk must never read as zeros.
            config={"write_empty_chunks": True},
        )
        self._arrays[group, name] = array
        return array

    def write(
        self, group: str, name: str, values: Any, attributes: Mapping[str, Any] | None = None
    ) -> None:
        """Create one variable and write it whole."""
        values = np.asarray(values)
        dtype: Any = str if values.dtype.kind in "UOT" else values.dtype
        array = self.create(group, name, values.shape, dtype, attributes)
        array[...] = values

    def write_categories(
        self,
        group: str,
        name: str,
        values: Sequence[str],
        attributes: Mapping[str, Any] | None = None,
    ) -> None:
        """Write words as integer codes with CF flags."""
        meanings = sorted(set(values))
        codes = np.array([meanings.index(v) for v in values], dtype=np.int16)
        flags = {
            "flag_values": list(range(len(meanings))),
            "flag_meanings": " ".join(meanings),
        }
        self.write(group, name, codes, flags | dict(attributes or {}))

    def close(self) -> None:
        """Seal the cohort: root attributes with checksums of all metadata."""
        metadata = {
            str(p.relative_to(self.directory).as_posix()): sha256(p.read_bytes())
            for p in sorted(self.directory.rglob("zarr.json"))
            if p.parent != self.directory
        }
        attributes = self._attributes | {"metadata_sha256": metadata}
        self._root.attrs.put(attributes | {"attributes_sha256": attributes_digest(attributes)})
        if self.path != self.directory:
            zip_directory(self.directory, self.path)
            shutil.rmtree(self.directory)


def sha256(content: bytes) -> str:
    """Return the SHA-256 of bytes as hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def attributes_digest(attributes: Mapping[str, Any]) -> str:
    """Return the digest of root attributes, leaving the digest itself out."""
    rest = {k: v for k, v in attributes.items() if k != "attributes_sha256"}
    return sha256(json.dumps(rest, sort_keys=True).encode())


def zip_directory(directory: Path, path: Path) -> None:
    """Put a directory store into one uncompressed zip file, the same bytes each time."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        for file in sorted(p for p in directory.rglob("*") if p.is_file()):
            entry = zipfile.ZipInfo(file.relative_to(directory).as_posix(), (1980, 1, 1, 0, 0, 0))
            archive.writestr(entry, file.read_bytes())
    os.replace(temporary, path)
