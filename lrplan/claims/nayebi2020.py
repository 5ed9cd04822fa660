"""The claims of Nayebi et al. (2020), each tested on a cohort from a figure and its interval.

A claim is one or several parts. A part is a figure that must lie above a threshold, with a 95%
interval from a bootstrap over organisms, paired wherever the same organisms are predicted by both
of two methods. A part *holds* if its interval lies above the threshold, *fails* if it lies
below, and is *undecided* if it does not say. A claim holds if all its parts hold, and fails if one
fails. What a cohort cannot speak about is undecided, and named.

Every margin and threshold is a constant of this module with its reason beside it, and was written
down before the claims were computed. What changed afterwards is said in docs/claims.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from lrplan.analyses import Result, analyse, analyses
from lrplan.analyses._scoring import open_study, remembered_fits
from lrplan.cohort.conditions import conditions
from lrplan.errors import DataError, UsageError
from lrplan.tell.intervals import Estimate, Interval, combine, jackknife
from lrplan.terms import MEASURES

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from lrplan.cohort.store import Cohort

PAPER_RULES = ("sgdm", "adam", "feedback_alignment", "information_alignment")

EQUAL = 0.05
"""Accuracies nearer than this count as equal: a fifteenth of the way from chance (0.25) to
certainty, and some three times what the draws alone move one (docs/decisions.md)."""
LITTLE = 0.05
"""What may be lost where a claim says 'little' or 'suffice': the margin of equality."""
SLIGHTLY = 0.10
"""By how much one may be better where a claim says 'slightly': twice the margin of equality."""
FAR = 1.0
"""'Far above chance': by at least this multiple of chance, so at least twice chance."""
SEVERAL_HUNDRED = 300
LEAST_HUNDRED = 200
"""'Several hundred units': 300, or just under half of the smallest population if that is fewer,
since less than a majority is the claim; below 200 it is not several hundred."""
CONDITIONS = ("architecture", "curriculum", "task")
FEW_SAMPLES = (3, 5)
"""Samples of a trajectory in the claims on undersampling: few, and more than two."""
UNITS = (30, 300)
NOISE = (0.0, 1.0)
"""Corners of units x noise: a small array and several hundred units (or as many as are stored, but
not fewer than 100), without noise and with as much as there is signal."""
LEAST_STORED = 100
SPLITS = 10
"""Splits of an analysis, as in the paper; fewer where a rule has too few organisms for so many."""
ONE_ROUND = 4
"""Splits where figures are means over many designs: each organism is tested once in each."""


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
        The part that decided, with its interval; None where there is none.
    threshold : float
        What the figure must lie above.
    note : str
        What the figure is, the other parts, and what the cohort lacks.
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


@dataclass(frozen=True)
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
        from lrplan.plots import plot_claims

        return plot_claims(self, ax=ax)


@dataclass(frozen=True)
class Part:
    """One figure of a claim, and what it must lie above.

    Parameters
    ----------
    what : str
        The figure in words.
    interval : Interval
        Its value.
    above : float, default 0
        What it must exceed.
    but : str, default ""
        Why it decides nothing, whatever it is.
    """

    what: str
    interval: Interval
    above: float = 0.0
    but: str = ""

    @property
    def result(self) -> str:
        """What the interval says."""
        if self.but or not np.isfinite(self.interval.low + self.interval.high):
            return "undecided"
        if self.interval.low > self.above:
            return "holds"
        if self.interval.high < self.above:
            return "fails"
        return "undecided"

    def __str__(self) -> str:
        text = f"{self.what}: {self.interval}, must exceed {self.above:g}: {self.result}"
        return f"{text}, since {self.but}" if self.but else text


@dataclass(frozen=True)
class Missing:
    """A part that a cohort cannot speak about, and what it lacks."""

    why: str


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
        self.splits = study.possible_splits(SPLITS)
        if self.splits < SPLITS:
            self.warnings.append(
                f"{self.splits} splits in place of {SPLITS}, since a rule has few organisms"
            )

    def _rng(self) -> np.random.Generator:
        return np.random.default_rng(self.seed)

    def analyse(self, name: str, **options: Any) -> Result:
        """Return an analysis of the organisms that have one of the paper's rules."""
        options = {"rules": self.rules} | options
        defaults = analyses.get(name).defaults
        if "splits" in defaults:
            options["splits"] = min(options.get("splits", defaults["splits"]), self.splits)
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


