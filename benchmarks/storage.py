"""Size, time and error of stored codes by precision, layout and codec; forecasts made of them.

The responses of a cohort are decoded, coded anew with 4 to 8 bits, laid out in several orders, with
and without differences between checkpoints, and compressed. The row `range, pcsu` is how cohorts
were packed when they had 8 bits or 16. Orders name the axes from the slowest to the fastest:
population, checkpoint, stimulus, unit. Times are of one core. With --forecasts, whole cohorts are
written anew and forecast, and their observables compared with those of the cohort as it is.

    OMP_NUM_THREADS=1 python benchmarks/storage.py --cohort starter --every 4 --json storage.json
    OMP_NUM_THREADS=1 python benchmarks/storage.py --forecasts
"""

from __future__ import annotations

import argparse
import bz2
import json
import lzma
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numcodecs  # type: ignore[import-untyped]
import numpy as np

import lrplan
from lrplan import Design
from lrplan.cohort import format as schema
from lrplan.cohort._writing import OWN_ATTRIBUTES
from lrplan.cohort.store import Cohort

MEASURES = {"activity": "responses", "weights": "synapses", "paired": "paired"}
SETS = ("standard-1", "geometry-1")
CHUNK = schema.CHUNK_BYTES
LZMA = [{"id": lzma.FILTER_LZMA2, "preset": 6, "lc": 0, "pb": 0}]
ORDERS = {"pcsu": (0, 1, 2, 3), "pcus": (0, 1, 3, 2), "psuc": (0, 2, 3, 1), "pusc": (0, 3, 2, 1)}
Codec = tuple[Callable[[bytes], bytes], Callable[[bytes], Any]]


def of(codec: Any) -> Codec:
    return codec.encode, codec.decode


CODECS: dict[str, Codec] = {
    "zstd 19": of(numcodecs.Zstd(19)),
    "zstd 3": of(numcodecs.Zstd(3)),
    "blosc bitshuffle": of(numcodecs.Blosc("zstd", 9, numcodecs.Blosc.BITSHUFFLE)),
    "lzma": (
        lambda b: lzma.compress(b, format=lzma.FORMAT_RAW, filters=LZMA),
        lambda b: lzma.decompress(b, format=lzma.FORMAT_RAW, filters=LZMA),
    ),
    "bz2": (bz2.compress, bz2.decompress),
}


def by_range(values: np.ndarray) -> np.ndarray:
    """Return codes whose step is a 253rd of the range, as cohorts had it that had 8 bits or 16."""
    extent = np.nanmax(values, axis=(2, 3)) - np.minimum(np.nanmin(values, axis=(2, 3)), 0)
    step = np.where(extent > 0, extent / 253, 1)[..., None, None]
    low = np.floor(np.minimum(np.nanmin(values, axis=(2, 3), keepdims=True), 0) / step)
    return np.where(np.isfinite(values), np.rint(values / step) - low, 255).astype(np.uint8)


def differences(codes: np.ndarray) -> np.ndarray:
    """Return each checkpoint's codes less those of the one before, modulo 256."""
    out = codes.copy()
    out[:, 1:] -= codes[:, :-1]
    return out


def zigzag(differences: np.ndarray) -> np.ndarray:
    """Return small codes for small differences of either sign, as bit planes want them."""
    signed = differences.view(np.int8)
    return ((signed << 1) ^ (signed >> 7)).view(np.uint8)


