"""Verdict: what a recording says about the learning rule, and how sure one can be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.neighbors import NearestNeighbors

from lrplan.arguments import generator
from lrplan.classifiers import seeded
from lrplan.classifiers.calibrated import Calibrated
from lrplan.cohort import as_cohort
from lrplan.errors import DataError, UsageError
from lrplan.measure.design import Design
from lrplan.measure.noise import NoiseEstimate
from lrplan.measure.observe import observe, observe_cohort
from lrplan.measure.recording import LEARNING, Recording
from lrplan.measure.requirements import too_few_sessions
from lrplan.measure.texts import design_line, ingest_lines, recording_line
from lrplan.measure.trajectories import Features
from lrplan.pictures import draw
from lrplan.randomness import Streams
from lrplan.registry import nearest
from lrplan.tell.combine import Probabilities
from lrplan.tell.infer import fit_to, infer_design, with_plain, without_plain
from lrplan.tell.intervals import Interval
from lrplan.tell.promise import FAMILY, find_promise
from lrplan.tell.unseen import check_classifier, check_rules, default_classifier
from lrplan.terms import POSITIONS
from lrplan.texts import Line, cell, html, percent, table, text

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from lrplan.cohort.store import Cohort

TOO_FAR = 0.99
NEIGHBOURS = 5
SHUFFLES = 20


@dataclass(frozen=True)
class Verdict:
    """What a recording says.

    Parameters
    ----------
    recording : dict
        Source, kind, sessions, units, stimuli.
    design : Design
        How the recording was made, inferred from it; the classifier was trained under it.
    probabilities : dict of str to float
        Calibrated probability of each rule, all recorded areas together.
    areas : list of dict
        What each recorded area says alone: ``animal``, ``area``, ``probabilities``.
    set : list of str
        Rules not excluded at 95%.
    answer : str or None
        The one rule that is left, or None: cannot tell.
    reasons : list of str
        Why it cannot tell; empty if it can.
    expected_accuracy : Interval
        Balanced accuracy of the same classifier on virtual recordings of organisms that it did not
        see, under the conditions that `expected_conditions` names. Probabilities are calibrated,
        and the set is made, on the same recordings.
    expected_auc : Interval
        Area under the curve under the same conditions; chance is 0.5.
    expected_conditions : {"held-out family", "known"}
        Families of networks that the classifier did not see (a brain is one), if the cohort has at
        least three with all the rules; otherwise conditions that it saw.
    expected_families : list of str
        The families that were held out; empty under known conditions.
    expected_known : Interval
        Balanced accuracy under conditions that it saw.
    expected_held_out : Interval or None
        Where no family could be held out: balanced accuracy on whole architectures that it did
        not see.
    chance : float
        Accuracy of guessing.
    distance : dict
        ``value``: mean distance to the nearest virtual recordings, in standard deviations per
        feature; ``quantile``: share of virtual recordings that lie nearer to those of other
        organisms.
    null : dict
        The same method on the recording with its sessions shuffled: mean ``probabilities``, and
        ``same_answer``, the share of ``shuffles`` with the same most probable rule.
    noise : list of NoiseEstimate
        How noisy each area is and how much of it stimuli drive; empty where noise was given.
    ingest : dict
        What the reader chose, dropped and doubted.
    warnings : list of str
        What to know before believing it.
    """

    recording: dict[str, Any]
    design: Design
    probabilities: dict[str, float]
    areas: list[dict[str, Any]]
    set: list[str]
    answer: str | None
    reasons: list[str]
    expected_accuracy: Interval
    expected_auc: Interval
    expected_conditions: str
    expected_families: list[str]
    expected_known: Interval
    expected_held_out: Interval | None
    chance: float
    distance: dict[str, float]
    null: dict[str, Any]
    noise: list[NoiseEstimate]
    ingest: dict[str, Any]
    warnings: list[str]

    def to_json(self) -> dict[str, Any]:
        """Return the object that ``lrplan score --json`` prints."""
        return {
            "schema": "lrplan.verdict/1",
            "recording": self.recording,
            "design": self.design.to_json(),
            "probabilities": self.probabilities,
            "areas": self.areas,
            "set": self.set,
            "answer": self.answer,
            "reasons": self.reasons,
            "expected_accuracy": self.expected_accuracy.to_json(),
            "expected_auc": self.expected_auc.to_json(),
            "expected_conditions": self.expected_conditions,
            "expected_families": self.expected_families,
            "expected_accuracy_known": self.expected_known.to_json(),
            "expected_accuracy_held_out_architecture": self.expected_held_out
            and self.expected_held_out.to_json(),
            "chance": self.chance,
            "distance": self.distance,
            "null": self.null,
            "noise": [e.to_json() for e in self.noise],
            "ingest": self.ingest,
            "warnings": self.warnings,
        }

    def to_dataframe(self) -> pd.DataFrame:
        """Return each rule's ``probability`` and whether it is ``in_set``, the likeliest first."""
        import pandas as pd

        rows = sorted(self.probabilities.items(), key=lambda item: -item[1])
        return pd.DataFrame(
            [(rule, p, rule in self.set) for rule, p in rows],
            columns=["rule", "probability", "in_set"],
        ).set_index("rule")

    def lines(self) -> list[Line]:
        """Return what was read, the answer, probabilities and how far to trust them."""
        null = self.null
        probabilities = sorted(self.probabilities.items(), key=lambda item: -item[1])
        rows = [[rule, percent(p), rule in self.set] for rule, p in probabilities]
        lines: list[Line] = [
            f"Recording: {recording_line(self.recording)}",
            *ingest_lines(self.ingest),
            f"Design, inferred: {design_line(self.design.to_json())}",
            *self._noise_lines(),
            f"Answer: {self._answer()}",
            table(None, ("rule", "probability", "within the 95% set"), rows, numbers=1),
        ]
        if len(self.areas) > 1:
            rules = [rule for rule, _ in probabilities]
            alone = [
                [a["animal"], a["area"], *(percent(a["probabilities"][r]) for r in rules)]
                for a in self.areas
            ]
            lines.append(
                table("What each area says alone", ("animal", "area", *rules), alone, numbers=2)
            )
        lines += self._expected()
        lines += [
            f"Distance from the virtual recordings: {cell(self.distance['value'])}, "
            f"farther than {percent(self.distance['quantile'])} of them.",
            f"With its sessions shuffled, {null['shuffles']} times: the same most probable rule in "
            f"{percent(null['same_answer'])}.",
        ]
        return lines + [f"Warning: {w}" for w in self.warnings]

    def _noise_lines(self) -> list[Line]:
        """Return how noisy each area is."""
        named = [a["area"] for a in self.areas] if len(self.noise) > 1 else ["the recording"]
        # Of noise that was given, nothing was estimated.
        pairs = zip(named[: len(self.noise)], self.noise, strict=True)
        return [f"Noise of {name}: {e.line()}." for name, e in pairs]

    def _expected(self) -> list[Line]:
        """Return what is promised of such a recording."""
        share, between = self.expected_accuracy.told()
        auc = self.expected_auc
        area = f"area under the curve {auc.mean:.2f} ({auc.low:.2f} to {auc.high:.2f}), chance 0.50"
        chance = f"chance {percent(self.chance)}; {area}."
        if self.expected_conditions == FAMILY:
            seen, seen_between = self.expected_known.told()
            return [
                "Expected accuracy on a family of networks that the classifier never saw (a brain "
                f"is one; found out on {', '.join(self.expected_families)}): {between} (95% "
                f"interval; mean {share}); {chance}",
                f"Under known conditions: {seen} ({seen_between}).",
            ]
        lines: list[Line] = [
            f"Expected accuracy under known conditions: {share} (95% interval {between}); {chance}"
        ]
        if self.expected_held_out is not None:
            share, between = self.expected_held_out.told()
            lines.append(f"On architectures that it never saw: {share} ({between}).")
        return lines

    def _answer(self) -> str:
        if self.answer is None:
            return f"cannot tell ({'; '.join(self.reasons)})."
        return self.answer

    def summary(self) -> str:
        """Return the text that ``lrplan score`` prints."""
        return text(self.lines())

    def __repr__(self) -> str:
        """Return a verdict in one short line, as Python shows it."""
        rule, p = max(self.probabilities.items(), key=lambda item: item[1])
        answer = "cannot tell" if self.answer is None else self.answer
        return (
            f"<Verdict on {self.recording['source']!r}: {answer}; most probable {rule} "
            f"({percent(p)}), {len(self.set)} of {len(self.probabilities)} rules in the 95% set>"
        )

    def plot(self, *, ax: Axes | None = None) -> Axes:
        """Draw the probability of each rule, with chance, and mark the rules that are excluded."""
        return draw("plot_verdict", self, ax=ax)

    def _repr_html_(self) -> str:
        return html(self.lines())


