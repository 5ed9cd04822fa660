"""Every modality keeps its contract; settings reach recordings."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from lrplan import Design, UsageError, open_cohort, record
from lrplan.measure.modalities import Course, make_modality, modalities
from lrplan.testing import ModalityContract

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("check", ModalityContract.checks())
@pytest.mark.parametrize("name", modalities.names())
def test_a_modality_keeps_its_contract(name, check):
    ModalityContract.run(name, check)


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Return a function that registers a lab's own file for one test."""
    monkeypatch.syspath_prepend(str(tmp_path))
    modalities.names()
    monkeypatch.setattr(modalities, "_entries", dict(modalities._entries))

    def register(text):
        (tmp_path / "lab_modality.py").write_text(text)
        importlib.invalidate_caches()
        importlib.import_module("lab_modality")

    yield register
    sys.modules.pop("lab_modality", None)


@pytest.fixture
def shared_gain(install):
    """Noise that units share, which is a modality too."""
    install((ROOT / "tests" / "plugins" / "shared_gain.py").read_text(encoding="utf-8"))
    return "shared_gain"


def test_settings_keep_the_contract(shared_gain):
    for shared in (0, 1):
        ModalityContract.run(shared_gain, settings={"shared": shared})


def test_the_documented_modality_keeps_its_contract(install):
    text = (ROOT / "docs" / "plan.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    [code] = [b for b in blocks if "@modalities" in b]
    install(code)
    ModalityContract.run("shared_gain")


def test_a_shared_gain_moves_all_units_together(shared_gain):
    given = np.ones((1, 200, 30), dtype=np.float32)
    for share in (0.0, 0.5, 1.0):
        modality = make_modality(shared_gain, {"shared": share})
        rng = np.random.default_rng(0)
        trials = modality.trials(given, trials=6, noise_sd=0.3, course=Course(given[0]), rng=rng)
        together = np.corrcoef((trials - 1).reshape(-1, 30), rowvar=False)
        assert together[0, 1:].mean() == pytest.approx(share, abs=0.15)


def test_settings_reach_the_recording_through_the_design(shared_gain):
    starter = open_cohort("starter")
    options = {"units": 20, "noise": 0.5, "modality": shared_gain}

    def recorded(**settings):
        design = Design(**options, settings=settings)
        return record(starter, design, rng=0, populations=[0]).data["activity"].values

    np.testing.assert_array_equal(recorded(), recorded(shared=0.5))
    assert (recorded() != recorded(shared=0.9)).any()
    assert Design(**options).to_json()["settings"] == {"shared": 0.5}
    assert Design(**options, settings={"shared": 1}).settings == {"shared": 1.0}
    assert len({Design(**options, settings={"shared": s}) for s in (0.1, 0.2, 0.2)}) == 2


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"sharde": 0.1}, "no setting 'sharde'; nearest: shared"),
        ({"shared": 1.5}, "shared is 1.5; expected a number of at least 0 and at most 1"),
        ({"shared": "much"}, "shared is 'much'; expected a number"),
        ({"shared": True}, "shared is True"),
        ({"shared": float("nan")}, "shared is nan"),
        ({5: 1}, "no setting 5"),
        ("shared=1", "settings is 'shared=1'"),
    ],
)
def test_wrong_settings_are_refused(shared_gain, settings, said):
    with pytest.raises(UsageError, match=said):
        Design(modality=shared_gain, settings=settings)


def test_a_modality_without_settings_says_so():
    with pytest.raises(UsageError, match="modality 'ideal' has no setting 'x'; it has no settings"):
        Design(settings={"x": 1})
    assert Design().settings == Design(settings=None).settings == {}
