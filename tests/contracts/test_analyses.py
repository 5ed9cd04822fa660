"""Every analysis keeps its contract."""

from __future__ import annotations

import pytest

from lrplan.analyses import analyses
from lrplan.testing import AnalysisContract

OPTIONS = {
    "importance": {"permutations": 2},
    "units_noise": {"units": [5, 20], "noise": [0, 1]},
    "subsampling": {"samples": [2, 3], "period": [1, 2]},
    "equal_performance": {"tolerance": 0.05},
}
"""What is asked of a small cohort, where the defaults would not fit it or take long."""


@pytest.fixture(scope="module")
def cohort(make_cohort, tmp_path_factory):
    """One that has everything that any analysis needs."""
    path = tmp_path_factory.mktemp("analyses") / "made.zarr"
    return make_cohort(path, effect=1.0, checkpoints=6, starts=("random", "pretrained"))


@pytest.mark.parametrize("check", AnalysisContract.checks())
@pytest.mark.parametrize("name", analyses.names())
def test_an_analysis_keeps_its_contract(name, check, cohort, light):
    options = dict(OPTIONS.get(name, {}))
    known = analyses.get(name).options
    options |= {k: v for k, v in (("classifier", "light"), ("splits", 4)) if k in known}
    AnalysisContract.run(name, check, cohort=cohort, options=options)
