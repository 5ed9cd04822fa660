"""Networks trained together are those trained alone, and a race finds what full training does."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lrplan.classifiers._search import class_weights
from lrplan.classifiers.conv1d_mlp import Conv1dMLP, _one_thread_each, _Rows, _Setting, _Stack
from lrplan.errors import UsageError

BASE = _Setting(3, 2, "none", 8, 1e-2, 0.0, 1000)


def trajectories(rows=48, sessions=9, observables=4, static=2, seed=0):
    rng = np.random.default_rng(seed)
    y = np.arange(rows) % 3
    series = rng.standard_normal((rows, sessions, observables))
    series[:, :, 0] += y[:, None] * np.linspace(0, 2, sessions)
    return series, rng.standard_normal((rows, static)), y


def rows_of(*parts):
    return _Rows(*parts, int(parts[-1].max()) + 1)


def plain(rows, stack, setting, out, epochs):
    """The same network, from the same weights, in the usual words of torch."""
    convolution, bias, linear, offset = (p[0].clone() for p in stack._parameters)
    channels = rows.series.shape[2]
    conv = torch.nn.Conv1d(channels, setting.filters, setting.kernel, stride=setting.stride)
    weight = convolution.reshape(setting.kernel, channels, setting.filters).permute(2, 1, 0)
    last = torch.nn.Linear(len(linear), rows.classes)
    with torch.no_grad():
        conv.weight.copy_(weight)
        conv.bias.copy_(bias)
        last.weight.copy_(linear.T)
        last.bias.copy_(offset)
    x = torch.tensor(rows.series.transpose(0, 2, 1), dtype=torch.float32)
    static, y = torch.tensor(rows.static, dtype=torch.float32), torch.tensor(rows.labels)
    counts = np.bincount(rows.labels[~out])
    weight = torch.tensor(1 / counts, dtype=torch.float32)
    optimizer = torch.optim.Adam(
        [*conv.parameters(), *last.parameters()],
        lr=setting.learning_rate,
        weight_decay=setting.weight_decay,
    )

    def forward():
        h = torch.relu(conv(x))
        if setting.pool == "max":
            h = h.amax(dim=2)
        elif setting.pool == "average":
            h = h.mean(dim=2)
        return last(torch.cat([h.transpose(1, -1).reshape(len(x), -1), static], dim=1))

    for _ in range(epochs):
        optimizer.zero_grad()
        logits = forward()[~out]
        torch.nn.functional.cross_entropy(logits, y[~out], weight=weight).backward()
        optimizer.step()
    return forward().detach().numpy()


@pytest.mark.parametrize("pool", ["none", "max", "average"])
@pytest.mark.parametrize("decay", [0.0, 0.05])
def test_a_stack_of_one_is_the_usual_network(pool, decay):
    rows = rows_of(*trajectories())
    out = np.arange(48) < 12
    setting = BASE._replace(pool=pool, weight_decay=decay)
    with _one_thread_each():
        stack = _Stack([setting], rows, [out], 0, "cpu")
        expected = plain(rows, stack, setting, out, epochs=10)
        found = stack.train(10)[setting]
    np.testing.assert_allclose(found[out], expected[out], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("batch", [16, 1000])
def test_networks_trained_together_are_those_trained_alone(batch):
    rows = rows_of(*trajectories())
    folds = [np.arange(48) % 4 == k for k in range(4)]
    settings = [
        BASE._replace(batch=batch, learning_rate=r, weight_decay=d)
        for r in (1e-2, 1e-3)
        for d in (0.0, 0.1)
    ]
    together = _Stack(settings, rows, folds, 0, "cpu").train(8)
    for setting in settings[1:3]:
        alone = _Stack([setting], rows, folds, 0, "cpu").train(8)
        np.testing.assert_allclose(together[setting], alone[setting], atol=1e-4)


def test_what_is_dropped_leaves_the_others_as_they_are():
    rows = rows_of(*trajectories())
    folds = [np.arange(48) % 2 == k for k in range(2)]
    settings = [BASE, BASE._replace(learning_rate=1e-3)]
    stack = _Stack(settings, rows, folds, 0, "cpu")
    stack.train(5)
    stack.only({settings[1]})
    found = stack.train(9)
    assert set(found) == {settings[1]}
    alone = _Stack(settings[1:], rows, folds, 0, "cpu").train(9)
    np.testing.assert_allclose(found[settings[1]], alone[settings[1]], atol=1e-4)


def test_a_row_that_is_left_out_teaches_nothing():
    series, static, y = trajectories()
    out = np.arange(48) < 12
    other = series.copy()
    other[out] = 100.0
    first, second = (
        _Stack([BASE], rows_of(s, static, y), [out], 0, "cpu") for s in (series, other)
    )
    first.train(5)
    second.train(5)
    for a, b in zip(first._parameters, second._parameters, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
    assert class_weights(y, 3).sum() == pytest.approx(1)


def test_networks_that_are_the_same_are_trained_once():
    long = _Setting(9, 4, "max", 8, 1e-3, 0.0, 1024)
    assert long.canonical(40, 9) == _Setting(9, 1, "none", 8, 1e-3, 0.0, 40)
    assert BASE.canonical(2000, 9) == BASE


@pytest.mark.slow
def test_the_race_is_as_good_as_training_every_setting():
    series, static, y = trajectories(rows=150)
    unseen = trajectories(rows=150, seed=1)
    x, z = (
        np.concatenate([s.reshape(150, -1), t], axis=1) for s, t in ((series, static), unseen[:2])
    )
    grid = {"kernel": [1, 3, 9], "filters": [4, 8], "learning_rate": [1e-2, 1e-4], "batch": [512]}
    options = {"sessions": 9, "static": 2, "grid": grid, "epochs": 40, "folds": 3}
    race = Conv1dMLP(**options).fit(x, y)
    full = Conv1dMLP(**options, exhaustive=True).fit(x, y)
    trained = {
        name: sum(t["epochs"] for t in model.search_) for name, model in (("r", race), ("f", full))
    }
    assert len(full.search_) == (2 * 3 * 3 + 1) * 2 * 2 * 2
    assert trained["r"] < trained["f"] / 5
    right = [(m.predict(z) == y).mean() for m in (race, full)]
    assert right[0] > right[1] - 0.05
    assert right[0] > 0.6


def test_an_observable_is_left_out_in_all_sessions():
    series, static, y = trajectories()
    series[3, 5, 1] = np.nan
    x = np.concatenate([series.reshape(48, -1), static], axis=1)
    grid = {"kernel": [3], "stride": [1], "pool": ["none"], "filters": [4], "batch": [64]}
    model = Conv1dMLP(sessions=9, static=2, grid=grid, epochs=2).fit(x, y)
    assert model.kept_[:-2].reshape(9, 4).tolist() == [[True, False, True, True]] * 9
    assert model.kept_[-2:].all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"grid": {"kernel": [0]}}, "kernel of 0"),
        ({"grid": {"pool": ["mean"]}}, "the grid has the pool 'mean'"),
        ({"epochs": 0}, "epochs is 0"),
    ],
)
def test_impossible_settings_are_said(options, message):
    series, _, y = trajectories()
    with pytest.raises(UsageError, match=message):
        Conv1dMLP(sessions=9, **options).fit(series.reshape(48, -1), y)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_trains_the_same_networks():
    rows = rows_of(*trajectories())
    folds = [np.arange(48) % 2 == k for k in range(2)]
    here, there = (_Stack([BASE], rows, folds, 0, d).train(10)[BASE] for d in ("cpu", "cuda"))
    np.testing.assert_allclose(here, there, atol=1e-2)
