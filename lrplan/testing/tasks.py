"""What every task keeps to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar
from unittest import SkipTest

import numpy as np
import torch

from lrplan.registry import Registry
from lrplan.simulate.tasks import Data, Images, Task, tasks
from lrplan.simulate.tasks.simclr import PHOTOGRAPHS
from lrplan.testing._contract import Contract, told

BATCH = 6
SIZES = (None, 16, 40)
"""Edges in pixels to which smaller images are enlarged; None leaves them as they are."""


class TaskContract(Contract):
    """What every task keeps to. Data that it reads from disk are where LRPLAN_DATA says.

    Attributes
    ----------
    settings : mapping
        What differs from the task's defaults; few examples save time.
    """

    registry: ClassVar[Registry[Any]] = tasks
    settings: Mapping[str, Any] = {}

    def _task(self) -> tuple[Task, dict[str, Any]]:
        task = tasks.get(self.name)
        return task, {**task.settings, **self.settings}

    def test_it_says_what_it_is_and_needs(self) -> None:
        """What it is, its source, its data, and the third label of a rule."""
        task, _ = self._task()
        assert task.objective in ("supervised", "self-supervised")
        assert task.inputs in ("images", "sounds")
        told(task, "summary", "cites", "needs")
        assert isinstance(task.settings, dict), "settings are names with their defaults"
        unknown = set(task.contrast) - set(PHOTOGRAPHS)
        assert not unknown, f"contrast names what does not vary in `simclr`: {sorted(unknown)}"

    def test_data_are_finite_labelled_images_of_one_shape(self) -> None:
        """Training and held-out examples, with labels that can be learned."""
        task, settings = self._task()
        for size in SIZES:
            data = task.load(size, settings)
            for images, labels in (
                (data.train, data.train_labels),
                (data.test, data.test_labels),
            ):
                assert images.dtype in (np.float32, np.uint8), "images are float32 or uint8"
                assert len(images.shape) == 4, "images are (example, channel, row, column)"
                some = _first(images, 20)
                assert np.isfinite(some).all(), "an image is not finite"
                assert some.shape[1:] == images.shape[1:]
                assert some.dtype == images.dtype
                assert labels.dtype == np.int64, "labels are int64"
                assert labels.shape[0] == len(images) == images.shape[0]
                assert labels.ndim in (1, 2)
                assert labels.min() >= 0
            assert isinstance(data.test, np.ndarray), "held-out examples are in memory"
            alone, labels = task.training(size, settings)
            assert np.array_equal(labels, data.train_labels), "training() is not that of load()"
            assert np.array_equal(_first(alone, 20), _first(data.train, 20))
            assert data.train.shape[1:] == data.test.shape[1:]
            if size is not None:
                assert min(data.train.shape[2:]) >= size, f"images are to have {size} pixels"

    def test_every_class_can_be_learned_and_tested(self) -> None:
        """Of several labels the first is what performance is about."""
        task, settings = self._task()
        for size in SIZES:
            data = task.load(size, settings)
            train, test = (
                labels.reshape(len(labels), -1)[:, 0]
                for labels in (data.train_labels, data.test_labels)
            )
            assert set(train) == set(test), "every class is to be learned and tested"
            assert len(set(train[: len(train) // 2])) > 1, (
                "the first examples, from which statistics are taken, are all of one class"
            )

    def test_chance_is_what_an_answer_without_looking_is_worth(self) -> None:
        """Organisms that do no better have not learned."""
        task, settings = self._task()
        labels = task.load(None, settings).test_labels
        chance = task.chance(labels)
        classes = len(np.unique(labels.reshape(len(labels), -1)[:, 0]))
        assert isinstance(chance, float), "chance is a number"
        assert 0 < chance < 1, f"chance is {chance}; expected a share between 0 and 1"
        assert task.objective != "supervised" or chance >= 1 / task.head(settings).width
        assert type(task).chance is not Task.chance or chance >= 1 / classes

    def test_data_are_the_same_each_time(self) -> None:
        """No random number that is not in the settings decides them."""
        task, settings = self._task()
        for size in SIZES:
            one, again = task.load(size, settings), task.load(size, settings)
            np.testing.assert_array_equal(_first(one.train, 20), _first(again.train, 20))
            np.testing.assert_array_equal(one.test_labels, again.test_labels)

    def test_the_extent_is_that_of_the_data(self) -> None:
        """What is known without reading them."""
        task, settings = self._task()
        for size in SIZES:
            data, extent = task.load(size, settings), task.extent(size, settings)
            assert extent.shape == data.train.shape[1:]
            assert (extent.train, extent.test) == (len(data.train), len(data.test))

    def test_good_data_pass_the_check(self) -> None:
        """`check` raises where data are missing or damaged, and here they are not."""
        task, settings = self._task()
        task.check(settings)

    def test_views_are_images_of_the_same_shape(self) -> None:
        """What is shown in training has the scale of what is shown in tests."""
        task, settings = self._task()
        for size in SIZES:
            data = task.load(size, settings)
            views = _shown(task, settings, data)
            assert views.shape[1:] == (BATCH, *data.train.shape[1:]), (
                f"views are (view, example, channel, row, column), not {tuple(views.shape)}"
            )
            assert len(views) == (2 if task.objective == "self-supervised" else 1)
            assert views.dtype == torch.float32
            assert torch.isfinite(views).all()
            prepared = task.prepare(torch.from_numpy(data.test[:BATCH]))
            assert prepared.shape == data.test[:BATCH].shape
            assert prepared.dtype == torch.float32
            assert abs(prepared).max() < 20, "inputs are to be of the order of 1"
            assert abs(views).max() < 20, "inputs are to be of the order of 1"

    def test_augmentations_come_from_the_given_rng_alone(self) -> None:
        """And two views of an image differ."""
        task, settings = self._task()
        data = task.load(16, settings)
        torch.manual_seed(0)
        one = _shown(task, settings, data, seed=1)
        torch.manual_seed(1)
        assert torch.equal(one, _shown(task, settings, data, seed=1)), (
            "torch's global seed changed a view"
        )
        if task.augmentation(np.random.default_rng(0), 1, 4, settings) is not None:
            assert not torch.equal(one, _shown(task, settings, data, seed=2))
        if len(one) == 2:
            assert not torch.equal(one[0], one[1]), "two views of an image are the same"

    def test_augmentations_drawn_in_pieces_are_those_drawn_at_once(self) -> None:
        """Training that is interrupted goes on as it would have."""
        task, settings = self._task()
        whole = task.augmentation(np.random.default_rng(3), 7, 5, settings)
        rng = np.random.default_rng(3)
        pieces = [task.augmentation(rng, steps, 5, settings) for steps in (1, 4, 2)]
        if whole is None:
            assert pieces == [None] * 3
        else:
            np.testing.assert_array_equal(
                whole, np.concatenate([p for p in pieces if p is not None])
            )

    def test_views_do_not_change_the_images(self) -> None:
        """Images are shared by all organisms of a worker."""
        task, settings = self._task()
        data = task.load(16, settings)
        before = _first(data.train).copy()
        _shown(task, settings, data)
        np.testing.assert_array_equal(_first(data.train), before)

    def test_the_loss_is_finite_and_has_a_gradient(self) -> None:
        """A step against the gradient lowers it."""
        task, settings = self._task()
        head = task.head(settings)
        data = task.load(None, settings)
        views = len(_shown(task, settings, data))
        rng = np.random.default_rng(0)
        output = torch.from_numpy(rng.standard_normal((views * BATCH, head.width)))
        output.requires_grad_()
        labels = torch.from_numpy(data.train_labels[:BATCH])
        loss = task.loss(output, labels, settings)
        assert loss.shape == (), "the loss of a batch is one number"
        assert torch.isfinite(loss)
        [gradient] = torch.autograd.grad(loss, output)
        assert torch.isfinite(gradient).all()
        assert (gradient.abs().sum(1) > 0).all(), "an example takes no part in the loss"
        with torch.no_grad():
            assert task.loss(output - 0.1 * gradient, labels, settings) < loss

    def test_the_loss_of_a_stack_is_that_of_each(self) -> None:
        """Organisms train together under `torch.func.vmap`."""
        task, settings = self._task()
        head = task.head(settings)
        data = task.load(None, settings)
        views = len(_shown(task, settings, data))
        rng = np.random.default_rng(0)
        outputs = torch.from_numpy(rng.standard_normal((3, views * BATCH, head.width)))
        labels = torch.from_numpy(data.train_labels[: 3 * BATCH]).unflatten(0, (3, BATCH))
        stacked = torch.func.vmap(lambda o, y: task.loss(o, y, settings))(outputs, labels)
        each = [task.loss(o, y, settings) for o, y in zip(outputs, labels, strict=True)]
        torch.testing.assert_close(stacked, torch.stack(each))

    def test_scores_that_name_the_label_are_correct(self) -> None:
        """What performance counts."""
        task, settings = self._task()
        if task.objective != "supervised":
            raise SkipTest("no readout is trained")
        data = task.load(None, settings)
        labels = torch.from_numpy(data.train_labels[:5])
        width = task.head(settings).width
        wanted = labels if labels.ndim == 1 else labels[:, 0]
        scores = torch.zeros(2, 5, width)
        scores[0, torch.arange(5), wanted] = 1.0
        scores[1, torch.arange(5), (wanted + 1) % 2] = 2.0
        scores[1, torch.arange(5), wanted] = -1.0
        assert task.correct(scores, labels).tolist() == [[True] * 5, [False] * 5]


def _first(images: np.ndarray | Images, count: int = BATCH) -> np.ndarray:
    """Return the first images, which may have to be read."""
    if isinstance(images, np.ndarray):
        return images[:count]
    return images.read(np.arange(count))


def _shown(task: Task, settings: dict[str, Any], data: Data, seed: int = 0) -> torch.Tensor:
    """Return views of the first images under the first of two steps of augmentation."""
    images = torch.from_numpy(_first(data.train))
    drawn = task.augmentation(np.random.default_rng(seed), 2, BATCH, settings)
    if drawn is None:
        return task.views(images, None)
    assert drawn.shape[:2] == (2, BATCH), "augmentations are (step, example, ...)"
    assert drawn.dtype == np.float32, "augmentations are float32"
    return task.views(images, torch.from_numpy(drawn[0]))
