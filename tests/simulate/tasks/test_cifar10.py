from __future__ import annotations

import os
import pickle

import numpy as np
import pytest
import torch

from lrplan.errors import DataError, UsageError
from lrplan.simulate.tasks import tasks
from lrplan.simulate.tasks._disk import Enlarged, enlarge, enlarged

TASK = tasks.get("cifar10")
PARTIAL = {"partial": True}


def rewrite(path, **changes):
    held = pickle.loads(path.read_bytes()) | changes
    path.write_bytes(pickle.dumps(held))


def test_images_and_labels_are_those_in_the_files(data):
    loaded = TASK.load(None, PARTIAL)
    assert loaded.train.shape == (100, 3, 32, 32)
    assert loaded.test.shape == (20, 3, 32, 32)
    held = pickle.loads((data / "cifar-10-batches-py" / "data_batch_2").read_bytes())
    np.testing.assert_array_equal(loaded.train[20:40].reshape(20, -1), held["data"])
    np.testing.assert_array_equal(loaded.train_labels[20:40], held["labels"])


def test_it_reads_what_torchvision_reads(data):
    from torchvision.datasets import CIFAR10

    class Unchecked(CIFAR10):
        def _check_integrity(self):
            return True

        def _load_meta(self):
            pass

    theirs = Unchecked(str(data), train=False)
    loaded = TASK.load(None, PARTIAL)
    np.testing.assert_array_equal(loaded.test.transpose(0, 2, 3, 1), theirs.data)
    assert loaded.test_labels.tolist() == theirs.targets


def test_pickles_of_python_2_are_read(data):
    path = data / "cifar-10-batches-py" / "test_batch"
    held = pickle.loads(path.read_bytes())
    text = pickle.dumps(held, protocol=0).replace(b"numpy._core", b"numpy.core")
    path.write_bytes(text)
    assert TASK.load(None, PARTIAL).test_labels.tolist() == held["labels"]


def test_size_is_known_without_data(monkeypatch):
    monkeypatch.delenv("LRPLAN_DATA", raising=False)
    extent = TASK.extent(None, TASK.settings)
    assert (extent.shape, extent.train, extent.test) == ((3, 32, 32), 50_000, 10_000)
    assert TASK.extent(64, TASK.settings).shape == (3, 64, 64)


def test_data_that_are_not_there_are_asked_for(tmp_path, monkeypatch):
    monkeypatch.delenv("LRPLAN_DATA", raising=False)
    with pytest.raises(UsageError, match=r"cifar10.*--data FOLDER.*LRPLAN_DATA.*kriz/cifar"):
        TASK.check(TASK.settings)
    monkeypatch.setenv("LRPLAN_DATA", str(tmp_path))
    with pytest.raises(DataError) as caught:
        TASK.check(TASK.settings)
    for words in (str(tmp_path / "cifar-10-batches-py"), "kriz/cifar.html", "--data FOLDER"):
        assert words in str(caught.value)


def test_short_data_are_refused_unless_asked_for(data):
    with pytest.raises(DataError, match=r"data_batch_1 holds 20 images; expected 10,000.*partial"):
        TASK.check(TASK.settings)
    TASK.check(PARTIAL)


def test_a_missing_file_is_named(data):
    (data / "cifar-10-batches-py" / "data_batch_3").unlink()
    # As many as there are will do if the set may be partial.
    assert len(TASK.load(None, PARTIAL).train) == 80
    (data / "cifar-10-batches-py" / "test_batch").unlink()
    with pytest.raises(DataError, match="test_batch is missing"):
        TASK.check(PARTIAL)


def test_files_that_are_not_the_published_ones_are_refused(data, monkeypatch):
    monkeypatch.setattr("lrplan.simulate.tasks.cifar10.PER_FILE", 20)
    with pytest.raises(DataError, match=r"data_batch_1 is not the published file.*MD5"):
        TASK.check(TASK.settings)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"data": np.zeros((20, 3 * 28 * 28), np.uint8)}, r"shape \(20, 2352\); expected uint8"),
        ({"data": np.zeros((20, 3072), np.float32)}, "float32 images"),
        ({"labels": [0] * 19}, "20 images and 19 labels"),
        ({"labels": [10] * 20}, "labels other than 0 to 9"),
        ({"labels": None}, "labels"),
    ],
)
def test_files_of_another_content_are_refused(data, changes, said):
    rewrite(data / "cifar-10-batches-py" / "data_batch_4", **changes)
    with pytest.raises(DataError, match=said) as caught:
        TASK.check(PARTIAL)
    assert "data_batch_4" in str(caught.value)


class Malicious:
    def __reduce__(self):
        return os.mkdir, ("harm",)


@pytest.mark.parametrize("content", [b"", b"no pickle", pickle.dumps([1]), pickle.dumps("text")])
def test_files_that_are_no_batches_are_refused(data, content):
    (data / "cifar-10-batches-py" / "data_batch_1").write_bytes(content)
    with pytest.raises(DataError, match="data_batch_1"):
        TASK.check(PARTIAL)


def test_a_pickle_that_would_act_is_refused(data, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    path = data / "cifar-10-batches-py" / "data_batch_1"
    path.write_bytes(pickle.dumps({"data": Malicious(), "labels": []}))
    with pytest.raises(DataError, match="data_batch_1 cannot be read.*mkdir"):
        TASK.check(PARTIAL)
    assert not (tmp_path / "harm").exists()


def test_a_view_is_the_image_shifted_and_mirrored(data):
    images = torch.arange(1, 193, dtype=torch.uint8).reshape(1, 3, 8, 8)
    plain = TASK.views(images, torch.zeros(1, 3))
    assert torch.equal(plain[0], TASK.prepare(images))
    mirrored = TASK.views(images, torch.tensor([[0.0, 0.0, 1.0]]))
    assert torch.equal(mirrored[0], TASK.prepare(images).flip(3))
    moved = TASK.views(images, torch.tensor([[0.25, -0.125, 0.0]]))[0]
    black = TASK.prepare(torch.zeros_like(images))
    assert torch.equal(moved[..., :6, 1:], TASK.prepare(images)[..., 2:, :7])
    assert torch.equal(moved[..., 6:, :], black[..., 6:, :])
    assert torch.equal(moved[..., :, 0], black[..., :, 0])


def test_shifts_are_as_far_as_published(data):
    drawn = TASK.augmentation(np.random.default_rng(0), 20, 500, TASK.settings)
    pixels = (drawn[..., :2] * 32).round()
    assert sorted(np.unique(pixels)) == list(range(-4, 5))
    assert drawn[..., 2].mean() == pytest.approx(0.5, abs=0.02)


def test_large_sets_are_enlarged_when_they_are_read(monkeypatch):
    images = np.random.default_rng(0).integers(0, 256, (7, 3, 8, 12), dtype=np.uint8)
    whole = enlarge(images, 20)
    assert whole.shape == (7, 3, 20, 30)
    np.testing.assert_array_equal(enlarged(images, 20), whole)
    monkeypatch.setattr("lrplan.simulate.tasks._disk.IN_MEMORY_BYTES", 1000)
    lazy = enlarged(images, 20)
    assert isinstance(lazy, Enlarged)
    assert (lazy.shape, len(lazy)) == (whole.shape, 7)
    np.testing.assert_array_equal(lazy.read(np.array([5, 0, 5])), whole[[5, 0, 5]])
    assert enlarged(images, 8) is images
