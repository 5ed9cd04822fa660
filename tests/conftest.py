"""A cohort small enough to be trained within the tests, shared by all of them."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest

# No test meets what another, or its user, has kept.
os.environ["LRPLAN_CACHE"] = "off"

TINY_RECIPE = """
name = "tiny"

[grid]
rule = ["sgdm", "adam", "feedback_alignment", "information_alignment"]
architecture = "mlp"
task = "digits"
model_seed = [0, 1, 2]

[grid.learning_rate]
sgdm = [0.02, 0.05]
adam = [0.001, 0.003]
feedback_alignment = [0.02, 0.05]
information_alignment = [0.02, 0.05]

[training]
epochs = 5
checkpoints = 5

[architectures.mlp]
width = 24
depth = 3

[storage]
units = 16
stimuli = 4
synapses = 16
pairs = 4
pair_stimuli = 2
validation = 4
"""


@pytest.fixture(scope="session")
def tiny_recipe_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recipe of `tiny_cohort_path`."""
    path = tmp_path_factory.mktemp("recipe") / "tiny.toml"
    path.write_text(TINY_RECIPE, encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def tiny_cohort_path(tiny_recipe_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 organisms: 4 rules, 2 learning rates, 3 seeds; 16 units, 4 stimuli, 5 checkpoints."""
    import torch

    from lrplan.simulate.learn.train import train
    from lrplan.simulate.run.pack import pack, part_bytes
    from lrplan.simulate.run.recipe import read_recipe

    recipe = read_recipe(tiny_recipe_path)
    directory = tmp_path_factory.mktemp("cohort")
    parts = []
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    for spec in recipe.specs:
        [trained] = train([spec], recipe.storage)
        parts.append(directory / f"{spec.hash}.npz")
        parts[-1].write_bytes(part_bytes(trained))
    torch.set_num_threads(before)
    out = directory / "tiny.zarr"
    pack(recipe, parts, out, {"lrplan_version": "0", "torch_version": "0", "device": "cpu"})
    return out


SMALL_SETTINGS: dict[str, dict[str, object]] = {
    "cifar10": {"partial": True},
    "imagenet": {"classes": 3, "edge": 24, "test_images": 6, "partial": True},
    "shapes": {"train": 60, "test": 30},
    "simclr": {"over_settings": {"train": 60, "test": 30}},
    "tones": {"train": 40, "test": 20, "channels": 16, "frames": 18},
    "wsn": {"sample_rate_hz": 4000, "seconds": 0.25, "channels": 16, "frames": 18, "mixtures": 2},
}


@pytest.fixture(scope="session")
def small_settings() -> dict[str, dict[str, object]]:
    """By task, the settings that go with `small_data` and with tests in a hurry."""
    return SMALL_SETTINGS


@pytest.fixture(scope="session")
def small_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with a little of all that tasks read, in the real formats."""
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    _write_cifar10(folder / "cifar-10-batches-py", rng)
    _write_imagenet(folder / "imagenet", rng)
    _write_wsn(folder / "wsn", rng)
    return folder


def _write_cifar10(folder: Path, rng: np.random.Generator) -> None:
    folder.mkdir()
    for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"):
        held = {
            "data": rng.integers(0, 256, (20, 3072), dtype=np.uint8),
            "labels": rng.permutation(np.arange(20) % 10).tolist(),
        }
        (folder / name).write_bytes(pickle.dumps(held, protocol=2))


def _write_imagenet(folder: Path, rng: np.random.Generator) -> None:
    from PIL import Image

    for part, count in (("train", 8), ("val", 3)):
        for label, name in enumerate(("n01440764", "n01443537", "n01484850", "n01491361")):
            (folder / part / name).mkdir(parents=True)
            for i in range(count):
                coarse = rng.integers(0, 256, (4, 5, 3), dtype=np.uint8)
                picture = Image.fromarray(coarse).resize((50 + 7 * i, 40 + 5 * label))
                picture.save(folder / part / name / f"{name}_{i}.JPEG")


def _write_wsn(folder: Path, rng: np.random.Generator) -> None:
    from scipy.io import wavfile

    rate = 8000
    time = np.arange(rate // 3) / rate
    for w, word in enumerate(("stop", "go", "left")):
        for s, speaker in enumerate(("ann", "bob")):
            place = folder / "speech" / word / speaker
            place.mkdir(parents=True)
            for i in range(3):
                pitch = 300 + 400 * w + 90 * s + 10 * i
                sound = np.sin(2 * np.pi * pitch * time) + 0.01 * rng.standard_normal(len(time))
                wavfile.write(place / f"{i}.wav", rate, (8000 * sound).astype(np.int16))
    for n, noise in enumerate(("rain", "street")):
        place = folder / "background" / noise
        place.mkdir(parents=True)
        sound = rng.standard_normal(4 * rate) * (1 + n * np.sin(np.arange(4 * rate) / 200))
        wavfile.write(place / "0.wav", rate, (3000 * sound).clip(-32000, 32000).astype(np.int16))
