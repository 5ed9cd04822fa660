from __future__ import annotations

from dataclasses import replace

import pytest
import xarray as xr

import lrplan.tell.forecast
import lrplan.tell.sweep


@pytest.fixture
def fast(monkeypatch, plan):
    """Replace the forecast's work by a finished one."""
    curve = xr.Dataset(
        {
            "accuracy": (("units", "noise"), [[0.7], [0.9]]),
            "low": (("units", "noise"), [[0.6], [0.8]]),
            "high": (("units", "noise"), [[0.8], [0.95]]),
            "chance": 0.5,
        },
        coords={"units": [4, 12], "noise": [0.1]},
    )
    by_noise = xr.Dataset(
        {n: v.transpose("noise", "units") if v.ndim else v for n, v in curve.items()}
    ).rename(units="noise", noise="units")
    calls = []

    def forecast(cohort, design, *, rng, split, shuffle_labels):
        calls.append(design)
        return replace(plan, design=design, split=split, shuffled=shuffle_labels)

    monkeypatch.setattr(lrplan.tell.forecast, "forecast", forecast)
    monkeypatch.setattr(lrplan.tell.sweep, "accuracy_by_units", lambda *a, **k: curve)
    monkeypatch.setattr(lrplan.tell.sweep, "accuracy_by_noise", lambda *a, **k: by_noise)
    return calls


def test_json_is_the_forecast_and_depends_on_the_seed_alone(cli, process, tiny_cohort_path):
    line = ("design", "--cohort", tiny_cohort_path, "--units", 12, "--json", "--seed", 3)
    ran = process(*line)
    assert ran.code == 0
    assert ran.err == "lrplan: forecasting from the cohort tiny\n"
    found = ran.json()
    assert found["schema"] == "lrplan.forecast/1"
    assert found["chance"] == 0.25
    assert found["cohort"]["organisms"] == 24
    assert found["design"]["units"] == 12
    for interval in (found["accuracy"], found["held_out"]["hyperparameters"]):
        assert 0 <= interval["low"] <= interval["mean"] <= interval["high"] <= 1
    assert found["held_out"]["architecture"] is found["held_out"]["family"] is None
    assert found["held_out_auc"]["family"] is None
    assert found["not_held_out"]["family"] == "the cohort has one family of architectures (mlp)"
    assert found["families"]["mlp"] == {
        "organisms": 24,
        "accuracy": None,
        "auc": None,
        "why": "it is the only one",
    }
    assert all(abs(sum(row) - 1) < 1e-9 for row in found["confusion"]["matrix"])
    assert found["warnings"]
    again = cli(*line, "--quiet")
    assert (again.code, again.err) == (0, "")
    assert again.out == ran.out


def test_table_names_the_condition_of_every_figure(cli, fast, tiny_cohort_path):
    ran = cli("design", "--cohort", tiny_cohort_path, "--units", 12)
    assert ran.code == 0
    lines = [" ".join(line.split()) for line in ran.out.splitlines()]
    [first] = [i for i, line in enumerate(lines) if line.startswith("held-out family")]
    assert lines[first : first + 10] == [
        "held-out family (a brain is one) 62.0 % 50.0 to 75.0 % 0.79 0.66 to 0.90",
        "... knet 50.0 % 40.0 to 60.0 % 0.68 0.60 to 0.75",
        "... mlp 74.0 % 60.0 to 80.0 % 0.90 0.80 to 0.95",
        "... resnet - not held out -",
        "held-out architecture 70.0 % 60.0 to 80.0 % 0.80 0.70 to 0.90",
        "held-out task - none held out -",
        "held-out hyperparameters 81.0 % 70.0 to 90.0 % 0.90 0.80 to 0.95",
        "known conditions 90.0 % 85.0 to 95.0 % 0.97 0.94 to 0.99",
        "... all areas of an animal together 95.0 % 90.0 to 98.0 % 0.98 0.96 to 1.00",
        "chance 50.0 % 0.50",
    ]
    told = " ".join(ran.out.split())
    assert "(a brain is one) 50.0 to 75.0 % are told right (95% interval; mean 62.0 %)" in told
    assert "0.50 of 1.00 bits" in ran.out
    assert "cannot separate: adam and sgdm" in ran.out
    assert "Warning: most populations hold?[2J fewer units" in ran.out
    assert "[red]sgdm[/red]" in ran.out
    assert "\x1b" not in ran.out
    assert max(map(len, ran.out.splitlines())) <= 100


def test_a_split_that_leaks_is_labelled(cli, fast, tiny_cohort_path):
    ran = cli("design", "--cohort", tiny_cohort_path, "--units", 12, "--split", "layer")
    assert "leaks" in ran.out