def score(
    recording: Recording,
    cohort: Cohort | str | Path,
    *,
    rng: np.random.Generator | int,
    without: str | Sequence[str] = (),
    position: str = "unknown",
    noise: float | None = None,
    classifier: Calibrated | None = None,
) -> Verdict:
    """Score a recording against organisms whose rules are known.

    The recording's Design is inferred, the cohort is recorded under that Design, and a
    classifier trained on those virtual recordings judges the real one.

    Parameters
    ----------
    recording : Recording
        As `read_nwb` returns it, of one animal; several areas are told together.
    cohort : Cohort, str or Path
        Organisms to train on, or the name or path of a cohort. Those that did not learn are left
        out, unless `lrplan.open_cohort` was asked to include them.
    rng : numpy.random.Generator or int
        Source of units, noise, splits and forests.
    without : str or sequence of str
        Organisms left out of training.
    position : {"unknown", "early", "middle", "deep"}
        Where the recorded area lies; if it is unknown, the position is no feature.
    noise : float, optional
        Noise of a response as a fraction of the signal within units (`noise_reference` of a
        Design); by default estimated from trials.
    classifier : Calibrated, optional
        Cloned and fitted; by default one with its default settings.

    Returns
    -------
    Verdict
        Never a bare label.

    Raises
    ------
    DataError
        If the recording lacks what is needed, or the cohort has too few organisms left.
    UsageError
        If `without` names an organism that the cohort does not have.
    """
    if not isinstance(recording, Recording):
        raise UsageError(f"recording is {recording!r}; expected a Recording, as read_nwb makes it")
    cohort = as_cohort(cohort)
    if position != "unknown" and position not in POSITIONS:
        raise UsageError(f"unknown position {position!r}; {nearest(position, POSITIONS)}")
    too_short = too_few_sessions(recording)
    if too_short is not None:
        raise DataError(too_short)
    if classifier is not None:
        check_classifier(classifier)
    cohort.refuse_lost_rules()
    streams = Streams.draw(generator(rng))
    recording, doubts = _of_one(recording)
    design, noises, warnings = infer_design(
        recording, cohort, rng=streams.rng("noise"), position=position, noise=noise
    )
    warnings += [*doubts, *cohort.fate_warnings()]
    populations = populations_left(cohort, position, without)
    warnings += _recorded_of(recording, cohort, populations)
    areas = int(recording.data.sizes["population"])
    check_areas(cohort, populations, areas)
    seen = with_plain(design)
    made = observe_cohort(cohort, seen, rng=streams.rng("recording"), populations=populations)
    check_rules(made, cohort)
    everything, dropped = made.finite(cohort.name)
    virtual = without_plain(everything, design)
    if dropped:
        warnings.append(f"not finite somewhere in the cohort, so left out: {', '.join(dropped)}")
    promise = find_promise(virtual, streams, classifier, areas=areas)
    warnings += promise.warnings
    train = virtual.features()
    base = default_classifier(train) if classifier is None else classifier
    model = seeded(base, streams.seed("classifier", "all"))
    model.fit(train.values, virtual.y, groups=virtual.organisms)
    fitted = fit_to(recording, design, streams.rng("cut"))
    fitted = fitted if position == "unknown" else at_position(fitted, position)

    kinds = np.unique(virtual.y)

    def judge(r: Recording) -> tuple[np.ndarray, Probabilities]:
        found = observe(
            r, observables=seen.taken, scaling=design.scaling, positioned=position != "unknown"
        ).with_observables(everything.observables)
        told = model.predict_proba(found.with_observables(virtual.observables).features().values)
        return found.features().values, Probabilities.of(told, kinds, found.labels)

    def together(by_area: Probabilities) -> np.ndarray:
        whole = by_area if areas == 1 else by_area.by_animal()
        return np.asarray(whole.tempered(promise.together).values[0])

    values, by_area = judge(fitted)
    p = together(by_area)
    left = [str(k) for k, q in zip(kinds, p, strict=True) if q >= promise.threshold]
    distance = distance_to(everything.features(), everything.organisms, values)
    reasons = []
    if len(left) != 1:
        reasons.append(
            f"{len(left)} rules are not excluded at 95%" if left else "every rule is excluded"
        )
    if distance["quantile"] > TOO_FAR:
        reasons.append(
            "the recording lies farther from the virtual recordings than "
            f"{TOO_FAR:.0%} of them lie from each other"
        )
    if promise.accuracy.low <= 1 / len(kinds):
        reasons.append("under this design the rules cannot be told apart better than by chance")
    return Verdict(
        recording={
            "source": recording.source,
            "kind": recording.kind,
            "sessions": recording.sessions,
            "units_per_session": recording.units_per_session,
            "stimuli": int(recording.data.sizes["stimulus"]),
            "tracked": recording.tracked,
        },
        design=design,
        probabilities={str(k): float(q) for k, q in zip(kinds, p, strict=True)},
        areas=by_area.tempered(promise.alone).rows(),
        set=left,
        answer=left[0] if not reasons else None,
        reasons=reasons,
        expected_accuracy=promise.accuracy,
        expected_auc=promise.auc,
        expected_conditions=promise.conditions,
        expected_families=promise.families,
        expected_known=promise.known,
        expected_held_out=promise.architecture,
        chance=1 / len(kinds),
        distance=distance,
        null=_null(
            fitted,
            lambda r: together(judge(r)[1]),
            kinds,
            str(kinds[p.argmax()]),
            streams.rng("shuffled sessions"),
        ),
        noise=noises,
        ingest=recording.ingest,
        warnings=warnings + [str(w) for w in recording.ingest.get("warnings", [])],
    )


