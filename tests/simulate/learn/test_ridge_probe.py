from __future__ import annotations

import numpy as np
import pytest
import torch

from lrplan.simulate.learn import performance
from lrplan.simulate.learn.performance import Performance, _ridge
from lrplan.simulate.tasks import tasks


@pytest.fixture
def labelled():
    """Features (organism, example, feature) of training and new examples, and labels."""
    rng = np.random.default_rng(0)
    labels = torch.from_numpy(np.arange(40) % 4)
    middles = rng.standard_normal((4, 12))
    known, new = (
        torch.from_numpy(2.0 + middles[labels] + 0.5 * rng.standard_normal((3, 40, 12)))
        for _ in range(2)
    )
    return known, new, labels


def test_the_probe_is_ridge_regression(labelled):
    from sklearn.linear_model import Ridge

    known, new, labels = labelled
    found = _ridge(known, labels)(new)
    targets = np.eye(4)[labels]
    for organism in range(3):
        mine, theirs = known[organism].numpy(), new[organism].numpy()
        lengths = ((mine - mine.mean(0)) ** 2).sum(1)
        model = Ridge(alpha=performance.PROBE_RIDGE * lengths.mean()).fit(mine, targets)
        expected = model.predict(theirs) - targets.mean(0)
        np.testing.assert_allclose(found[organism].numpy(), expected, atol=1e-8)


def test_neither_scale_nor_number_of_features_matters_to_the_probe(labelled):
    known, new, labels = labelled
    expected = _ridge(known, labels)(new)
    torch.testing.assert_close(_ridge(1000 * known, labels)(1000 * new), expected)
    # More features than examples take the other road.
    for times in (2, 5):
        found = _ridge(known.repeat(1, 1, times), labels)(new.repeat(1, 1, times))
        torch.testing.assert_close(found, expected)


def test_organisms_without_features_do_not_stop_the_others(labelled):
    known, new, labels = labelled
    expected = _ridge(known, labels)(new)[2]
    known[0], known[1] = 3.0, float("inf")
    found = _ridge(known, labels)(new)
    torch.testing.assert_close(found[2], expected)
    assert (found[0] == 0).all()


def test_the_probe_is_fitted_to_training_examples_alone(monkeypatch):
    """Some at a time: held-out examples enter where they are judged, and nowhere else."""
    monkeypatch.setattr(performance, "PROBE_EXAMPLES", 50)
    monkeypatch.setattr(performance, "SHOWN_AT_ONCE", 16)
    task = tasks.get("simclr")
    settings = task.settings | {"over": "digits"}
    data = task.load(None, settings)
    judge = Performance(task, settings, data, torch.device("cpu"), torch.float32)
    shown = []

    def evaluate(images):
        shown.append(images)
        return images.flatten(1)[None], images[None]

    found = judge(evaluate, 1)
    counts = [len(images) for images in shown]
    assert counts[:4] == [16, 16, 16, 2]
    known, new = (
        task.prepare(torch.from_numpy(images)).flatten(1)[None]
        for images in (data.train[:50], data.test)
    )
    torch.testing.assert_close(torch.cat(shown[:4]).flatten(1)[None], known)
    scores = _ridge(known, torch.from_numpy(data.train_labels[:50]))(new)
    right = scores.argmax(-1) == torch.from_numpy(data.test_labels)
    assert found["performance"].item() == pytest.approx(right.float().mean().item(), abs=0.01)
