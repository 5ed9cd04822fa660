"""Forecast of comparisons: how often two recordings of one preparation are put in order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lrplan.arguments import generator, positive_int
from lrplan.classifiers.calibrated import Calibrated
from lrplan.cohort import as_cohort
from lrplan.errors import UsageError
from lrplan.measure.design import Design
from lrplan.measure.observables import refuse_unmeasured
from lrplan.measure.observe import observe_cohort
from lrplan.measure.texts import design_line
from lrplan.measure.virtual import lacking_contrasts, usable
from lrplan.tell.compare import CHANCE, check_tell, doubts_of_pairs, pairs_of, short
from lrplan.tell.held_out import LEAST_FAMILIES
from lrplan.tell.intervals import Interval
from lrplan.tell.pairing import judge_families, judge_known, order
from lrplan.tell.unseen import (
    check_classifier,
    check_design,
    check_rules,
    draw_streams,
    recorded_whole,
    technique_told,
)
from lrplan.texts import Line, counted, html, percent, table, text

if TYPE_CHECKING:
    import pandas as pd

    from lrplan.cohort.store import Cohort

ANIMALS = (1, 2, 4, 8)


@dataclass(frozen=True)
class PairForecast:
    """How often sides of two rules are put in the right order.

    Parameters
    ----------
    a, b : str
        The two rules.
    held_out : dict of int to Interval
        Accuracy on families of architectures that no classifier saw, mean over them, by how many
        animals a side has. A number that some family does not allow is missing.
    families : dict of int to dict of str to Interval
        Each family's own, where it allows the number.
    known : Interval or None
        Accuracy of single animals under known conditions; None where none could be compared.
    """

    a: str
    b: str
    held_out: dict[int, Interval]
    families: dict[int, dict[str, Interval]]
    known: Interval | None

    def to_json(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "a": self.a,
            "b": self.b,
            "held_out_family": {
                str(n): {
                    "accuracy": self.held_out[n].to_json() if n in self.held_out else None,
                    "families": {family: i.to_json() for family, i in own.items()},
                }
                for n, own in self.families.items()
            },
            "known": self.known and self.known.to_json(),
        }


@dataclass(frozen=True)
class ForecastComparison:
    """What a Design can tell in comparisons of two sides of one preparation.

    Parameters
    ----------
    cohort : str
        Name of the cohort.
    organisms : int
        How many were recorded.
    design : Design
        How.
    told : {"rule", "credit", "optimizer"}
        What the pairs are of.
    animals : tuple of int
        Numbers of animals of a side that were tried.
    pairs : list of PairForecast
        For each pair; chance is 0.5.
    warnings : list of str
        What to know before believing it.
    shuffled : bool
        Whether labels were shuffled between organisms (a control).
    """

    cohort: str
    organisms: int
    design: Design
    told: str
    animals: tuple[int, ...]
    pairs: list[PairForecast]
    warnings: list[str]
    shuffled: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the object that ``lrplan design --compare --json`` prints."""
        return {
            "schema": "lrplan.comparison-forecast/1",
            "cohort": {"name": self.cohort, "organisms": self.organisms},
            "design": self.design.to_json(),
            "told": self.told,
            "animals": list(self.animals),
            "chance": CHANCE,
            "shuffled_labels": self.shuffled,
            "pairs": [p.to_json() for p in self.pairs],
            "warnings": self.warnings,
        }

    def to_dataframe(self) -> pd.DataFrame:
        """Return one row per pair, condition and number of animals of a side."""
        import pandas as pd

        rows: list[tuple[Any, ...]] = []
        for p in self.pairs:
            rows += [
                (p.a, p.b, "held-out family", n, i.mean, i.low, i.high)
                for n, i in p.held_out.items()
            ]
            k = p.known
            if k is not None:
                rows.append((p.a, p.b, "known", 1, k.mean, k.low, k.high))
        index = ["a", "b", "condition", "animals"]
        frame = pd.DataFrame(rows, columns=[*index, "accuracy", "low", "high"])
        return frame.set_index(index)

    def lines(self) -> list[Line]:
        """Return the design, accuracies and warnings."""
        lines: list[Line] = [
            f"Comparisons, forecast from the cohort {self.cohort}: {self.organisms} organisms",
            f"Design: {design_line(self.design.to_json())}",
            *(["Labels were shuffled between organisms, as a control."] if self.shuffled else []),
            "Which of two sides of one preparation is more like one rule than like another? How "
            f"often the answer is right; chance {percent(CHANCE)}.",
        ]
        title = "On a family of networks that no classifier saw (a brain is one), animals a side"
        rows = [
            [_between(p), *(_shown(p.held_out.get(n)) for n in self.animals)] for p in self.pairs
        ]
        lines.append(table(title, ("between", *map(str, self.animals)), rows, numbers=1))
        names = sorted({f for p in self.pairs for f in p.families.get(1, {})})
        if names:
            title = "Each family that was held out, 1 animal a side"
            rows = [
                [_between(p), *(_shown(p.families.get(1, {}).get(f)) for f in names)]
                for p in self.pairs
            ]
            lines.append(table(title, ("between", *names), rows, numbers=1))
        rows = [[_between(p), _shown(p.known)] for p in self.pairs]
        title = "Under known conditions, 1 animal a side"
        lines.append(table(title, ("between", "known"), rows, numbers=1))
        return lines + [f"Warning: {w}" for w in self.warnings]

    def summary(self) -> str:
        """Return the text that ``lrplan design --compare`` prints."""
        return text(self.lines())

    def __repr__(self) -> str:
        """Return a forecast in one short line, as Python shows it."""
        single = [p.held_out[1].mean for p in self.pairs if 1 in p.held_out]
        said = "no family held out"
        if single:
            said = f"held-out family {percent(min(single))} to {percent(max(single))}"
        return f"<ForecastComparison from {self.cohort!r}: {said}, chance {percent(CHANCE)}>"

    def _repr_html_(self) -> str:
        return html(self.lines())


