"""A data set of the form that the paper's authors published, in miniature."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lrplan.terms import STORED_OBSERVABLES

PUBLISHED_RULES = ("sgdm", "adam", "feedback", "information")
KEYS = list(STORED_OBSERVABLES)[::-1]
CHECKPOINTS = 21


def _make_dataset(*, text: str = "O", seeds: int = 2, noise: float = 0.1) -> dict[str, Any]:
    """Return a data set of 4 rules x 2 architectures x 2 batch sizes x seeds, 3 layers each.

    Parameters
    ----------
    text : {"O", "U", "S"}
        How the record array holds text.
    """
    rng = np.random.default_rng(0)
    rows = [
        (rule, arch, task, batch, seed, 7, layer)
        for rule in PUBLISHED_RULES
        for arch, task in (("ResNet-18v2", "simclr"), ("alexnet_lrn", "imagenet"))
        for batch in (128, 256)
        for seed in range(seeds)
        for layer in range(3)
    ]
    form = "O" if text == "O" else f"{text}20"
    dtype = [("learning_rule", form), ("model", form), ("dataset", form), ("batch_size", "i8")]
    dtype += [("model_seed", "i8"), ("dataset_seed", "i8"), ("layer_name", form)]
    made = [(r, a, t, b, s, d, f"conv{x}") for r, a, t, b, s, d, x in rows]
    if text == "S":
        made = [tuple(v.encode() if isinstance(v, str) else v for v in m) for m in made]
    meta = np.array(made, dtype=dtype).view(np.recarray)
    rule = np.array([PUBLISHED_RULES.index(r[0]) for r in rows])
    growth = np.linspace(0, 1, CHECKPOINTS)[None, :, None] * rule[:, None, None]
    x = 1 + growth + noise * rng.standard_normal((len(rows), CHECKPOINTS, len(KEYS)))
    position = np.eye(3)[[r[-1] for r in rows]]
    return {
        "X": x,
        "Y": np.array([r[0] for r in rows], dtype=form if text != "S" else "U20"),
        "X_cat": np.repeat(position[:, None], CHECKPOINTS, axis=1),
        "meta": meta,
        "obs_keys": list(KEYS),
    }


@pytest.fixture(scope="session")
def make_dataset() -> Callable[..., dict[str, Any]]:
    """Return the function that makes such data sets."""
    return _make_dataset


@pytest.fixture
def write_dataset(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that pickles a data set."""

    def write(data: Any, protocol: int = 2) -> Path:
        path = tmp_path / "dataset.pkl"
        path.write_bytes(pickle.dumps(data, protocol=protocol))
        return path

    return write