def _of_one(recording: Recording) -> tuple[Recording, list[str]]:
    """Return what is scored of a recording: one animal while it learns, and what is doubtful."""
    if "activity" not in recording.data:
        raise DataError(f"{recording.source} holds no activity; expected responses of units")
    conditions = sorted(set(recording.data["condition"].values.tolist()))
    doubts = []
    if LEARNING in conditions:
        recording = recording.of(condition=LEARNING)
    elif len(conditions) > 1:
        raise DataError(
            f"{recording.source} holds the conditions {', '.join(conditions)}, none of them "
            f"{LEARNING!r}; score one, as recording.of(condition=...)"
        )
    else:
        doubts.append(
            f"the condition is {conditions[0]!r}; it is judged as organisms that learn would be"
        )
    animals = sorted(set(recording.data["animal"].values.tolist()))
    if len(animals) > 1:
        raise DataError(
            f"{recording.source} holds {len(animals)} animals ({', '.join(animals[:3])}); expected "
            "one: score each alone, as recording.of(animal=...)"
        )
    return recording, doubts


def check_areas(cohort: Cohort, populations: np.ndarray, areas: int) -> None:
    """Refuse more areas than every rule has organisms with."""
    organism = cohort.population_table["organism"].values[populations]
    names, held = np.unique(organism, return_counts=True)
    rules = cohort.organisms["rule"].values[names]
    most = min((int(held[rules == r].max()) for r in np.unique(rules)), default=areas)
    if areas > most:
        raise DataError(
            f"the recording has {areas} areas, but organisms of the cohort {cohort.name!r} have "
            f"{most} stored layers to compare with; score fewer together, as recording.of(area=...)"
        )