def evaluate_claims(
    cohort: Cohort,
    *,
    rng: np.random.Generator,
    claims: Sequence[int] | None = None,
    done: Callable[[Claim], None] | None = None,
) -> ClaimsReport:
    """Test the paper's claims on a cohort.

    Parameters
    ----------
    cohort : Cohort
        With organisms of at least two of the paper's four rules; those of other rules are left
        out.
    rng : numpy.random.Generator
        Source of splits, classifiers and resamples.
    claims : sequence of int, optional
        Which; by default all 15.
    done : callable, optional
        Called with each claim when it is tested.

    Returns
    -------
    ClaimsReport
        Claims in the order of the paper.

    Raises
    ------
    UsageError
        If there is no claim of a number.
    DataError
        If no claim could be tested: no observables, fewer than two of the rules, or fewer than 4
        organisms of one. A claim that alone lacks something is undecided.
    """
    wanted = sorted(set(CLAIMS) if claims is None else set(claims))
    for number in wanted:
        if number not in CLAIMS:
            raise UsageError(f"there is no claim {number!r}; claims are 1 to {len(CLAIMS)}")
    evidence = Evidence(cohort, seed=int(rng.integers(2**31)))
    out = []
    with remembered_fits():
        for number in wanted:
            out.append(_test(number, evidence))
            if done is not None:
                done(out[-1])
    return ClaimsReport(cohort.name, evidence.organisms, evidence.rules, out, evidence.warnings)


def _test(number: int, evidence: Evidence) -> Claim:
    short, statement, parts_of = CLAIMS[number]
    try:
        parts = parts_of(evidence)
    except (DataError, UsageError) as error:
        # What an analysis was asked for here, no user asked for: the cohort cannot give it.
        parts = [Missing(str(error))]
    return judge(number, short, statement, parts)


def judge(number: int, short: str, statement: str, parts: Sequence[Part | Missing]) -> Claim:
    """Return what becomes of a claim with these parts.

    The figure is that of the part that decides: the first that fails; else the first that is
    undecided; else the first.
    """
    tested = [p for p in parts if isinstance(p, Part)]
    missing = [p.why for p in parts if isinstance(p, Missing)]
    results = [p.result for p in tested]
    if "fails" in results:
        result = "fails"
    elif missing or "undecided" in results:
        result = "undecided"
    else:
        result = "holds"
    shown = next(
        (p for r in ("fails", "undecided", "holds") for p in tested if p.result == r), None
    )
    note = "; ".join([str(p) for p in tested] + [f"cannot be tested: {w}" for w in missing])

    figures: list[float | None] = [None, None, None]
    if shown is not None:
        each = (shown.interval.mean, shown.interval.low, shown.interval.high)
        figures = [float(x) if np.isfinite(x) else None for x in each]
    return Claim(
        id=number,
        short=short,
        statement=statement,
        result=result,
        figure=figures[0],
        low=figures[1],
        high=figures[2],
        threshold=shown.above if shown else 0.0,
        note=note,
    )


def _each(estimates: dict[str, Estimate]) -> str:
    return ", ".join(f"{m} {e.mean:.3f}" for m, e in estimates.items())


def _mean(estimates: Sequence[Estimate]) -> Estimate:
    return combine(estimates, "mean")


