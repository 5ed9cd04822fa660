"""Fitting classifiers on splits."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from lrplan.classifiers.splits import count_groups
from lrplan.measure.trajectories import Features
from lrplan.threads import threads

T = TypeVar("T")
UNTESTED = -1
_MEMORY: ContextVar[dict[str, Any] | None] = ContextVar("fits", default=None)


@dataclass(frozen=True)
class Fit:
    """One classifier to fit, and the recordings that it then labels.

    Parameters
    ----------
    classifier : str
        Registered name.
    features : Features
        Of the recordings.
    y, groups : array (recording,)
        Labels, and what the classifier keeps together in its own cross-validation.
    train : array (recording,) of bool
        What it is fitted on.
    test : array (recording,) of bool
        What it labels.
    seed : int
        Its random state. Fits that are compared have the same.
    tested_on : sequence of Features
        What is labelled; by default `features`.
    """

    classifier: str
    features: Features
    y: np.ndarray
    groups: np.ndarray
    train: np.ndarray
    test: np.ndarray
    seed: int
    tested_on: tuple[Features, ...] = ()

    def digest(self, effort: str) -> str:
        """Return what tells this fit from every other one."""
        whole = hashlib.sha256(f"{self.classifier} {self.seed} {effort}".encode())
        for part in (self.features, *self.tested_on):
            whole.update(f"{part.values.shape} {part.sessions} {part.static}".encode())
            whole.update(np.ascontiguousarray(part.values).tobytes())
        for labels in (self.y, self.groups):
            whole.update("\x1f".join(map(str, labels)).encode())
        for rows in (self.train, self.test):
            whole.update(rows.tobytes())
        return whole.hexdigest()


def run_fits(
    fits: Sequence[Fit], *, effort: str, use: Callable[[Any, Fit], T] | None = None
) -> list[Any]:
    """Fit each classifier, and return what `use` makes of it, in order.

    By default that is, for each part of `tested_on`, the labels (recording,) as places in the
    sorted labels, `UNTESTED` where not tested. A fit that tests nothing, or whose training set
    has fewer than two groups of a label, labels nothing.
    """
    from lrplan.classifiers import make_classifier

    act: Callable[[Any, Fit], Any] = use or _label

    def run(fit: Fit) -> Any:
        if not _trainable(fit) or not fit.test.any():
            return act(None, fit)
        model = make_classifier(
            fit.classifier,
            sessions=fit.features.sessions,
            static=fit.features.static,
            random_state=fit.seed,
            effort=effort,
            # They run side by side.
            workers=1,
        )
        train = fit.train
        model.fit(fit.features.values[train], fit.y[train], groups=fit.groups[train])
        return act(model, fit)

    memory = _MEMORY.get() if use is None else None

    def recall(fit: Fit) -> Any:
        if memory is None:
            return run(fit)
        key = fit.digest(effort)
        if key not in memory:
            memory[key] = run(fit)
        return memory[key]

    with ThreadPoolExecutor(threads()) as pool:
        return list(pool.map(recall, fits))


@contextmanager
def remembered_fits() -> Iterator[None]:
    """Fit nothing twice in this block: analyses that share fits, share their predictions."""
    token = _MEMORY.set({})
    try:
        yield
    finally:
        _MEMORY.reset(token)


def _trainable(fit: Fit) -> bool:
    """Say whether each label has the two groups that choosing settings takes."""
    kinds = np.unique(fit.y)
    return bool(count_groups(fit.y[fit.train], fit.groups[fit.train], kinds).min() > 1)


def _label(model: Any, fit: Fit) -> list[np.ndarray]:
    kinds = np.unique(fit.y)
    out = []
    for part in fit.tested_on or (fit.features,):
        labels = np.full(len(fit.y), UNTESTED)
        if model is not None:
            labels[fit.test] = np.searchsorted(kinds, model.predict(part.values[fit.test]))
        out.append(labels)
    return out
