from __future__ import annotations

import pickle
import shutil
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lrplan.errors import DataError, UsageError
from lrplan.simulate.learn.train import build
from lrplan.simulate.run.recipe import parse_recipe
from lrplan.simulate.tasks import _disk, tasks
from lrplan.simulate.tasks._disk import ImageFiles, decode

TASK = tasks.get("imagenet")
TABLE = "{ classes = 3, edge = 24, test_images = 6, partial = true }"
SMALL = TASK.settings | {"classes": 3, "edge": 24, "test_images": 6, "partial": True}


def spoil(path):
    path.write_bytes(path.read_bytes()[:200])
    return path


def test_labels_are_folders_in_alphabetical_order(data):
    loaded = TASK.load(None, SMALL)
    assert loaded.train.shape == (24, 3, 24, 24)
    assert np.bincount(loaded.train_labels).tolist() == [8, 8, 8]
    for path, label in zip(loaded.train.paths, loaded.train_labels, strict=True):
        assert ("n01440764", "n01443537", "n01484850")[label] in path
    # The held-out images are balanced, and the first of them too.
    assert loaded.test_labels.tolist() == [0, 1, 2, 0, 1, 2]


def test_an_image_is_its_central_square(tmp_path):
    picture = np.zeros((60, 100, 3), np.uint8)
    picture[:, :20], picture[:, 20:80], picture[:, 80:] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    Image.fromarray(picture).save(tmp_path / "a.png")
    found = decode(str(tmp_path / "a.png"), edge=30, shorter=30)
    assert found.shape == (3, 30, 30)
    assert (found[:, :, 1:-1].mean((1, 2)) == [0, 255, 0]).all()
    # Resized to more than the square's edge, less of it is in view.
    picture[:, 50:] = 0
    Image.fromarray(picture).save(tmp_path / "b.png")
    shares = [
        (decode(str(tmp_path / "b.png"), edge=30, shorter=s)[1, 15] > 0).sum() for s in (30, 60)
    ]
    assert shares == [pytest.approx(15, abs=1)] * 2
    picture[:, 20:35] = 0
    Image.fromarray(picture).save(tmp_path / "b.png")
    whole, zoomed = (
        (decode(str(tmp_path / "b.png"), edge=30, shorter=s)[1, 15] > 127).sum() for s in (30, 60)
    )
    assert (whole, zoomed) == (pytest.approx(7.5, abs=1), pytest.approx(15, abs=1))


@pytest.mark.parametrize("mode", ["L", "RGBA", "CMYK", "P", "1"])
def test_every_mode_of_colour_becomes_three_channels(tmp_path, mode):
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    Image.new("RGB", (20, 30), (200, 200, 200)).convert(mode).save(path)
    found = decode(str(path), edge=8, shorter=8)
    assert found.shape == (3, 8, 8)
    assert found.dtype == np.uint8


def test_reading_in_another_order_gives_the_same_images(data):
    train = TASK.load(None, SMALL).train
    every = train.read(np.arange(24))
    np.testing.assert_array_equal(train.read(np.array([23, 3, 3, 0])), every[[23, 3, 3, 0]])
    again = pickle.loads(pickle.dumps(train))
    np.testing.assert_array_equal(again.read(np.arange(24)), every)


def test_the_cache_gives_what_the_files_give(data):
    plain = TASK.load(None, SMALL).train.read(np.arange(24))
    cached = TASK.load(None, SMALL | {"cache": True}).train
    np.testing.assert_array_equal(cached.read(np.arange(12)), plain[:12])
    # A second process finds the first twelve and adds the others.
    other = pickle.loads(pickle.dumps(cached))
    for path in (data / "imagenet" / "train").rglob("*.JPEG"):
        if path.as_posix() in {p.replace("\\", "/") for p in other.paths[:12]}:
            path.unlink()
    np.testing.assert_array_equal(other.read(np.arange(24)), plain)
    [kept] = (data / "imagenet").glob("*.images")
    assert kept.stat().st_size == 24 * 3 * 24 * 24


def test_a_cache_that_cannot_be_written_is_named(data, tmp_path):
    files = ImageFiles(["a"], np.zeros(1), edge=8, shorter=8, cache=tmp_path / "no" / "a.images")
    with pytest.raises(DataError, match=r"a\.images.*cache = false"):
        files.read(np.arange(1))


def test_in_a_search_stacks_decode_the_validation_part_once_and_no_held_out_image(
    data, monkeypatch
):
    """Over these photographs and as SimCLR over them."""
    decoded, counts = [], []

    def counted(path, **options):
        decoded.append(Path(path))
        return decode(path, **options)

    monkeypatch.setattr(_disk, "decode", counted)
    for text in (
        f'task = "imagenet"\n[tasks]\nimagenet = {TABLE}',
        f'task = "simclr"\n[tasks.simclr]\nover = "imagenet"\nover_settings = {TABLE}',
    ):
        decoded.clear()
        [spec] = parse_recipe(f'[grid]\nrule = "sgdm"\narchitecture = "mlp"\n{text}').specs
        tried = replace(spec, settings={**spec.settings, "training": {"validation": 0.25}})
        parts = [build(tried)[3] for _ in range(3)]
        assert {len(part.test) for part in parts} == {6}
        assert all(p.parts[-3] == "train" for p in decoded)
        counts.append(len(decoded))
    # The same photographs, divided alike, serve both.
    assert counts == [6, 0]