def _far_above_chance(evidence: Evidence) -> list[Part | Missing]:
    evidence.need_rules(*PAPER_RULES)
    chance = 1 / len(evidence.rules)
    lowest = combine(list(evidence.forest.values()), "min") - chance
    what = (
        f"accuracy above chance ({chance:g}) of the worst measure under the random forest "
        f"({_each(evidence.forest)})"
    )
    return [Part(what, lowest.interval, FAR * chance)]


def _forest_is_best(evidence: Evidence) -> list[Part | Missing]:
    forest, svm, convolution = evidence.forest, evidence.svm, evidence.convolution
    ahead = [forest[m] - combine([svm[m], convolution[m]], "max") for m in MEASURES]
    slightly = _mean([convolution[m] - svm[m] for m in MEASURES])
    return [
        Part(
            "accuracy of the random forest minus that of the better of the others, at the measure "
            f"where it is least (forest: {_each(forest)}; Conv1D: {_each(convolution)}; SVM: "
            f"{_each(svm)})",
            combine(ahead, "min").interval,
        ),
        Part("Conv1D minus SVM, mean over measures", slightly.interval),
        Part(
            f"{SLIGHTLY:g} minus the same, which is to be slight",
            (-slightly + SLIGHTLY).interval,
        ),
    ]


def _measures_are_equal(evidence: Evidence) -> list[Part | Missing]:
    found = list(evidence.forest.values())
    spread = combine(found, "max") - combine(found, "min")
    what = (
        f"margin {EQUAL:g} minus the range of accuracy over measures under the random forest "
        f"({_each(evidence.forest)})"
    )
    return [Part(what, (-spread + EQUAL).interval)]


def _activity_is_worst_for_svm(evidence: Evidence) -> list[Part | Missing]:
    svm = evidence.svm
    ahead = combine([svm["weights"], svm["paired"]], "min") - svm["activity"]
    what = f"accuracy under the SVM of the worse other measure minus activity ({_each(svm)})"
    return [Part(what, ahead.interval)]


def _optimizers_are_mistaken(evidence: Evidence) -> list[Part | Missing]:
    evidence.need_measures()
    evidence.need_rules(*PAPER_RULES)
    share = evidence.analyse("confusion").estimates

    def mistaken(a: str, b: str) -> Estimate:
        return _mean([share[m, x, y] for m in MEASURES for x, y in ((a, b), (b, a))])

    first = mistaken("adam", "sgdm")
    second = mistaken("feedback_alignment", "information_alignment")
    what = (
        f"share of Adam and SGDM taken for each other ({first.mean:.3f}) minus that of FA and IA "
        f"({second.mean:.3f}), random forest, mean over measures"
    )
    return [Part(what, (first - second).interval)]


def _costs(evidence: Evidence, condition: str) -> Estimate | Missing:
    """Return what holding a condition out costs, mean over measures."""
    found = evidence.held_out
    if condition not in found.dataset["condition"].values:
        return Missing(f"the cohort has one {condition}")
    cost = _mean([found.estimates["cost", m, condition] for m in MEASURES])
    if not np.isfinite(cost.mean):
        return Missing(f"no {condition} can be held out: the others lack a rule")
    return cost


def _holding_out_costs_little(evidence: Evidence) -> list[Part | Missing]:
    parts: list[Part | Missing] = []
    for condition, plural in (("architecture", "architectures"), ("curriculum", "curricula")):
        cost = _costs(evidence, condition)
        if isinstance(cost, Missing):
            parts.append(cost)
            continue
        what = (
            f"margin {LITTLE:g} minus the accuracy that holding out {plural} costs "
            f"({cost.mean:.3f}; random forest, mean over measures, against as many random "
            "organisms held out)"
        )
        parts.append(Part(what, (-cost + LITTLE).interval))
    return parts


