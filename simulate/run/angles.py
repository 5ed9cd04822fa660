"""The table of angles that stands beside a cohort whose recipe asks for them."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lrplan.simulate.learn.angles import ANGLES

COLUMNS = (
    *("organism", "rule", "architecture", "task", "learning_rate", "model_seed", "data_seed"),
    *("checkpoint", "examples", "layer_index", "layer", *ANGLES),
)


def angles_file(out: Path) -> Path:
    """Return where the table of a cohort stands."""
    return out.with_name(out.name + ".angles.csv")


def write_angles(
    path: Path, parts: Iterable[tuple[Mapping[str, Any], Mapping[str, np.ndarray]]]
) -> None:
    """Write a row for each organism, checkpoint and layer; none for passive exposure.

    Parameters
    ----------
    path : Path
        Replaced if it exists, once the table is whole.
    parts : iterable of (metadata, arrays)
        As `lrplan.simulate.run.pack.read_part` returns them.
    """
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(COLUMNS)
    for meta, arrays in parts:
        spec = meta["spec"]
        about = [spec[name] for name in COLUMNS[1:7]]
        for k, of_layers in enumerate(arrays.get("angles", ())):
            for i, layer in enumerate(meta["layers"]):
                measured = [f"{value:.4f}" for value in of_layers[:, i]]
                examples = int(arrays["examples"][k])
                rows.writerow([meta["id"], *about, k, examples, i, layer, *measured])
    hidden = path.with_name(f".{path.name}.{os.getpid()}")
    hidden.write_text(text.getvalue(), encoding="utf-8")
    os.replace(hidden, path)
