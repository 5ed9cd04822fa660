"""What one organism is: the words that fix it before it is trained."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from lrplan.cohort.references import PASSIVE
from lrplan.randomness import keyed_rng


@dataclass(frozen=True, kw_only=True)
class OrganismSpec:
    """One network to be trained under one known learning rule.

    The hash of a spec keys the organism on disk and seeds everything random about it, so two
    organisms of a cohort share no random number, not even their initial weights: each is an
    independent draw. An organism under passive exposure is no exception: it is the preparation of
    its learning twin, and draws what that draws.

    Parameters
    ----------
    rule, architecture, task : str
        Registered names.
    batch_size : int
        Examples per update.
    learning_rate : float
        Peak step size of the optimizer.
    model_seed, data_seed : int
        Tell apart organisms that are otherwise equal.
    epochs : int
        Passes over the training set.
    checkpoints : int
        Moments, evenly spaced over training, at which the organism is stored; the first is
        before training.
    settings : mapping, optional
        Settings of the rule, architecture, task and training that differ from the defaults.
    """

    rule: str
    architecture: str
    task: str
    batch_size: int
    learning_rate: float
    model_seed: int
    data_seed: int
    epochs: int
    checkpoints: int
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def to_json(self) -> str:
        """Return the canonical JSON text that the hash is taken of."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> OrganismSpec:
        """Return the spec that `to_json` wrote."""
        return cls(**json.loads(text))

    @property
    def hash(self) -> str:
        """Return 16 hexadecimal digits of the SHA-256 of the spec."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:16]

    @property
    def is_passive(self) -> bool:
        """Whether it is exposed to the stimuli and does not learn its task."""
        return bool(self.settings.get("training", {}).get("condition") == PASSIVE)

    @property
    def preparation(self) -> str:
        """Whose network it is: its own hash, or that of its learning twin."""
        return str(self.settings.get("training", {}).get("preparation", self.hash))

    def rng(self, stream: str) -> np.random.Generator:
        """Return the preparation's random generator for one purpose, such as ``"weights"``."""
        return keyed_rng(self.preparation, stream)