def test_shuffled_labels_are_labelled(cli, fast, tiny_cohort_path):
    line = ("design", "--cohort", tiny_cohort_path, "--units", 12)
    said = "Labels were shuffled between organisms, as a control."
    assert said in cli(*line, "--shuffle-labels").out.splitlines()
    assert said not in cli(*line).out


def test_every_option_reaches_the_design(cli, fast, tiny_cohort_path):
    ran = cli(
        *("design", "--cohort", tiny_cohort_path, "--units", 9, "--noise", 0.5, "--sessions", 2),
        *("--spacing", 2, "--start", 1, "--untracked", "--stimuli", 3, "--position", "deep"),
        *("--noise-reference", "absolute", "--scaling", "raw", "--measure", "weights,activity"),
    )
    assert ran.code == 0, ran.err
    [design] = fast
    assert (design.units, design.noise, design.tracked, design.stimuli) == (9, 0.5, False, 3)
    assert design.schedule.checkpoints(5) == [1, 3]
    assert (design.position, design.noise_reference, design.scaling) == ("deep", "absolute", "raw")
    assert design.measures == ("activity", "weights")
    repeated = ("--measure", "activity", "--measure", "weights")
    cli("design", "--cohort", tiny_cohort_path, "--units", 9, *repeated)
    assert fast[1].measures == design.measures


@pytest.mark.parametrize("name", ["f.png", "f.pdf", "f.SVG"])
def test_plot_is_written_and_never_replaced_unasked(cli, fast, tiny_cohort_path, tmp_path, name):
    line = ("design", "--cohort", tiny_cohort_path, "--units", 12, "--plot", tmp_path / name)
    assert cli(*line).code == 0
    drawn = (tmp_path / name).read_bytes()
    start = {"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml"}[name[2:].lower()]
    assert drawn.startswith(start)
    (tmp_path / name).write_bytes(b"mine")
    ran = cli(*line)
    assert (ran.code, ran.out, len(fast)) == (2, "", 1)
    assert "exists" in ran.err
    assert (tmp_path / name).read_bytes() == b"mine"
    assert cli(*line, "--force").code == 0
    assert (tmp_path / name).read_bytes().startswith(start)
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_a_plot_that_fails_leaves_nothing(cli, fast, tiny_cohort_path, tmp_path, monkeypatch):
    from matplotlib.figure import Figure

    def fail(self, path, **options):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(Figure, "savefig", fail)
    ran = cli(
        *("design", "--cohort", tiny_cohort_path, "--units", 12, "--quiet"),
        *("--plot", tmp_path / "f.png"),
    )
    assert ran.code == 3
    assert "disk is full" in ran.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "code", "told"),
    [
        (("--units", 100), 2, "16"),
        (("--units", 12, "--sessions", 6), 2, "5 checkpoints"),
        (("--units", 12, "--sessions", 3, "--spacing", 3), 2, "--sessions 2"),
        (("--units", 12, "--start", 5), 2, "5 checkpoints"),
    ],
)
def test_a_design_beyond_the_cohort_is_refused(cli, tiny_cohort_path, options, code, told):
    ran = cli("design", "--cohort", tiny_cohort_path, "--quiet", *options)
    assert (ran.code, ran.out, ran.err.count("\n")) == (code, "", 1)
    assert told in ran.err


def test_a_cohort_that_is_none_is_bad_data(cli, tmp_path):
    (tmp_path / "file.zarr").write_text("text")
    (tmp_path / "empty.zarr").mkdir()
    for name in ("missing.zarr", "file.zarr", "empty.zarr"):
        ran = cli("design", "--cohort", tmp_path / name)
        assert (ran.code, ran.out, ran.err.count("\n")) == (3, "", 1)
        assert name in ran.err


def test_all_units_come_from_the_stored_observables(cli, fast, tiny_cohort_path):
    line = ("design", "--cohort", tiny_cohort_path, "--units", "all")
    ran = cli(*line, "--noise", 0)
    assert ran.code == 0, ran.err
    assert "Design: all units; noise 0" in ran.out
    assert fast[0].all_units
    ran = cli(*line, "--quiet")
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert "--noise 0" in ran.err
    ran = cli("design", "--units", "most")
    assert (ran.code, ran.out) == (2, "")
    assert "'most' is neither a whole number nor 'all'" in ran.err


def test_the_summary_is_what_the_command_prints(cli, fast, plan, tiny_cohort_path):
    ran = cli("design", "--cohort", tiny_cohort_path, "--units", 12)
    summary = replace(plan, design=fast[0]).summary() + "\n"
    assert ran.out.startswith(summary)
    # Besides, the noise relative to another signal, which only the cohort knows.
    assert ran.out.removeprefix(summary).startswith("Noise: 0.1 of the signal over stimuli")


