"""Analyses. One file registers one question that can be asked of a cohort.

All of them use the observables that a cohort stores: of all units, without noise, unscaled, as
Nayebi et al. (2020) did; ``units_noise`` records the cohort instead.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from lrplan.errors import UsageError
from lrplan.registry import Registry, nearest
from lrplan.tell.intervals import Estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from lrplan.cohort.store import Cohort

PAPER = "Nayebi et al., NeurIPS 2020"
REVIEWS = "reviews of Nayebi et al., NeurIPS 2020"


@dataclass(frozen=True)
class Result:
    """What an analysis found.

    Parameters
    ----------
    analysis : str
        Its registered name.
    cohort : str
        Name of the cohort.
    options : dict
        What was asked.
    dataset : xarray.Dataset
        Figures with labelled dimensions. Where there is an ``accuracy`` it is balanced over
        labels; ``low`` and ``high`` are its 95% interval from a bootstrap over organisms,
        ``chance`` is that of guessing, and ``split_mean`` and ``split_sem`` are mean and standard
        error over splits, as the paper printed them.
    main : str
        The variable that the table is about; those with the same dimensions stand beside it.
    warnings : list of str
        What to know before believing it.
    estimates : dict
        The bootstrap distribution behind each figure, by its coordinates; those of analyses with
        the same seed, label and organisms are paired.
    """

    analysis: str
    cohort: str
    options: dict[str, Any]
    dataset: xr.Dataset
    main: str
    warnings: list[str]
    estimates: dict[tuple[str, ...], Estimate] = field(default_factory=dict, repr=False)

    def table(self) -> tuple[list[str], list[list[Any]]]:
        """Return columns and rows: one row for each figure that there is."""
        values = self.dataset[self.main]
        dims = [str(d) for d in values.dims]
        beside = [str(n) for n, v in self.dataset.data_vars.items() if v.dims == values.dims]
        beside.sort(key=lambda n: n != self.main)
        if "chance" in self.dataset and "chance" not in beside:
            beside.append("chance")
        rows = []
        for place in np.ndindex(values.shape):
            if not np.isfinite(values.values[place]):
                continue
            at = {d: i for d, i in zip(dims, place, strict=True)}
            row: list[Any] = [self.dataset[d].values[i].item() for d, i in at.items()]
            for name in beside:
                variable = self.dataset[name]
                cell = variable.isel({d: i for d, i in at.items() if d in variable.dims})
                row.append(cell.values.item())
            rows.append(row)
        return [*dims, *beside], rows

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw it into `ax`, by default a new figure as wide as a journal's column."""
        return analyses.get(self.analysis).plot(self, ax=ax)

    def to_json(self) -> dict[str, Any]:
        """Return the object that ``lrplan analyse --json`` prints."""
        columns, rows = self.table()
        variables = {**self.dataset.coords, **self.dataset.data_vars}
        return {
            "schema": "lrplan.analysis/1",
            "analysis": self.analysis,
            "cohort": self.cohort,
            "options": self.options,
            "columns": columns,
            "rows": rows,
            "data": {
                str(name): {
                    "dims": [str(d) for d in v.dims],
                    "values": v.values.tolist(),
                    **{str(k): a for k, a in v.attrs.items()},
                }
                for name, v in variables.items()
            },
            "warnings": self.warnings,
        }


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
        ``run(cohort, *, rng, **options) -> Result``; its keyword-only parameters are the options.
    plot : callable
        ``plot(result, *, ax=None) -> Axes``.
    """

    name: str
    summary: str
    cites: str
    needs: str
    run: Callable[..., Result]
    plot: Callable[..., Any]

    @property
    def options(self) -> list[str]:
        """Names of the options that `run` takes."""
        return [n for n in inspect.signature(self.run).parameters if n not in ("cohort", "rng")]

    @property
    def defaults(self) -> dict[str, Any]:
        """The options with their defaults."""
        parameters = inspect.signature(self.run).parameters
        return {n: parameters[n].default for n in self.options}


analyses: Registry[Analysis] = Registry(
    "analysis", package="lrplan.analyses", group="lrplan.analyses"
)


def analyse(name: str, cohort: Cohort, *, rng: np.random.Generator, **options: Any) -> Result:
    """Ask one question of a cohort.

    Parameters
    ----------
    name : str
        A registered analysis; ``lrplan list analyses`` shows them.
    cohort : Cohort
        Organisms whose rules are known.
    rng : numpy.random.Generator
        Source of splits, classifiers and resamples.
    **options
        Of that analysis, such as ``measure``, ``classifier``, ``shuffle_labels``.

    Raises
    ------
    UsageError
        If the analysis is unknown or does not take an option.
    DataError
        If the cohort lacks what it needs.

    Examples
    --------
    >>> import numpy as np, lrplan
    >>> cohort = lrplan.open_cohort("starter")
    >>> found = analyse("clustering", cohort, rng=np.random.default_rng(0), measure="activity")
    >>> bool(found.dataset["rand"].sel(measure="activity", label="architecture") > 0)
    True
    """
    analysis = analyses.get(name)
    for option in options:
        if option not in analysis.options:
            raise UsageError(
                f"the analysis {name!r} has no option {option!r}; "
                f"{nearest(option, analysis.options)}"
            )
    return analysis.run(cohort, rng=rng, **options)