def _tasks_cost_more(evidence: Evidence) -> list[Part | Missing]:
    task = _costs(evidence, "task")
    if isinstance(task, Missing):
        return [task]
    others = [_costs(evidence, c) for c in ("architecture", "curriculum")]
    known = [c for c in others if isinstance(c, Estimate)]
    parts: list[Part | Missing] = [c for c in others if isinstance(c, Missing)]
    if known:
        what = (
            f"what holding out tasks costs ({task.mean:.3f}) minus the larger cost of "
            "architectures and curricula (random forest, mean over measures)"
        )
        parts.insert(0, Part(what, (task - combine(known, "max")).interval))
    cases = _by_objective(evidence)
    supervised, contrastive = cases.get("supervised", []), cases.get("self-supervised", [])
    if supervised and contrastive:
        back, forth = _mean(supervised), _mean(contrastive)
        what = (
            f"what holding out self-supervised tasks costs ({forth.mean:.3f}) minus what holding "
            f"out supervised ones does ({back.mean:.3f})"
        )
        parts.append(Part(what, (forth - back).interval))
    else:
        parts.append(Missing("the cohort has tasks of one objective"))
    parts.append(_deep_to_shallow(evidence))
    return parts


def _deep_to_shallow(evidence: Evidence) -> Part | Missing:
    """Compare tasks that only shallow networks learned with the rest, each held out.

    An architecture's depth is that of its last stored layer.
    """
    tasks, networks = evidence.labels["task"], evidence.labels["architecture"]
    place = evidence.cohort.population_table["layer_index"].values[evidence.populations]
    depth = {a: place[networks == a].max() for a in np.unique(networks)}
    depths = {t: [depth[a] for a in np.unique(networks[tasks == t])] for t in np.unique(tasks)}
    shallow = shallow_tasks(depths)
    on_shallow = _cases(evidence, shallow)
    on_deep = _cases(evidence, [t for t in depths if t not in shallow])
    if not on_shallow or not on_deep:
        return Missing(
            "deep to shallow needs tasks learned by deep architectures only and others by shallow "
            "ones, as ImageNet and CIFAR-10 in the paper"
        )
    deep, few = _mean(on_deep), _mean(on_shallow)
    what = (
        f"what holding out tasks of shallow networks costs ({few.mean:.3f}; {', '.join(shallow)}) "
        f"minus what holding out those of deep ones does ({deep.mean:.3f})"
    )
    return Part(what, (few - deep).interval)


def shallow_tasks(depths: Mapping[str, Sequence[int]]) -> list[str]:
    """Return the tasks whose networks are all less deep than any network of the other tasks.

    Parameters
    ----------
    depths : mapping of str to sequence of int
        Depths of the networks that learned each task.

    Returns
    -------
    list of str
        Parted from the others where the gap in depth is widest; empty if there is none.
    """
    order = sorted(depths, key=lambda t: max(depths[t]))
    best, parted = 0, 0
    for i in range(1, len(order)):
        gap = min(min(depths[t]) for t in order[i:]) - max(depths[order[i - 1]])
        if gap > best:
            best, parted = gap, i
    return order[:parted]


def _cases(evidence: Evidence, tasks: Sequence[str]) -> list[Estimate]:
    """Return what holding out each of these tasks costs, for each measure."""
    found = [
        evidence.held_out.estimates.get(("case cost", m, f"task: {t}"))
        for t in tasks
        for m in MEASURES
    ]
    return [f for f in found if f is not None and np.isfinite(f.mean)]


def _by_objective(evidence: Evidence) -> dict[str, list[Estimate]]:
    """Return what holding out each task costs, by objective."""
    tasks, objectives = evidence.labels["task"], evidence.labels["objective"]
    kinds = {str(o): np.unique(tasks[objectives == o]).tolist() for o in np.unique(objectives)}
    return {kind: found for kind, names in kinds.items() if (found := _cases(evidence, names))}


