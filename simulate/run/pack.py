"""Pack: make one cohort of the organisms that were written one by one."""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from lrplan.cohort import format as schema
from lrplan.errors import DataError
from lrplan.simulate.learn.storage import stored_observables
from lrplan.simulate.learn.train import Trained
from lrplan.simulate.rules import rules
from lrplan.simulate.run.recipe import Recipe
from lrplan.simulate.tasks import tasks

CODE_NOTE = "value = offset + scale * code; 255 is missing"
BEHAVIOUR = [v.name for v in schema.VARIABLES if v.group == "behaviour"]


def part_bytes(trained: Trained, *, device: str = "cpu") -> bytes:
    """Return the content of an organism's file.

    Parameters
    ----------
    trained : Trained
        The organism.
    device : str
        The name of what it was trained on.
    """
    meta = {
        "spec": json.loads(trained.spec.to_json()),
        "id": trained.spec.hash,
        "diverged": trained.diverged,
        "layers": trained.layers,
        "populations": [vars(p) for p in trained.populations],
        "made": {
            "lrplan_version": version("lrplan"),
            "torch_version": version("torch"),
            "device": device,
        },
    }
    # Half precision holds 3 digits, more than any recording; training calls diverged what
    # overflows.
    with np.errstate(over="ignore"):
        arrays = {
            name: array.astype(np.float16) if name in schema.CODED else array
            for name, array in trained.arrays.items()
        }
    file = io.BytesIO()
    np.savez(file, meta=np.array(json.dumps(meta)), **arrays)  # type: ignore[arg-type]
    return file.getvalue()


def read_part(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return what `part_bytes` made: the metadata and the arrays.

    Raises
    ------
    DataError
        If the file is damaged.
    """
    with open(path, "rb") as file:
        try:
            with np.load(file, allow_pickle=False) as stored:
                meta = json.loads(str(stored["meta"]))
                return meta, {k: stored[k] for k in stored.files if k != "meta"}
        except (zipfile.BadZipFile, zlib.error, EOFError, KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"{path} is damaged ({error}); remove it and run the same command again"
            ) from None


def pack(
    recipe: Recipe,
    parts: Sequence[Path],
    out: Path,
    attributes: Mapping[str, Any] | None = None,
) -> None:
    """Write one cohort from all parts, in the order of the recipe.

    Parameters
    ----------
    recipe : Recipe
        Whose organisms the parts are.
    parts : sequence of Path
        One file per organism of the recipe, in its order.
    out : Path
        A directory that does not exist, or a ``.zip`` file.
    attributes : mapping, optional
        Further root attributes. What the parts say they were made with (version of lrplan and
        of torch, device) stands there already, several values divided by commas.
    """
    metas: list[dict[str, Any]] = []
    behaviour: dict[str, list[np.ndarray]] = {name: [] for name in BEHAVIOUR}
    for path in parts:
        meta, arrays = read_part(path)
        metas.append(meta)
        for name, values in behaviour.items():
            values.append(arrays[name])
    about = {"name": recipe.name, "recipe": recipe.text, **_made_with(metas), **(attributes or {})}
    writer = schema.CohortWriter(out, about)
    _write_organisms(writer, recipe, metas)
    for name, values in behaviour.items():
        writer.write("behaviour", name, np.stack(values))
    counts = [len(meta["populations"]) for meta in metas]
    populations = [p for meta in metas for p in meta["populations"]]
    writer.write(
        "populations", "organism", np.repeat(np.arange(len(metas)), counts).astype(np.int32)
    )
    writer.write("populations", "layer", np.array([p["layer"] for p in populations], dtype=object))
    for name in ("layer_index", "units", "inputs", "weights"):
        writer.write("populations", name, np.array([p[name] for p in populations], dtype=np.int32))
    writer.write_categories(
        "populations", "layer_position", [p["layer_position"] for p in populations]
    )
    writer.write(
        "observables", "observable", np.array([o.name for o in stored_observables()], dtype=object)
    )
    _write_arrays(writer, parts, counts, bits=recipe.storage.bits)
    writer.close()


def _made_with(metas: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return what the parts were made with; they may come from several machines."""
    names = sorted({name for meta in metas for name in meta["made"]})
    return {
        name: ", ".join(sorted({m["made"][name] for m in metas if name in m["made"]}))
        for name in names
    }


def _write_organisms(
    writer: schema.CohortWriter, recipe: Recipe, metas: Sequence[Mapping[str, Any]]
) -> None:
    specs = recipe.specs
    writer.write("organisms", "id", np.array([s.hash for s in specs], dtype=object))
    labels = {
        "rule": [s.rule for s in specs],
        "credit": [rules.get(s.rule).credit_name for s in specs],
        "optimizer": [rules.get(s.rule).optimizer_name for s in specs],
        "objective": [tasks.get(s.task).objective for s in specs],
        "architecture": [s.architecture for s in specs],
        "task": [s.task for s in specs],
    }
    for name, words in labels.items():
        writer.write_categories("organisms", name, words)
    for name, dtype in (
        ("batch_size", np.int32),
        ("learning_rate", np.float64),
        ("model_seed", np.int64),
        ("data_seed", np.int64),
    ):
        writer.write("organisms", name, np.array([getattr(s, name) for s in specs], dtype=dtype))
    writer.write("organisms", "finished", np.ones(len(specs), dtype=np.int8))
    writer.write("organisms", "diverged", np.array([m["diverged"] for m in metas], dtype=np.int8))
    writer.write("organisms", "spec", np.array([s.to_json() for s in specs], dtype=object))


def _write_arrays(
    writer: schema.CohortWriter, parts: Sequence[Path], counts: Sequence[int], *, bits: int
) -> None:
    """Write what has a population axis, as many organisms at a time as fill a chunk."""
    total = sum(counts)
    targets: dict[str, Any] = {}
    pending: dict[str, list[np.ndarray]] = {}
    done: dict[str, int] = {}

    def flush(name: str) -> None:
        block = np.concatenate(pending[name])
        rows = slice(done[name], done[name] + len(block))
        if name in schema.CODED and bits in schema.BITS:
            parts_of_code = schema.encode(block, bits)
            for suffix, values in zip(("", "_scale", "_offset"), parts_of_code, strict=True):
                targets[name + suffix][rows] = values
        else:
            targets[name][rows] = block
        done[name] += len(block)
        pending[name] = []

    for path in parts:
        _, arrays = read_part(path)
        for name in (*schema.CODED, "observables"):
            values = arrays[name]
            group = schema.CODED[name].group if name in schema.CODED else name
            if name not in targets:
                coded = name in schema.CODED and bits in schema.BITS
                dtype = np.uint8 if coded else values.dtype
                shape = (total, *values.shape[1:])
                note = {"code": CODE_NOTE, "bits": bits} if coded else {}
                targets[name] = writer.create(group, name, shape, dtype, note)
                if coded:
                    for suffix in ("_scale", "_offset"):
                        targets[name + suffix] = writer.create(
                            group, name + suffix, (total, values.shape[1]), np.float32
                        )
                pending[name], done[name] = [], 0
            pending[name].append(values)
            if sum(map(len, pending[name])) + done[name] >= total or (
                sum(map(len, pending[name])) >= targets[name].chunks[0] * 4
            ):
                flush(name)
