"""The claims of Nayebi et al. (2020), each tested on a cohort from a figure and its interval.

Figures come with a 95% interval from a bootstrap over organisms, paired wherever the same
organisms are predicted by both of two methods. What becomes of a claim is judged by
`lrplan.claims.judge`.

Every margin and threshold is a constant of this module with its reason beside it, and was written
down before the claims were computed. What changed afterwards is said in docs/claims.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from lrplan.analyses._fits import remembered_fits
from lrplan.arguments import generator
from lrplan.claims.evidence import FEW_SAMPLES, ONE_ROUND, PAPER_RULES, Evidence
from lrplan.claims.judge import Criterion, Missing, judge
from lrplan.claims.report import Claim, ClaimsReport
from lrplan.cohort import as_cohort
from lrplan.errors import DataError, UsageError
from lrplan.tell.intervals import Estimate, Interval, combine, jackknife
from lrplan.terms import MEASURES

if TYPE_CHECKING:
    from lrplan.cohort.store import Cohort

T = TypeVar("T", bound="Callable[[Evidence], list[Criterion | Missing]]")

EQUAL = 0.05
"""Accuracies nearer than this count as equal: a fifteenth of the way from chance (0.25) to
certainty, and some three times what the draws alone move one (docs/decisions.md)."""
LITTLE = 0.05
"""What may be lost where a claim says 'little' or 'suffice': the margin of equality."""
SLIGHTLY = 0.10
"""By how much one may be better where a claim says 'slightly': twice the margin of equality."""
FAR_ABOVE_CHANCE = 1.0
"""'Far above chance': by at least this multiple of chance, so at least twice chance."""
SEVERAL_HUNDRED = 300
LEAST_HUNDRED = 200
"""'Several hundred units': 300, or just under half of the smallest population if that is fewer,
since less than a majority is the claim; below 200 it is not several hundred."""
UNITS = (30, 300)
NOISE = (0.0, 1.0)
"""Corners of units x noise: a small array and several hundred units (or as many as are stored, but
not fewer than 100), without noise and with as much as there is signal."""
LEAST_STORED = 100


@dataclass(frozen=True)
class Statement:
    """A claim, and by what it is judged.

    Parameters
    ----------
    short : str
        The claim in a few words.
    text : str
        The claim.
    criteria : callable
        Computes what it is judged by.
    """

    short: str
    text: str
    criteria: Callable[[Evidence], list[Criterion | Missing]]


CLAIMS: dict[int, Statement] = {}
"""The claims by number, in the order of the paper."""


def _claim(number: int, short: str, text: str) -> Callable[[T], T]:
    """Put a claim on the list: what it says, and the function that computes its criteria."""

    def add(criteria: T) -> T:
        CLAIMS[number] = Statement(short, text, criteria)
        return criteria

    return add


def evaluate_claims(
    cohort: Cohort | str | Path,
    *,
    rng: np.random.Generator | int,
    claims: int | Sequence[int] | None = None,
    done: Callable[[Claim], None] | None = None,
) -> ClaimsReport:
    """Test the paper's claims on a cohort.

    Parameters
    ----------
    cohort : Cohort, str or Path
        With organisms of at least two of the paper's four rules; those of other rules are left
        out.
    rng : numpy.random.Generator or int
        Source of splits, classifiers and resamples.
    claims : int or sequence of int, optional
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
    asked = [claims] if isinstance(claims, int) else claims
    wanted = sorted(set(CLAIMS if asked is None else asked))
    for number in wanted:
        if number not in CLAIMS:
            raise UsageError(f"there is no claim {number!r}; claims are 1 to {len(CLAIMS)}")
    cohort = as_cohort(cohort)
    evidence = Evidence(cohort, seed=int(generator(rng).integers(2**31)))
    out = []
    with remembered_fits():
        for number in wanted:
            out.append(_test(number, evidence))
            if done is not None:
                done(out[-1])
    return ClaimsReport(cohort.name, evidence.organisms, evidence.rules, out, evidence.warnings)


def _test(number: int, evidence: Evidence) -> Claim:
    claim = CLAIMS[number]
    try:
        criteria = claim.criteria(evidence)
    except (DataError, UsageError) as error:
        # What an analysis was asked for here, no user asked for: the cohort cannot give it.
        criteria = [Missing(str(error))]
    return judge(number, claim.short, claim.text, criteria)


def _each(estimates: dict[str, Estimate]) -> str:
    return ", ".join(f"{m} {e.mean:.3f}" for m, e in estimates.items())


def _mean(estimates: Sequence[Estimate]) -> Estimate:
    return combine(estimates, "mean")


@_claim(
    1,
    "measures separate rules",
    "All three measures separate the four rules far above chance.",
)
def _far_above_chance(evidence: Evidence) -> list[Criterion | Missing]:
    evidence.need_rules(*PAPER_RULES)
    chance = 1 / len(evidence.rules)
    lowest = combine(list(evidence.forest.values()), "min") - chance
    what = (
        f"accuracy above chance ({chance:g}) of the worst measure under the random forest "
        f"({_each(evidence.forest)})"
    )
    return [Criterion(what, lowest.interval, FAR_ABOVE_CHANCE * chance)]