def populations_left(cohort: Cohort, position: str, without: str | Sequence[str]) -> np.ndarray:
    """Return the populations to train on: those at the position, of organisms not left out."""
    without = [without] if isinstance(without, str) else without
    if not isinstance(without, Sequence) or not all(isinstance(w, str) for w in without):
        raise UsageError(f"without is {without!r}; expected the names of organisms")
    unknown = [w for w in without if w not in cohort.organism_ids]
    if unknown:
        raise UsageError(
            f"--without names {unknown[0]!r}, which the cohort {cohort.name!r} does not have; "
            "`lrplan cohort organisms` lists them"
        )
    populations = cohort.usable_populations(position)
    ids = np.array(cohort.organism_ids)[cohort.population_table["organism"].values[populations]]
    return populations[~np.isin(ids, list(without))]


def at_position(recording: Recording, position: str) -> Recording:
    """Return the recording with its areas' position as a label."""
    where = np.full(recording.data.sizes["population"], position, dtype=object)
    return replace(recording, data=recording.data.assign_coords(position=("population", where)))


def distance_to(train: Features, organisms: np.ndarray, values: np.ndarray) -> dict[str, float]:
    """Compare the recording's distance to virtual ones with theirs to other organisms'."""
    typical, own = distances(train, organisms, values)
    value = float(own.mean())
    return {"value": value, "quantile": float((typical < value).mean())}


