"""Forecast: how well a planned experiment can tell the learning rules apart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from lrplan.arguments import generator
from lrplan.cohort import as_cohort
from lrplan.errors import UsageError
from lrplan.measure.design import Design
from lrplan.measure.observables import refuse_unmeasured
from lrplan.measure.observe import observe_cohort
from lrplan.measure.texts import design_line
from lrplan.measure.trajectories import Trajectories
from lrplan.measure.virtual import lacking_contrasts, usable
from lrplan.pictures import draw
from lrplan.randomness import Streams
from lrplan.registry import nearest
from lrplan.tell.auc import auc_estimate
from lrplan.tell.combine import Probabilities
from lrplan.tell.held_out import HELD_OUT, SPOKEN, Condition, Told, judge_all, unseen_tests
from lrplan.tell.intervals import Bootstrap, Interval
from lrplan.tell.unseen import (
    REPEATS,
    check_classifier,
    check_design,
    check_rules,
    cross_predict,
    draw_streams,
    recorded_whole,
    technique_told,
    within_known,
)
from lrplan.texts import Line, html, percent, percent_range, table, text

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from lrplan.classifiers.calibrated import Calibrated
    from lrplan.cohort.store import Cohort

SPLITS = ("organism", "layer")
COLUMNS = ("balanced accuracy under", "accuracy", "95% interval", "AUC", "95% interval")
NOT_ASKED = "it was not asked for"


@dataclass(frozen=True)
class Forecast:
    """What a Design can tell, with its uncertainty.

    The headline is ``held_out["family"]``: a brain is a family of networks that no classifier saw.

    Parameters
    ----------
    cohort : str
        Name of the cohort.
    organisms, populations : int
        How many were recorded.
    design : Design
        How.
    split : {"organism", "layer"}
        What never stands on both sides of a split. ``layer`` leaks: it is the paper's.
    accuracy : Interval
        Balanced accuracy for one recorded population of an organism that was not seen, under
        conditions that were; over two draws of units, noise and folds.
    animal : Interval or None
        The same for all recorded areas of an organism together, as `Probabilities.by_animal`
        combines them; None where one area of each is recorded.
    auc : Interval
        Area under the curve within known conditions (`lrplan.tell.auc.Auc`); chance is 0.5. Where
        it is high and the accuracy is not, recordings stand in the right order, but the threshold
        between rules is another than the one that was trained.
    animal_auc : Interval or None
        The same for all recorded areas of an organism together.
    bits : Interval
        What one recording tells about the rule.
    held_out : dict of str to Interval or None
        Accuracy on whole families of architectures (the headline), architectures, tasks and
        hyperparameter settings that were not seen, mean over those that were held out; its
        interval is over organisms and over them. None where none could be held out.
    held_out_auc : dict of str to Interval or None
        The area under the curve within each of them, mean over them.
    families : dict of str to Told
        What was found on each family that was held out, or why it could not be.
    not_held_out : dict of str to str
        Why there is None in `held_out`.
    confusion : xarray.DataArray (true, predicted)
        Shares of each true rule's recordings.
    pairs : xarray.DataArray (a, b)
        Accuracy between two rules; chance is 0.5.
    pairs_auc : xarray.DataArray (a, b)
        Area under the curve between two rules (Hand and Till's A); `auc` is its mean.
    inseparable : list of pairs
        Rules whose accuracy between them is not above chance.
    warnings : list of str
        What to know before believing it.
    fates : dict of str to int
        How many organisms of the cohort learned (``learned``, ``not_learned``), ``diverged``, or
        are ``unknown``, see `lrplan.cohort.learned`.
    include_unlearned : bool
        Whether those that did not learn were recorded, too.
    shuffled : bool
        Whether labels were shuffled between organisms (a control).
    """

    cohort: str
    organisms: int
    populations: int
    design: Design
    split: str
    accuracy: Interval
    auc: Interval
    animal: Interval | None
    animal_auc: Interval | None
    bits: Interval
    held_out: dict[str, Interval | None]
    held_out_auc: dict[str, Interval | None]
    families: dict[str, Told]
    not_held_out: dict[str, str]
    confusion: xr.DataArray
    pairs: xr.DataArray
    pairs_auc: xr.DataArray
    inseparable: list[tuple[str, str]]
    warnings: list[str]
    fates: dict[str, int]
    include_unlearned: bool = False
    shuffled: bool = False

    @property
    def rules(self) -> list[str]:
        """The rules that are told apart, sorted."""
        return [str(r) for r in self.confusion["true"].values]

    @property
    def chance(self) -> float:
        """Accuracy of guessing."""
        return 1 / len(self.rules)

    def to_json(self) -> dict[str, Any]:
        """Return the object that ``lrplan design --json`` prints."""

        def plain(intervals: dict[str, Interval | None]) -> dict[str, Any]:
            return {name: i and i.to_json() for name, i in intervals.items()}

        return {
            "schema": "lrplan.forecast/1",
            "cohort": {
                "name": self.cohort,
                "organisms": self.organisms,
                "populations": self.populations,
                "rules": self.rules,
                "fates": self.fates,
                "include_unlearned": self.include_unlearned,
            },
            "design": self.design.to_json(),
            "split": self.split,
            "shuffled_labels": self.shuffled,
            "accuracy": self.accuracy.to_json(),
            "auc": self.auc.to_json(),
            "animal": self.animal and self.animal.to_json(),
            "animal_auc": self.animal_auc and self.animal_auc.to_json(),
            "chance": self.chance,
            "bits": self.bits.to_json(),
            "held_out": plain(self.held_out),
            "held_out_auc": plain(self.held_out_auc),
            "families": {name: told.to_json() for name, told in self.families.items()},
            "not_held_out": self.not_held_out,
            "confusion": {"rules": self.rules, "matrix": self.confusion.values.tolist()},
            "pairs": {
                "rules": self.rules,
                "accuracy": _rows(self.pairs),
                "auc": _rows(self.pairs_auc),
            },
            "inseparable": [list(pair) for pair in self.inseparable],
            "warnings": self.warnings,
        }

    def to_dataframe(self) -> pd.DataFrame:
        """Return the figures: one row per condition, with intervals and chance.

        Rows are ``known``, ``animal``, the conditions of `held_out`, and each family as
        ``family: NAME``; columns are ``accuracy``, ``low``, ``high``, ``chance``, ``auc``,
        ``auc_low`` and ``auc_high`` (NaN where there is none). The confusion is a labelled
        array of its own: ``forecast.confusion.to_dataframe()`` is its long form.
        """
        import pandas as pd

        rows = {"known": (self.accuracy, self.auc), "animal": (self.animal, self.animal_auc)}
        rows |= {name: (i, self.held_out_auc[name]) for name, i in self.held_out.items()}
        rows |= {f"family: {name}": (t.accuracy, t.auc) for name, t in self.families.items()}

        def values(interval: Interval | None) -> tuple[float, float, float]:
            return (interval.mean, interval.low, interval.high) if interval else (math.nan,) * 3

        return pd.DataFrame(
            [(*values(accuracy), self.chance, *values(auc)) for accuracy, auc in rows.values()],
            index=pd.Index(rows, name="condition"),
            columns=["accuracy", "low", "high", "chance", "auc", "auc_low", "auc_high"],
        )

    def lines(self) -> list[Line]:
        """Return a forecast: its design, accuracies, bits, confusion and warnings."""
        rules = self.rules
        most = math.log2(len(rules)) if rules else 0.0
        bits = self.bits
        matrix = [
            [rule, *map(percent, map(float, row))]
            for rule, row in zip(rules, self.confusion.values, strict=True)
        ]
        predicted = [str(r) for r in self.confusion["predicted"].values]
        lines: list[Line] = [
            f"Forecast from the cohort {self.cohort}: {self.organisms} organisms, "
            f"{self._recorded()}, {len(rules)} rules",
            f"Design: {design_line(self.design.to_json())}",
            *(["Labels were shuffled between organisms, as a control."] if self.shuffled else []),
            self._headline(),
            table(None, COLUMNS, self._rows(), numbers=1),
            f"Under known conditions one recording tells {bits.mean:.2f} of {most:.2f} bits about "
            f"the rule (95% interval {bits.low:.2f} to {bits.high:.2f}).",
            "",
            table(
                "Confusion under known conditions: share of each true rule that is taken for",
                ("true rule", *predicted),
                matrix,
                numbers=1,
            ),
        ]
        if self.inseparable:
            pairs = "; ".join(f"{a} and {b}" for a, b in self.inseparable)
            lines.append(f"Even under known conditions this design cannot separate: {pairs}.")
        else:
            lines.append("Under known conditions this design separates every pair of rules.")
        return lines + [f"Warning: {w}" for w in self.warnings]

    def _recorded(self) -> str:
        together = len(self.design.areas or ())
        if together > 1:
            return f"{together} areas of each recorded together"
        return f"{self.populations} populations"

    def _headline(self) -> str:
        found = self.held_out.get("family")
        told = "On average over families of networks that no classifier saw (a brain is one)"
        chance = f"chance {percent(self.chance)}."
        if found is None:
            return f"{told}: -, since {self.not_held_out.get('family', NOT_ASKED)}; {chance}"
        share, between = found.told()
        return f"{told} {between} are told right (95% interval; mean {share}); {chance}"

    def _rows(self) -> list[list[str]]:
        """Return accuracy and area under each condition, with intervals, the headline first."""
        rows = []
        for name, accuracy in self.held_out.items():
            told = SPOKEN.get(name, f"held-out {name}")
            rows.append([told, *_figures(accuracy, self.held_out_auc.get(name), "none held out")])
            if name == "family" and len(self.families) > 1:
                rows += [
                    [f"... {family}", *_figures(t.accuracy, t.auc, "not held out")]
                    for family, t in self.families.items()
                ]
        known = "known conditions"
        if self.split == "layer":
            known = "known conditions, split by layer (leaks between layers of one organism)"
        rows.append([known, *_figures(self.accuracy, self.auc)])
        if self.animal is not None:
            together = "... all areas of an animal together"
            rows.append([together, *_figures(self.animal, self.animal_auc)])
        return [*rows, ["chance", percent(self.chance), "", "0.50", ""]]

    def summary(self) -> str:
        """Return the text that ``lrplan design`` prints."""
        return text(self.lines())

    def plot(self, *, ax: Axes | None = None) -> Axes:
        """Draw the confusion, as `lrplan.plot_confusion` does."""
        return draw("plot_confusion", self, ax=ax)

    def __repr__(self) -> str:
        """Return a forecast in one short line, as Python shows it."""
        design = self.design
        unseen = self.held_out.get("family")
        figures = [] if unseen is None else [f"held-out family {_short(unseen)}"]
        figures += [f"known conditions {_short(self.accuracy)}", f"chance {percent(self.chance)}"]
        own = design.make_modality().takes_noise == "none"
        noise = f"of {design.modality}" if own else f"{design.noise:.3g}"
        return (
            f"<Forecast from {self.cohort!r}, {design.units} units, noise {noise}: "
            f"{', '.join(figures)}>"
        )

    def _repr_html_(self) -> str:
        return html(self.lines())


def forecast(
    cohort: Cohort | str | Path,
    design: Design,
    *,
    rng: np.random.Generator | int,
    shuffle_labels: bool = False,
    split: str = "organism",
    held_out: bool = True,
    classifier: Calibrated | None = None,
) -> Forecast:
    """Forecast how well a Design tells the rules of a cohort apart.

    Parameters
    ----------
    cohort : Cohort, str or Path
        Organisms whose rules are known, or the name or path of a cohort. Those that did not learn
        are left out, unless `lrplan.open_cohort` was asked to include them.
    design : Design
        The planned experiment.
    rng : numpy.random.Generator or int
        Source of units, noise, splits and forests.
    shuffle_labels : bool, default False
        Whether organisms swap rules at random: the accuracy must then be chance.
    split : {"organism", "layer"}, default "organism"
        ``layer`` lets layers of one organism stand on both sides of a split, as in the paper,
        and so flatters the accuracy.
    held_out : bool, default True
        Whether to hold out architectures, tasks and hyperparameter settings, too.
    classifier : Calibrated, optional
        Cloned and fitted for each fold; by default one with its default settings.

    Returns
    -------
    Forecast
        With intervals from a bootstrap over organisms.

    Raises
    ------
    UsageError
        If the design asks for more than the cohort holds.
    DataError
        If the cohort has too few rules or organisms, or a rule of which no organism learned.

    Examples
    --------
    >>> import lrplan
    >>> design = lrplan.Design(units=300, noise=0.1)
    >>> plan = lrplan.forecast("starter", design, rng=0, held_out=False)
    >>> plan.accuracy.low > plan.chance
    True
    """
    cohort = as_cohort(cohort)
    check_design(design)
    refuse_unmeasured(design.taken, design.measures)
    if classifier is not None:
        check_classifier(classifier)
    if split not in SPLITS:
        raise UsageError(f"unknown split {split!r}; {nearest(split, SPLITS)}")
    cohort.refuse_lost_rules()
    streams, recorders = draw_streams(generator(rng))
    made = [observe_cohort(cohort, design, rng=r) for r in recorders]
    if shuffle_labels:
        made = [t.telling("rule", shuffle=streams.rng("shuffled labels")) for t in made]
    check_rules(made[0], cohort)
    repeats, lost = zip(*(t.finite(cohort.name) for t in made), strict=True)
    some = repeats[0]
    rules, organisms = some.y, some.organisms
    groups = organisms if split == "organism" else np.arange(len(some)).astype(str)
    tests = [within_known(t, groups, streams, repeat) for repeat, t in enumerate(repeats)]
    conditions = [Condition.of(some, name, groups) for name in HELD_OUT] if held_out else []
    unseen = unseen_tests(some, conditions)
    found = cross_predict(
        [*tests, *unseen.values()], groups, streams=streams, classifier=classifier
    )
    known = found[:REPEATS]
    judged = judge_all(conditions, some, dict(zip(unseen, found[REPEATS:], strict=True)), streams)
    bootstrap = Bootstrap(rules, organisms, rng=streams.rng("bootstrap"))
    kinds = np.unique(rules)
    surprise = np.log2(np.stack([p.of_truth for p in known]))
    told = bootstrap.balanced(np.log2(len(kinds)) + surprise)
    bits = Interval(max(told.mean, 0.0), max(told.low, 0.0), max(told.high, 0.0))
    pairs, inseparable = _pairs(known, bootstrap)
    auc, pairs_auc = auc_estimate(known, bootstrap)
    animal, animal_auc = _of_animals(known, streams) if split == "organism" else (None, None)
    warnings = _warnings(cohort, design, some, split, sorted({n for names in lost for n in names}))
    return Forecast(
        cohort=cohort.name,
        organisms=len(np.unique(organisms)),
        populations=len(usable(cohort, design, None)),
        design=design,
        split=split,
        accuracy=bootstrap.balanced(np.stack([p.right for p in known])),
        auc=auc.interval,
        animal=animal,
        animal_auc=animal_auc,
        bits=bits,
        held_out={name: judged[name].accuracy if judged else None for name in HELD_OUT},
        held_out_auc={name: judged[name].auc if judged else None for name in HELD_OUT},
        families=judged["family"].groups if judged else {},
        not_held_out={c.name: c.why for c in conditions if c.why is not None}
        if held_out
        else dict.fromkeys(HELD_OUT, NOT_ASKED),
        confusion=_confusion(known),
        pairs=pairs,
        pairs_auc=_between(pairs_auc, kinds, "pair_auc", "area under the curve between two rules"),
        inseparable=inseparable,
        warnings=warnings + [w for c in conditions for w in c.warnings],
        fates=cohort.fate_counts(),
        include_unlearned=cohort.include_unlearned,
        shuffled=shuffle_labels,
    )


def _of_animals(
    known: Sequence[Probabilities], streams: Streams
) -> tuple[Interval, Interval] | tuple[None, None]:
    """Return accuracy and area of all areas of an animal together; None where each has one."""
    together = [p.by_animal() for p in known]
    some = together[0]
    if len(some.told) == len(known[0].told):
        return None, None
    bootstrap = Bootstrap(some.told, some.animals, rng=streams.rng("bootstrap", "animals"))
    right = bootstrap.balanced(np.stack([p.right for p in together]))
    return right, auc_estimate(together, bootstrap)[0].interval


def _confusion(known: Sequence[Probabilities]) -> xr.DataArray:
    kinds, told = known[0].rules, known[0].told
    answers = np.stack([p.answers for p in known])
    shares = [[(answers[:, told == a] == b).mean() for b in kinds] for a in kinds]
    return xr.DataArray(
        np.array(shares),
        dims=("true", "predicted"),
        coords={"true": kinds, "predicted": kinds},
        name="confusion",
        attrs={"long_name": "share of the recordings of a rule", "units": "1"},
    )


def _pairs(
    known: Sequence[Probabilities], bootstrap: Bootstrap
) -> tuple[xr.DataArray, list[tuple[str, str]]]:
    """Return the accuracy between each two rules, and the pairs not shown to be above chance."""
    kinds, told = known[0].rules, known[0].told
    p = np.stack([each.values for each in known])
    matrix = np.full((len(kinds), len(kinds)), np.nan)
    inseparable = []
    for i, j in combinations(range(len(kinds)), 2):
        first = p[..., i] > p[..., j]
        right = np.where(told == kinds[i], first, ~first).astype(float)
        found = bootstrap.balanced(right, rules=(kinds[i], kinds[j]))
        matrix[i, j] = matrix[j, i] = found.mean
        if found.low <= 0.5:
            inseparable.append((str(kinds[i]), str(kinds[j])))
    pairs = _between(matrix, kinds, "pair_accuracy", "accuracy between two rules")
    return pairs, inseparable


def _between(matrix: np.ndarray, kinds: np.ndarray, name: str, long_name: str) -> xr.DataArray:
    return xr.DataArray(
        matrix,
        dims=("a", "b"),
        coords={"a": kinds, "b": kinds},
        name=name,
        attrs={"long_name": long_name, "units": "1"},
    )


def _rows(pairs: xr.DataArray) -> list[list[float | None]]:
    """Return a matrix of pairs for JSON, which has no NaN."""
    return [[None if math.isnan(v) else v for v in row] for row in pairs.values.tolist()]


def _figures(accuracy: Interval | None, auc: Interval | None, why: str = "") -> list[str]:
    """Return cells of a table: accuracy and area with their intervals, or why there are none."""
    if accuracy is None or auc is None:
        return ["-", why, "-", ""]
    return [*accuracy.told(), f"{auc.mean:.2f}", f"{auc.low:.2f} to {auc.high:.2f}"]


def _short(interval: Interval) -> str:
    return f"{percent(interval.mean)} ({percent_range(interval.low, interval.high)})"


def _warnings(
    cohort: Cohort, design: Design, trajectories: Trajectories, split: str, dropped: Sequence[str]
) -> list[str]:
    out = []
    if split == "layer":
        out.append(
            "split by layer: layers of one organism stand on both sides, so the accuracy within "
            "known conditions is flattered"
        )
    out += recorded_whole(cohort, design, usable(cohort, design, None))
    out += technique_told(design, trajectories)
    out += lacking_contrasts(cohort, design)
    shown = design.stimuli
    if "paired" in design.measures and shown is not None and shown > cohort.pair_stimuli:
        out.append(f"the cohort holds {cohort.pair_stimuli} stimuli for paired, fewer than asked")
    out += cohort.fate_warnings()
    if dropped:
        out.append(f"not finite in some recording, and so left out for all: {', '.join(dropped)}")
    return out