def _equal_performance_separates(evidence: Evidence) -> list[Part | Missing]:
    evidence.need_rules("sgdm", "information_alignment")
    names = sorted(set(evidence.labels["architecture"]))
    resnets = [n for n in names if "resnet" in n.lower()]
    used = resnets or names
    found = evidence.analyse(
        "equal_performance",
        rules=["sgdm", "information_alignment"],
        architectures=used,
        match=["organisms"],
        splits=8,
    )
    accuracy = [found.estimates[m, "organisms"] for m in evidence.measures]
    alone = found.estimates["performance", "organisms"]
    left = int(found.dataset["organisms"].sel(match="organisms"))
    what = (
        f"accuracy above chance (0.5) between SGDM and IA for {left} organisms of equal final "
        f"performance, random forest, mean over measures (from the course of performance alone: "
        f"{alone.mean:.3f})"
    )
    but = "" if resnets else f"the cohort has no ResNets, and this is of its {', '.join(used)}"
    return [Part(what, (_mean(accuracy) - 0.5).interval, but=but)]


def _averaging_hurts(evidence: Evidence) -> list[Part | Missing]:
    evidence.need_measures()
    found = evidence.analyse("time_average").estimates
    svm = {m: found["loss", m, "linear_svm"] for m in MEASURES}
    forest = {m: found["loss", m, "random_forest"] for m in MEASURES}
    others = _mean([forest["activity"], forest["paired"]])
    return [
        Part(
            f"what averaging costs the SVM, at the measure where it is least ({_each(svm)})",
            combine(list(svm.values()), "min").interval,
        ),
        Part(
            "what averaging costs the random forest with the other measures, minus with weights "
            f"({_each(forest)})",
            (others - forest["weights"]).interval,
        ),
    ]


def _importance_is_uneven(evidence: Evidence) -> list[Part | Missing]:
    evidence.need_measures()
    found = evidence.analyse("importance", measure="all", permutations=1)
    data = found.dataset
    names = [str(n) for n in data["observable"].values]
    by_split = data["gini_by_split"].values
    sessions = evidence.cohort.checkpoints
    # The paper's features are single columns: an observable in one session, or one position.
    per_column = {
        n: by_split[:, i] / (3 if n == "position" else sessions) for i, n in enumerate(names)
    }
    kinds: dict[str, list[np.ndarray]] = {}
    for name, values in per_column.items():
        # weight_abs_median -> weight_median: the mean over raw, abs and sq.
        family, *rest = name.split("_")
        kind = name if name == "position" or family == "grad" else f"{family}_{rest[-1]}"
        kinds.setdefault(kind, []).append(values)
    mean = {k: np.mean(v, axis=0) for k, v in kinds.items()}

    def ahead(first: str, others: Sequence[str]) -> Interval:
        return jackknife(mean[first] - np.max([mean[k] for k in others], axis=0))

    rest = [k for k in mean if k not in ("weight_median", "position")]
    of_activity = [k for k in mean if k.startswith("act_") and k != "act_norm"]
    for needed in ("weight_median", "act_norm"):
        if needed not in mean:
            raise DataError(f"{needed} is not finite somewhere in the cohort and was dropped")
    lowest = np.min([v for k, v in per_column.items() if k != "position"], axis=0)
    ranked = sorted(mean, key=lambda k: -float(mean[k].mean()))
    of = f"Gini importance of one feature, delete-a-quarter jackknife (order: {', '.join(ranked)})"
    return [
        Part(f"weight median minus the next; {of}", ahead("weight_median", rest)),
        Part("activity norm minus the next of activity", ahead("act_norm", of_activity)),
        Part("the least observable minus the position", jackknife(lowest - per_column["position"])),
    ]


def _longer_period_is_better(evidence: Evidence) -> list[Part | Missing]:
    found = evidence.subsampled
    gains = []
    for n in FEW_SAMPLES:
        long = max(p for m, k, p in found if k == n)
        gains += [found[m, n, long] - found[m, n, 1] for m in MEASURES]
    what = (
        f"accuracy of {FEW_SAMPLES[0]} and {FEW_SAMPLES[1]} samples spread over all of training "
        "minus as many consecutive ones, random forest, mean over measures"
    )
    return [Part(what, _mean(gains).interval)]


