"""Comparison: which of two recordings of one preparation is more like a rule than the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lrplan.arguments import generator
from lrplan.classifiers import seeded
from lrplan.classifiers.calibrated import Calibrated
from lrplan.cohort import as_cohort
from lrplan.errors import DataError, UsageError
from lrplan.measure.design import Design, Schedule
from lrplan.measure.observe import observe, observe_cohort
from lrplan.measure.recording import Recording
from lrplan.measure.texts import design_line, recording_line
from lrplan.measure.trajectories import Trajectories
from lrplan.randomness import Streams
from lrplan.registry import nearest
from lrplan.tell.combine import Probabilities
from lrplan.tell.held_out import LEAST_FAMILIES
from lrplan.tell.infer import DIFFERENT, fit_to, infer_design, with_plain, without_plain
from lrplan.tell.intervals import Interval
from lrplan.tell.pairing import (
    Judged,
    Ordered,
    Sizes,
    judge_families,
    judge_known,
    order,
    probability,
    score_of,
)
from lrplan.tell.promise import FAMILY
from lrplan.tell.unseen import check_classifier, check_rules, default_classifier
from lrplan.tell.verdict import TOO_FAR, at_position, check_areas, distance_to, populations_left
from lrplan.terms import POSITIONS
from lrplan.texts import Line, counted, html, percent, table, text

if TYPE_CHECKING:
    import pandas as pd

    from lrplan.cohort.store import Cohort

LEVEL = 0.9
"""The least probability of an answer."""
TOLD = ("rule", "credit", "optimizer")
SIDES = ("first", "second")
CHANCE = 0.5


@dataclass(frozen=True)
class PairComparison:
    """Which of two sides is more like `a` than like `b`.

    Parameters
    ----------
    a, b : str
        Two rules (or credits, or optimizers).
    scores : (float, float)
        Of the first and the second side: logarithm of the odds of `a` against `b`, mean over its
        recordings. They mean something relative to each other only.
    probability : float
        That the first side is the more a-like one, given that one side is `a` and the other `b`;
        that of the swapped sides is 1 less this one.
    answer : {"first", "second"} or None
        Which side is the more a-like one; None: cannot tell.
    reasons : list of str
        Why it cannot tell; empty if it can.
    expected : Ordered
        What such comparisons are worth on organisms that the classifier did not see: `accuracy`,
        `conditions`, the `groups` that were held out.
    answered : float
        Share of these comparisons that would be answered at this level.
    right : float or None
        Share of those answered that would be right; both with the probabilities fitted to other
        families than the one compared.
    """

    a: str
    b: str
    scores: tuple[float, float]
    probability: float
    answer: str | None
    reasons: list[str]
    expected: Ordered
    answered: float
    right: float | None

    @property
    def difference(self) -> float:
        """Score of the first side less that of the second."""
        return self.scores[0] - self.scores[1]

    @property
    def statement(self) -> str:
        """The probability in words."""
        asked = f"More like {self.a} than {self.b}:"
        if self.probability == CHANCE:
            return f"{asked} neither side"
        sure = round(100 * max(self.probability, 1 - self.probability))
        where = "on families that were never seen"
        if self.expected.conditions != FAMILY:
            where = "under known conditions, for networks like those of the cohort"
        side = SIDES[0] if self.probability > CHANCE else SIDES[1]
        return (
            f"{asked} the {side} side; of 100 such comparisons with this difference about {sure} "
            f"are right {where}"
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        e = self.expected
        return {
            "a": self.a,
            "b": self.b,
            "scores": dict(zip(SIDES, self.scores, strict=True)),
            "difference": self.difference,
            "probability": self.probability,
            "statement": self.statement,
            "answer": self.answer,
            "reasons": self.reasons,
            "expected_accuracy": e.accuracy.to_json(),
            "expected_conditions": e.conditions,
            "expected_families": _families_json(e) if e.conditions == FAMILY else {},
            "expected_animals": list(e.sizes),
            "chance": CHANCE,
            "answered": self.answered,
            "right_of_answered": self.right,
        }


@dataclass(frozen=True)
class Comparison:
    """What a comparison of two sides says, for each pair of rules.

    Parameters
    ----------
    first, second : list of dict
        The recordings of each side: source, kind, sessions, units, stimuli, animal, area,
        condition.
    design : Design
        Under which all of them are judged: the least of sessions and units.
    told : {"rule", "credit", "optimizer"}
        What the pairs are of.
    level : float
        The least probability of an answer.
    pairs : list of PairComparison
        For each pair.
    distance : dict of str to dict
        For each side, as in a `Verdict`.
    warnings : list of str
        What to know before believing it.
    """

    first: list[dict[str, Any]]
    second: list[dict[str, Any]]
    design: Design
    told: str
    level: float
    pairs: list[PairComparison]
    distance: dict[str, dict[str, float]]
    warnings: list[str]

    def pair(self, a: str, b: str) -> PairComparison:
        """Return what was found between two rules, in the order in which they are listed.

        Raises
        ------
        UsageError
            If they were not compared.
        """
        for each in self.pairs:
            if (each.a, each.b) == (a, b):
                return each
        known = "; ".join(f"{p.a} and {p.b}" for p in self.pairs)
        raise UsageError(f"no comparison between {a!r} and {b!r}; there are {known}")

    def to_json(self) -> dict[str, Any]:
        """Return the object that ``lrplan compare --json`` prints."""
        return {
            "schema": "lrplan.comparison/1",
            "first": self.first,
            "second": self.second,
            "design": self.design.to_json(),
            "told": self.told,
            "level": self.level,
            "pairs": [p.to_json() for p in self.pairs],
            "distance": self.distance,
            "warnings": self.warnings,
        }

    def to_dataframe(self) -> pd.DataFrame:
        """Return one row per pair: ``probability``, ``answer`` and the expected accuracy."""
        import pandas as pd

        rows = [
            (p.a, p.b, p.probability, p.answer, *_values(p.expected.accuracy)) for p in self.pairs
        ]
        columns = ["a", "b", "probability", "answer", "accuracy", "low", "high"]
        return pd.DataFrame(rows, columns=columns).set_index(["a", "b"])

    def lines(self) -> list[Line]:
        """Return what was read, what each pair says, and how far to trust it."""
        lines: list[Line] = []
        for side, held in zip(SIDES, (self.first, self.second), strict=True):
            lines += [f"{side.capitalize()} side: {recording_line(r)}" for r in held]
        lines.append(f"Design, inferred: {design_line(self.design.to_json())}")
        rows = [
            [
                *(p.a, p.b, percent(p.probability), p.answer or "cannot tell"),
                *(short(p.expected.accuracy), percent(p.answered), percent(p.right)),
            ]
            for p in self.pairs
        ]
        columns = ("more like", "than", "first side", "answer", "accuracy", "answered", "right")
        title = "How probable it is that the first side is the one that is"
        lines.append(table(title, columns, rows, numbers=2))
        lines.append(
            "Each line takes for granted that one side follows the one rule and the other side the "
            "other, in the same preparation; that neither does it cannot say."
        )
        conditions = sorted({p.expected.conditions for p in self.pairs})
        lines.append(
            "Accuracy (95% interval) is that of such comparisons on organisms that no classifier "
            f"saw ({' or '.join(conditions)}); chance {percent(CHANCE)}. Answered: how many of "
            f"them reach a probability of {percent(self.level)}; right: how many of these are."
        )
        for p in self.pairs:
            why = f" (no answer: {'; '.join(p.reasons)})" if p.reasons else ""
            lines.append(f"{p.statement}{why}.")
        for side, d in self.distance.items():
            lines.append(
                f"Distance of the {side} side from the virtual recordings: {d['value']:.4g}, "
                f"farther than {percent(d['quantile'])} of them."
            )
        return lines + [f"Warning: {w}" for w in self.warnings]

    def summary(self) -> str:
        """Return the text that ``lrplan compare`` prints."""
        return text(self.lines())

    def __repr__(self) -> str:
        """Return a comparison in one short line, as Python shows it."""
        best = max(self.pairs, key=lambda p: abs(p.probability - CHANCE))
        said = f"{best.a} rather than {best.b}: first {percent(best.probability)}"
        return f"<Comparison of {len(self.first)} with {len(self.second)} recordings: {said}>"

    def _repr_html_(self) -> str:
        return html(self.lines())


def compare(
    first: Recording | Sequence[Recording],
    second: Recording | Sequence[Recording],
    cohort: Cohort | str | Path,
    *,
    rng: np.random.Generator | int,
    between: tuple[str, str] | None = None,
    tell: str = "rule",
    level: float = LEVEL,
    without: str | Sequence[str] = (),
    position: str = "unknown",
    noise: float | None = None,
    classifier: Calibrated | None = None,
) -> Comparison:
    """Say which of two sides is more like one rule than like another.

    The sides are areas, animals or conditions of one preparation. What a preparation does to both
    cancels, so no threshold is needed that would have to hold for preparations never seen.

    Parameters
    ----------
    first, second : Recording or sequence of Recording
        As `read_nwb` returns them, each of one animal under one condition; of several the scores
        are averaged.
    cohort : Cohort, str or Path
        Organisms to train on, or the name or path of a cohort.
    rng : numpy.random.Generator or int
        Source of units, noise, splits and forests. Swapping the sides with the same seed turns
        every probability p into 1 - p.
    between : (str, str), optional
        Two rules; by default each pair is compared.
    tell : {"rule", "credit", "optimizer"}, default "rule"
        What is asked.
    level : float, default 0.9
        The least probability of an answer, from 0.5 to 1.
    without : str or sequence of str
        Organisms left out of training.
    position : {"unknown", "early", "middle", "deep"}
        Where the recorded area lies, on both sides; if it is unknown, it is no feature.
    noise : float, optional
        Noise of a response as a fraction of the signal; by default estimated from trials.
    classifier : Calibrated, optional
        Cloned and fitted; by default one with its default settings.

    Returns
    -------
    Comparison
        For each pair, with what it is worth on families that no classifier saw, if at least three
        have both rules; otherwise under known conditions, with a warning.

    Raises
    ------
    UsageError
        If a side is empty, or an option is not one.
    DataError
        If the sides differ in kind, stimuli or number of areas, a recording lacks what is needed,
        or the cohort has too few organisms left.

    Examples
    --------
    >>> import lrplan
    >>> mouse, control = (lrplan.read_nwb(f) for f in files)  # doctest: +SKIP
    >>> found = lrplan.compare(mouse, control, "starter", rng=0)  # doctest: +SKIP
    >>> found.pair("feedback_alignment", "sgdm").probability  # doctest: +SKIP
    0.83
    """
    sides = [_side(r, name) for r, name in zip((first, second), SIDES, strict=True)]
    check_tell(tell)
    check_level(level)
    if position != "unknown" and position not in POSITIONS:
        raise UsageError(f"unknown position {position!r}; {nearest(str(position), POSITIONS)}")
    if classifier is not None:
        check_classifier(classifier)
    cohort = as_cohort(cohort)
    cohort.refuse_lost_rules()
    everything = [r for side in sides for r in side]
    warnings = [*_doubts(sides), *cohort.fate_warnings()]
    areas = int(everything[0].data.sizes["population"])
    streams = Streams.draw(generator(rng))
    design, more = _shared_design(everything, cohort, streams, position, noise)
    warnings += more
    populations = populations_left(cohort, position, without)
    check_areas(cohort, populations, areas)
    seen = with_plain(design)
    made = observe_cohort(cohort, seen, rng=streams.rng("recording"), populations=populations)
    check_rules(made, cohort)
    found, dropped = made.finite(cohort.name)
    if dropped:
        warnings.append(f"not finite somewhere in the cohort, so left out: {', '.join(dropped)}")
    found = found.telling(tell)
    virtual = without_plain(found, design)
    pairs = pairs_of(virtual, between, tell, cohort.name)
    sizes = (len(sides[0]), len(sides[1]))
    expected, more = _expected(virtual, pairs, sizes, streams, classifier, areas)
    warnings += more

    train = virtual.features()
    base = default_classifier(train) if classifier is None else classifier
    model = seeded(base, streams.seed("classifier", "all"))
    model.fit(train.values, virtual.y, groups=virtual.organisms)
    kinds = np.unique(virtual.y)

    def observed(recording: Recording) -> Trajectories:
        # One stream for each, so that equal recordings are cut alike.
        held = replace(recording, tracked=design.tracked)
        fitted = fit_to(held, design, streams.rng("cut"))
        placed = fitted if position == "unknown" else at_position(fitted, position)
        return observe(
            placed,
            observables=seen.taken,
            scaling=design.scaling,
            positioned=position != "unknown",
        ).with_observables(found.observables)

    def judge(one: Trajectories) -> Probabilities:
        values = one.with_observables(virtual.observables).features().values
        return Probabilities.of(model.predict_proba(values), kinds, {})

    taken = [[observed(r) for r in side] for side in sides]
    told_of = [[judge(t) for t in side] for side in taken]
    known = found.features()
    distance = {
        name: distance_to(known, found.organisms, np.concatenate([t.features().values for t in s]))
        for name, s in zip(SIDES, taken, strict=True)
    }
    far = [name for name in SIDES if distance[name]["quantile"] > TOO_FAR]
    return Comparison(
        first=[_about(r) for r in sides[0]],
        second=[_about(r) for r in sides[1]],
        design=design,
        told=tell,
        level=level,
        pairs=[_compared(told_of, each, level, far) for each in expected],
        distance=distance,
        warnings=warnings,
    )


def _compared(
    told_of: Sequence[Sequence[Probabilities]], expected: Ordered, level: float, far: list[str]
) -> PairComparison:
    """Compare what was said of both sides."""
    a, b = expected.a, expected.b
    scores = [_mean([_mean(score_of(p, a, b)) for p in side]) for side in told_of]
    slope = expected.slope()
    p = float(probability(slope, scores[0] - scores[1]))
    reasons = [
        f"the {name} side lies farther from the virtual recordings than {TOO_FAR:.0%} of them lie "
        "from each other"
        for name in far
    ]
    if p == CHANCE:
        reasons.append("both sides are alike")
    elif max(p, 1 - p) < level:
        reasons.append(f"the probability is below {percent(level)}")
    if not expected.accuracy.low > CHANCE:
        reasons.append("such comparisons are not shown to be right more often than by chance")
    share, right = expected.answered(level)
    answer = None if reasons else SIDES[0] if p > CHANCE else SIDES[1]
    return PairComparison(
        a=a,
        b=b,
        scores=(scores[0], scores[1]),
        probability=p,
        answer=answer,
        reasons=reasons,
        expected=expected,
        answered=share,
        right=right,
    )


def _mean(values: Any) -> float:
    """Return the mean, which does not depend on the order of the values."""
    return float(np.mean(np.sort(np.asarray(values, dtype=float))))


def _expected(
    virtual: Trajectories,
    pairs: Sequence[tuple[str, str]],
    sizes: Sizes,
    streams: Streams,
    classifier: Calibrated | None,
    areas: int,
) -> tuple[list[Ordered], list[str]]:
    """Find out what comparisons of each pair are worth, of whole families if there are enough."""
    families = judge_families(virtual, streams, classifier, areas=areas)
    known: Judged | None = None
    found: list[Ordered] = []
    doubts: dict[str, list[tuple[str, str]]] = {}
    for a, b in pairs:
        whole = None if families is None else _largest(families, a, b, streams, sizes)
        if whole is None or len(whole.groups) < LEAST_FAMILIES:
            held = [] if whole is None else sorted(whole.groups)
            doubts.setdefault(_few_families(held), []).append((a, b))
            known = known or judge_known(virtual, streams, classifier, areas=areas)
            whole = _largest(known, a, b, streams, sizes)
        if whole is None:
            raise DataError(
                f"no two organisms of the cohort, one of {a} and one of {b}, share architecture, "
                "task and position and were judged together, so nothing shows what a comparison "
                "is worth; use a cohort that has both rules under the same conditions"
            )
        if whole.sizes != (min(sizes), max(sizes)):
            doubt = (
                f"too few preparations of the cohort have more than {max(sizes)} organisms of "
                f"each, so that probabilities are those of {_words(whole.sizes)}, and too cautious"
            )
            doubts.setdefault(doubt, []).append((a, b))
        found.append(whole)
    return found, doubts_of_pairs(doubts, len(pairs))


def _largest(judged: Judged, a: str, b: str, streams: Streams, sizes: Sizes) -> Ordered | None:
    """Compare sides as large as the cohort allows in as many groups as single animals do."""
    single = order(judged, a, b, streams)
    if single is None or max(sizes) == 1:
        return single
    least = min(len(single.groups), LEAST_FAMILIES)
    for most in range(max(sizes), 1, -1):
        cut = (min(sizes[0], most), min(sizes[1], most))
        found = order(judged, a, b, streams, cut)
        if found is not None and len(found.groups) >= least:
            return found
    return single


def _words(sizes: Sizes) -> str:
    return f"{sizes[0]} animals against {sizes[1]}" if max(sizes) > 1 else "single animals"


def _few_families(held: Sequence[str]) -> str:
    """Say that too few families have both rules to know what holds on one never seen."""
    some = counted(len(held), "family", "families") + " with both"
    if held:
        some += f" ({', '.join(held)})"
    return (
        f"the cohort has {some}; at least {LEAST_FAMILIES} are needed to find out what a "
        "comparison is worth on a family that was never seen. What is said holds for known "
        "conditions only: for networks like those of the cohort, and not for a brain"
    )


def doubts_of_pairs(doubts: Mapping[str, Sequence[tuple[str, str]]], pairs: int) -> list[str]:
    """Return warnings, each with the pairs that it is of.

    Parameters
    ----------
    doubts : mapping of str to pairs
        What is doubtful, and of which pairs.
    pairs : int
        How many there are.
    """
    return [
        f"{'; '.join(f'{a} and {b}' for a, b in held)}: {doubt}"
        if len(held) < pairs
        else f"all pairs: {doubt}"
        for doubt, held in doubts.items()
    ]


def check_tell(tell: object) -> None:
    """Raise `UsageError` for what cannot be asked."""
    if tell not in TOLD:
        raise UsageError(f"unknown label {tell!r}; {nearest(str(tell), TOLD)}")


def check_level(level: object) -> None:
    """Raise `UsageError` for what is no level of an answer."""
    number = isinstance(level, int | float) and not isinstance(level, bool)
    if not number or not CHANCE <= float(level) < 1:  # type: ignore[arg-type]
        raise UsageError(
            f"level is {level!r}; expected a probability from 0.5 to below 1, such as 0.9"
        )


def pairs_of(
    virtual: Trajectories, between: object, tell: str, cohort: str
) -> list[tuple[str, str]]:
    """Return the pairs to compare.

    Parameters
    ----------
    virtual : Trajectories
        What was recorded.
    between : pair of str or None
        The pair that was asked for; None takes all.
    tell, cohort : str
        What the pairs are of, and the cohort's name, for messages.

    Raises
    ------
    UsageError
        If `between` is no pair, or names what the cohort does not have.
    DataError
        If there is nothing to tell apart.
    """
    kinds = [str(k) for k in np.unique(virtual.y)]
    if len(kinds) < 2:
        raise DataError(
            f"the cohort {cohort!r} has one {tell} ({', '.join(kinds)}); at least 2 are needed to "
            "compare"
        )
    if between is None:
        return list(combinations(kinds, 2))
    named = [] if isinstance(between, str) or not isinstance(between, Sequence) else list(between)
    if len(named) != 2 or not all(isinstance(n, str) for n in named):
        raise UsageError(f"between is {between!r}; expected two of {', '.join(kinds)}")
    for name in named:
        if name not in kinds:
            raise UsageError(
                f"between names {name!r}, which the cohort {cohort!r} does not have as a {tell}; "
                f"{nearest(name, kinds)}"
            )
    if named[0] == named[1]:
        raise UsageError(f"between names {named[0]!r} twice; expected two of {', '.join(kinds)}")
    return [(named[0], named[1])]


def _side(given: object, name: str) -> list[Recording]:
    """Return the recordings of a side, each of one animal under one condition."""
    held = [given] if isinstance(given, Recording) else given
    if not isinstance(held, Sequence) or not all(isinstance(r, Recording) for r in held):
        raise UsageError(
            f"{name} is {given!r}; expected a Recording, as read_nwb makes it, or several"
        )
    if not held:
        raise UsageError(f"the {name} side is empty; expected at least one Recording")
    for recording in held:
        if "activity" not in recording.data:
            raise DataError(f"{recording.source} holds no activity; expected responses of units")
        if recording.sessions < 2:
            raise DataError(
                f"{recording.source} holds one session; a trajectory needs at least 2 sessions of "
                "the same area over learning"
            )
        for what in ("animal", "condition"):
            names = sorted(set(recording.data[what].values.tolist()))
            if len(names) > 1:
                raise DataError(
                    f"{recording.source} holds {len(names)} {what}s ({', '.join(names[:3])}); "
                    f"expected one; take each alone, as recording.of({what}=...)"
                )
    return list(held)


def _doubts(sides: Sequence[Sequence[Recording]]) -> list[str]:
    """Refuse sides that cannot be compared, and say what is doubtful."""
    everything = [r for side in sides for r in side]
    least = everything[0]
    for other in everything[1:]:
        for what, one, two in (
            ("kind", least.kind, other.kind),
            ("number of stimuli", least.data.sizes["stimulus"], other.data.sizes["stimulus"]),
            ("stimuli", _stimuli(least), _stimuli(other)),
            ("number of areas", *(r.data.sizes["population"] for r in (least, other))),
        ):
            if one != two:
                raise DataError(
                    f"{least.source} and {other.source} differ in {what} ({one} and {two}); "
                    "expected the same on both sides, or what differs would count as the rule's"
                )
    out = []
    shared = [one.source for one in sides[0] if any(_same_files(one, two) for two in sides[1])]
    if shared:
        out.append(f"{', '.join(shared)}: files that stand on both sides cannot tell them apart")
    areas = [sorted({str(a) for r in side for a in r.data["area"].values}) for side in sides]
    if areas[0] != areas[1]:
        out.append(
            f"the sides are of different areas ({', '.join(areas[0])} and {', '.join(areas[1])}), "
            "but what comparisons are worth was found out within an area: a difference between "
            "areas that is there under any rule would count as the rule's"
        )
    sessions = sorted({r.sessions for r in everything})
    if len(sessions) > 1:
        out.append(
            f"recordings have {sessions[0]} to {sessions[-1]} sessions; {sessions[0]} of each, "
            "evenly spread, are used"
        )
    if len({r.tracked for r in everything}) > 1:
        out.append("units of some recordings are not tracked, so all are taken as not tracked")
    own = [str(w) for r in everything for w in r.ingest.get("warnings", [])]
    return out + list(dict.fromkeys(own))


def _stimuli(recording: Recording) -> list[Any] | None:
    data = recording.data
    return data["stimulus"].values.tolist() if "stimulus" in data.coords else None


def _same_files(one: Recording, two: Recording) -> bool:
    """Return whether two recordings share a file, or are the same."""
    files = [
        {f["sha256"] for f in r.ingest.get("files", []) if isinstance(f, dict) and "sha256" in f}
        for r in (one, two)
    ]
    return bool(files[0] & files[1]) or one is two or one.data.equals(two.data)


def _shared_design(
    recordings: Sequence[Recording],
    cohort: Cohort,
    streams: Streams,
    position: str,
    noise: float | None,
) -> tuple[Design, list[str]]:
    """Return the Design under which all recordings can be judged, and what it leaves aside."""
    warnings: list[str] = []
    designs = []
    for recording in recordings:
        # One stream for each, so that equal recordings have equal noise.
        design, _, own = infer_design(
            recording, cohort, rng=streams.rng("noise"), position=position, noise=noise
        )
        designs.append(design)
        warnings += own
    units = sorted({d.unit_count for d in designs})
    if len(units) > 1:
        warnings.append(
            f"recordings have {units[0]} to {units[-1]} units; {units[0]} of each are used"
        )
    levels = sorted(d.noise_level for d in designs)
    if levels[-1] > DIFFERENT * levels[0]:
        warnings.append(
            f"the noise differs between recordings ({levels[0]:.2g} to {levels[-1]:.2g}), but all "
            "are judged under one design; what noise does may count as the rule's"
        )
    # That of an untracked recording, if there is one: all can be taken as if they were.
    # Of observables, those that all can give.
    named = [d.observables for d in designs if d.observables is not None]
    shared = min(designs, key=lambda d: d.tracked).with_(
        observables=named[0] if named else None,
        units=units[0],
        noise=float(np.sqrt(np.mean(np.square(levels)))),
        schedule=Schedule(sessions=min(d.schedule.sessions or 0 for d in designs)),
    )
    return shared, list(dict.fromkeys(warnings))


def _about(recording: Recording) -> dict[str, Any]:
    data = recording.data
    return {
        "source": recording.source,
        "kind": recording.kind,
        "sessions": recording.sessions,
        "units_per_session": recording.units_per_session,
        "stimuli": int(data.sizes["stimulus"]),
        "tracked": recording.tracked,
        "animal": str(data["animal"].values[0]),
        "areas": [str(a) for a in data["area"].values],
        "condition": str(data["condition"].values[0]),
    }


def short(interval: Interval) -> str:
    """Return an accuracy with its interval in as few letters as can be."""
    mean, low, high = (f"{100 * v:.0f}" for v in (interval.mean, interval.low, interval.high))
    return f"{mean} % ({low}-{high})"


def _values(interval: Interval) -> tuple[float, float, float]:
    return interval.mean, interval.low, interval.high


def _families_json(ordered: Ordered) -> dict[str, Any]:
    return {name: i.to_json() for name, i in ordered.groups.items()}
