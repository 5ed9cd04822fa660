"""Noise in a lab's words, pilot recordings and presets on the command line."""

from __future__ import annotations

from dataclasses import replace

import h5py
import numpy as np
import pytest

import lrplan.tell.forecast
from lrplan import read_nwb, write_nwb
from lrplan.cli._noise import _repeated
from lrplan.measure.noise import estimate_noise, from_dprime, from_reliability, from_snr
from lrplan.randomness import Streams


@pytest.fixture
def design(monkeypatch, plan, cli, tiny_cohort_path):
    """Return how `lrplan design` ran, and the design that it forecast, if it came to that."""

    def run(*options, units=("--units", 12)):
        asked = []

        def forecast(cohort, design, **settings):
            asked.append(design)
            return replace(plan, design=design)

        monkeypatch.setattr(lrplan.tell.forecast, "forecast", forecast)
        monkeypatch.setenv("LRPLAN_CACHE", "off")
        ran = cli("design", "--cohort", tiny_cohort_path, *units, *options)
        return ran, (asked or [None])[0]

    return run


@pytest.fixture(scope="module")
def pilot(tmp_path_factory):
    """Two sessions with 8 trials each of 6 stimuli."""
    rng = np.random.default_rng(0)
    signal = np.broadcast_to(1 + np.maximum(rng.standard_normal((6, 40)), 0), (2, 6, 40))
    out = tmp_path_factory.mktemp("pilot") / "nwb"
    return write_nwb(signal, out, noise_sd=0.4, kind="spikes", trials=8, rng=rng)


@pytest.mark.parametrize(
    ("options", "noise", "reference"),
    [
        (("--noise", 0.3), 0.3, "relative"),
        (("--noise", 0.3, "--noise-reference", "within"), 0.3, "within"),
        (("--noise-reference", "within"), 0.1, "within"),
        (("--dprime", 0.5, "--trials", 20), from_dprime(0.5, trials=20), "within"),
        (
            ("--snr", 0.5, "--trials", 20, "--noise-reference", "within"),
            from_snr(0.5, trials=20),
            "within",
        ),
        (
            ("--reliability", 0.6, "--noise-reference", "relative"),
            from_reliability(0.6),
            "relative",
        ),
    ],
)
def test_words_of_a_lab_reach_the_design(design, options, noise, reference):
    ran, made = design(*options)
    assert ran.code == 0, ran.err
    assert made.noise == pytest.approx(noise)
    assert made.noise_reference == reference


def test_noise_relative_to_both_signals_is_printed(design):
    ran, _ = design("--noise", 0.3, "--noise-reference", "within")
    told = " ".join(ran.out.split())
    assert "Noise: 0.3 of the signal within units (how responses vary over stimuli); in" in told
    ran, _ = design("--noise", 0.3, "--json")
    noise = ran.json()["noise"]
    assert (noise["relative"], noise["pilot"]) == (0.3, None)
    assert noise["within"] > 0
    back, _ = design("--noise", noise["within"], "--noise-reference", "within", "--json")
    assert back.json()["noise"]["relative"] == pytest.approx(0.3)
    ran, _ = design("--noise", 0, "--json")
    assert ran.json()["noise"] is None


def test_a_pilot_gives_its_noise(design, pilot):
    ran, made = design("--noise-from", *pilot, "--modality", "counts", "--json")
    assert ran.code == 0, ran.err
    streams = Streams.draw(np.random.default_rng(0))
    [estimate] = estimate_noise(read_nwb(pilot), rng=streams.rng("noise"))
    assert (made.noise, made.noise_reference) == (estimate.noise[0], "within")
    assert ran.json()["noise"]["pilot"] == estimate.to_json()
    assert "first of 2 sessions: " + estimate.line() in ran.err
    ran, over = design("--noise-from", pilot[0], "--noise-reference", "relative")
    assert over.noise == pytest.approx(estimate.over_units[0])
    assert "--modality counts does so" in ran.err
    ran, more = design("--noise-from", pilot[0], "--trials", 32)
    assert more.noise == pytest.approx(estimate.noise[0] / 2)
    assert "of 32 trials in place of 8 noise is 0.5 times as large" in ran.err