def forecast_comparison(
    cohort: Cohort | str | Path,
    design: Design,
    *,
    rng: np.random.Generator | int,
    between: tuple[str, str] | None = None,
    tell: str = "rule",
    animals: Sequence[int] = ANIMALS,
    shuffle_labels: bool = False,
    classifier: Calibrated | None = None,
) -> ForecastComparison:
    """Forecast how often a Design puts two sides of one preparation in the right order.

    Parameters
    ----------
    cohort : Cohort, str or Path
        Organisms whose rules are known, or the name or path of a cohort.
    design : Design
        The planned experiment.
    rng : numpy.random.Generator or int
        Source of units, noise, splits and forests.
    between : (str, str), optional
        Two rules; by default each pair is compared.
    tell : {"rule", "credit", "optimizer"}, default "rule"
        What is asked.
    animals : sequence of int, default (1, 2, 4, 8)
        How many each side has, their scores being averaged. A preparation is used for a number
        (above 1) if it has more organisms of each rule than that.
    shuffle_labels : bool, default False
        Whether organisms swap rules at random: the accuracy must then be chance.
    classifier : Calibrated, optional
        Cloned and fitted for each family; by default one with its default settings.

    Returns
    -------
    ForecastComparison
        With intervals from a bootstrap over organisms and families.

    Raises
    ------
    UsageError
        If the design asks for more than the cohort holds, or an option is not one.
    DataError
        If the cohort has too few rules or organisms, or a rule of which no organism learned.

    Examples
    --------
    >>> import lrplan
    >>> plan = lrplan.forecast_comparison(
    ...     "starter", lrplan.Design(units=30), rng=0, between=("adam", "sgdm"), animals=[1]
    ... )
    >>> [(p.a, p.b, sorted(p.held_out)) for p in plan.pairs]
    [('adam', 'sgdm', [1])]
    """
    check_design(design)
    refuse_unmeasured(design.taken, design.measures)
    check_tell(tell)
    numbers = _numbers(animals)
    if classifier is not None:
        check_classifier(classifier)
    cohort = as_cohort(cohort)
    cohort.refuse_lost_rules()
    streams, recorders = draw_streams(generator(rng))
    made = observe_cohort(cohort, design, rng=recorders[0])
    check_rules(made, cohort)
    virtual, dropped = made.finite(cohort.name)
    shuffle = streams.rng("shuffled labels") if shuffle_labels else None
    virtual = virtual.telling(tell, shuffle=shuffle)
    pairs = pairs_of(virtual, between, tell, cohort.name)
    families = judge_families(virtual, streams, classifier, areas=1)
    known = judge_known(virtual, streams, classifier, areas=1)
    found: list[PairForecast] = []
    doubts: dict[str, list[tuple[str, str]]] = {}
    for a, b in pairs:
        held = {}
        for n in numbers:
            compared = None if families is None else order(families, a, b, streams, (n, n))
            if compared is not None:
                held[n] = compared
        most = max((len(o.groups) for o in held.values()), default=0)
        seen = order(known, a, b, streams)
        for doubt in _few({n: sorted(o.groups) for n, o in held.items()}, numbers):
            doubts.setdefault(doubt, []).append((a, b))
        found.append(
            PairForecast(
                a=a,
                b=b,
                held_out={n: o.accuracy for n, o in held.items() if len(o.groups) == most},
                families={n: o.groups for n, o in held.items()},
                known=None if seen is None else seen.accuracy,
            )
        )
    warnings = doubts_of_pairs(doubts, len(pairs))
    populations = usable(cohort, design, None)
    warnings += recorded_whole(cohort, design, populations)
    warnings += technique_told(design, virtual)
    warnings += [*lacking_contrasts(cohort, design), *cohort.fate_warnings()]
    if dropped:
        warnings.append(f"not finite in some recording, and so left out: {', '.join(dropped)}")
    return ForecastComparison(
        cohort=cohort.name,
        organisms=len(np.unique(virtual.organisms)),
        design=design,
        told=tell,
        animals=numbers,
        pairs=found,
        warnings=warnings,
        shuffled=shuffle_labels,
    )