@_claim(
    2,
    "Random Forest is best",
    "Random Forest is best for every measure; Conv1D never beats it and only slightly "
    "beats the SVM.",
)
def _forest_is_best(evidence: Evidence) -> list[Criterion | Missing]:
    forest, svm, convolution = evidence.forest, evidence.svm, evidence.convolution
    ahead = [forest[m] - combine([svm[m], convolution[m]], "max") for m in MEASURES]
    slightly = _mean([convolution[m] - svm[m] for m in MEASURES])
    return [
        Criterion(
            "accuracy of the random forest minus that of the better of the others, at the measure "
            f"where it is least (forest: {_each(forest)}; Conv1D: {_each(convolution)}; SVM: "
            f"{_each(svm)})",
            combine(ahead, "min").interval,
        ),
        Criterion("Conv1D minus SVM, mean over measures", slightly.interval),
        Criterion(
            f"{SLIGHTLY:g} minus the same, which is to be slight",
            (-slightly + SLIGHTLY).interval,
        ),
    ]


@_claim(
    3,
    "measures do equally well",
    "All measures do about equally well under the Random Forest.",
)
def _measures_are_equal(evidence: Evidence) -> list[Criterion | Missing]:
    found = list(evidence.forest.values())
    spread = combine(found, "max") - combine(found, "min")
    what = (
        f"margin {EQUAL:g} minus the range of accuracy over measures under the random forest "
        f"({_each(evidence.forest)})"
    )
    return [Criterion(what, (-spread + EQUAL).interval)]


@_claim(
    4,
    "activity worst under SVM",
    "Under the linear SVM activations are worst.",
)
def _activity_is_worst_for_svm(evidence: Evidence) -> list[Criterion | Missing]:
    svm = evidence.svm
    ahead = combine([svm["weights"], svm["paired"]], "min") - svm["activity"]
    what = f"accuracy under the SVM of the worse other measure minus activity ({_each(svm)})"
    return [Criterion(what, ahead.interval)]


@_claim(
    5,
    "Adam and SGDM confused most",
    "Mistakes are more between Adam and SGDM than between IA and FA.",
)
def _optimizers_are_mistaken(evidence: Evidence) -> list[Criterion | Missing]:
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
    return [Criterion(what, (first - second).interval)]


def _costs(evidence: Evidence, condition: str) -> Estimate | Missing:
    """Return what holding a condition out costs, mean over measures."""
    found = evidence.held_out
    if condition not in found.dataset["condition"].values:
        return Missing(f"the cohort has one {condition}")
    cost = _mean([found.estimates["cost", m, condition] for m in MEASURES])
    if not np.isfinite(cost.mean):
        return Missing(f"no {condition} can be held out: the others lack a rule")
    return cost


@_claim(
    6,
    "held-out networks cost little",
    "Holding out whole architectures, or whole training curricula (batch size x data "
    "seed), costs little.",
)
def _holding_out_costs_little(evidence: Evidence) -> list[Criterion | Missing]:
    criteria: list[Criterion | Missing] = []
    for condition, plural in (("architecture", "architectures"), ("curriculum", "curricula")):
        cost = _costs(evidence, condition)
        if isinstance(cost, Missing):
            criteria.append(cost)
            continue
        what = (
            f"margin {LITTLE:g} minus the accuracy that holding out {plural} costs "
            f"({cost.mean:.3f}; random forest, mean over measures, against as many random "
            "organisms held out)"
        )
        criteria.append(Criterion(what, (-cost + LITTLE).interval))
    return criteria


@_claim(
    7,
    "held-out tasks cost more",
    "Holding out whole tasks costs more: most for supervised to self-supervised and for "
    "deep to shallow.",
)
def _tasks_cost_more(evidence: Evidence) -> list[Criterion | Missing]:
    task = _costs(evidence, "task")
    if isinstance(task, Missing):
        return [task]
    others = [_costs(evidence, c) for c in ("architecture", "curriculum")]
    known = [c for c in others if isinstance(c, Estimate)]
    criteria: list[Criterion | Missing] = [c for c in others if isinstance(c, Missing)]
    if known:
        what = (
            f"what holding out tasks costs ({task.mean:.3f}) minus the larger cost of "
            "architectures and curricula (random forest, mean over measures)"
        )
        criteria.insert(0, Criterion(what, (task - combine(known, "max")).interval))
    cases = _by_objective(evidence)
    supervised, contrastive = cases.get("supervised", []), cases.get("self-supervised", [])
    if supervised and contrastive:
        back, forth = _mean(supervised), _mean(contrastive)
        what = (
            f"what holding out self-supervised tasks costs ({forth.mean:.3f}) minus what holding "
            f"out supervised ones does ({back.mean:.3f})"
        )
        criteria.append(Criterion(what, (forth - back).interval))
    else:
        criteria.append(Missing("the cohort has tasks of one objective"))
    criteria.append(_deep_to_shallow(evidence))
    return criteria


