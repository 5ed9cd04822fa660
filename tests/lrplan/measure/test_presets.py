"""Presets: each can be recorded as it stands, and says where it comes from."""

from __future__ import annotations

import pytest

from lrplan import Design, Schedule, UsageError
from lrplan.measure.modalities import modalities, settings_of
from lrplan.measure.presets import get_preset, presets


@pytest.mark.parametrize("name", presets())
def test_a_preset_is_a_design(name):
    preset = get_preset(name)
    sessions = preset.value("sessions")
    known = settings_of(modalities.get(preset.modality))
    design = Design(
        units=preset.value("units"),
        measure=preset.measure,
        modality=preset.modality,
        tracked=preset.tracked,
        stimuli=preset.value("stimuli"),
        schedule=Schedule(sessions=sessions),
        settings=preset.settings_for(design_days(sessions), known),
    )
    assert design.make_modality().takes_noise == "none"
    assert (preset.value("stimuli") is None) == (preset.measure == "weights")
    assert set(preset.settings) <= set(known)
    assert 0 <= preset.value("tracked_fraction") <= 1
    # Units that are not found again cannot be followed.
    assert preset.value("tracked_fraction") > 0 or not preset.tracked


def design_days(sessions):
    return Schedule(sessions=sessions).checkpoints(21)


def test_days_between_sessions_become_days_between_checkpoints():
    preset = get_preset("spine-imaging")
    known = {"days_between": None}
    assert preset.settings_for([0, 10, 20], known)["days_between"] == pytest.approx(0.2)
    assert preset.settings_for([4, 5], known)["days_between"] == 2
    assert "days_between" not in preset.settings_for([20], known)
    assert "days_between" not in preset.settings_for([0, 20], {})


def test_an_unknown_preset_names_the_nearest():
    with pytest.raises(UsageError, match="nearest: utah-array"):
        get_preset("utah")