def distances(
    train: Features, organisms: np.ndarray, values: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return how far recordings lie from virtual ones, and these from each other.

    Parameters
    ----------
    train : Features
        Of the virtual recordings.
    organisms : array (virtual,)
        Whose they are: of one organism they are no neighbours.
    values : array (recording, feature)
        Features of the others.

    Returns
    -------
    typical : array (virtual,)
        Mean distance of each virtual recording to its nearest ones.
    own : array (recording,)
        The same of the others.
    """
    known = train.values
    centre = np.median(known, axis=0)
    low, high = np.quantile(known, [0.1, 0.9], axis=0)
    spread = np.where(high > low, high - low, 1)

    def place(x: np.ndarray) -> np.ndarray:
        # Ranks far in a tail say no more than "far": one wild statistic must not decide.
        return np.asarray(np.clip((x - centre) / spread, -5, 5))

    placed = place(known)
    per_organism = int(np.unique(organisms, return_counts=True)[1].max())
    search = NearestNeighbors(n_neighbors=NEIGHBOURS + per_organism).fit(placed)
    scale = np.sqrt(placed.shape[1])

    def nearest_mean(rows: np.ndarray, own: np.ndarray | None) -> np.ndarray:
        found, neighbours = search.kneighbors(rows)
        if own is not None:
            found[organisms[neighbours] == own[:, None]] = np.inf
        return np.asarray(np.sort(found, axis=1)[:, :NEIGHBOURS].mean(axis=1) / scale)

    return nearest_mean(placed, organisms), nearest_mean(place(np.nan_to_num(values)), None)


def _null(
    recording: Recording,
    judge: Callable[[Recording], np.ndarray],
    kinds: np.ndarray,
    best: str,
    rng: np.random.Generator,
) -> dict[str, Any]:
    """Judge the recording again with its sessions in random order."""
    p = np.array([judge(recording.with_shuffled_sessions(rng)) for _ in range(SHUFFLES)])
    return {
        "shuffles": SHUFFLES,
        "probabilities": {str(k): float(q) for k, q in zip(kinds, p.mean(0), strict=True)},
        "same_answer": float((kinds[p.argmax(1)] == best).mean()),
    }


def _recorded_of(recording: Recording, cohort: Cohort, populations: np.ndarray) -> list[str]:
    """Say that organisms which train the classifier are recorded themselves, as in rehearsals."""
    training = set(cohort.population_table["organism"].values[populations].tolist())
    recorded = set(map(str, recording.data["animal"].values))
    return [
        f"the recording is of the organism {name}, from which the classifier learns, so it is told "
        f"too easily; use --without {name}"
        for place, name in enumerate(cohort.organism_ids)
        if name in recorded and place in training
    ]
