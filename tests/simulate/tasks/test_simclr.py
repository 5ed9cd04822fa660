from __future__ import annotations

import colorsys

import numpy as np
import pytest
import torch

from lrplan.errors import UsageError
from lrplan.simulate.tasks import Data, Task, tasks
from lrplan.simulate.tasks._augmentation import (
    blur,
    blur_parameters,
    colour_parameters,
    recolour,
    resize_parameters,
)
from lrplan.simulate.tasks.simclr import BLUR_FROM

TASK = tasks.get("simclr")
SMALL = TASK.settings | {"over_settings": {"train": 60, "test": 30}}


def test_it_shows_the_images_of_the_task_it_is_over(data):
    for over, given in (("shapes", {"train": 60, "test": 30}), ("cifar10", {"partial": True})):
        settings = TASK.settings | {"over": over, "over_settings": given}
        task = tasks.get(over)
        mine, theirs = TASK.load(None, settings), task.load(None, task.settings | given)
        np.testing.assert_array_equal(mine.train, theirs.train)
        np.testing.assert_array_equal(mine.test_labels, theirs.test_labels)
        TASK.check(settings)
        assert TASK.extent(None, settings) == task.extent(None, task.settings | given)


def test_images_of_floats_are_scaled_to_bytes():
    settings = TASK.settings | {"over": "digits"}
    mine, theirs = TASK.load(None, settings), tasks.get("digits").load(None, {})
    assert mine.train.dtype == np.uint8
    assert (mine.train.min(), mine.train.max()) == (0, 255)
    assert np.corrcoef(mine.test.ravel(), theirs.test.ravel())[0, 1] > 0.9999


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"over": "tones"}, "task of sounds; SimCLR is over image tasks"),
        ({"over": "wsn"}, "SimCLR is over image tasks"),
        ({"over": "simclr"}, "self-supervised"),
        ({"over": "digits_simclr"}, "self-supervised"),
        ({"over": "shape"}, "nearest: shapes"),
        ({"over_settings": {"tran": 5}}, "nearest: train"),
        ({"over_settings": 3}, "expected a table"),
        ({"temperature": 0.0}, "simclr.temperature is 0.0"),
        ({"dimensions": 0}, "simclr.dimensions is 0"),
        ({"views": 3}, "simclr.views is 3; expected a table"),
        ({"views": {"hew": 0.1}}, "nothing called 'hew' varies; nearest: hue"),
        ({"views": {"smallest_crop": 1.5}}, "simclr.views.smallest_crop is 1.5"),
        ({"views": {"grey": -0.1}}, "simclr.views.grey"),
        ({"views": {"strength": -1.0}}, "simclr.views.strength is -1.0"),
        ({"views": {"hue": 2.0}}, "simclr.views.hue is 2.0"),
        ({"views": {"negative": "some"}}, "simclr.views.negative is 'some'; expected a number"),
        ({"views": {"grey": True}}, "simclr.views.grey is True; expected a number"),
    ],
)
def test_settings_that_cannot_be_are_refused(changes, said):
    settings = SMALL | changes
    with pytest.raises(UsageError, match=said):
        TASK.head(settings)
        TASK.augmentation(np.random.default_rng(0), 1, 2, settings)


def test_the_other_tasks_missing_data_are_asked_for(tmp_path, monkeypatch):
    monkeypatch.setenv("LRPLAN_DATA", str(tmp_path))
    with pytest.raises(Exception, match="cifar-10-batches-py"):
        TASK.check(TASK.settings | {"over": "cifar10"})


def test_nothing_is_mirrored_where_that_makes_another_sign():
    for over, share in (("shapes", 0.5), ("digits", 0.0)):
        settings = TASK.settings | {"over": over}
        drawn = TASK.augmentation(np.random.default_rng(0), 10, 200, settings)
        assert (drawn[..., 4] == -1).mean() == pytest.approx(share, abs=0.03)


def test_no_augmentation_leaves_the_image(data):
    still = dict.fromkeys(("strength", "hue", "grey", "negative", "blur"), 0.0)
    settings = SMALL | {"views": {"smallest_crop": 1.0} | still}
    images = torch.from_numpy(TASK.load(None, settings).train[:8])
    drawn = TASK.augmentation(np.random.default_rng(0), 1, 8, settings)[0]
    drawn = torch.from_numpy(drawn)
    drawn[..., :5] = torch.tensor([0.0, 0, 1, 1, 1])
    views = TASK.views(images, drawn)
    for view in views:
        torch.testing.assert_close(view, TASK.prepare(images), atol=1e-4, rtol=0)


def test_hue_is_turned_as_in_colorsys():
    rng = np.random.default_rng(0)
    images = torch.from_numpy(rng.random((5, 3, 4, 4)))
    turns = rng.uniform(-0.5, 0.5, 5)
    drawn = torch.tensor([[1.0, 1.0, 1.0, t, 0.0, 0.0] for t in turns], dtype=torch.float64)
    found = recolour(images, drawn).numpy()
    for i, turn in enumerate(turns):
        for y, x in np.ndindex(4, 4):
            h, s, v = colorsys.rgb_to_hsv(*images[i, :, y, x].tolist())
            expected = colorsys.hsv_to_rgb((h + turn) % 1.0, s, v)
            np.testing.assert_allclose(found[i, :, y, x], expected, atol=1e-6)


