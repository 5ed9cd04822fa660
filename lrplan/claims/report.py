"""What became of a paper's claims on a cohort."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lrplan.texts import Line, html, table, text

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

RESULTS = ("holds", "fails", "undecided")


@dataclass(frozen=True)
class Claim:
    """What became of one claim on a cohort.

    Parameters
    ----------
    id : int
        1 to 15, the order of the paper.
    short : str
        The claim in a few words.
    statement : str
        The claim.
    result : {"holds", "fails", "undecided"}
        From the interval.
    figure, low, high : float or None
        What decided, with its interval; None where there is none.
    threshold : float
        What the figure must lie above.
    note : str
        What the figure is, the other criteria, and what the cohort lacks.
    """

    id: int
    short: str
    statement: str
    result: str
    figure: float | None
    low: float | None
    high: float | None
    threshold: float
    note: str

    def to_json(self) -> dict[str, Any]:
        """Return what ``lrplan claims --json`` prints of it."""
        return {
            "id": self.id,
            "statement": self.statement,
            "result": self.result,
            "figure": self.figure,
            "low": self.low,
            "high": self.high,
            "note": self.note,
        }


@dataclass(frozen=True, repr=False)
class ClaimsReport:
    """What became of the claims on a cohort.

    Parameters
    ----------
    cohort : str
        Its name.
    organisms : int
        How many were used.
    rules : list of str
        The rules among them that the paper has.
    claims : list of Claim
        In the order of the paper.
    warnings : list of str
        What was left out.
    """

    cohort: str
    organisms: int
    rules: list[str]
    claims: list[Claim]
    warnings: list[str]

    def __repr__(self) -> str:
        counts = {r: sum(c.result == r for c in self.claims) for r in RESULTS}
        told = ", ".join(f"{n} {r}" for r, n in counts.items() if n)
        return f"<ClaimsReport of the cohort {self.cohort}: {told or 'no claim'}>"

    def _repr_html_(self) -> str:
        return html(self.lines())

    def _title(self) -> str:
        return (
            f"Claims of Nayebi et al. (2020) on the cohort {self.cohort}: {self.organisms} "
            f"organisms of {', '.join(self.rules)}"
        )

    def to_dataframe(self) -> pd.DataFrame:
        """Return a row for each claim: what `Claim.to_json` says of it."""
        import pandas as pd

        rows = [c.to_json() for c in self.claims]
        return pd.DataFrame(
            rows, columns=["id", "statement", "result", "figure", "low", "high", "note"]
        )

    def lines(self) -> list[Line]:
        """Return what ``lrplan claims`` prints, as lines and tables."""
        rows = [
            [c.id, c.statement, c.result, _number(c.figure), _range(c.low, c.high)]
            for c in self.claims
        ]
        return [
            self._title(),
            table(None, ("", "claim", "result", "figure", "95% interval"), rows),
            *(f"{c.id}. {c.note}" for c in self.claims),
            *(f"Warning: {w}" for w in self.warnings),
        ]

    def summary(self) -> str:
        """Return the text that ``lrplan claims`` prints."""
        return text(self.lines())

    def to_json(self) -> dict[str, Any]:
        """Return the object that ``lrplan claims --json`` prints."""
        return {
            "schema": "lrplan.claims/1",
            "cohort": {
                "name": self.cohort,
                "organisms": self.organisms,
                "rules": self.rules,
                "warnings": self.warnings,
            },
            "claims": [c.to_json() for c in self.claims],
        }

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the figures, their intervals and their thresholds."""
        from lrplan.pictures import draw

        return draw("plot_claims", self, ax=ax)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _range(low: float | None, high: float | None) -> str:
    return "-" if low is None or high is None else f"{low:.3f} to {high:.3f}"
