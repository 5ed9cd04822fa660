"""Contracts: what every plug-in keeps to, as tests that its author runs.

In a package of your own, two lines of a test file hold a plug-in to its contract under pytest::

    from lrplan.testing import ObservableContract

    class TestDrift(ObservableContract):
        name = "drift"

Without pytest, ``ObservableContract.run("drift")`` raises at the first promise that is broken.
lrplan's own tests run the same contracts over whatever is registered.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lrplan.testing._contract import Contract
    from lrplan.testing.analyses import AnalysisContract
    from lrplan.testing.architectures import ArchitectureContract
    from lrplan.testing.classifiers import ClassifierContract
    from lrplan.testing.credits import CreditContract
    from lrplan.testing.modalities import ModalityContract
    from lrplan.testing.observables import ObservableContract
    from lrplan.testing.optimizers import OptimizerContract
    from lrplan.testing.rules import RuleContract
    from lrplan.testing.tasks import TaskContract

# Imported when first asked for: contracts of what is simulated need torch, the others do not.
_HOME = {
    "AnalysisContract": "analyses",
    "ArchitectureContract": "architectures",
    "ClassifierContract": "classifiers",
    "Contract": "_contract",
    "CreditContract": "credits",
    "ModalityContract": "modalities",
    "ObservableContract": "observables",
    "OptimizerContract": "optimizers",
    "RuleContract": "rules",
    "TaskContract": "tasks",
}

__all__ = [
    "AnalysisContract",
    "ArchitectureContract",
    "ClassifierContract",
    "Contract",
    "CreditContract",
    "ModalityContract",
    "ObservableContract",
    "OptimizerContract",
    "RuleContract",
    "TaskContract",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'lrplan.testing' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"lrplan.testing.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