def _weights_are_robust(evidence: Evidence) -> list[Part | Missing]:
    found = evidence.subsampled
    few = [(n, p) for m, n, p in found if m == "weights" and n in FEW_SAMPLES]
    loss = {m: evidence.forest[m] - _mean([found[m, n, p] for n, p in few]) for m in MEASURES}
    others = combine([loss["activity"], loss["paired"]], "min")
    half, period = next((n, p) for m, n, p in found if n not in FEW_SAMPLES)
    match = found["activity", half, period] - found["weights", half, period]
    return [
        Part(
            "what undersampling costs the less hurt of the other measures, minus weights "
            f"({_each(loss)}; random forest, {FEW_SAMPLES[0]} and {FEW_SAMPLES[1]} samples)",
            (others - loss["weights"]).interval,
        ),
        Part(
            f"accuracy of activity minus weights with {half} samples, which match if they are "
            f"not {EQUAL:g} apart",
            match.interval,
            -EQUAL,
        ),
    ]


def _thirds_differ(evidence: Evidence) -> list[Part | Missing]:
    evidence.need_measures()
    found = evidence.analyse("thirds", splits=ONE_ROUND).estimates
    thirds = ("early", "middle", "late")

    def mean(pairs: Sequence[tuple[str, str]]) -> Estimate:
        return _mean([found[m, a, b] for m in MEASURES for a, b in pairs])

    same = mean([(t, t) for t in thirds])
    other = mean([(a, b) for a in thirds for b in thirds if a != b])
    near = mean([("middle", "late"), ("late", "middle")])
    far = mean([(a, b) for a in thirds for b in thirds if a != b and "early" in (a, b)])
    return [
        Part(
            f"accuracy on the third trained on ({same.mean:.3f}) minus on another "
            f"({other.mean:.3f}), random forest, mean over measures",
            (same - other).interval,
        ),
        Part(
            f"between middle and late ({near.mean:.3f}) minus between early and another "
            f"({far.mean:.3f})",
            (near - far).interval,
        ),
    ]


def _activity_is_robust(evidence: Evidence) -> list[Part | Missing]:
    evidence.need_measures()
    pair = ("feedback_alignment", "information_alignment")
    evidence.need_rules(*pair)
    stored = {m: int(evidence.cohort.stored_units(m)[evidence.populations].max()) for m in MEASURES}
    fewest = min(stored, key=lambda m: stored[m])
    if stored[fewest] < LEAST_STORED:
        raise DataError(
            f"the cohort stores {stored[fewest]} units of a population for {fewest}; "
            f"{LEAST_STORED} are needed"
        )
    units = (UNITS[0], min(UNITS[1], stored[fewest]))
    found = evidence.analyse(
        "units_noise", measure=list(MEASURES), rules=list(pair), units=units, noise=NOISE
    ).estimates
    # Against the most units without noise, under the same stimuli: the observables of all units are
    # averaged over other stimuli, and would make activity lose more than units and noise.
    best = {m: found[m, str(units[-1]), "0"] for m in MEASURES}
    cells = [(str(u), f"{s:g}") for u in units for s in NOISE]
    cells.remove((str(units[-1]), "0"))
    loss = {m: best[m] - _mean([found[m, u, s] for u, s in cells]) for m in MEASURES}
    ahead = combine([loss["weights"], loss["paired"]], "min") - loss["activity"]
    # Where nothing is there to be lost, losing little is no robustness.
    blind = [m for m in MEASURES if best[m].interval.low <= 0.5]
    but = ""
    if blind:
        but = f"{' and '.join(blind)} cannot tell FA from IA even with {units[-1]} units, no noise"
    return [
        Part(
            f"what {units[0]} units, noise {NOISE[-1]:g} and both cost the less hurt of weights or "
            f"paired, minus activity, FA against IA ({_each(loss)}; with {units[-1]} units and no "
            f"noise: {_each(best)})",
            ahead.interval,
            but=but,
        )
    ]


