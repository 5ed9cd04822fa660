"""A recipe that trains in a second, and its cohort."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import zarr

from lrplan.simulate.learn.train import train
from lrplan.simulate.run.pack import part_bytes
from lrplan.simulate.run.recipe import parse_recipe

TINY = """
name = "tiny"
[grid]
rule = ["sgdm", "information_alignment"]
architecture = "mlp"
task = ["digits", "digits_simclr"]
model_seed = [0, 1]
[training]
epochs = 1
checkpoints = 3
[storage]
units = 20
stimuli = 3
synapses = 24
pairs = 4
pair_stimuli = 2
validation = 4
[architectures.mlp]
width = 16
"""


@pytest.fixture(autouse=True)
def one_thread():
    """Compute as the workers do: a sum over two threads is another sum."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def tiny_text() -> str:
    return TINY


@pytest.fixture(scope="session")
def tiny():
    """Eight organisms: two rules, two tasks, two seeds."""
    return parse_recipe(TINY)


@pytest.fixture(scope="session")
def trained(tiny):
    """The organisms of `tiny`, trained one by one in this process."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    organisms = [train([spec], tiny.storage)[0] for spec in tiny.specs]
    torch.set_num_threads(before)
    return organisms


@pytest.fixture(scope="session")
def parts(tmp_path_factory, trained) -> list[Path]:
    """One file per organism of `tiny`, as a run leaves them behind."""
    directory = tmp_path_factory.mktemp("parts")
    paths = [directory / f"{one.spec.hash}.npz" for one in trained]
    for path, one in zip(paths, trained, strict=True):
        path.write_bytes(part_bytes(one))
    return paths


def _arrays(group: zarr.Group) -> dict[str, np.ndarray]:
    found = {}
    for name, node in group.members(max_depth=None):
        if isinstance(node, zarr.Array):
            found[name] = node[...]
    return found


@pytest.fixture(scope="session")
def assert_same_cohort():
    """Compare two cohorts array by array and attribute by attribute."""

    def check(one: Path, other: Path) -> None:
        a, b = (zarr.open_group(str(p), mode="r") for p in (one, other))
        left, right = _arrays(a), _arrays(b)
        assert set(left) == set(right)
        assert len(left) > 30
        for name, values in left.items():
            np.testing.assert_array_equal(values, right[name], err_msg=name)
        assert dict(a.attrs) == dict(b.attrs)

    return check
