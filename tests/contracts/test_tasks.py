"""What every task keeps to."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lrplan.simulate.tasks import Images, tasks

SIZES = [None, 16, 40]
BATCH = 6


@pytest.fixture(params=tasks.names())
def task(request, small_data, monkeypatch):
    monkeypatch.setenv("LRPLAN_DATA", str(small_data))
    return tasks.get(request.param)


@pytest.fixture
def settings(task, small_settings):
    given = next((s for name, s in small_settings.items() if tasks.get(name) is task), {})
    return task.settings | given


def first(images: np.ndarray | Images, count: int = BATCH) -> np.ndarray:
    """Return the first images, which may have to be read."""
    if isinstance(images, np.ndarray):
        return images[:count]
    return images.read(np.arange(count))


def shown(task, settings, data, seed=0):
    images = torch.from_numpy(first(data.train))
    drawn = task.augmentation(np.random.default_rng(seed), 2, BATCH, settings)
    if drawn is not None:
        assert drawn.shape[:2] == (2, BATCH)
        assert drawn.dtype == np.float32
        drawn = torch.from_numpy(drawn[0])
    return task.views(images, drawn)


def test_a_task_says_what_it_is_and_needs(task):
    assert task.objective in ("supervised", "self-supervised")
    assert task.inputs in ("images", "sounds")
    for words in (task.summary, task.cites, task.needs):
        assert words.strip()
    assert isinstance(task.settings, dict)


@pytest.mark.parametrize("size", SIZES)
def test_data_are_finite_labelled_images_of_one_shape(task, settings, size):
    data = task.load(size, settings)
    count = len(data.train)
    for images, labels in ((data.train, data.train_labels), (data.test, data.test_labels)):
        assert images.dtype in (np.float32, np.uint8)
        assert len(images.shape) == 4
        assert np.isfinite(first(images, 20)).all()
        assert first(images, 20).shape[1:] == images.shape[1:]
        assert first(images, 20).dtype == images.dtype
        assert labels.dtype == np.int64
        assert labels.shape[0] == len(images) == images.shape[0]
        assert labels.ndim in (1, 2)
        assert labels.min() >= 0
    assert isinstance(data.test, np.ndarray)
    assert data.train.shape[1:] == data.test.shape[1:]
    if size is not None:
        assert min(data.train.shape[2:]) >= size
    # Every class of what performance is about is there to be learned and to be tested.
    named = [
        labels.reshape(len(labels), -1)[:, 0] for labels in (data.train_labels, data.test_labels)
    ]
    assert set(named[0]) == set(named[1])
    # The first examples, from which statistics are taken, are not all of one class.
    assert len(set(named[0][: count // 2])) > 1
    again = task.load(size, settings)
    np.testing.assert_array_equal(first(data.train, 20), first(again.train, 20))
    np.testing.assert_array_equal(data.test_labels, again.test_labels)


@pytest.mark.parametrize("size", SIZES)
def test_the_extent_is_that_of_the_data(task, settings, size):
    data = task.load(size, settings)
    extent = task.extent(size, settings)
    assert extent.shape == data.train.shape[1:]
    assert (extent.train, extent.test) == (len(data.train), len(data.test))


def test_good_data_pass_the_check(task, settings):
    task.check(settings)


@pytest.mark.parametrize("size", SIZES)
def test_views_are_images_of_the_same_shape(task, settings, size):
    data = task.load(size, settings)
    views = shown(task, settings, data)
    assert views.ndim == 5
    assert views.shape[1:] == (BATCH, *data.train.shape[1:])
    assert len(views) == (2 if task.objective == "self-supervised" else 1)
    assert views.dtype == torch.float32
    assert torch.isfinite(views).all()
    prepared = task.prepare(torch.from_numpy(data.test[:BATCH]))
    assert prepared.shape == data.test[:BATCH].shape
    assert prepared.dtype == torch.float32
    # What is shown in training has the scale of what is shown in tests.
    assert abs(prepared).max() < 20
    assert abs(views).max() < 20


def test_augmentations_come_from_the_given_rng_alone(task, settings):
    data = task.load(16, settings)
    torch.manual_seed(0)
    one = shown(task, settings, data, seed=1)
    torch.manual_seed(1)
    assert torch.equal(one, shown(task, settings, data, seed=1))
    if task.augmentation(np.random.default_rng(0), 1, 4, settings) is not None:
        assert not torch.equal(one, shown(task, settings, data, seed=2))
    if len(one) == 2:
        assert not torch.equal(one[0], one[1]), "two views of an image are the same"


def test_augmentations_drawn_in_pieces_are_those_drawn_at_once(task, settings):
    whole = task.augmentation(np.random.default_rng(3), 7, 5, settings)
    rng = np.random.default_rng(3)
    pieces = [task.augmentation(rng, steps, 5, settings) for steps in (1, 4, 2)]
    if whole is None:
        assert pieces == [None] * 3
    else:
        np.testing.assert_array_equal(whole, np.concatenate(pieces))


def test_views_do_not_change_the_images(task, settings):
    data = task.load(16, settings)
    before = first(data.train).copy()
    shown(task, settings, data)
    np.testing.assert_array_equal(first(data.train), before)


def test_the_loss_is_finite_and_has_a_gradient(task, settings):
    head = task.head(settings)
    data = task.load(None, settings)
    views = len(shown(task, settings, data))
    rng = np.random.default_rng(0)
    output = torch.from_numpy(rng.standard_normal((views * BATCH, head.width))).requires_grad_()
    labels = torch.from_numpy(data.train_labels[:BATCH])
    loss = task.loss(output, labels, settings)
    assert loss.shape == ()
    assert torch.isfinite(loss)
    loss.backward()
    assert torch.isfinite(output.grad).all()
    assert (output.grad.abs().sum(1) > 0).all()
    # A step against the gradient lowers it.
    with torch.no_grad():
        assert task.loss(output - 0.1 * output.grad, labels, settings) < loss


def test_the_loss_of_a_stack_is_that_of_each(task, settings):
    head = task.head(settings)
    data = task.load(None, settings)
    views = len(shown(task, settings, data))
    rng = np.random.default_rng(0)
    outputs = torch.from_numpy(rng.standard_normal((3, views * BATCH, head.width)))
    labels = torch.from_numpy(data.train_labels[: 3 * BATCH]).unflatten(0, (3, BATCH))
    stacked = torch.func.vmap(lambda o, y: task.loss(o, y, settings))(outputs, labels)
    each = [task.loss(o, y, settings) for o, y in zip(outputs, labels, strict=True)]
    torch.testing.assert_close(stacked, torch.stack(each))


def test_scores_that_name_the_label_are_correct(task, settings):
    if task.objective != "supervised":
        pytest.skip("no readout is trained")
    data = task.load(None, settings)
    labels = torch.from_numpy(data.train_labels[:5])
    width = task.head(settings).width
    wanted = labels if labels.ndim == 1 else labels[:, 0]
    scores = torch.zeros(2, 5, width)
    scores[0, torch.arange(5), wanted] = 1.0
    scores[1, torch.arange(5), (wanted + 1) % 2] = 2.0
    scores[1, torch.arange(5), wanted] = -1.0
    assert task.correct(scores, labels).tolist() == [[True] * 5, [False] * 5]
