"""Contracts are collected by pytest, run without it, and say what is broken."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from unittest import SkipTest

import numpy as np
import pytest

import lrplan.testing
from lrplan.errors import UsageError
from lrplan.measure.observables import Family, Needs, Observable, families
from lrplan.testing import AnalysisContract, ClassifierContract, ObservableContract


def _mean(values):
    return values.mean(axis=(-2, -1))[..., None]


def _size(values):
    return (values**2).mean(axis=(-2, -1)) ** 0.5


SOUND = Family(
    name="grand",
    measure="activity",
    observables=(Observable("grand_mean", 1, "mean over stimuli and units"),),
    compute=_mean,
    scale=_size,
    cites="a test",
)


def _drift(values):
    step = np.diff(values, axis=-3, prepend=values[..., :1, :, :])
    return _size(step)[..., None]


@pytest.fixture
def registered(monkeypatch):
    """Return a function that registers families for one test."""
    families.names()
    monkeypatch.setattr(families, "_entries", dict(families._entries))

    def register(family):
        families.add(family.name, family)
        return family.name

    return register


def test_a_sound_plug_in_passes(registered):
    ObservableContract.run(registered(SOUND))


def test_a_family_of_whole_trajectories_passes(registered):
    needs = Needs(trajectory=True, tracked=True, sessions=2)
    drift = replace(
        SOUND,
        name="drift",
        observables=(Observable("drift_step", 1, "change"),),
        compute=_drift,
        needs=needs,
    )
    ObservableContract.run(registered(drift))


def _denoised(values, noise):
    return ((values**2).mean(axis=(-2, -1)) - noise.mean(axis=(-2, -1)))[..., None]


QUIET = replace(
    SOUND,
    name="quiet",
    observables=(Observable("quiet_square", 2, "mean square"),),
    compute=_denoised,
    scale=lambda values, noise: _size(values),
    needs=Needs(noise=True),
)


def test_a_family_that_is_told_the_noise_passes(registered):
    ObservableContract.run(registered(QUIET))


def test_a_family_that_does_not_use_the_noise_is_told_so(registered):
    deaf = replace(QUIET, compute=lambda values, noise: _denoised(values, 0 * noise))
    with pytest.raises(AssertionError, match="as if it were not known"):
        ObservableContract.run(registered(deaf))


def test_a_summary_that_is_not_what_compute_gives_is_told_so(registered):
    drift = replace(
        SOUND,
        name="drift",
        observables=(Observable("drift_step", 1, "change"),),
        compute=_drift,
        needs=Needs(trajectory=True, tracked=True, sessions=2),
        summarise=_drift,
        of_summary=lambda summary, places: summary[..., places, :],
    )
    with pytest.raises(AssertionError, match="is not what compute gives"):
        ObservableContract.run(registered(drift))


def _sorts(values):
    values.sort(-1)
    return _mean(values)


BROKEN = {
    "no source": ({"cites": " "}, "cites is ' '"),
    "the name of another": (
        {"observables": (Observable("grand_mean", 1, "mean"),) * 2},
        "taken by others: .*grand_mean",
    ),
    "a name outside the family": (
        {"observables": (Observable("mean", 1, "mean"),)},
        "must begin with its family's name",
    ),
    "no axis of observables": ({"compute": lambda v: _mean(v)[..., 0]}, "compute gave the shape"),
    "a wrong degree": ({"compute": lambda v: _mean(v) ** 2}, "grand_mean is not of degree 1"),
    "one unit counts more": ({"compute": lambda v: _mean(v[..., :1])}, "order of units"),
    "one stimulus counts more": (
        {"compute": lambda v: _mean(v[..., :1, :])},
        "their order must not",
    ),
    "recordings mix": ({"compute": lambda v: _mean(v) - _mean(v).mean()}, "recordings mix"),
    "drift that does not say so": ({"compute": _drift}, "family of whole trajectories says so"),
    "units followed without saying so": (
        {"compute": _drift, "needs": Needs(trajectory=True, sessions=2)},
        "tracked=True",
    ),
    "not finite where silent": (
        {"compute": lambda v: _mean(v) * _mean(v) / np.maximum(_mean(v), -1e9)},
        "not finite",
    ),
    "a changed input": ({"compute": _sorts}, "wrote to its input"),
    "no torch": ({"compute": lambda v: np.asarray(_mean(v))}, "torch"),
    "no scale for each session": ({"scale": lambda v: _size(v)[..., :1]}, "scale must leave"),
}


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize("fault", BROKEN)
def test_a_plug_in_that_breaks_a_promise_is_told_which(registered, fault):
    changes, said = BROKEN[fault]
    with pytest.raises(AssertionError, match=said):
        ObservableContract.run(registered(replace(SOUND, **changes)))


def test_a_check_that_does_not_concern_a_plug_in_is_skipped_where_it_is_asked(registered):
    name = registered(SOUND)
    check = "test_a_paired_family_gives_the_same_from_the_summed_change"
    assert check in ObservableContract.checks()
    with pytest.raises(SkipTest, match="only paired"):
        ObservableContract.run(name, check)


def test_what_cannot_be_run_is_refused():
    with pytest.raises(UsageError, match="unknown observable family 'actt'; nearest: act"):
        ObservableContract.run("actt")
    with pytest.raises(UsageError, match="no check 'test_it_says'; nearest: test_it_says_what"):
        ObservableContract.run("act", "test_it_says")
    with pytest.raises(UsageError, match="no option 'cohrt'; nearest: cohort"):
        AnalysisContract.run("pairs", cohrt="starter")
    with pytest.raises(UsageError, match="ClassifierContract has no option 'x'; it has none"):
        ClassifierContract.run("linear_svm", x=1)


def test_assertions_that_python_leaves_out_are_not_a_pass():
    script = "from lrplan.testing import ObservableContract\nObservableContract.run('act')"
    done = subprocess.run(
        [sys.executable, "-O", "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode and "run without -O" in done.stderr


def test_two_lines_are_a_suite_for_pytest(tmp_path):
    (tmp_path / "test_mine.py").write_text(
        "from lrplan.testing import ObservableContract\n\n\n"
        'class TestAct(ObservableContract):\n    name = "act"\n'
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stdout
    count = len(ObservableContract.checks())
    assert f"{count - 5} passed, 5 skipped" in done.stdout


@pytest.mark.parametrize("name", lrplan.testing.__all__)
def test_every_contract_is_exported_and_documents_its_checks(name):
    contract = getattr(lrplan.testing, name)
    assert contract.__name__ == name
    for check in contract.checks():
        assert getattr(contract, check).__doc__, check


def test_an_unknown_contract_is_an_attribute_error():
    with pytest.raises(AttributeError, match="RuleContrct"):
        _ = lrplan.testing.RuleContrct
