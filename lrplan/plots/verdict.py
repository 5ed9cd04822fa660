"""Picture of a verdict: how probable each rule is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.axes import Axes

from lrplan.plots._style import LINE, SMALL, chance_line, new_axes, short, spoken

if TYPE_CHECKING:
    from lrplan.plots._drawn import Verdict

EXCLUDED = "0.75"


def plot_verdict(verdict: Verdict, *, ax: Axes | None = None) -> Axes:
    """Draw the probability of each rule, the likeliest above, with what guessing gives.

    Rules that are excluded at 95% are pale and say so.

    Parameters
    ----------
    verdict : Verdict
        Whose probabilities.
    ax : Axes, optional
        Where to draw; by default a new figure.
    """
    rows = sorted(verdict.probabilities.items(), key=lambda item: -item[1])
    ax = new_axes(ax, 0.9 + 0.32 * len(rows))
    for i, (rule, p) in enumerate(rows):
        left = rule in verdict.set
        ax.barh(i, p, height=0.7, color=LINE if left else EXCLUDED)
        told = f"{100 * p:.0f} %" if left else f"{100 * p:.0f} %, excluded"
        # Beside its bar, or in it where there is no room beside it.
        inside = p > 0.7
        ax.text(
            p - 0.02 if inside else p + 0.02,
            i,
            told,
            ha="right" if inside else "left",
            va="center",
            color="white" if inside and left else "black",
            fontsize=SMALL,
            # The line of chance must not run through the words.
            bbox=None if inside else {"facecolor": "white", "edgecolor": "none", "pad": 1},
        )
    chance_line(ax, verdict.chance)
    ax.set_yticks(range(len(rows)), [short(rule) for rule, _ in rows], fontsize=SMALL)
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.set_xlim(0, 1)
    ax.tick_params(axis="x", labelsize=SMALL)
    ax.set_xlabel("probability (dashed: chance)", fontsize=SMALL)
    ax.set_title("cannot tell" if verdict.answer is None else spoken(verdict.answer), fontsize=9)
    return ax
