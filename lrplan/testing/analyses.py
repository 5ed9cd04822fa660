"""What every analysis keeps to."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from lrplan.analyses import Result, analyse, analyses
from lrplan.cohort.store import Cohort, open_cohort
from lrplan.errors import UsageError
from lrplan.registry import Registry
from lrplan.testing._contract import Contract, refused, told


class AnalysisContract(Contract):
    """What every analysis keeps to.

    Attributes
    ----------
    cohort : Cohort or str, default "starter"
        What it is asked of; it must hold what the analysis needs.
    options : mapping
        How it is asked; a light classifier and few splits save time.
    """

    registry: ClassVar[Registry[Any]] = analyses
    cohort: Cohort | str = "starter"
    options: Mapping[str, Any] = {}

    def _ask(self, seed: int = 0, **options: Any) -> Result:
        cohort = open_cohort(self.cohort) if isinstance(self.cohort, str) else self.cohort
        rng = np.random.default_rng(seed)
        return analyse(self.name, cohort, rng=rng, **{**self.options, **options})

    def test_it_says_what_it_is(self) -> None:
        """The question, who asked it, and what a cohort must hold."""
        told(analyses.get(self.name), "summary", "cites", "needs")

    def test_options_are_keywords_with_defaults(self) -> None:
        """Whoever asks names a cohort and an rng; the control of shuffled labels is an option."""
        cohort, *others = inspect.signature(analyses.get(self.name).run).parameters.values()
        assert cohort.name == "cohort", "the first parameter of run is the cohort"
        for parameter in others:
            assert parameter.kind is parameter.KEYWORD_ONLY, f"{parameter.name} must be a keyword"
            given = parameter.default is not parameter.empty
            assert given != (parameter.name == "rng"), (
                f"{parameter.name}: options have a default, rng has none"
            )
        named = {p.name: p.default for p in others}
        assert "rng" in named, "run takes rng, the source of all its randomness"
        assert named.get("shuffle_labels") is False, (
            "run takes shuffle_labels=False: each analysis has a control at chance"
        )
        assert set(analyses.get(self.name).options) == set(named) - {"rng"}

    def test_an_unknown_option_is_refused_with_the_nearest(self) -> None:
        """As every unknown name is."""
        for option in analyses.get(self.name).options:
            with refused(UsageError, f"the option {option}x", f"{option}x", f"nearest: .*{option}"):
                self._ask(**{option + "x": 1})

    def test_a_result_is_labelled_tabulated_and_json(self) -> None:
        """Each figure has its interval and its chance beside it."""
        result = self._ask()
        assert isinstance(result, Result), "run returns a Result"
        assert result.analysis == self.name, f"the result says it is of {result.analysis!r}"
        columns, rows = result.table()
        assert rows and all(len(row) == len(columns) for row in rows)
        data = result.dataset
        main = data[result.main]
        assert all(d in data.coords for d in main.dims), "every dimension of main has coordinates"
        found = np.isfinite(main.values)
        assert found.any(), "no figure is finite"
        lacking = {"low", "high", "chance"} - set(data.data_vars)
        assert not lacking, f"the result lacks {lacking}: the interval and what guessing gives"
        low, high = (np.broadcast_to(data[v].values, main.shape)[found] for v in ("low", "high"))
        assert (low <= high).all(), "low is above high"
        said = json.loads(json.dumps(result.to_json(), default=str))
        assert (said["schema"], said["analysis"]) == ("lrplan.analysis/1", self.name)

    def test_the_same_seed_gives_the_same_result(self) -> None:
        """All randomness comes from rng."""
        np.random.seed(0)  # noqa: NPY002
        first = self._ask(seed=3)
        np.random.seed(1)  # noqa: NPY002
        assert self._ask(seed=3).dataset.identical(first.dataset), (
            "two results of one seed differ; take randomness from rng alone"
        )

    def test_labels_can_be_shuffled(self) -> None:
        """Organisms swap labels, and the result says so."""
        result = self._ask(shuffle_labels=True)
        assert result.options["shuffle_labels"] is True
        assert not result.dataset.identical(self._ask().dataset), "shuffled labels change nothing"

    def test_it_is_drawn_where_it_is_told(self) -> None:
        """Into the axes that are given; nothing is shown or saved."""
        from matplotlib.figure import Figure

        ax = Figure().add_subplot()
        assert self._ask().plot(ax) is ax, "plot must return the axes that it was given"
        panels = [ax, *ax.child_axes]
        assert any(p.has_data() or p.texts for p in panels), "plot drew nothing"
