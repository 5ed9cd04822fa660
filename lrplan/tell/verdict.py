"""Verdict: what a recording says about the learning rule, and how sure one can be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import clone
from sklearn.neighbors import NearestNeighbors

from lrplan.classifiers.rule_classifier import RuleClassifier
from lrplan.classifiers.splits import organism_folds
from lrplan.errors import DataError, UsageError
from lrplan.measure.design import Design, Schedule
from lrplan.measure.examples import FOLDS, Examples, make_examples
from lrplan.measure.features import features
from lrplan.measure.recording import Recording
from lrplan.registry import nearest
from lrplan.tell.forecast import cross_predict
from lrplan.tell.intervals import Bootstrap, Interval

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from lrplan.cohort.store import Cohort

MODALITY_OF = {"spikes": "counts", "dff": "ideal", "virtual": "ideal"}
EXCLUDED_AT = 0.05
FAR = 0.99
NEIGHBOURS = 5
SHUFFLES = 20
LEAST_UNITS = 10
FEW_UNITS = 30
LEAST_SIGNAL = 0.01


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
        Calibrated probability of each rule.
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

    def summary(self) -> str:
        """Return the text that ``lrplan score`` prints."""
        from lrplan.tell.texts import verdict_lines
        from lrplan.texts import text

        return text(verdict_lines(self))

    def plot(self, *, ax: Axes | None = None) -> Axes:
        """Draw the probability of each rule, with chance, and mark the rules that are excluded."""
        from lrplan.plots.verdict import plot_verdict

        return plot_verdict(self, ax=ax)

    def __repr__(self) -> str:
        from lrplan.tell.texts import verdict_repr

        return verdict_repr(self)

    def _repr_html_(self) -> str:
        from lrplan.tell.texts import verdict_lines
        from lrplan.texts import html

        return html(verdict_lines(self))


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
    response = recording.data["activity"].values[0, 0]
    sem = recording.data["activity_sem"].values[0, 0] if "activity_sem" in recording.data else None
    if sem is None or not np.isfinite(sem).any():
        raise DataError(
            f"{recording.source} repeats no stimulus in its first session, so its noise cannot be "
            "estimated; name it with --noise, or record at least 2 trials per stimulus"
        )
    noise = float(np.nanmean(sem**2))
    total = float(np.nanvar(response))
    if total == 0:
        raise DataError(f"{recording.source}: all responses of the first session are equal")
    return float(np.sqrt(noise / max(total - noise, LEAST_SIGNAL * total)))


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
    seen = np.isfinite(recording.data["activity"].values).all(axis=2)
    units = min(counts)
    if recording.tracked:
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
    found = infer_noise(recording) if noise is None else noise
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
    data = recording.data
    if sessions < recording.sessions:
        places = np.floor(np.linspace(0, recording.sessions - 1, sessions) + 0.5).astype(int)
        data = data.isel(session=places)
    if design.stimuli is not None and design.stimuli < data.sizes["stimulus"]:
        kept = np.sort(rng.permutation(data.sizes["stimulus"])[: design.stimuli])
        data = data.isel(stimulus=kept)
    cut = Recording(data, recording.source, recording.kind, recording.tracked, recording.ingest)
    return cut.equalised(design.unit_count, rng=rng)


def score(
    recording: Recording,
    cohort: Cohort,
    *,
    rng: np.random.Generator,
    without: Sequence[str] = (),
    position: str = "unknown",
    noise: float | None = None,
    classifier: RuleClassifier | None = None,
) -> Verdict:
    """Score a recording against organisms whose rules are known.

    The recording's Design is inferred, the cohort is recorded under that Design, and a
    classifier trained on those virtual recordings judges the real one.

    Parameters
    ----------
    recording : Recording
        As `read_nwb` returns it.
    cohort : Cohort
        Organisms to train on.
    rng : numpy.random.Generator
        Source of units, noise, splits and forests.
    without : sequence of str
        Organisms left out of training.
    position : {"unknown", "early", "middle", "deep"}
        Where the recorded area lies; if it is unknown, the position is no feature.
    noise : float, optional
        Noise of a response as a fraction of the signal; by default estimated from trials.
    classifier : RuleClassifier, optional
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
    if recording.sessions < 2:
        raise DataError(
            f"{recording.source} holds one session; a trajectory needs at least 2 sessions of the "
            "same area over learning"
        )
    design, warnings = infer_design(recording, cohort, position=position, noise=noise)
    unknown = [w for w in without if w not in cohort.organism_ids]
    if unknown:
        raise UsageError(
            f"--without names {unknown[0]!r}, which the cohort {cohort.name!r} does not have; "
            "`lrplan cohort organisms` lists them"
        )
    populations = cohort.usable_populations(position)
    ids = np.array(cohort.organism_ids)[cohort.population_table["organism"].values[populations]]
    populations = populations[~np.isin(ids, list(without))]
    made = make_examples(cohort, design, rng=rng, populations=populations)
    examples, dropped = made.finite(cohort.name)
    if dropped:
        warnings.append(f"not finite somewhere in the cohort, so left out: {', '.join(dropped)}")
    seed = int(rng.integers(2**31))
    fold = organism_folds(examples.rules, examples.organisms, FOLDS, np.random.default_rng(seed))
    jobs = [(examples, fold)]
    architectures, index = np.unique(examples.labels["architecture"], return_inverse=True)
    if len(architectures) > 1:
        jobs.append((examples, index))
    base = RuleClassifier() if classifier is None else classifier
    tested = cross_predict(jobs, examples.organisms, seed=seed, classifier=base)
    kinds = np.unique(examples.rules)
    bootstrap = Bootstrap(examples.rules, examples.organisms, rng=np.random.default_rng(seed + 1))

    def accuracy(p: np.ndarray) -> Interval | None:
        if np.isnan(p).any():
            return None
        return bootstrap.balanced(kinds[p.argmax(1)] == examples.rules)

    expected = accuracy(tested[0])
    assert expected is not None
    model = clone(base).set_params(random_state=seed)
    model.fit(examples.values, examples.rules, examples.organisms)
    fitted = _fit_to(recording, design, rng)
    fitted = fitted if position == "unknown" else _placed(fitted, position)

    def judge(r: Recording) -> tuple[np.ndarray, np.ndarray]:
        table = features(r, scaling=design.scaling, with_position=position != "unknown")
        values = table.values[:, [table.names.index(n) for n in examples.names]]
        return values, model.predict_proba(values)[0]

    values, p = judge(fitted)
    truth = np.searchsorted(kinds, examples.rules)
    own = tested[0][np.arange(len(truth)), truth]
    # A rule is excluded where its probability is lower than that of the right rule is in 95% of the
    # virtual recordings, all rules together (after split conformal prediction; Vovk et al. 2005).
    threshold = float(np.quantile(own, EXCLUDED_AT, method="lower"))
    left = [str(k) for k, q in zip(kinds, p, strict=True) if q >= threshold]
    distance = _distance(examples, model.kept_, values)
    reasons = []
    if len(left) != 1:
        reasons.append(
            f"{len(left)} rules are not excluded at 95%" if left else "every rule is excluded"
        )
    if distance["quantile"] > FAR:
        reasons.append(
            "the recording lies farther from the virtual recordings than "
            f"{FAR:.0%} of them lie from each other"
        )
    if expected.low <= 1 / len(kinds):
        reasons.append("under this design the rules cannot be told apart better than by chance")
    best = str(kinds[p.argmax()])
    null = _null(fitted, judge, kinds, best, rng)
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
        set=left,
        answer=left[0] if not reasons else None,
        reasons=reasons,
        expected_accuracy=expected,
        expected_held_out=accuracy(tested[1]) if len(tested) > 1 else None,
        chance=1 / len(kinds),
        distance=distance,
        null=null,
        ingest=recording.ingest,
        warnings=warnings + [str(w) for w in recording.ingest.get("warnings", [])],
    )


