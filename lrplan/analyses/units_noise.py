"""Fewer units and more noise, for each measure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import numpy as np

from lrplan.analyses import (
    FLAG,
    NUMBERS,
    PAPER,
    WHOLES,
    Analysis,
    Classifier,
    Effort,
    Label,
    Measure,
    Observables,
    Option,
    Result,
    Rules,
    ShuffleLabels,
    SplitCount,
    analyses,
)
from lrplan.analyses._fits import Fit, run_fits
from lrplan.analyses._scoring import Scored, accuracy_dataset, scored
from lrplan.analyses._study import (
    Study,
    check_labels,
    classifier_names,
    measure_names,
    open_study,
    parts_of,
)
from lrplan.arguments import positive_int
from lrplan.errors import DataError, UsageError
from lrplan.measure.design import Design
from lrplan.measure.observables import measures_with
from lrplan.measure.observe import observe_designs
from lrplan.measure.trajectories import Features
from lrplan.measure.virtual import draw_key
from lrplan.tell.intervals import Estimate
from lrplan.terms import MEASURES

if TYPE_CHECKING:
    from lrplan.cohort.store import Cohort

UNITS = (10, 30, 100, 300)
NOISE = (0.0, 0.3, 1.0, 3.0)
DRAWS = 2
Units = Annotated[
    Sequence[int] | None,
    Option(
        "Neurons, synapses or pre-post pairs recorded. Several with commas.",
        WHOLES,
        "N",
        unset=f"{', '.join(map(str, UNITS))}, as far as stored",
    ),
]
Noise = Annotated[
    Sequence[float],
    Option("Noise over signal (standard deviations). Several with commas.", NUMBERS, "SD"),
]
Whole = Annotated[bool, Option("Only populations of which the cohort stores every unit.", FLAG)]


def run(
    cohort: Cohort,
    *,
    rng: np.random.Generator,
    measure: Measure = None,
    classifier: Classifier = "random_forest",
    units: Units = None,
    noise: Noise = NOISE,
    whole: Whole = False,
    rules: Rules = None,
    label: Label = "rule",
    splits: SplitCount = 8,
    shuffle_labels: ShuffleLabels = False,
    observables: Observables = "paper",
    effort: Effort = "quick",
) -> Result:
    """Record fewer units with more noise, for each measure, as figure 5 of the paper.

    Noise is a fraction of the population's signal standard deviation (the paper's was absolute,
    in values that are not public). Units and noise are drawn twice, for alternate rounds of four
    splits, and both lie in the interval; up to four splits there is one draw.

    Parameters
    ----------
    measure : str or sequence of str, optional
        By default each of which single units are stored.
    units : sequence of int, optional
        Neurons, synapses or pre-post pairs recorded; by default 10, 30, 100, 300, as far as the
        cohort stores them.
    noise : sequence of float
        Standard deviations.
    whole : bool, default False
        Only populations of which the cohort stores every unit.
    rules : sequence of str, optional
        Only these; the paper told feedback from information alignment.
    cohort, rng, classifier, label, splits, shuffle_labels, observables, effort
        As for `lrplan.analyses.separation.run`.

    Returns
    -------
    Result
        ``accuracy`` over (measure, units, noise); over measure ``all_units``, with every unit and
        no noise. These are the stored observables, which average over all validation examples:
        for activity and paired they differ from a recording by its number of stimuli, too.
    """
    [kind] = classifier_names([classifier], ())
    levels = _levels(noise)
    asked = _stored(cohort) if measure is None else measure_names(measure, cohort)
    study = open_study(
        cohort,
        rng=rng,
        measure=asked,
        label=label,
        shuffle_labels=shuffle_labels,
        rules=rules,
        observables=observables,
        effort=effort,
    )
    if whole:
        study = study.take(_stored_whole(cohort, study))
        check_labels(study.any, cohort, label)
    data = study.any
    # Populations that are not whole are left out, and with them perhaps organisms.
    possible = study.possible_splits(splits) if whole else splits
    counts = _counts(cohort, units, study.measures, data.populations)
    sets, groups = study.splits(possible)
    scores: dict[tuple[str, int, float], Scored] = {}
    ideal, _ = study.score({m: (kind, d.features()) for m, d in study.data.items()}, sets)
    short: dict[str, None] = {}
    if possible < splits:
        short[f"{possible} splits, since few organisms have populations that are stored whole"] = (
            None
        )
    draws = min(DRAWS, int(sets.rounds.max()) + 1)
    for m in study.measures:
        fits: list[Fit] = []
        cells = [(n, s) for n in counts for s in levels]
        parts = parts_of(m)
        for part in parts:
            held = cohort.stored_units(part)[data.populations]
            if (held < max(counts)).any():
                short[
                    f"{int((held < max(counts)).sum())} of {len(held)} populations hold fewer than "
                    f"{max(counts)} units for {part} and were recorded whole"
                ] = None
        drawn = [_record(cohort, m, parts, counts, levels, study, i, whole) for i in range(draws)]
        for n, s in cells:
            recorded = [each[n, s] for each, _ in drawn]
            every = study.fits(kind, recorded[0], sets, groups)
            fits += [
                replace(f, features=recorded[r % draws])
                for r, f in zip(sets.rounds, every, strict=True)
            ]
        for name in dict.fromkeys(n for _, lost in drawn for n in lost):
            short[f"{name} was not finite in some recording, and so left out there for all"] = None
        labels = iter(run_fits(fits, effort=effort))
        for n, s in cells:
            predicted = np.stack([next(labels)[0] for _ in sets.test])
            scores[m, n, s] = scored(predicted, sets, study.scorer)
    dataset = accuracy_dataset(
        scores,
        {"measure": study.measures, "units": counts, "noise": levels},
        chance=study.scorer.chance,
    )
    for part in ("mean", "low", "high"):
        dataset["all_units" if part == "mean" else f"all_units_{part}"] = (
            "measure",
            [getattr(ideal[m].estimate.interval, part) for m in study.measures],
            {"long_name": "accuracy with every unit and no noise", "units": "1"},
        )
    dataset["units"].attrs = {"long_name": "units, synapses or pairs recorded", "units": "1"}
    dataset["noise"].attrs = {"long_name": "noise / signal standard deviation", "units": "1"}
    estimates: dict[tuple[str, ...], Estimate] = {
        (m, str(n), f"{s:g}"): found.estimate for (m, n, s), found in scores.items()
    }
    estimates |= {(m, "all", "0"): ideal[m].estimate for m in study.measures}
    return study.result(
        "units_noise",
        dataset,
        options={
            "classifier": kind,
            "whole": whole,
            "splits": splits,
        },
        estimates=estimates,
        warnings=list(short),
    )


def _levels(noise: Sequence[float]) -> list[float]:
    levels = sorted({float(s) for s in noise})
    if not levels or not np.isfinite(levels).all() or levels[0] < 0:
        raise UsageError(f"noise is {noise!r}; expected finite numbers of at least 0")
    return levels


def _stored(cohort: Cohort) -> list[str]:
    """Return the measures of which the cohort stores single units."""
    out = [m for m in MEASURES if cohort.stores_units(m)]
    if not out:
        raise DataError(
            f"the cohort {cohort.name!r} stores no responses, synapses or paired, which this "
            "analysis needs; simulate it with a storage of units"
        )
    return out


def _stored_whole(cohort: Cohort, study: Study) -> np.ndarray:
    """Return which populations have all their units, weights or pairs stored."""
    populations = study.any.populations
    table = cohort.population_table
    units, inputs, weights = (
        table[n].values[populations].astype(float) for n in ("units", "inputs", "weights")
    )
    sizes = {"activity": units, "weights": weights, "paired": units * inputs}
    kept = np.ones(len(populations), dtype=bool)
    for part in {p for m in study.measures for p in parts_of(m)}:
        kept &= cohort.stored_units(part)[populations] == sizes[part]
    if not kept.any():
        raise DataError(
            f"the cohort {cohort.name!r} stores every unit of no population for "
            f"{', '.join(study.measures)}; leave whole out"
        )
    return kept


def _counts(
    cohort: Cohort, units: Sequence[int] | None, measures: Sequence[str], populations: np.ndarray
) -> list[int]:
    """Return the numbers of units, all of which the cohort stores."""
    parts = {p for m in measures for p in parts_of(m)}
    held = {p: cohort.stored_units(p)[populations] for p in sorted(parts)}
    if units is None:
        # By default no more than half of the populations hold.
        usual = int(min(np.median(h) for h in held.values()))
        return sorted({min(n, usual) for n in UNITS})
    most = {p: int(h.max()) for p, h in held.items()}
    fewest = min(most, key=lambda p: most[p])
    counts = sorted({positive_int(n, "units") for n in units})
    if not counts:
        raise UsageError("units is empty; expected at least one whole number")
    if counts[-1] > most[fewest]:
        raise UsageError(
            f"{counts[-1]} units were asked, but the cohort stores at most {most[fewest]} for "
            f"{fewest}"
        )
    return counts


def _record(
    cohort: Cohort,
    measure: str,
    parts: tuple[str, ...],
    units: list[int],
    noise: list[float],
    study: Study,
    draw: int,
    whole: bool,
) -> tuple[dict[tuple[int, float], Features], list[str]]:
    """Return the features of virtual recordings, and the observables that were not finite.

    One pass serves all numbers of units and all noise, so that they differ by the design alone.
    """
    data = study.data[measure]
    observed = observe_designs(
        cohort,
        Design(
            units=max(units),
            noise=max(noise),
            measure=measures_with(data.observables, parts),
            scaling="raw",
            observables=data.observables,
        ),
        key=draw_key(study.streams.rng("recording", draw)),
        populations=data.populations,
        units=units,
        noise=noise,
        # Where every unit is stored, a smaller population is not short of any.
        fewer=whole,
    )
    features, lost = {}, []
    for i, n in enumerate(units):
        for k, s in enumerate(noise):
            found, dropped = observed.trajectories(i, k).finite(cohort.name)
            lost += dropped
            features[n, s] = found.features()
    return features, lost


analyses.add(
    "units_noise",
    Analysis(
        name="units_noise",
        summary="how many units, and how little noise, each measure takes",
        cites=f"{PAPER}, figure 5",
        needs="observables; responses, synapses or paired of single units",
        run=run,
        plot="plot_units_noise",
    ),
)