def test_a_notebook_shows_a_forecast_and_runs_nothing_of_its_names(plan, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "40")
    hostile = replace(
        plan,
        cohort="<script>x</script>",
        confusion=plan.confusion.assign_coords(predicted=["<i>adam</i>", 'b"']),
    )
    text = hostile.summary()
    assert "\x1b" not in text and 40 < max(map(len, text.splitlines())) <= 100
    shown = hostile._repr_html_()
    assert "&lt;script&gt;x&lt;/script&gt;" in shown and "&lt;i&gt;adam&lt;/i&gt;" in shown
    assert "<script" not in shown and "<i>" not in shown
    assert shown.count("<table>") == shown.count("</table>") == 2
    assert repr(plan) == (
        "<Forecast from 'starter', 12 units, noise 0.1: held-out family 62.0 % (50.0 to 75.0 %), "
        "known conditions 90.0 % (85.0 to 95.0 %), chance 50.0 %>"
    )


def test_accuracies_are_a_table_of_one_row_per_condition(plan):
    table = plan.to_dataframe()
    held_out = ["family", "architecture", "task", "hyperparameters"]
    families = ["family: knet", "family: mlp", "family: resnet"]
    assert table.index.tolist() == ["known", "animal", *held_out, *families]
    assert table.loc["animal"].tolist() == [0.95, 0.9, 0.98, 0.5, 0.98, 0.96, 1.0]
    assert table.loc["family"].tolist() == [0.62, 0.5, 0.75, 0.5, 0.79, 0.66, 0.9]
    assert table.loc["family: mlp"].tolist() == [0.74, 0.6, 0.8, 0.5, 0.9, 0.8, 0.95]
    nothing = [True, True, True, False, True, True, True]
    assert table.loc["task"].isna().tolist() == nothing
    assert table.loc["family: resnet"].isna().tolist() == nothing


def test_what_was_not_tried_is_not_called_impossible(plan):
    """A cohort with several architectures whose rules are not in all of them holds out none."""
    text = replace(plan, held_out={"architecture": None}).summary()
    assert "none held out" in text and "only one" not in text


def test_where_no_family_is_held_out_the_headline_says_why(plan):
    held_out = plan.held_out | {"family": None}
    why = {"family": "the cohort has one family of architectures (mlp)"}
    told = " ".join(replace(plan, held_out=held_out, not_held_out=why).summary().split())
    assert "(a brain is one): -, since the cohort has one family of architectures (mlp);" in told
    assert "held-out family (a brain is one) - none held out" in told
    assert repr(replace(plan, held_out=held_out)).count("held-out family") == 0


def test_observables_are_asked_for_by_set(cli, fast, tiny_cohort_path):
    ran = cli("design", "--cohort", tiny_cohort_path, "--observables", "geometry-1", "--units", 12)
    assert ran.code == 0
    assert fast[0].observables == ("geometry-1",)
    assert "observables geometry-1" in " ".join(ran.out.split())


def test_observables_that_a_design_cannot_give_are_named(cli, tiny_cohort_path):
    line = ("design", "--cohort", tiny_cohort_path, "--units", 12, "--observables", "geometry-1")
    ran = cli(*line, "--untracked")
    assert (ran.code, ran.out) == (2, "")
    assert "(change) need the same units in all sessions" in ran.err
    assert "alignment, dissimilarity, geometry can be had" in ran.err
    ran = cli(*line, "--sessions", 1)
    assert ran.code == 2 and "(alignment) need at least 2 sessions, but there are 1" in ran.err


def test_areas_reach_the_design(cli, fast, tiny_cohort_path):
    line = ("design", "--cohort", tiny_cohort_path, "--units", 12, "--areas", "deep,early")
    ran = cli(*line, "--contrasts", "only")
    assert ran.code == 0, ran.err
    assert (fast[0].areas, fast[0].contrasts) == (("early", "deep"), "only")
    assert "areas early + deep of each animal, their differences only" in " ".join(ran.out.split())
    ran = cli(*line, "--position", "deep")
    assert (ran.code, ran.out) == (2, "") and "leave --position out" in ran.err


def test_a_reference_reaches_the_design(cli, fast, tiny_cohort_path):
    line = ("design", "--cohort", tiny_cohort_path, "--units", 12)
    ran = cli(*line, "--reference", "first", "--reference-sessions", 2)
    assert ran.code == 0, ran.err
    assert (fast[0].reference, fast[0].reference_sessions) == ("first", 2)
    assert "relative to the first 2 sessions" in " ".join(ran.out.split())
    ran = cli(*line, "--reference", "area:early")
    assert (ran.code, ran.out) == (2, "") and "--position deep" in ran.err


def test_a_reference_that_the_cohort_lacks_is_refused(cli, tiny_cohort_path):
    line = ("design", "--cohort", tiny_cohort_path, "--units", 12, "--reference", "passive")
    ran = cli(*line, "--quiet")
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert "have none" in ran.err and "--reference first" in ran.err
