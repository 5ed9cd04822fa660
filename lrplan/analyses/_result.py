"""What an analysis found: figures with labelled dimensions, as text, table, picture and JSON."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from lrplan.tell.intervals import Estimate
from lrplan.texts import Line, cell, html, table, text

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


@dataclass(frozen=True, repr=False)
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
    estimates: dict[tuple[str, ...], Estimate] = field(default_factory=dict)

    def __repr__(self) -> str:
        sizes = ", ".join(f"{d} {n}" for d, n in self.dataset[self.main].sizes.items())
        return f"<Result {self.analysis} of the cohort {self.cohort}: {self.main} ({sizes})>"

    def _repr_html_(self) -> str:
        return html(self.lines())

    def _title(self) -> str:
        told = {k: v for k, v in self.options.items() if v not in (None, False)}
        return f"{self.analysis.replace('_', ' ')} of the cohort {self.cohort}: {cell(told)}"

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
                found = variable.isel({d: i for d, i in at.items() if d in variable.dims})
                row.append(found.values.item())
            rows.append(row)
        return [*dims, *beside], rows

    def to_dataframe(self) -> pd.DataFrame:
        """Return the table: one row for each figure that there is."""
        import pandas as pd

        columns, rows = self.table()
        return pd.DataFrame(rows, columns=columns)

    def lines(self) -> list[Line]:
        """Return what ``lrplan analyse`` prints, as lines and tables."""
        columns, rows = self.table()
        # The words that name a figure come first, and stay where they are.
        first = next((i for i, v in enumerate(rows[0]) if isinstance(v, float)), 0) if rows else 0
        columns, rows = _with_intervals(columns, rows)
        shown = [[f"{v:.3f}" if isinstance(v, float) else v for v in row] for row in rows]
        return [
            self._title(),
            table(None, columns, shown, numbers=first),
            *(f"Warning: {w}" for w in self.warnings),
        ]

    def summary(self) -> str:
        """Return the text that ``lrplan analyse`` prints."""
        return text(self.lines())

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw it into `ax`, by default a new figure as wide as a journal's column."""
        from lrplan.analyses import analyses
        from lrplan.pictures import draw

        plot = analyses.get(self.analysis).plot
        return draw(plot, self, ax=ax) if isinstance(plot, str) else plot(self, ax=ax)

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


def _with_intervals(columns: list[str], rows: list[list[Any]]) -> tuple[list[str], list[list[Any]]]:
    """Put the ends of intervals into the column of their figure: a terminal is narrow.

    The ends of the first figure are called low and high, those of another NAME_low and NAME_high.
    """
    merged: dict[int, tuple[int, int]] = {}
    taken: set[int] = set()
    for i, name in enumerate(columns):
        ends = ("low", "high") if f"{name}_low" not in columns else (f"{name}_low", f"{name}_high")
        if not taken and columns[i + 1 : i + 3] == ["low", "high"]:
            ends = ("low", "high")
        elif ends == ("low", "high"):
            continue
        places = (columns.index(ends[0]), columns.index(ends[1]))
        merged[i] = places
        taken |= set(places)
    kept = [i for i in range(len(columns)) if i not in taken]

    def shown(row: list[Any], i: int) -> Any:
        if i not in merged:
            return row[i]
        low, high = (row[j] for j in merged[i])
        return f"{row[i]:.3f} [{low:.3f}, {high:.3f}]"

    return [columns[i] for i in kept], [[shown(row, i) for i in kept] for row in rows]