def test_a_pilot_that_tells_nothing_is_refused(design, tmp_path):
    rng = np.random.default_rng(0)
    flat, tuned = np.ones((1, 6, 30)), 1 + rng.random((1, 6, 30))
    untuned = write_nwb(flat, tmp_path / "a", noise_sd=0.4, kind="dff", trials=8, rng=rng)
    once = write_nwb(tuned, tmp_path / "b", noise_sd=0.4, kind="dff", trials=1, rng=rng)
    for files, said in ((untuned, "no signal is shown"), (once, "repeats no stimulus")):
        ran, made = design("--noise-from", *files)
        assert (ran.code, ran.out, made) == (3, "", None)
        assert said in ran.err


def test_a_pilot_that_needs_other_options_is_read_in_python(design, tmp_path):
    rng = np.random.default_rng(0)
    [path] = write_nwb(
        rng.random((1, 6, 30)), tmp_path / "a", noise_sd=0.1, kind="dff", trials=4, rng=rng
    )
    with h5py.File(path, "r+") as file:
        found = []
        file.visititems(
            lambda n, g: found.append(n) if isinstance(g, h5py.Group) and "rois" in g else None
        )
        file.copy(found[0], f"{found[0]}2")
    ran, made = design("--noise-from", path)
    assert (ran.code, ran.out, made, ran.err.count("\n")) == (3, "", None, 1)
    assert "only `lrplan score` takes --signal: here choose by lrplan.read_nwb" in ran.err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--noise", "10%"), "say 0.1"),
        (("--noise", "x%"), "'x' is not a number"),
        (("--noise", -0.1), "noise is -0.1"),
        (("--noise", 0.1, "--snr", 2), "--noise and --snr both say"),
        (("--snr", 2), "with --trials how many"),
        (("--snr", 2, "--trials", 5), "--snr 2: of which signal? Say --noise-reference within"),
        (("--snr", -2, "--trials", 5, "--noise-reference", "within"), "snr is -2"),
        (("--reliability", 0.5), "--reliability 0.5: of which signal?"),
        (("--reliability", 60, "--noise-reference", "within"), "if 60% is meant, say 0.6"),
        (("--reliability", 0.5, "--noise-reference", "absolute"), "use 'within' or 'relative'"),
        (("--dprime", 1), "with --trials how many"),
        (("--dprime", 1, "--trials", 0), "trials is 0"),
        (("--dprime", 1, "--trials", 5, "--noise-reference", "relative"), "stimuli of one unit"),
        (("--trials", 5), "--noise is of the mean over all trials"),
        (("--reliability", 0.5, "--noise-reference", "within", "--trials", 5), "leave --trials"),
        (("--label", "x"), "none is given"),
        (("--nu", 2), "--nu is a setting of imaging, not of the modality 'ideal'"),
        (("--nu", 2, "--modality", "imaging", "--set", "nu=3"), "say the same"),
        (
            ("--trials", 9, "--modality", "imaging", "--set", "trials_per_stimulus=3"),
            "--trials and --set trials_per_stimulus say the same",
        ),
        (("--nu", 2, "--modality", "imaging", "--noise-reference", "within"), "in % per sqrt(Hz)"),
        (("--dprime", 1, "--trials", 5, "--modality", "imaging"), "follows from its settings"),
        (("--noise", 0, "--modality", "imaging"), "--noise: the noise of the modality 'imaging'"),
        (("--noise-reference", "within", "--modality", "imaging"), "--noise-reference: the noise"),
        (
            ("--trials", 5, "--modality", "synaptic_imaging", "--measure", "weights"),
            "has no trials",
        ),
        (("--preset", "spine-imaging", "--sessions", 3, "--trials", 5), "has no trials"),
        (
            (
                *("--preset", "two-photon-6f", "--sessions", 3, "--modality", "ideal"),
                *("--noise", 0.2, "--trials", 5),
            ),
            "--noise is of the mean over all trials",
        ),
        (
            (
                *("--preset", "two-photon-6f", "--sessions", 3, "--modality", "ideal"),
                *("--noise-reference", "relative"),
            ),
            "the noise of the preset two-photon-6f, 0.55, is of 'within'",
        ),
        (("--noise-reference", "inside"), "unknown noise_reference 'inside'"),
        (("--measure", "weights", "--noise-reference", "within"), "weights have no stimuli"),
        (("--preset", "neuropixel"), "nearest: neuropixels1-acute"),
    ],
)
def test_what_cannot_be_meant_is_said(design, options, said):
    ran, made = design(*options)
    assert (ran.code, ran.out, ran.err.count("\n"), made) == (2, "", 1, None)
    assert said in ran.err


def test_percents_without_a_sign_are_asked_about(design):
    ran, made = design("--noise", 10)
    assert made.noise == 10
    assert "if 10% is meant, say --noise 0.1" in ran.err


