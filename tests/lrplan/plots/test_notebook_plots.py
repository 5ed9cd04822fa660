"""What `plot()` of a cohort, a recording and a verdict draws."""

from __future__ import annotations

from collections.abc import Iterator

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr

from lrplan import Design, Interval, Recording, UsageError, Verdict, record
from lrplan.plots.cohort import plot_cohort
from lrplan.plots.recording import plot_recording
from lrplan.plots.verdict import plot_verdict


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    plt.close("all")


def names(axis):
    return [label.get_text() for label in axis.get_ticklabels()]


def test_a_cohort_shows_final_performance_by_rule_and_task(separable):
    ax = separable.plot()
    assert names(ax.yaxis) == [r.replace("_", "\n") for r in separable.rules]
    middle = {c.get_label(): c.lines[0].get_xdata() for c in ax.containers}
    table = separable.to_dataframe()
    for task in ("digits", "digits simclr"):
        of_task = table[table["task"] == task.replace(" ", "_")]
        medians = of_task.groupby("rule")["final_performance"].median()
        np.testing.assert_allclose(middle[task], medians[separable.rules])


def test_a_cohort_without_performance_shows_numbers_of_organisms(separable, monkeypatch):
    monkeypatch.setattr(separable, "final_performance", lambda: np.full(48, np.nan))
    ax = plot_cohort(separable)
    assert [p.get_width() for p in ax.patches] == [6.0] * 8
    assert "not recorded" in ax.get_xlabel()


def activity(values, **options):
    data = xr.Dataset({"activity": (("population", "session", "stimulus", "unit"), values)})
    return Recording(data, "a.nwb", kind="spikes", **options)


def test_a_recording_shows_units_from_the_least_to_the_most(separable):
    values = np.random.default_rng(0).random((2, 3, 4, 20))
    values[1, :, :, 15:] = np.nan
    recording = activity(values)
    ax = plot_recording(recording, population=1, units=4)
    *single, mean, _ = ax.lines
    means = values[1].mean(axis=1)
    order = np.argsort(means[0])
    assert len(single) == 4
    for line, place in zip(single, (0, 5, 9, 14), strict=True):
        np.testing.assert_allclose(line.get_ydata(), means[:, order[place]])
    np.testing.assert_allclose(mean.get_ydata(), np.nanmean(means, axis=1))
    assert plot_recording(recording, units=50, ax=ax) is ax


def test_units_that_are_not_tracked_are_not_joined():
    values = np.random.default_rng(0).random((1, 3, 4, 20))
    single = plot_recording(activity(values, tracked=False), units=2).lines[0]
    assert single.get_linestyle() == "None"
    np.testing.assert_allclose(single.get_ydata(), values[0].mean(axis=1).min(axis=1))


def test_a_recording_of_weights_or_pairs_is_drawn(separable):
    for measure in ("weights", "paired"):
        design = Design(units=5, measure=measure)
        recording = record(separable, design, rng=np.random.default_rng(0), populations=[3])
        assert len(plot_recording(recording).lines[0].get_ydata()) == 5


@pytest.mark.parametrize("wrong", [{"population": 2}, {"population": "fc1"}, {"units": 0}])
def test_what_a_recording_does_not_hold_is_told(wrong):
    recording = activity(np.ones((2, 3, 4, 5)))
    with pytest.raises(UsageError):
        plot_recording(recording, **wrong)


def test_a_verdict_marks_what_is_excluded_and_chance():
    verdict = Verdict(
        recording={"source": "a.nwb"},
        design=Design(),
        probabilities={"adam": 0.2, "sgdm": 0.75, "feedback_alignment": 0.05},
        areas=[],
        set=["sgdm", "adam"],
        answer=None,
        reasons=["2 rules are not excluded at 95%"],
        expected_accuracy=Interval(0.9, 0.85, 0.95),
        expected_auc=Interval(0.97, 0.94, 0.99),
        expected_conditions="known",
        expected_families=[],
        expected_known=Interval(0.9, 0.85, 0.95),
        expected_held_out=None,
        chance=1 / 3,
        distance={"value": 0.3, "quantile": 0.6},
        null={},
        noise=[],
        ingest={},
        warnings=[],
    )
    ax = plot_verdict(verdict)
    assert names(ax.yaxis) == ["sgdm", "adam", "feedback\nalignment"]
    assert [t.get_text() for t in ax.texts] == ["75 %", "20 %", "5 %, excluded"]
    assert [p.get_width() for p in ax.patches[:3]] == [0.75, 0.2, 0.05]
    [chance] = ax.lines
    assert list(chance.get_xdata()) == [1 / 3, 1 / 3]
    assert ax.get_title() == "cannot tell"