def _numbers(animals: object) -> tuple[int, ...]:
    if isinstance(animals, str) or not isinstance(animals, Sequence) or not animals:
        raise UsageError(f"animals is {animals!r}; expected numbers, such as (1, 2, 4)")
    return tuple(sorted({positive_int(n, "one of animals") for n in animals}))


def _few(families: dict[int, list[str]], numbers: Sequence[int]) -> list[str]:
    """Say where too few families, or none, could be compared.

    Parameters
    ----------
    families : dict of int to list of str
        Those that could be, by animals a side.
    numbers : sequence of int
        Animals a side that were asked for.
    """
    most = max(families.values(), key=len, default=[])
    if not most:
        return ["no family that could be held out has both in one preparation"]
    out = []
    if len(most) < LEAST_FAMILIES:
        out.append(
            f"{counted(len(most), 'family', 'families')} ({', '.join(most)}) could be held out; "
            f"with fewer than {LEAST_FAMILIES} little is known of one that was never seen"
        )
    lost = [n for n in numbers if n not in families]
    if lost:
        out.append(
            f"no preparation has more than {lost[0]} organisms of each, so nothing is known of "
            f"{' or '.join(map(str, lost))} animals a side"
        )
    out += [
        f"{n} animals a side could be drawn in {', '.join(names)} alone, so there is no mean over "
        "families"
        for n, names in families.items()
        if len(names) < len(most)
    ]
    return out


def _between(pair: PairForecast) -> str:
    return f"{pair.a}, {pair.b}"


def _shown(interval: Interval | None) -> str:
    return "-" if interval is None else short(interval)