def test_shot_noise_and_trials_are_settings_of_imaging(design):
    ran, made = design("--nu", 3, "--trials", 40, "--modality", "imaging")
    assert ran.code == 0, ran.err
    assert dict(made.settings) == {"nu": 3.0, "trials_per_stimulus": 40}


def test_files_may_follow_the_option_as_a_shell_lists_them():
    words = ["--units", "9", "--noise-from", "a", "b", "--json", "--noise-from=c", "d", "-q"]
    assert _repeated(words, "--noise-from") == [
        *("--units", "9", "--noise-from", "a", "--noise-from", "b", "--json"),
        *("--noise-from=c", "--noise-from", "d", "-q"),
    ]


def test_a_flag_overrides_a_preset(design):
    ran, made = design("--preset", "two-photon-6f", "--sessions", 3, "--stimuli", 3)
    assert ran.code == 0, ran.err
    assert (made.units, made.stimuli, made.tracked, made.modality) == (12, 3, True, "imaging")
    assert made.schedule.sessions == 3
    settings = made.settings
    assert (settings["indicator"], settings["trials_per_stimulus"]) == ("GCaMP6f", 20)
    # Three daily sessions over five checkpoints: two days in four intervals.
    assert settings["days_between"] == 0.5
    options = ("--stimuli", 3, "--sessions", 3)
    ran, made = design(
        *("--preset", "two-photon-6f", "--nu", 5, "--set", "days_between=2", "--trials", 7),
        *("--untracked", *options),
    )
    settings = made.settings
    assert (settings["nu"], settings["days_between"], settings["trials_per_stimulus"]) == (5, 2, 7)
    assert not made.tracked
    ran, made = design("--preset", "two-photon-6f", "--modality", "ideal", *options)
    assert (made.noise, made.noise_reference, dict(made.settings)) == (0.55, "within", {})
    assert "what the preset sets of imaging is left out" in ran.err
    more = ("--preset", "two-photon-6f", "--modality", "ideal", *options)
    assert design(*more, "--trials", 80)[1].noise == pytest.approx(0.55 / 2)
    assert design(*more, "--noise", 0.2)[1].noise_reference == "relative"
    assert design(*more, "--dprime", 0.5)[1].noise == pytest.approx(from_dprime(0.5, trials=20))


def test_a_preset_asks_for_its_units(design):
    _, made = design("--preset", "spine-imaging", "--sessions", 3, units=())
    assert (made.units, made.measures, made.modality) == (200, ("weights",), "synaptic_imaging")


def test_presets_are_listed_with_the_source_of_each_number(cli):
    ran = cli("list", "presets", "--json")
    assert (ran.code, ran.err) == (0, "")
    for preset in ran.json():
        for number in [*preset["numbers"].values(), *preset["settings"].values()]:
            assert number["source"]
            assert number["sure"] in ("published", "computed", "assumption")
    shown = cli("list", "presets").out
    assert max(map(len, shown.splitlines())) <= 100
    assert {p["name"] for p in ran.json()} <= set(shown.split())


def test_record_converts_with_the_trials_that_it_writes(cli, tiny_cohort_path, tmp_path, pilot):
    organism = cli("cohort", "organisms", tiny_cohort_path, "--json").json()[0]["id"]

    def record(name, *options):
        ran = cli(
            *("record", "--cohort", tiny_cohort_path, "--organism", organism, "--layer", "fc1"),
            *("--out", tmp_path / name, "--units", 12, "--sessions", 2, "--json", *options),
        )
        assert ran.code == 0, ran.err
        return ran.json()

    assert record("a", "--dprime", 0.5)["noise"]["within"] == pytest.approx(
        from_dprime(0.5, trials=10)
    )
    made = record("b", "--noise-from", *pilot, "--trials", 8)
    assert made["noise"]["within"] == made["noise"]["pilot"]["within"]["mean"]
    made = record("c", "--preset", "two-photon-6f", "--trials", 3)
    assert (made["modality"], made["noise"]) == ("imaging", None)
    assert made["settings"]["indicator"] == "GCaMP6f"
    assert made["settings"]["trials_per_stimulus"] == 3
    read = read_nwb(made["files"])
    assert (read.kind, read.data.sizes["trial"]) == ("dff", 3)
    made = record("d", "--preset", "two-photon-6f", "--set", "trials_per_stimulus=4")
    assert read_nwb(made["files"]).data.sizes["trial"] == 4
