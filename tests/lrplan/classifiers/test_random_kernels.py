"""Kernels are drawn one after another, and the regression is ridge regression."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from lrplan.classifiers.random_kernels import (
    RandomKernels,
    _draw,
    _path,
    _responses,
    _summaries,
    _targets,
)
from lrplan.errors import UsageError


def walks(rows=60, sessions=12, observables=3, seed=0):
    rng = np.random.default_rng(seed)
    y = np.arange(rows) % 2
    x = rng.standard_normal((rows, sessions, observables))
    # A bump at a time of its own: no one session tells.
    for i, start in enumerate(rng.integers(0, sessions - 4, rows)):
        x[i, start : start + 4, 0] += 4 * y[i]
        x[i, start : start + 4, 1] += 4 * (1 - y[i])
    return x, y


def test_the_first_kernels_do_not_depend_on_how_many_follow():
    series, _ = walks()
    few, many = (_draw(n, series, np.random.default_rng(0)) for n in (20, 50))
    for name, values in few.items():
        np.testing.assert_allclose(values, many[name][:20], rtol=1e-5, atol=1e-6)


def test_responses_are_convolutions():
    series, _ = walks(rows=5)
    bank = _draw(30, series, np.random.default_rng(1))
    for members, responses in _responses(bank, series, map):
        for j, k in enumerate(members[:2]):
            length, dilation, padding = (bank[n][k] for n in ("length", "dilation", "padding"))
            padded = np.pad(series, ((0, 0), (padding, padding), (0, 0)))
            steps = range(padded.shape[1] - (length - 1) * dilation)
            expected = [
                sum(padded[:, t + i * dilation] @ bank["weights"][k, i] for i in range(length))
                for t in steps
            ]
            np.testing.assert_allclose(responses[:, :, j], np.transpose(expected), atol=1e-4)


def test_scores_are_those_of_ridge_regression():
    series, y = walks()
    bank = _draw(40, series, np.random.default_rng(0))
    table = _summaries(bank, series, map)
    train = np.arange(len(y)) < 40
    found = _path(table, np.empty((len(y), 0)), y, train, 2, [10, 40], [1.0, 100.0])
    flat = table.reshape(len(y), -1)
    z = (flat - flat[train].mean(0)) / np.where(flat[train].std(0) > 0, flat[train].std(0), 1)
    for i, (kernels, alpha) in enumerate([(10, 1.0), (10, 100.0), (40, 1.0), (40, 100.0)]):
        plain = Ridge(alpha).fit(z[train, : 3 * kernels], _targets(y[train], 2))
        np.testing.assert_allclose(found[i], plain.predict(z[~train, : 3 * kernels]), atol=1e-6)


def test_it_finds_what_happens_at_no_fixed_time():
    x, y = walks(rows=120)
    unseen, truth = walks(seed=5)
    model = RandomKernels(sessions=12, grid={"kernels": [200], "alpha": [10.0, 1000.0]})
    model.fit(x.reshape(len(x), -1), y)
    assert (model.predict(unseen.reshape(len(unseen), -1)) == truth).mean() > 0.8


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"grid": {"kernels": [0]}}, "0 kernels"),
        ({"grid": {"alpha": [-1.0]}}, "alpha of -1.0"),
        ({"sessions": 5}, "no multiple of 5 sessions"),
        ({"static": -1}, "static is -1"),
    ],
)
def test_impossible_settings_are_said(options, message):
    x, y = walks()
    with pytest.raises(UsageError, match=message):
        RandomKernels(**{"sessions": 12, **options}).fit(x.reshape(len(x), -1), y)
