"""Verdict: what a recording says about the learning rule, and how sure one can be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.neighbors import NearestNeighbors

from lrplan.arguments import finite_number, generator
from lrplan.classifiers import seeded
from lrplan.classifiers.calibrated import Calibrated
from lrplan.classifiers.calibrated_forest import calibrated_forest
from lrplan.classifiers.splits import Splits
from lrplan.cohort import as_cohort
from lrplan.errors import DataError, UsageError
from lrplan.measure.design import Design, Schedule
from lrplan.measure.observe import observe, observe_cohort
from lrplan.measure.recording import LEARNING, Recording
from lrplan.measure.texts import design_line, ingest_lines, recording_line
from lrplan.measure.trajectories import Features, Trajectories
from lrplan.pictures import draw
from lrplan.randomness import Streams
from lrplan.registry import nearest
from lrplan.tell.combine import Probabilities
from lrplan.tell.intervals import Bootstrap, Interval
from lrplan.tell.unseen import (
    Unseen,
    check_classifier,
    check_rules,
    cross_predict,
    within_known,
)
from lrplan.terms import POSITIONS
from lrplan.texts import Line, cell, html, percent, table, text

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from lrplan.cohort.store import Cohort

MODALITY_OF = {"spikes": "counts", "dff": "ideal", "virtual": "ideal"}
EXCLUDED_AT = 0.05
TOO_FAR = 0.99
NEIGHBOURS = 5
SHUFFLES = 20
LEAST_UNITS = 10
FEW_UNITS = 30
LEAST_SIGNAL = 0.01
DIFFERENT = 2
"""By what factor the noise of areas must differ to be said."""


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
        see, under conditions that it saw.
    expected_held_out : Interval or None
        The same on whole architectures that it did not see; a brain is one.
    chance : float
        Accuracy of guessing.
    distance : dict
        ``value``: mean distance to the nearest virtual recordings, in standard deviations per
        feature; ``quantile``: share of virtual recordings that lie nearer to those of other
        organisms.
    null : dict
        The same method on the recording with its sessions shuffled: mean ``probabilities``, and
        ``same_answer``, the share of ``shuffles`` with the same most probable rule.
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
    expected_held_out: Interval | None
    chance: float
    distance: dict[str, float]
    null: dict[str, Any]
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
            "expected_accuracy_held_out_architecture": self.expected_held_out
            and self.expected_held_out.to_json(),
            "chance": self.chance,
            "distance": self.distance,
            "null": self.null,
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
        share, between = self.expected_accuracy.told()
        lines.append(
            f"Expected accuracy of such recordings: {share} (95% interval {between}); chance "
            f"{percent(self.chance)}."
        )
        if self.expected_held_out is not None:
            share, between = self.expected_held_out.told()
            lines.append(
                f"On architectures that it never saw (a brain is one): {share} ({between})."
            )
        lines += [
            f"Distance from the virtual recordings: {cell(self.distance['value'])}, "
            f"farther than {percent(self.distance['quantile'])} of them.",
            f"With its sessions shuffled, {null['shuffles']} times: the same most probable rule in "
            f"{percent(null['same_answer'])}.",
        ]
        return lines + [f"Warning: {w}" for w in self.warnings]

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


def infer_noise(recording: Recording) -> float:
    """Estimate the noise of a recording's responses from how its trials vary.

    Returns
    -------
    float
        Root mean square of the responses' standard errors as a fraction of the standard
        deviation of the signal over stimuli and units, both in the first session. The signal's
        variance is that of the responses less that of the noise.

    Raises
    ------
    DataError
        If no stimulus was repeated, so that nothing shows the noise.
    """
    return float(np.sqrt(np.mean(_noise_by_area(recording) ** 2)))


def _noise_by_area(recording: Recording) -> np.ndarray:
    """Return the noise of each population: differences between areas are no signal of either."""
    first = recording.data.isel(session=0)
    sem = first["activity_sem"].values if "activity_sem" in first else None
    found = []
    for place, response in enumerate(first["activity"].values):
        if sem is None or not np.isfinite(sem[place]).any():
            raise DataError(
                f"{recording.source} repeats no stimulus in its first session, so its noise cannot "
                "be estimated; name it with --noise, or record at least 2 trials per stimulus"
            )
        noise, total = float(np.nanmean(sem[place] ** 2)), float(np.nanvar(response))
        if total == 0:
            raise DataError(f"{recording.source}: all responses of the first session are equal")
        found.append(np.sqrt(noise / max(total - noise, LEAST_SIGNAL * total)))
    return np.array(found)


def infer_design(
    recording: Recording, cohort: Cohort, *, position: str = "unknown", noise: float | None = None
) -> tuple[Design, list[str]]:
    """Say under which Design a recording was made, as far as the cohort can follow.

    Parameters
    ----------
    recording : Recording
        One real recording.
    cohort : Cohort
        Whose stored units, stimuli and checkpoints bound the design.
    position : {"unknown", "early", "middle", "deep"}
        Where the recorded area lies.
    noise : float, optional
        Noise of a response; by default estimated by `infer_noise`.

    Returns
    -------
    design : Design
        Sessions are taken to be evenly spread over learning.
    warnings : list of str
        Where the recording holds more than the cohort.
    """
    warnings = []
    counts = recording.units_per_session
    units = min(counts)
    if recording.tracked:
        seen = np.isfinite(recording.data["activity"].values).all(axis=2)
        units = int(seen.all(axis=1).sum(axis=-1).min())
    if max(counts) != units:
        warnings.append(
            f"sessions have {min(counts)} to {max(counts)} units; {units} of each are used"
        )
    if units < LEAST_UNITS:
        raise DataError(
            f"{recording.source} has {units} units in its smallest session; at least "
            f"{LEAST_UNITS} are needed"
        )
    if units < FEW_UNITS:
        warnings.append(f"only {units} units per session; the forecast shows what that costs")
    stored = int(np.median(cohort.stored_units("activity")[cohort.usable_populations(position)]))
    if units > stored:
        warnings.append(
            f"the recording has {units} units, the cohort stores {stored} per population; a random "
            f"{stored} are used"
        )
        units = stored
    stimuli = int(recording.data.sizes["stimulus"])
    if stimuli > cohort.stimuli:
        warnings.append(
            f"the recording has {stimuli} stimuli, the cohort {cohort.stimuli}; a random "
            f"{cohort.stimuli} are used"
        )
        stimuli = cohort.stimuli
    sessions = recording.sessions
    if sessions > cohort.checkpoints:
        warnings.append(
            f"the recording has {sessions} sessions, the cohort {cohort.checkpoints} checkpoints; "
            f"{cohort.checkpoints} evenly spread sessions are used"
        )
        sessions = cohort.checkpoints
    if noise is None:
        by_area = _noise_by_area(recording)
        if by_area.max() > DIFFERENT * by_area.min():
            warnings.append(
                f"the noise differs between areas ({by_area.min():.2g} to {by_area.max():.2g}), "
                "but all are judged under one design; score them alone"
            )
    found = infer_noise(recording) if noise is None else finite_number(noise, "noise")
    if found > 2:
        warnings.append(
            f"the noise of a response is {found:.1f} times the signal; more trials would help"
        )
    design = Design(
        units=units,
        noise=found,
        modality=MODALITY_OF[recording.kind],
        schedule=Schedule(sessions=sessions),
        tracked=recording.tracked,
        stimuli=stimuli,
        position=position,
    )
    return design, warnings


def _fit_to(recording: Recording, design: Design, rng: np.random.Generator) -> Recording:
    """Cut a recording down to what its design says."""
    sessions = design.schedule.sessions or recording.sessions
    # Observables take means: single trials need not be copied with each shuffle.
    data = recording.data.drop_dims("trial", errors="ignore")
    if sessions < recording.sessions:
        places = np.floor(np.linspace(0, recording.sessions - 1, sessions) + 0.5).astype(int)
        data = data.isel(session=places)
    if design.stimuli is not None and design.stimuli < data.sizes["stimulus"]:
        kept = np.sort(rng.permutation(data.sizes["stimulus"])[: design.stimuli])
        data = data.isel(stimulus=kept)
    return replace(recording, data=data).equalised(design.unit_count, rng=rng)


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
        Noise of a response as a fraction of the signal; by default estimated from trials.
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
    if recording.sessions < 2:
        raise DataError(
            f"{recording.source} holds one session; a trajectory needs at least 2 sessions of the "
            "same area over learning"
        )
    if classifier is not None:
        check_classifier(classifier)
    cohort.refuse_lost_rules()
    streams = Streams.draw(generator(rng))
    recording, doubts = _of_one(recording)
    design, warnings = infer_design(recording, cohort, position=position, noise=noise)
    warnings += [*doubts, *cohort.fate_warnings()]
    populations = _left(cohort, position, without)
    areas = int(recording.data.sizes["population"])
    _check_areas(cohort, populations, areas)
    made = observe_cohort(cohort, design, rng=streams.rng("recording"), populations=populations)
    check_rules(made, cohort)
    virtual, dropped = made.finite(cohort.name)
    if dropped:
        warnings.append(f"not finite somewhere in the cohort, so left out: {', '.join(dropped)}")
    base = calibrated_forest() if classifier is None else classifier
    known, unseen = _tested(virtual, streams, base)
    model = seeded(base, streams.seed("classifier", "all"))
    train = virtual.features()
    model.fit(train.values, virtual.y, groups=virtual.organisms)
    fitted = _fit_to(recording, design, streams.rng("cut"))
    fitted = fitted if position == "unknown" else _placed(fitted, position)

    def judge(r: Recording) -> tuple[np.ndarray, Probabilities]:
        found = observe(r, scaling=design.scaling, positioned=position != "unknown")
        values = found.with_observables(virtual.observables).features().values
        return values, Probabilities.of(model.predict_proba(values), known.rules, found.labels)

    values, by_area = judge(fitted)
    if areas > 1:
        # What is promised of several areas together is found out on as many of each organism.
        known = known.by_animal(areas=areas)
        unseen = None if unseen is None else unseen.by_animal(areas=areas)
    expected = _accuracy(known, streams)
    p = _together(by_area)
    kinds = known.rules
    # A rule is excluded where its probability is lower than that of the right rule is in 95% of the
    # virtual recordings, all rules together (after split conformal prediction; Vovk et al. 2005).
    threshold = float(np.quantile(known.of_truth, EXCLUDED_AT, method="lower"))
    left = [str(k) for k, q in zip(kinds, p, strict=True) if q >= threshold]
    distance = _distance(train, virtual.organisms, values)
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
    if expected.low <= 1 / len(kinds):
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
        areas=by_area.rows(),
        set=left,
        answer=left[0] if not reasons else None,
        reasons=reasons,
        expected_accuracy=expected,
        expected_held_out=None if unseen is None or unseen.missing else _accuracy(unseen, streams),
        chance=1 / len(kinds),
        distance=distance,
        null=_null(fitted, judge, str(kinds[p.argmax()]), streams.rng("shuffled sessions")),
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


def _check_areas(cohort: Cohort, populations: np.ndarray, areas: int) -> None:
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


def _left(cohort: Cohort, position: str, without: str | Sequence[str]) -> np.ndarray:
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


def _tested(
    virtual: Trajectories, streams: Streams, base: Calibrated
) -> tuple[Probabilities, Probabilities | None]:
    """Return what virtual recordings say within known conditions, and held-out architectures."""
    tests = [within_known(virtual, virtual.organisms, streams, 0)]
    architectures = Splits.of_folds(virtual.label("architecture"))
    if len(architectures) > 1:
        tests.append(Unseen(virtual, architectures, ("architecture",)))
    found = cross_predict(tests, virtual.organisms, streams=streams, classifier=base)
    return found[0], found[1] if len(found) > 1 else None


def _accuracy(p: Probabilities, streams: Streams) -> Interval:
    animals = np.asarray(p.table["animal"].values)
    return Bootstrap(p.told, animals, rng=streams.rng("bootstrap")).balanced(p.right)


def _together(by_area: Probabilities) -> np.ndarray:
    """Return the rules' probabilities given all recorded areas."""
    return by_area.values[0] if len(by_area.values) == 1 else by_area.by_animal().values[0]