def _hundreds_suffice(evidence: Evidence) -> list[Part | Missing]:
    table, cohort = evidence.cohort.population_table, evidence.cohort
    held = cohort.stored_units("activity")[evidence.populations]
    sizes = table["units"].values[evidence.populations]
    # Only where every unit is stored can some be compared with all under the same stimuli.
    sizes = sizes[held == sizes]
    if not len(sizes):
        raise DataError("the cohort stores every unit of no population")
    units, size = min(SEVERAL_HUNDRED, (int(sizes.min()) - 1) // 2), int(sizes.max())
    if units < LEAST_HUNDRED:
        raise DataError(
            f"the smallest population that is stored whole has {sizes.min()} units; "
            f"{LEAST_HUNDRED} would be a majority"
        )
    found = evidence.analyse(
        "units_noise", measure=["activity"], units=[units, size], noise=[0.0], whole=True
    ).estimates
    some, every = (found["activity", str(n), "0"] for n in (units, size))
    what = (
        f"margin {LITTLE:g} minus what recording {units} units costs (accuracy {some.mean:.3f}) "
        f"against all ({every.mean:.3f}), {len(sizes)} populations that are stored whole, "
        "activity, random forest, no noise"
    )
    return [Part(what, (some - every + LITTLE).interval)]


CLAIMS: dict[int, tuple[str, str, Callable[[Evidence], list[Part | Missing]]]] = {
    1: (
        "measures separate rules",
        "All three measures separate the four rules far above chance.",
        _far_above_chance,
    ),
    2: (
        "Random Forest is best",
        "Random Forest is best for every measure; Conv1D never beats it and only slightly beats "
        "the SVM.",
        _forest_is_best,
    ),
    3: (
        "measures do equally well",
        "All measures do about equally well under the Random Forest.",
        _measures_are_equal,
    ),
    4: (
        "activity worst under SVM",
        "Under the linear SVM activations are worst.",
        _activity_is_worst_for_svm,
    ),
    5: (
        "Adam and SGDM confused most",
        "Mistakes are more between Adam and SGDM than between IA and FA.",
        _optimizers_are_mistaken,
    ),
    6: (
        "held-out networks cost little",
        "Holding out whole architectures, or whole training curricula (batch size x data seed), "
        "costs little.",
        _holding_out_costs_little,
    ),
    7: (
        "held-out tasks cost more",
        "Holding out whole tasks costs more: most for supervised to self-supervised and for deep "
        "to shallow.",
        _tasks_cost_more,
    ),
    8: (
        "equal performance separates",
        "Rules of equal task performance still separate (SGDM against IA on ResNets).",
        _equal_performance_separates,
    ),
    9: (
        "averaging hurts",
        "Averaging a trajectory over time hurts the SVM for every measure; the Random Forest much "
        "less with weights.",
        _averaging_hurts,
    ),
    10: (
        "importance is uneven",
        "Importance is uneven: weight median first overall, norms first among activations, layer "
        "position last.",
        _importance_is_uneven,
    ),
    11: (
        "longer period is better",
        "At the same number of samples, a longer subsample period is better.",
        _longer_period_is_better,
    ),
    12: (
        "weights robust to few samples",
        "Weights are most robust to undersampling the trajectory; with enough samples activations "
        "match.",
        _weights_are_robust,
    ),
    13: (
        "thirds differ",
        "Trained on one third of a trajectory and tested on another, accuracy drops; middle and "
        "late correspond somewhat.",
        _thirds_differ,
    ),
    14: (
        "activity robust to few units",
        "Under unit undersampling and noise (FA against IA), activations are most robust; weights "
        "and activity changes most susceptible.",
        _activity_is_robust,
    ),
    15: (
        "several hundred units suffice",
        "Several hundred units suffice; a majority is not needed.",
        _hundreds_suffice,
    ),
}
"""Number to a few words, the claim, and what computes its parts."""
