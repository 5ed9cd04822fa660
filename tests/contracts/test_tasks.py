"""What every task keeps to."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lrplan.simulate.tasks import tasks

SIZES = [None, 16]


@pytest.fixture(params=tasks.names())
def task(request):
    return tasks.get(request.param)


def shown(task, data, batch=6, seed=0):
    images = torch.from_numpy(data.train[:batch])
    drawn = task.augmentation(np.random.default_rng(seed), 2, batch, task.settings)
    if drawn is not None:
        assert drawn.shape[:2] == (2, batch)
        assert drawn.dtype == np.float32
        drawn = torch.from_numpy(drawn[0])
    return task.views(images, drawn)


def test_a_task_says_what_it_is_and_needs(task):
    assert task.objective in ("supervised", "self-supervised")
    for words in (task.summary, task.cites, task.needs):
        assert words.strip()
    assert isinstance(task.settings, dict)


@pytest.mark.parametrize("size", SIZES)
def test_data_are_finite_labelled_images_of_one_shape(task, size):
    data = task.load(size, task.settings)
    for images, labels in ((data.train, data.train_labels), (data.test, data.test_labels)):
        assert images.dtype == np.float32
        assert images.ndim == 4
        assert np.isfinite(images).all()
        assert labels.dtype == np.int64
        assert labels.shape == (len(images),)
        assert labels.min() >= 0
    assert data.train.shape[1:] == data.test.shape[1:]
    if size is not None:
        assert data.train.shape[2:] == (size, size)
    # Every class is there to be learned and to be tested.
    assert set(data.train_labels) == set(data.test_labels)
    again = task.load(size, task.settings)
    np.testing.assert_array_equal(data.train, again.train)
    np.testing.assert_array_equal(data.test_labels, again.test_labels)


@pytest.mark.parametrize("size", SIZES)
def test_views_are_images_of_the_same_shape(task, size):
    data = task.load(size, task.settings)
    views = shown(task, data)
    assert views.ndim == 5
    assert views.shape[1:] == (6, *data.train.shape[1:])
    assert len(views) == (2 if task.objective == "self-supervised" else 1)
    assert views.dtype == torch.float32
    assert torch.isfinite(views).all()


def test_augmentations_come_from_the_given_rng_alone(task):
    data = task.load(16, task.settings)
    torch.manual_seed(0)
    one = shown(task, data, seed=1)
    torch.manual_seed(1)
    assert torch.equal(one, shown(task, data, seed=1))
    if task.augmentation(np.random.default_rng(0), 1, 4, task.settings) is not None:
        assert not torch.equal(one, shown(task, data, seed=2))
        assert not torch.equal(one[0], one[1]), "two views of an image are the same"


def test_views_do_not_change_the_images(task):
    data = task.load(16, task.settings)
    before = data.train[:6].copy()
    shown(task, data)
    np.testing.assert_array_equal(data.train[:6], before)


def test_the_loss_is_finite_and_has_a_gradient(task):
    head = task.head(task.settings)
    data = task.load(None, task.settings)
    views = len(shown(task, data))
    rng = np.random.default_rng(0)
    output = torch.from_numpy(rng.standard_normal((views * 6, head.width))).requires_grad_()
    labels = torch.from_numpy(data.train_labels[:6])
    loss = task.loss(output, labels, task.settings)
    assert loss.shape == ()
    assert torch.isfinite(loss)
    loss.backward()
    assert torch.isfinite(output.grad).all()
    assert (output.grad.abs().sum(1) > 0).all()
    # A step against the gradient lowers it.
    with torch.no_grad():
        assert task.loss(output - 0.1 * output.grad, labels, task.settings) < loss
