"""What a recording says of itself."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from lrplan import Design, Recording, record
from lrplan.measure.texts import design_line
from lrplan.texts import html, text


@pytest.fixture
def real():
    """A recording whose third session has fewer units, and of which trials were dropped."""
    values = np.ones((1, 3, 4, 12))
    values[0, 2, :, 10:] = np.nan
    file = {
        "responses": "spike rates",
        "label": "stimulus",
        "intervals": "trials",
        "window": {"rule": "the whole trial"},
        "dropped": {"aborted": 2},
    }
    return Recording(
        xr.Dataset({"activity": (("population", "session", "stimulus", "unit"), values)}),
        "a<b>.nwb",
        kind="spikes",
        tracked=False,
        ingest={"files": [file, file], "order": "time", "warnings": ["few trials"]},
    )


def test_trials_are_told():
    values = np.ones((1, 3, 1, 5, 12))
    dims = ("population", "session", "stimulus", "trial", "unit")
    made = Recording(xr.Dataset({"trials": (dims, values)}), "a.nwb", kind="spikes")
    assert repr(made) == (
        "<Recording 'a.nwb': spikes, 3 sessions, 12 units (tracked), 1 stimulus, "
        "up to 5 trials of each>"
    )


def test_areas_of_animals_are_counted(real):
    both = xr.concat([real.data] * 2, "population").assign_coords(
        animal=("population", ["m1", "m1"]),
        area=("population", ["VISp", "VISl"]),
        condition=("population", ["learning"] * 2),
    )
    lines = text(Recording(both, "a.nwb", "spikes").lines()).splitlines()
    assert lines[1] == "Of 1 animal (m1), 2 areas, 1 condition (learning)"
    rows = [" ".join(line.split()) for line in lines]
    assert "m1 VISl learning 1" in rows and "m1 VISp learning 1" in rows


def test_a_real_recording(real):
    assert repr(real) == (
        "<Recording 'a<b>.nwb': spikes, 3 sessions, 10 to 12 units (not tracked), 4 stimuli>"
    )
    told = [x for x in text(real.lines()).splitlines() if not x.startswith("Of ")]
    assert told == [
        "Recording: a<b>.nwb: spikes, 3 sessions, 10 to 12 units (not tracked), 4 stimuli",
        "Read: spike rates by stimulus of trials, the whole trial; sessions in order of time",
        "Trials dropped: 4 aborted",
        "Warning: few trials",
    ]
    assert "a&lt;b&gt;.nwb" in html(real.lines())


def test_a_virtual_recording_counts_its_populations(separable):
    design = Design(units=5, measure="weights,paired")
    made = record(separable, design, rng=np.random.default_rng(0), populations=[0, 1, 2, 95])
    assert repr(made) == (
        "<Recording 'made': virtual, 4 populations, 5 sessions, 5 synapses and 4 pairs (tracked)>"
    )
    rows = [" ".join(line.split()) for line in text(made.lines()).splitlines()]
    assert "information_alignment deep 1" in rows and "sgdm early 2" in rows


def test_a_design_says_the_settings_of_its_modality():
    asked = Design().to_json()
    assert "; modality ideal; " in design_line(asked | {"settings": {}})
    told = design_line(asked | {"modality": "dff", "settings": {"rate_hz": 30, "tau_s": 0.25}})
    assert "; modality dff (rate_hz 30, tau_s 0.25); " in told


def test_a_design_says_which_areas_are_recorded_together():
    def told(**asked):
        return design_line(Design(**asked).to_json())

    assert "area" not in told()
    assert "; areas early + deep of each animal, and their differences; " in told(
        areas="early,deep"
    )
    assert ", their differences only; " in told(areas="early,deep", contrasts="only")
    assert "; areas deep of each animal; " in told(areas="deep")
    assert "reference" not in told() and "relative to" not in told()
    assert "; relative to the first session; " in told(reference="first")
    assert "; relative to the first 3 sessions; " in told(reference="first", reference_sessions=3)
    deep = told(reference="area:early", position="deep", contrasts="only")
    assert "position deep; relative to the early area only; " in deep
    assert "passive exposure of the same preparation" in told(reference="passive")
    assert "passive exposure of another animal" in told(reference="control")
