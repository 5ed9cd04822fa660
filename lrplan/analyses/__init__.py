"""Analyses. One file registers one question that can be asked of a cohort.

All of them use the observables that a cohort stores: of all units, without noise, unscaled, as
Nayebi et al. (2020) did; ``units_noise`` records the cohort instead.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lrplan.analyses._options import (
    FLAG,
    NAME,
    NAMES,
    NUMBER,
    NUMBERS,
    WHOLE,
    WHOLES,
    BothSplits,
    Classifier,
    Classifiers,
    Effort,
    Kind,
    Label,
    Measure,
    Observables,
    Option,
    Rules,
    ShuffleLabels,
    Split,
    SplitCount,
    options_of,
)
from lrplan.analyses._result import Result
from lrplan.arguments import generator
from lrplan.cohort import as_cohort
from lrplan.errors import UsageError
from lrplan.registry import Registry, nearest

if TYPE_CHECKING:
    from lrplan.cohort.store import Cohort

__all__ = [
    "FLAG",
    "NAME",
    "NAMES",
    "NUMBER",
    "NUMBERS",
    "WHOLE",
    "WHOLES",
    "Kind",
    "Analysis",
    "BothSplits",
    "Classifier",
    "Classifiers",
    "Effort",
    "Label",
    "Measure",
    "Observables",
    "Option",
    "Result",
    "Rules",
    "ShuffleLabels",
    "Split",
    "SplitCount",
    "analyse",
    "analyses",
]

PAPER = "Nayebi et al., NeurIPS 2020"
REVIEWS = "reviews of Nayebi et al., NeurIPS 2020"


@dataclass(frozen=True)
class Analysis:
    """A question that can be asked of a cohort.

    Parameters
    ----------
    name : str
        As it is registered.
    summary : str
        The question, in one line.
    cites : str
        Who asked it.
    needs : str
        What the cohort must hold.
    run : callable
        ``run(cohort, *, rng, **options) -> Result``. Each keyword-only parameter is an option: it
        is annotated with an `Option` and has a default.
    plot : callable or str
        ``plot(result, *, ax=None) -> Axes``, or the name of such a function of `lrplan.plots`.

    Attributes
    ----------
    options : dict of str to Option
        The options that `run` declares, by name.
    """

    name: str
    summary: str
    cites: str
    needs: str
    run: Callable[..., Result]
    plot: Callable[..., Any] | str
    options: dict[str, Option] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "options", options_of(self.run))


analyses: Registry[Analysis] = Registry(
    "analysis", package="lrplan.analyses", group="lrplan.analyses"
)


def analyse(
    name: str,
    cohort: Cohort | str | Path,
    *,
    rng: np.random.Generator | int,
    **options: Any,
) -> Result:
    """Ask one question of a cohort.

    Parameters
    ----------
    name : str
        A registered analysis; ``lrplan list analyses`` shows them.
    cohort : Cohort, str or Path
        Organisms whose rules are known, or the name or path of a cohort.
    rng : numpy.random.Generator or int
        Source of splits, classifiers and resamples.
    **options
        Of that analysis, such as ``measure``, ``classifier``, ``shuffle_labels``.

    Raises
    ------
    UsageError
        If the analysis is unknown, does not take an option, or takes other values for it.
    DataError
        If the cohort lacks what it needs.

    Examples
    --------
    >>> found = analyse("clustering", "starter", rng=0, measure="activity")
    >>> bool(found.dataset["rand"].sel(measure="activity", label="architecture") > 0)
    True
    """
    analysis = analyses.get(name)
    taken = {}
    for option, value in options.items():
        if option not in analysis.options:
            raise UsageError(
                f"the analysis {name!r} has no option {option!r}; "
                f"{nearest(option, analysis.options)}"
            )
        taken[option] = analysis.options[option].checked(value)
    return analysis.run(as_cohort(cohort), rng=generator(rng), **taken)
