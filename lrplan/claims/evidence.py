"""The analyses that claims rest on."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from lrplan.analyses import Result, analyse, analyses
from lrplan.analyses._study import open_study
from lrplan.cohort.conditions import conditions
from lrplan.errors import DataError
from lrplan.tell.intervals import Estimate
from lrplan.terms import MEASURES

if TYPE_CHECKING:
    from lrplan.cohort.store import Cohort


PAPER_RULES = ("sgdm", "adam", "feedback_alignment", "information_alignment")
CONDITIONS = ("architecture", "curriculum", "task")
FEW_SAMPLES = (3, 5)
"""Samples of a trajectory in the claims on undersampling: few, and more than two."""
PAPER_SPLITS = 10
"""Splits of an analysis, as in the paper; fewer where a rule has too few organisms for so many."""
ONE_ROUND = 4
"""Splits where figures are means over many designs: each organism is tested once in each."""


class Evidence:
    """Analyses of a cohort that claims share; each is made when first asked for.

    Parameters
    ----------
    cohort : Cohort
        With organisms of the paper's rules.
    seed : int
        All analyses have the same, and so the same splits, forests and resamples: their figures
        are paired.
    """

    def __init__(self, cohort: Cohort, *, seed: int) -> None:
        self.cohort = cohort
        self.seed = seed
        self.rules = [r for r in PAPER_RULES if r in cohort.rules]
        if len(self.rules) < 2:
            raise DataError(
                f"the cohort {cohort.name!r} has {len(self.rules)} of the paper's rules "
                f"({', '.join(PAPER_RULES)}); its claims need at least 2"
            )
        # Refuses what no claim could be tested on, before any work is done.
        study = open_study(cohort, rng=self._rng(), measure=None, rules=self.rules)
        self.measures = study.measures
        self.warnings = study.warnings
        self.labels = study.any.labels
        self.populations = study.any.populations
        self.conditions = conditions(cohort, study.any.populations)
        self.organisms = len(np.unique(study.any.organisms))
        self.splits = study.possible_splits(PAPER_SPLITS)
        if self.splits < PAPER_SPLITS:
            self.warnings.append(
                f"{self.splits} splits in place of {PAPER_SPLITS}, since a rule has few organisms"
            )

    def _rng(self) -> np.random.Generator:
        return np.random.default_rng(self.seed)

    def analyse(self, name: str, **options: Any) -> Result:
        """Return an analysis of the organisms that have one of the paper's rules."""
        options = {"rules": self.rules} | options
        declared = analyses.get(name).options
        if "splits" in declared:
            asked = options.get("splits", declared["splits"].default)
            options["splits"] = min(asked, self.splits)
        return analyse(name, self.cohort, rng=self._rng(), **options)

    def need_measures(self) -> None:
        """Raise if a measure is not stored."""
        missing = [m for m in MEASURES if m not in self.measures]
        if missing:
            raise DataError(f"the cohort stores no observables of {', '.join(missing)}")

    def need_rules(self, *rules: str) -> None:
        """Raise if the cohort has no organism of a rule."""
        missing = [r for r in rules if r not in self.rules]
        if missing:
            raise DataError(f"the cohort has no organisms of {', '.join(missing)}")

    @cached_property
    def forest(self) -> dict[str, Estimate]:
        """Accuracy of the random forest by measure."""
        return self._separation("random_forest")

    @cached_property
    def svm(self) -> dict[str, Estimate]:
        """Accuracy of the linear SVM by measure."""
        return self._separation("linear_svm")

    @cached_property
    def convolution(self) -> dict[str, Estimate]:
        """Accuracy of the Conv1D MLP by measure."""
        return self._separation("conv1d_mlp")

    def _separation(self, classifier: str) -> dict[str, Estimate]:
        self.need_measures()
        found = self.analyse("separation", classifier=[classifier])
        return {m: found.estimates[m, classifier, "organism"] for m in MEASURES}

    @cached_property
    def held_out(self) -> Result:
        """Architectures, curricula and tasks held out, as far as the cohort has several."""
        self.need_measures()
        several = [c for c in CONDITIONS if len(np.unique(self.conditions[c])) > 1]
        if not several:
            raise DataError(f"the cohort has one {', one '.join(CONDITIONS)}")
        return self.analyse("held_out", condition=several)

    @cached_property
    def subsampled(self) -> dict[tuple[str, int, int], Estimate]:
        """Accuracy by measure, samples and period, for the claims on undersampling."""
        self.need_measures()
        available = self.cohort.checkpoints
        half = (available + 1) // 2
        wanted = [(n, p) for n in FEW_SAMPLES for p in (1, (available - 1) // (n - 1))]
        if half <= max(FEW_SAMPLES) or any(p < 2 for _, p in wanted[1::2]):
            raise DataError(
                f"the cohort has {available} checkpoints; {2 * max(FEW_SAMPLES) + 1} are needed "
                "to compare periods"
            )
        out = {}
        for n, p in [*wanted, (half, 2)]:
            found = self.analyse("subsampling", samples=[n], period=[p], splits=ONE_ROUND)
            for m in MEASURES:
                out[m, n, p] = found.estimates[m, str(n), str(p)]
        return out