def _placed(recording: Recording, position: str) -> Recording:
    """Return the recording with its areas' position as a label."""
    where = np.full(recording.data.sizes["population"], position, dtype=object)
    return replace(recording, data=recording.data.assign_coords(position=("population", where)))


def _distance(train: Features, organisms: np.ndarray, values: np.ndarray) -> dict[str, float]:
    """Compare the recording's distance to virtual ones with theirs to other organisms'."""
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

    def nearest_mean(rows: np.ndarray, own: np.ndarray | None) -> np.ndarray:
        distances, neighbours = search.kneighbors(rows)
        if own is not None:
            distances[organisms[neighbours] == own[:, None]] = np.inf
        return np.sort(distances, axis=1)[:, :NEIGHBOURS].mean(axis=1)

    scale = np.sqrt(placed.shape[1])
    typical = nearest_mean(placed, organisms) / scale
    value = float(nearest_mean(place(np.nan_to_num(values)), None).mean() / scale)
    return {"value": value, "quantile": float((typical < value).mean())}


def _null(
    recording: Recording,
    judge: Callable[[Recording], tuple[np.ndarray, Probabilities]],
    best: str,
    rng: np.random.Generator,
) -> dict[str, Any]:
    """Judge the recording again with its sessions in random order."""
    found = [judge(recording.with_shuffled_sessions(rng))[1] for _ in range(SHUFFLES)]
    kinds = found[0].rules
    p = np.array([_together(each) for each in found])
    return {
        "shuffles": SHUFFLES,
        "probabilities": {str(k): float(q) for k, q in zip(kinds, p.mean(0), strict=True)},
        "same_answer": float((kinds[p.argmax(1)] == best).mean()),
    }
