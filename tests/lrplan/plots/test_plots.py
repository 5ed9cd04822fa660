"""Pictures: they show the figures of the result they are given."""

from __future__ import annotations

import matplotlib
import numpy as np
import pytest

from lrplan import (
    Design,
    UsageError,
    accuracy_by_noise,
    accuracy_by_units,
    forecast,
    plot_accuracy_by_noise,
    plot_accuracy_by_units,
    plot_confusion,
    plot_forecast,
    plot_sweep,
)
from lrplan.classifiers.calibrated_forest import calibrated_forest

matplotlib.use("Agg")
LIGHT = calibrated_forest({"max_features": ["sqrt"], "trees": [10]}, folds=2)


@pytest.fixture(scope="module")
def results(separable):
    design = Design(units=20, noise=0.1)
    rng = np.random.default_rng
    return (
        forecast(separable, design, rng=rng(0), classifier=LIGHT),
        accuracy_by_units(separable, design, rng=rng(0), classifier=LIGHT),
        accuracy_by_noise(separable, design, rng=rng(0), classifier=LIGHT),
    )


@pytest.fixture(autouse=True)
def close():
    yield
    import matplotlib.pyplot as plt

    plt.close("all")


def test_the_confusion_matrix_is_drawn_and_written(results):
    ax = plot_confusion(results[0])
    np.testing.assert_array_equal(ax.images[0].get_array(), results[0].confusion.values)
    assert [t.get_text() for t in ax.texts][0] == f"{results[0].confusion.values[0, 0]:.2f}"


@pytest.mark.parametrize(
    ("which", "plot"), [(1, plot_accuracy_by_units), (2, plot_accuracy_by_noise)]
)
def test_curves_show_accuracy_and_chance(results, which, plot):
    ax = plot(results[which])
    known, family, chance = ax.lines
    np.testing.assert_array_equal(known.get_ydata(), results[which]["accuracy"].values.ravel())
    np.testing.assert_array_equal(family.get_ydata(), results[which]["family"].values.ravel())
    assert set(chance.get_ydata()) == {0.25}
    without = results[which].drop_vars([n for n in results[which] if n.startswith("family")])
    assert len(plot(without).lines) == 2


def test_curves_go_through_the_chosen_point(results):
    assert 20 in results[1]["units"].values
    assert 40 in results[1]["units"].values
    assert 0.1 in results[2]["noise"].values


def test_a_sweep_is_a_heat_map(results):
    ax = plot_sweep(results[1])
    np.testing.assert_array_equal(ax.images[0].get_array(), results[1]["accuracy"].values)
    ax = plot_sweep(results[1], figure="family_auc")
    np.testing.assert_array_equal(ax.images[0].get_array(), results[1]["family_auc"].values)
    with pytest.raises(UsageError, match="nearest: family"):
        plot_sweep(results[1], figure="families")


def test_one_sheet_holds_all_three(results, tmp_path):
    figure = plot_forecast(*results)
    figure.savefig(tmp_path / "f.png")
    assert len(figure.axes) == 4
    title = figure.get_suptitle()
    assert f"{results[0].held_out['family']} on held-out families (a brain is one)" in title
    assert (tmp_path / "f.png").stat().st_size > 10_000
    assert len(plot_forecast(*results[:2]).axes) == 3, "noise of its own has no panel"
