"""Pictures of analyses: the figures are in them, and nothing is cut off or hidden."""

from __future__ import annotations

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.text import Text

from lrplan.analyses import analyse, analyses
from lrplan.claims import ClaimsReport
from lrplan.claims.judge import Criterion, judge
from lrplan.claims.nayebi2020 import CLAIMS
from lrplan.plots import plot_claims
from lrplan.tell.intervals import Interval

matplotlib.use("Agg")
OPTIONS = {
    "separation": {"split": ["organism", "layer"], "classifier": ["light", "nearest"]},
    "importance": {"permutations": 1},
    "units_noise": {"units": [5, 20], "noise": [0, 1], "splits": 4},
}
HEAT = ("confusion", "subsampling", "thirds", "pretrained", "units_noise")


@pytest.fixture(scope="module")
def made(make_cohort, tmp_path_factory):
    path = tmp_path_factory.mktemp("plots") / "made.zarr"
    return make_cohort(path, effect=0.1, checkpoints=6, starts=("random", "pretrained"))


@pytest.fixture(autouse=True)
def close(light):
    yield
    plt.close("all")


def ask(name, cohort):
    options = dict(OPTIONS.get(name, {}))
    if "classifier" in analyses.get(name).options:
        options.setdefault("classifier", "light")
    if "splits" in analyses.get(name).options:
        options.setdefault("splits", 4)
    return analyse(name, cohort, rng=np.random.default_rng(0), **options)


def shown_texts(ax) -> list[Text]:
    """Return the texts that are drawn: a tick outside the limits keeps a label that is not."""
    out = [*ax.texts, ax.title, ax.xaxis.label, ax.yaxis.label]
    if ax.get_legend() is not None:
        out += ax.get_legend().get_texts()
    for axis, limits in ((ax.xaxis, ax.get_xlim()), (ax.yaxis, ax.get_ylim())):
        low, high = sorted(limits)
        ticks = zip(axis.get_ticklocs(), axis.get_ticklabels(), strict=True)
        out += [label for at, label in ticks if low <= at <= high]
    return [t for t in out if t.get_text().strip()]


def check_readable(figure):
    """All text lies within the figure, and no two labels of one axis lie on each other."""
    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()
    whole = figure.bbox
    every = [*figure.axes, *(c for a in figure.axes for c in a.child_axes)]
    for ax in every:
        if not ax.axison:
            continue
        for text in shown_texts(ax):
            box = text.get_window_extent(renderer)
            assert box.x0 >= -1 and box.y0 >= -1, text
            assert box.x1 <= whole.x1 + 1 and box.y1 <= whole.y1 + 1, text
        for labels in (ax.get_xticklabels(), ax.get_yticklabels()):
            if any(t.get_rotation() not in (0, 90) for t in labels):
                continue
            shown = set(map(id, shown_texts(ax)))
            boxes = [t.get_window_extent(renderer) for t in labels if id(t) in shown]
            for first, second in zip(boxes, boxes[1:], strict=False):
                assert not first.overlaps(second), [t.get_text() for t in labels]


@pytest.mark.parametrize("name", analyses.names())
def test_a_picture_is_readable_at_the_width_of_a_column(name, made):
    figure = ask(name, made).plot().figure
    assert figure.get_size_inches()[0] == pytest.approx(3.5)
    check_readable(figure)


@pytest.mark.parametrize("name", HEAT)
def test_a_heat_map_has_a_sequential_colour_map_and_its_numbers(name, made):
    result = ask(name, made)
    outer = result.plot()
    values = result.dataset[result.main]
    assert len(outer.child_axes) == values.sizes["measure"]
    for panel, m in zip(outer.child_axes, values["measure"].values, strict=True):
        [image] = panel.images
        assert image.get_cmap().name == "cividis"
        np.testing.assert_array_equal(
            np.ma.filled(image.get_array(), np.nan), values.sel(measure=m).values
        )
        shown = [t.get_text() for t in panel.texts]
        finite = values.sel(measure=m).values
        assert shown == [f"{v:.2f}" for v in finite[np.isfinite(finite)]]


def test_it_draws_where_it_is_told(made):
    ax = plt.subplots()[1]
    assert ask("clustering", made).plot(ax=ax) is ax


def test_dots_stand_at_the_figures(made):
    result = ask("separation", made)
    ax = result.plot()
    data = result.dataset
    drawn = {c.get_label(): c.lines[0].get_xdata() for c in ax.containers}
    for classifier in data["classifier"].values:
        wanted = data["accuracy"].sel(classifier=classifier).transpose("measure", "split")
        np.testing.assert_array_equal(drawn[str(classifier)], wanted.values.ravel())


def test_claims_stand_with_their_thresholds():
    def part(low, high, above):
        return Criterion("", Interval((low + high) / 2, low, high), above)

    claims = [
        judge(1, CLAIMS[12].short, "", [part(0.3, 0.5, 0.25)]),
        judge(2, "fails", "", [part(-0.3, -0.1, 0.0)]),
        judge(3, "open", "", [part(-0.1, 0.1, 0.0)]),
    ]
    ax = plot_claims(ClaimsReport("made", 9, [], claims, []))
    assert [t.get_text() for t in ax.get_yticklabels()] == [
        f"1 {CLAIMS[12].short}",
        "2 fails",
        "3 open",
    ]
    black = [line.get_xdata() for line in ax.lines if line.get_color() == "black"]
    assert [x[0] for x in black if len(x)] == [0.25, 0, 0]
    check_readable(ax.figure)
