"""Which organisms are recorded: one that diverged is refused, one that did not learn is named."""

from __future__ import annotations

import warnings

import pytest

from lrplan import record_nwb


@pytest.fixture(scope="module")
def cohort(make_cohort, tmp_path_factory):
    path = tmp_path_factory.mktemp("rehearsal") / "c.zarr"
    return make_cohort(path, effect=1.0, per_rule=6, unlearned=[1])


def record(cohort, organism, tmp_path):
    return record_nwb(
        cohort,
        organism=organism,
        layer="deep",
        out=tmp_path / "nwb",
        rng=0,
        units=8,
        sessions=2,
        trials=2,
        kind="dff",
    )


def test_an_organism_that_did_not_learn_is_recorded_with_a_warning_that_names_it(cohort, tmp_path):
    organism = cohort.organism_ids[1]
    with pytest.warns(UserWarning, match=rf"organism {organism} did not learn.*`lrplan cohort or"):
        files = record(cohort, organism, tmp_path)
    assert len(files) == 2


@pytest.mark.parametrize("known", [True, False])
def test_one_that_learned_or_may_have_gives_none(cohort, make_cohort, tmp_path, known):
    if not known:
        cohort = make_cohort(tmp_path / "c.zarr", effect=1.0, per_rule=3, known=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        record(cohort, cohort.organism_ids[2], tmp_path)