def _deep_to_shallow(evidence: Evidence) -> Criterion | Missing:
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
    return Criterion(what, (few - deep).interval)


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


@_claim(
    8,
    "equal performance separates",
    "Rules of equal task performance still separate (SGDM against IA on ResNets).",
)
def _equal_performance_separates(evidence: Evidence) -> list[Criterion | Missing]:
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
    return [Criterion(what, (_mean(accuracy) - 0.5).interval, but=but)]


@_claim(
    9,
    "averaging hurts",
    "Averaging a trajectory over time hurts the SVM for every measure; the Random Forest "
    "much less with weights.",
)
def _averaging_hurts(evidence: Evidence) -> list[Criterion | Missing]:
    evidence.need_measures()
    found = evidence.analyse("time_average").estimates
    svm = {m: found["loss", m, "linear_svm"] for m in MEASURES}
    forest = {m: found["loss", m, "random_forest"] for m in MEASURES}
    others = _mean([forest["activity"], forest["paired"]])
    return [
        Criterion(
            f"what averaging costs the SVM, at the measure where it is least ({_each(svm)})",
            combine(list(svm.values()), "min").interval,
        ),
        Criterion(
            "what averaging costs the random forest with the other measures, minus with weights "
            f"({_each(forest)})",
            (others - forest["weights"]).interval,
        ),
    ]


@_claim(
    10,
    "importance is uneven",
    "Importance is uneven: weight median first overall, norms first among activations, "
    "layer position last.",
)
def _importance_is_uneven(evidence: Evidence) -> list[Criterion | Missing]:
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
        Criterion(f"weight median minus the next; {of}", ahead("weight_median", rest)),
        Criterion("activity norm minus the next of activity", ahead("act_norm", of_activity)),
        Criterion(
            "the least observable minus the position", jackknife(lowest - per_column["position"])
        ),
    ]


@_claim(
    11,
    "longer period is better",
    "At the same number of samples, a longer subsample period is better.",
)
def _longer_period_is_better(evidence: Evidence) -> list[Criterion | Missing]:
    found = evidence.subsampled
    gains = []
    for n in FEW_SAMPLES:
        long = max(p for m, k, p in found if k == n)
        gains += [found[m, n, long] - found[m, n, 1] for m in MEASURES]
    what = (
        f"accuracy of {FEW_SAMPLES[0]} and {FEW_SAMPLES[1]} samples spread over all of training "
        "minus as many consecutive ones, random forest, mean over measures"
    )
    return [Criterion(what, _mean(gains).interval)]


@_claim(
    12,
    "weights robust to few samples",
    "Weights are most robust to undersampling the trajectory; with enough samples "
    "activations match.",
)
def _weights_are_robust(evidence: Evidence) -> list[Criterion | Missing]:
    found = evidence.subsampled
    few = [(n, p) for m, n, p in found if m == "weights" and n in FEW_SAMPLES]
    loss = {m: evidence.forest[m] - _mean([found[m, n, p] for n, p in few]) for m in MEASURES}
    others = combine([loss["activity"], loss["paired"]], "min")
    half, period = next((n, p) for m, n, p in found if n not in FEW_SAMPLES)
    match = found["activity", half, period] - found["weights", half, period]
    return [
        Criterion(
            "what undersampling costs the less hurt of the other measures, minus weights "
            f"({_each(loss)}; random forest, {FEW_SAMPLES[0]} and {FEW_SAMPLES[1]} samples)",
            (others - loss["weights"]).interval,
        ),
        Criterion(
            f"accuracy of activity minus weights with {half} samples, which match if they are "
            f"not {EQUAL:g} apart",
            match.interval,
            -EQUAL,
        ),
    ]


@_claim(
    13,
    "thirds differ",
    "Trained on one third of a trajectory and tested on another, accuracy drops; middle "
    "and late correspond somewhat.",
)
def _thirds_differ(evidence: Evidence) -> list[Criterion | Missing]:
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
        Criterion(
            f"accuracy on the third trained on ({same.mean:.3f}) minus on another "
            f"({other.mean:.3f}), random forest, mean over measures",
            (same - other).interval,
        ),
        Criterion(
            f"between middle and late ({near.mean:.3f}) minus between early and another "
            f"({far.mean:.3f})",
            (near - far).interval,
        ),
    ]


@_claim(
    14,
    "activity robust to few units",
    "Under unit undersampling and noise (FA against IA), activations are most robust; "
    "weights and activity changes most susceptible.",
)
def _activity_is_robust(evidence: Evidence) -> list[Criterion | Missing]:
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
        Criterion(
            f"what {units[0]} units, noise {NOISE[-1]:g} and both cost the less hurt of weights or "
            f"paired, minus activity, FA against IA ({_each(loss)}; with {units[-1]} units and no "
            f"noise: {_each(best)})",
            ahead.interval,
            but=but,
        )
    ]


@_claim(
    15,
    "several hundred units suffice",
    "Several hundred units suffice; a majority is not needed.",
)
def _hundreds_suffice(evidence: Evidence) -> list[Criterion | Missing]:
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
    return [Criterion(what, (some - every + LITTLE).interval)]