def pieces(values: np.ndarray) -> Iterator[bytes]:
    """Yield the bytes of blocks of populations, as large as a chunk."""
    rows = max(1, CHUNK // values[0].size)
    for start in range(0, len(values), rows):
        yield np.ascontiguousarray(values[start : start + rows]).tobytes()


def compressed(values: np.ndarray, codec: Codec) -> dict[str, float]:
    """Return bits, and nanoseconds of writing and reading, per value."""
    size, write, read = 0, 0.0, 0.0
    for raw in pieces(values):
        t = time.process_time()
        packed = codec[0](raw)
        write += time.process_time() - t
        t = time.process_time()
        codec[1](packed)
        read += time.process_time() - t
        size += len(packed)
    n = values.size
    return {"bits": 8 * size / n, "write_ns": 1e9 * write / n, "read_ns": 1e9 * read / n}


def layouts(values: np.ndarray, orders: Sequence[str], every: bool) -> list[dict[str, Any]]:
    """Print and return one row for each precision, layout and codec."""
    out: list[dict[str, Any]] = []
    coded = [("range", by_range(values))]
    coded += [(f"{b} bits", schema.encode(values, b)[0]) for b in sorted(schema.BITS)]
    for precision, codes in coded:
        forms = {"codes": codes, "differences": differences(codes)}
        for form, stored in forms.items():
            for order in orders:
                for name, codec in CODECS.items():
                    slow = name in ("lzma", "bz2")
                    if not every and (slow or name == "zstd 3"):
                        continue
                    planes = name.startswith("blosc") and form == "differences"
                    laid = (zigzag(stored) if planes else stored).transpose(ORDERS[order])
                    row = compressed(laid, codec)
                    print(
                        f"{precision:8s} {form:12s} {order}  {name:17s} {row['bits']:5.2f} bits "
                        f"{row['write_ns']:7.0f} ns written {row['read_ns']:6.2f} ns read",
                        flush=True,
                    )
                    out.append({"precision": precision, "form": form, "order": order} | row)
    return out


def error(values: np.ndarray, bits: int) -> float:
    """Return the error's root mean square as a fraction of the sd, median over populations."""
    back = schema.decode(*schema.encode(values, bits))
    axes = tuple(range(2, values.ndim))
    off = np.sqrt(np.nanmean((back - values) ** 2, axis=axes))
    sd = np.nanstd(values, axis=axes)
    return float(np.median(off[sd > 0] / sd[sd > 0]))


def rewrite(cohort: Cohort, path: Path, bits: Sequence[int]) -> None:
    """Write a cohort anew with the bits of responses, synapses and paired."""
    writer = schema.CohortWriter(path, {"name": path.stem, "recipe": ""})
    everything = np.arange(cohort.population_table.sizes["population"])
    chosen = dict(zip(MEASURES.values(), bits, strict=True))
    for (group, name), array in cohort.variables.items():
        notes = {k: v for k, v in dict(array.attrs).items() if k not in OWN_ATTRIBUTES}
        if name.removesuffix("_scale").removesuffix("_offset") in schema.CODED:
            if name not in schema.CODED:
                continue
            shape = array.shape
            notes["bits"] = chosen[name]
            targets = {"": writer.create(name, name, shape, np.uint8, notes)}
            for part in ("_scale", "_offset"):
                targets[part] = writer.create(name, name + part, shape[:2], np.float32)
            measure = next(m for m, v in MEASURES.items() if v == name)
            for start in range(0, len(everything), targets[""].chunks[0]):
                rows = everything[start : start + targets[""].chunks[0]]
                values = cohort.read(measure, rows, range(cohort.checkpoints))
                coded = schema.encode(values, chosen[name])
                for part, block in zip(("", "_scale", "_offset"), coded, strict=True):
                    targets[part][rows[0] : rows[-1] + 1] = block
        else:
            values = cohort.read_variable(group, name)
            flags = {
                k: array.attrs[k] for k in ("flag_values", "flag_meanings") if k in array.attrs
            }
            writer.write(group, name, values, notes | flags)
    writer.close()


def seconds_to_read(cohort: Cohort) -> float:
    """Return the CPU time of reading all responses once, chunk by chunk."""
    rows = np.arange(cohort.population_table.sizes["population"])
    depth = cohort.variables["responses", "responses"].chunks[0]
    start = time.process_time()
    for place in range(0, len(rows), depth):
        cohort.read("activity", rows[place : place + depth], range(cohort.checkpoints))
    return time.process_time() - start


def shift(cohort: Cohort, other: Cohort, design: Design) -> dict[str, float]:
    """Return the largest shift of each observable's mean and of its values, in sds of organisms.

    Both are recorded with the same units and the same noise.
    """
    a, b = (lrplan.measure.observe.observe_cohort(c, design, rng=0).values for c in (cohort, other))
    sd = np.nanstd(a, axis=0)
    off = (b - a) / np.where(sd > 0, sd, np.nan)
    typical = np.sqrt(np.nanmean(off**2, axis=0))
    return {
        "mean": float(np.nanmax(np.abs(np.nanmean(off, axis=0)))),
        "rms": float(np.nanmax(typical)),
    }


def forecasts(
    cohort: Cohort, choices: Sequence[Sequence[int]], noise: Sequence[float], place: Path
) -> list[dict[str, Any]]:
    """Print and return sizes, reading times, shifts and forecasts of cohorts written anew."""
    out: list[dict[str, Any]] = []
    designs = {
        f"{measure} {observables} noise {n:g}": Design(
            measure=measure, noise=n, observables=observables
        )
        for measure in MEASURES
        for observables in SETS
        for n in noise
    }
    cohorts = {"as it is": cohort}
    for bits in choices:
        name = "/".join(map(str, bits))
        rewrite(cohort, place / f"{name.replace('/', '-')}.zarr.zip", bits)
        cohorts[name] = lrplan.open_cohort(place / f"{name.replace('/', '-')}.zarr.zip")
    values = np.prod(cohort.variables["responses", "responses"].shape)
    for name, each in cohorts.items():
        read = seconds_to_read(each)
        row: dict[str, Any] = {"bits": name, "bytes": each.bytes, "read_ns": 1e9 * read / values}
        print(f"{name}: {each.bytes / 1e6:.2f} MB, {row['read_ns']:.2f} ns to read a value")
        for title, design in designs.items():
            plan = lrplan.forecast(each, design, rng=0, held_out=False)
            moved = shift(cohort, each, design)
            print(f"  {title:34s} {plan.accuracy}  largest shift {moved}", flush=True)
            row[title] = {"accuracy": plan.accuracy.to_json(), "shift": moved}
        out.append(row)
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cohort", default="starter")
    parser.add_argument("--every", type=int, default=8, help="take every n-th organism")
    parser.add_argument("--orders", nargs="+", choices=ORDERS, default=["pcsu", "pusc"])
    parser.add_argument("--all-codecs", action="store_true", help="also the slow ones")
    parser.add_argument("--checkpoints", type=int, nargs="+", help="these only, such as 0 4 8 12")
    parser.add_argument("--forecasts", action="store_true")
    parser.add_argument("--noise", type=float, nargs="+", default=[0.0, 0.02, 0.1])
    parser.add_argument("--bits", nargs="+", default=["8/8/8", "6/6/6", "5/5/5"])
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    cohort = lrplan.open_cohort(asked.cohort)
    found: dict[str, Any] = {}
    if asked.forecasts:
        choices = [[int(b) for b in choice.split("/")] for choice in asked.bits]
        with tempfile.TemporaryDirectory() as place:
            found["forecasts"] = forecasts(cohort, choices, asked.noise, Path(place))
    else:
        owner = cohort.population_table["organism"].values
        populations = np.flatnonzero(owner % asked.every == 0)
        at = asked.checkpoints or range(cohort.checkpoints)
        values = cohort.read("activity", populations, at)
        print(f"{cohort.name}: responses {values.shape}")
        found["layouts"] = layouts(values, asked.orders, asked.all_codecs)
        for measure in MEASURES:
            each = cohort.read(measure, populations, at)
            for bits in sorted(schema.BITS):
                stored = schema.encode(each, bits)[0]
                laid = stored.transpose(0, *range(stored.ndim - 1, 0, -1))
                size = compressed(laid, CODECS["zstd 19"])["bits"]
                off = error(each, bits)
                print(f"{measure} {bits} bits: {size:.2f} bits a value, error {off:.4f} sd")
                found.setdefault("errors", []).append([measure, bits, size, off])
    if asked.json:
        asked.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