def _placed(recording: Recording, position: str) -> Recording:
    """Return the recording with its area's position as a label."""
    from lrplan.terms import POSITIONS

    if position not in POSITIONS:
        raise UsageError(f"unknown position {position!r}; {nearest(position, POSITIONS)}")
    data = recording.data.assign_coords(position=("population", np.array([position])))
    return Recording(data, recording.source, recording.kind, recording.tracked, recording.ingest)


def _distance(examples: Examples, kept: np.ndarray, values: np.ndarray) -> dict[str, float]:
    """Compare the recording's distance to virtual ones with theirs to other organisms'."""
    known = examples.values[:, kept]
    centre = np.median(known, axis=0)
    low, high = np.quantile(known, [0.1, 0.9], axis=0)
    spread = np.where(high > low, high - low, 1)

    def place(x: np.ndarray) -> np.ndarray:
        # Ranks far in a tail say no more than "far": one wild statistic must not decide.
        return np.asarray(np.clip((x - centre) / spread, -5, 5))

    placed = place(known)
    per_organism = int(np.unique(examples.organisms, return_counts=True)[1].max())
    search = NearestNeighbors(n_neighbors=NEIGHBOURS + per_organism).fit(placed)

    def nearest_mean(rows: np.ndarray, own: np.ndarray | None) -> np.ndarray:
        distances, neighbours = search.kneighbors(rows)
        if own is not None:
            distances[examples.organisms[neighbours] == own[:, None]] = np.inf
        return np.sort(distances, axis=1)[:, :NEIGHBOURS].mean(axis=1)

    scale = np.sqrt(placed.shape[1])
    typical = nearest_mean(placed, examples.organisms) / scale
    value = float(nearest_mean(place(np.nan_to_num(values[:, kept])), None)[0] / scale)
    return {"value": value, "quantile": float((typical < value).mean())}


def _null(
    recording: Recording, judge: Any, kinds: np.ndarray, best: str, rng: np.random.Generator
) -> dict[str, Any]:
    """Judge the recording again with its sessions in random order."""
    found = np.array([judge(recording.with_shuffled_sessions(rng))[1] for _ in range(SHUFFLES)])
    return {
        "shuffles": SHUFFLES,
        "probabilities": {str(k): float(q) for k, q in zip(kinds, found.mean(0), strict=True)},
        "same_answer": float((kinds[found.argmax(1)] == best).mean()),
    }