def test_colours_change_as_torchvision_changes_them():
    from torchvision.transforms import functional as theirs

    rng = np.random.default_rng(1)
    images = torch.from_numpy(rng.random((4, 3, 6, 6))).float()
    factors = rng.uniform(0.3, 1.7, (4, 3))
    drawn = torch.tensor([[*f, 0.1, 0.0, 0.0] for f in factors], dtype=torch.float32)
    found = recolour(images, drawn)
    for i, (brightness, contrast, saturation) in enumerate(factors):
        image = theirs.adjust_brightness(images[i], brightness)
        image = theirs.adjust_contrast(image, contrast)
        image = theirs.adjust_saturation(image, saturation)
        image = theirs.adjust_hue(image, 0.1)
        torch.testing.assert_close(found[i], image, atol=2e-3, rtol=0)
    grey = recolour(images, torch.tensor([[1.0, 1, 1, 0, 1, 0]] * 4))
    assert torch.equal(grey[:, 0], grey[:, 1]) and torch.equal(grey[:, 1], grey[:, 2])


def test_images_of_one_channel_stay_so():
    images = torch.rand(3, 1, 5, 5)
    drawn = torch.tensor([[0.5, 1.0, 0.2, 0.3, 1.0, 0.0]] * 3)
    torch.testing.assert_close(recolour(images, drawn), images * 0.5)


def test_a_negative_is_one():
    for channels in (1, 3):
        images = torch.rand(2, channels, 5, 5)
        drawn = torch.tensor([[1.0, 1, 1, 0, 0, 1], [1.0, 1, 1, 0, 0, 0]])
        expected = torch.stack([1 - images[0], images[1]])
        torch.testing.assert_close(recolour(images, drawn), expected)


def test_views_differ_as_the_data_say_unless_a_recipe_does():
    """Shapes are as good in any colour; over photographs views are those of the paper."""

    def drawn(**settings):
        given = TASK.settings | settings
        return TASK.augmentation(np.random.default_rng(0), 20, 100, given).reshape(-1, 12)

    def changes(views):
        return {
            "crop": (views[:, 2] * views[:, 3]).min(),
            "turn": abs(views[:, 8]).max(),
            "negative": views[:, 10].mean(),
        }

    photographs = changes(drawn(over="cifar10"))
    assert photographs["crop"] < 0.1 and photographs["turn"] <= 0.1 + 1e-6
    assert photographs["negative"] == 0
    shapes = changes(drawn(over="shapes"))
    assert shapes["crop"] >= 0.4 - 1e-6 and shapes["turn"] > 0.4
    assert shapes["negative"] == pytest.approx(0.5, abs=0.05)
    asked = drawn(over="shapes", views={"smallest_crop": 0.08, "hue": 0.1, "negative": 0.0})
    np.testing.assert_array_equal(asked, drawn(over="cifar10"))


def test_blur_is_a_gaussian():
    image = torch.zeros(2, 3, 101, 101)
    image[:, :, 50, 50] = 1.0
    found = blur(image, torch.tensor([[1.5], [0.0]]))
    assert torch.equal(found[1], image[1])
    place = torch.arange(-5, 6)
    expected = torch.exp(-0.5 * (place / 1.5) ** 2)
    expected = expected / expected.sum()
    torch.testing.assert_close(found[0, 0, 45:56, 45:56], expected[:, None] * expected)
    assert found[0].sum() == pytest.approx(3.0)


def test_large_images_are_blurred_and_small_ones_are_not(data):
    rng = np.random.default_rng(0)
    drawn = torch.from_numpy(TASK.augmentation(rng, 1, 4, SMALL | {"views": {"blur": 1.0}})[0])
    sharp = drawn.clone()
    sharp[..., -1] = 0
    for edge, same in ((BLUR_FROM - 1, True), (BLUR_FROM, False)):
        images = torch.randint(0, 256, (4, 3, edge, edge), dtype=torch.uint8)
        assert torch.equal(TASK.views(images, drawn), TASK.views(images, sharp)) is same


def test_shares_are_the_published_ones():
    u = np.random.default_rng(0).random((20_000, 25))
    colour = colour_parameters(u[:, :7], strength=1.0, hue=0.2, grey=0.2, negative=0.3)
    assert (colour[:, :4] == [1, 1, 1, 0]).all(1).mean() == pytest.approx(0.2, abs=0.01)
    assert colour[:, 4].mean() == pytest.approx(0.2, abs=0.01)
    assert colour[:, 5].mean() == pytest.approx(0.3, abs=0.01)
    assert colour[:, 0].min() >= 0.2 and colour[:, 0].max() <= 1.8
    assert abs(colour[:, 3]).max() <= 0.2
    soft = blur_parameters(u[:, :2], share=0.5)
    assert (soft == 0).mean() == pytest.approx(0.5, abs=0.01)
    assert soft[soft > 0].min() >= 0.1 and soft.max() <= 2.0
    # Where no crop fits, it is the whole image.
    u[:, :10], u[:, 10:20] = 0.9999, 0.0
    assert (resize_parameters(u[:, :23], least=0.08, flips=False)[:, 2:4] == 1).all()


class Lazy(Task):
    """Floats that are not in memory."""

    settings: dict = {}

    def load(self, size, settings):
        class Source:
            shape, dtype = (4, 1, 8, 8), np.dtype(np.float32)

        none = np.zeros((2, 1, 8, 8), np.float32)
        return Data(Source(), np.zeros(4, np.int64), none, np.zeros(2, np.int64))


def test_floats_on_disk_are_refused(monkeypatch):
    tasks.names()
    monkeypatch.setattr(tasks, "_entries", tasks._entries | {"lazy": Lazy()})
    with pytest.raises(UsageError, match="'lazy', whose images are not read as uint8"):
        TASK.load(None, TASK.settings | {"over": "lazy"})