def test_size_is_known_without_data(monkeypatch):
    monkeypatch.delenv("LRPLAN_DATA", raising=False)
    extent = TASK.extent(None, TASK.settings)
    assert (extent.shape, extent.train, extent.test) == ((3, 224, 224), 1_281_167, 5000)
    assert TASK.extent(None, TASK.settings | {"classes": 10}).test == 500


def test_data_that_are_not_there_are_asked_for(tmp_path, monkeypatch):
    monkeypatch.setenv("LRPLAN_DATA", str(tmp_path))
    with pytest.raises(DataError) as caught:
        TASK.check(TASK.settings)
    for words in (str(tmp_path / "imagenet"), "image-net.org", "--data FOLDER"):
        assert words in str(caught.value)
    (tmp_path / "imagenet" / "train" / "n1").mkdir(parents=True)
    with pytest.raises(DataError, match=r"train has 1 folders of classes; expected 1000"):
        TASK.check(TASK.settings)


def test_short_data_are_refused_unless_asked_for(data):
    with pytest.raises(DataError, match=r"train is short: class 1 of 3 has 8 images.*732.*partial"):
        TASK.check(SMALL | {"partial": False})
    TASK.check(SMALL)


def test_a_missing_part_or_an_empty_class_is_named(data):
    shutil.rmtree(data / "imagenet" / "val" / "n01443537")
    (data / "imagenet" / "val" / "n01443537").mkdir()
    with pytest.raises(DataError, match="val.*n01443537"):
        TASK.check(SMALL)
    shutil.rmtree(data / "imagenet" / "val")
    with pytest.raises(DataError, match="val"):
        TASK.check(SMALL | {"classes": 2})


def test_an_unreadable_image_is_named_before_training(data):
    bad = spoil(data / "imagenet" / "train" / "n01443537" / "n01443537_3.JPEG")
    with pytest.raises(DataError, match=r"n01443537_3\.JPEG is no readable.*skip_unreadable"):
        TASK.check(SMALL)
    with pytest.warns(UserWarning, match=r"n01443537_3\.JPEG.*skipped"):
        TASK.check(SMALL | {"skip_unreadable": True})
    loaded = TASK.load(None, SMALL)
    [place] = [i for i, path in enumerate(loaded.train.paths) if path == str(bad)]
    with pytest.raises(DataError, match=r"n01443537_3\.JPEG"):
        loaded.train.read(np.array([place]))


def test_an_unreadable_image_gives_its_place_to_one_of_its_class(data):
    folder = data / "imagenet" / "train" / "n01443537"
    spoil(folder / "n01443537_3.JPEG")
    (folder / "n01443537_4.JPEG").write_bytes(b"")
    train = TASK.load(None, SMALL | {"skip_unreadable": True}).train
    with pytest.warns(UserWarning) as warned:
        every = train.read(np.arange(24))
    said = sorted(str(w.message) for w in warned)
    assert len(said) == len(train.skipped) == 2
    assert "n01443537_3.JPEG" in said[0] and "n01443537_4.JPEG" in said[1]
    assert all("of 24 so far" in s for s in said)
    bad = [i for i, path in enumerate(train.paths) if path in train.skipped]
    for i in bad:
        same = [j for j in np.flatnonzero(train.labels == 1) if j not in bad]
        assert any(np.array_equal(every[i], every[j]) for j in same)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(train.read(np.arange(24)), every)


def test_a_class_without_a_readable_image_is_refused(data):
    for path in (data / "imagenet" / "val" / "n01440764").iterdir():
        path.write_bytes(b"no image")
    with (
        pytest.raises(DataError, match="no image of the class"),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        TASK.load(None, SMALL | {"skip_unreadable": True})


@pytest.mark.parametrize(("key", "value"), [("classes", 1), ("edge", 0), ("test_images", 0)])
def test_settings_that_cannot_be_are_refused(data, key, value):
    with pytest.raises(UsageError, match=rf"imagenet\.{key} is {value}"):
        TASK.load(None, SMALL | {key: value})


def test_a_crop_of_everything_is_the_image(data):
    images = torch.randint(0, 256, (2, 3, 16, 16), dtype=torch.uint8)
    drawn = torch.tensor([[0.0, 0, 1, 1, 1], [0, 0, 1, 1, -1]])
    views = TASK.views(images, drawn)[0]
    prepared = TASK.prepare(images)
    torch.testing.assert_close(views[0], prepared[0], atol=1e-4, rtol=0)
    torch.testing.assert_close(views[1], prepared[1].flip(2), atol=1e-4, rtol=0)
    quarter = TASK.views(images, torch.tensor([[-0.5, 0.5, 0.5, 0.5, 1.0]] * 2))[0]
    inside = torch.nn.functional.interpolate(
        prepared[..., 8:, :8], size=(16, 16), mode="bilinear", align_corners=False
    )
    torch.testing.assert_close(quarter[..., 1:, :-1], inside[..., 1:, :-1], atol=1e-4, rtol=0)


def test_crops_have_the_published_area_and_shape(data):
    drawn = TASK.augmentation(np.random.default_rng(0), 20, 500, SMALL)
    x, y, half_width, half_height, sign = np.moveaxis(drawn, -1, 0)
    area, ratio = half_width * half_height, half_width / half_height
    assert area.min() >= 0.08 - 1e-6 and area.max() <= 1 + 1e-6
    assert ratio.min() >= 3 / 4 - 1e-5 and ratio.max() <= 4 / 3 + 1e-5
    assert (abs(x) + half_width <= 1 + 1e-5).all() and (abs(y) + half_height <= 1 + 1e-5).all()
    assert area.mean() == pytest.approx(0.5, abs=0.05)
    assert (sign == -1).mean() == pytest.approx(0.5, abs=0.02)
