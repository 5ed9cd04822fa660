"""Every classifier keeps its contract; unknown names are answered."""

from __future__ import annotations

import pytest

from lrplan.classifiers import classifiers, make_classifier
from lrplan.errors import UsageError
from lrplan.testing import ClassifierContract


@pytest.mark.parametrize("check", ClassifierContract.checks())
@pytest.mark.parametrize("name", classifiers.names())
def test_a_classifier_keeps_its_contract(name, check):
    ClassifierContract.run(name, check)


def test_names_and_efforts_are_checked():
    with pytest.raises(UsageError, match="unknown classifier 'random_forst'; nearest: random_fo"):
        make_classifier("random_forst")
    with pytest.raises(UsageError, match="unknown effort 'quik'; nearest: quick"):
        make_classifier("random_forest", effort="quik")
