"""Clustering without labels: what do trajectories fall into by themselves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import numpy as np
import xarray as xr

from lrplan.analyses import (
    NAMES,
    REVIEWS,
    Analysis,
    Measure,
    Observables,
    Option,
    Result,
    Rules,
    ShuffleLabels,
    analyses,
)
from lrplan.analyses._study import LABELS, open_study, words
from lrplan.errors import DataError
from lrplan.measure.trajectories import swapped
from lrplan.tell.intervals import RESAMPLES, Estimate

if TYPE_CHECKING:
    from lrplan.cohort.store import Cohort

COMPONENTS = 10
DEFAULT = ("rule", "architecture", "task", "position")
Labels = Annotated[
    str | Sequence[str],
    Option(f"What clusters are compared with: {', '.join(LABELS)}. Several with commas.", NAMES),
]


def run(
    cohort: Cohort,
    *,
    rng: np.random.Generator,
    measure: Measure = None,
    label: Labels = DEFAULT,
    rules: Rules = None,
    shuffle_labels: ShuffleLabels = False,
    observables: Observables = "paper",
) -> Result:
    """Cluster trajectories without labels, and compare the clusters with each label.

    z-scored observables, reduced to 10 principal components, go through k-means with as many
    clusters as the label has values. The layer position is no feature. Labels are not used until
    the clusters are there, so nothing need be held out.

    Parameters
    ----------
    label : str or sequence of str
        What clusters are compared with; by default rule, architecture, task and position.
    shuffle_labels : bool, default False
        Whether organisms swap labels: the index must then be about 0. Layers of one organism have
        different positions, which are swapped one by one.
    cohort, rng, measure, observables
        As for `lrplan.analyses.separation.run`.

    Returns
    -------
    Result
        ``rand``, the adjusted Rand index (Hubert and Arabie 1985), over (measure, label): 1 for
        clusters that are the label's values, 0 for clusters that have nothing to do with them.
    """
    from sklearn.cluster import KMeans
    from sklearn.decomposition import PCA
    from sklearn.preprocessing import StandardScaler

    labels = words(label, DEFAULT, "label", LABELS)
    study = open_study(
        cohort, rng=rng, measure=measure, rules=rules, observables=observables, least=1
    )
    data = study.any
    names, index = np.unique(data.organisms, return_inverse=True)
    generator = study.streams.rng("resamples")
    even = np.full(len(names), 1 / len(names))
    weights = generator.multinomial(len(names), even, RESAMPLES)
    truth, warnings = {}, []
    for name in labels:
        values = data.labels[name]
        if shuffle_labels:
            units = np.arange(len(values)) if name == "position" else data.organisms
            values = swapped(values, units, study.streams.rng("shuffled labels"))
        if len(np.unique(values)) < 2:
            warnings.append(f"the cohort has one {name}; clusters cannot be compared with it")
        else:
            truth[name] = np.unique(values, return_inverse=True)[1]
    if not truth:
        raise DataError(f"the cohort {cohort.name!r} has a single value of {', '.join(labels)}")
    estimates: dict[tuple[str, ...], Estimate] = {}
    for m, d in study.data.items():
        scaled = StandardScaler().fit_transform(d.values.reshape(len(d.y), -1).astype(float))
        components = min(COMPONENTS, *scaled.shape)
        reduced = PCA(components, svd_solver="full").fit_transform(scaled)
        for name, codes in truth.items():
            k = int(codes.max()) + 1
            found = KMeans(k, n_init=10, random_state=study.streams.seed("clusters")).fit_predict(
                reduced
            )
            pairs = np.zeros((len(names), k, k))
            np.add.at(pairs, (index, codes, found), 1)
            flat = pairs.reshape(len(names), -1)
            resampled = [(w @ flat).reshape(-1, k, k) for w in (weights, weights**2)]
            estimates[m, name] = Estimate(
                float(adjusted_rand(pairs.sum(axis=0))), adjusted_rand(*resampled)
            )
    dims = ("measure", "label")
    texts = {
        "mean": ("rand", "adjusted Rand index of clusters and label"),
        "low": ("low", "lower end of the 95% interval, bootstrap over organisms"),
        "high": ("high", "upper end of the 95% interval, bootstrap over organisms"),
    }
    dataset = xr.Dataset(
        {
            variable: (
                dims,
                [
                    [getattr(estimates[m, name].interval, part) for name in truth]
                    for m in study.measures
                ],
                {"long_name": text, "units": "1"},
            )
            for part, (variable, text) in texts.items()
        },
        coords={"measure": study.measures, "label": list(truth)},
    )
    dataset["chance"] = 0.0
    return study.result(
        "clustering",
        dataset,
        options={
            "label": list(truth),
            "shuffle_labels": shuffle_labels,
        },
        estimates=estimates,
        main="rand",
        warnings=warnings,
    )


def adjusted_rand(table: np.ndarray, squares: np.ndarray | None = None) -> np.ndarray:
    """Return the adjusted Rand index of contingency tables (..., label, cluster).

    Hubert and Arabie, Journal of Classification 1985, equation 5.

    Parameters
    ----------
    table : array (..., label, cluster)
        Sums of the recordings' weights.
    squares : array (..., label, cluster), optional
        Sums of their squares; by default weights are 1. A recording that was drawn twice makes
        no pair with itself, which would count as agreement.
    """
    squares = table if squares is None else squares

    def pairs(axis: tuple[int, ...]) -> np.ndarray:
        return (table.sum(axis=axis) ** 2 - squares.sum(axis=axis)) / 2

    total = pairs((-2, -1))
    together = pairs(()).sum(axis=(-2, -1))
    rows, columns = pairs((-1,)).sum(axis=-1), pairs((-2,)).sum(axis=-1)
    expected = rows * columns / total
    with np.errstate(invalid="ignore"):
        return (together - expected) / ((rows + columns) / 2 - expected)


analyses.add(
    "clustering",
    Analysis(
        name="clustering",
        summary="what trajectories fall into by themselves: rules, architectures, tasks",
        cites=REVIEWS,
        needs="observables; two values of a label",
        run=run,
        plot="plot_clustering",
    ),
)
