"""The figure of each claim, and what it must lie above."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.axes import Axes

from lrplan.plots._style import SMALL, new_axes

if TYPE_CHECKING:
    from lrplan.plots._drawn import ClaimsReport

LOOKS = {"holds": ("#009E73", "o"), "fails": ("#D55E00", "s"), "undecided": ("0.45", "^")}


def plot_claims(report: ClaimsReport, *, ax: Axes | None = None) -> Axes:
    """Draw each claim's figure, its interval, and what it must lie above.

    Parameters
    ----------
    report : ClaimsReport
        From `lrplan.claims.evaluate_claims`.
    ax : Axes, optional
        Where to draw; by default a new figure.
    """
    found = report.claims
    ax = new_axes(ax, 0.9 + 0.24 * len(found))
    used = set()
    for i, claim in enumerate(found):
        colour, marker = LOOKS[claim.result]
        if claim.figure is not None:
            low = claim.figure if claim.low is None else claim.low
            high = claim.figure if claim.high is None else claim.high
            label = None if claim.result in used else claim.result
            used.add(claim.result)
            ax.errorbar(
                claim.figure,
                i,
                xerr=[[max(claim.figure - low, 0)], [max(high - claim.figure, 0)]],
                fmt=marker,
                color=colour,
                ms=4,
                lw=1,
                label=label,
            )
        ax.plot([claim.threshold] * 2, [i - 0.35, i + 0.35], color="black", lw=1)
    ax.set_yticks(range(len(found)), [f"{c.id} {c.short}" for c in found], fontsize=SMALL)
    ax.set_ylim(len(found) - 0.5, -0.5)
    ax.plot([], [], "|", color="black", ms=8, label="threshold")
    ax.tick_params(axis="x", labelsize=SMALL)
    ax.set_xlabel("figure (95% interval)", fontsize=8)
    ax.legend(fontsize=SMALL, frameon=False, loc="lower center", bbox_to_anchor=(0.2, 1.0), ncols=2)
    return ax
