"""What pictures need of the results that they draw. Pictures know no more of them than this."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import xarray as xr


class Result(Protocol):
    """What an analysis found."""

    @property
    def analysis(self) -> str:
        """Its registered name."""

    @property
    def dataset(self) -> xr.Dataset:
        """Figures with labelled dimensions."""


class Range(Protocol):
    """A figure with its 95% interval."""

    @property
    def mean(self) -> float:
        """The figure."""

    @property
    def low(self) -> float:
        """Lower end."""

    @property
    def high(self) -> float:
        """Upper end."""


class Forecast(Protocol):
    """What a Design can tell."""

    @property
    def accuracy(self) -> Range:
        """Within known conditions."""

    @property
    def held_out(self) -> Mapping[str, Any]:
        """Under conditions that were not seen, ``family`` first; None where none was held out."""

    @property
    def confusion(self) -> xr.DataArray:
        """Shares (true, predicted)."""

    @property
    def rules(self) -> list[str]:
        """The rules that are told apart."""

    @property
    def chance(self) -> float:
        """Accuracy of guessing."""


class Verdict(Protocol):
    """What a recording says."""

    @property
    def probabilities(self) -> Mapping[str, float]:
        """Of each rule."""

    @property
    def set(self) -> Sequence[str]:
        """Rules that are not excluded."""

    @property
    def answer(self) -> str | None:
        """The one that is left, or None."""

    @property
    def chance(self) -> float:
        """Accuracy of guessing."""


class Claim(Protocol):
    """What became of one claim."""

    @property
    def id(self) -> int:
        """Its number."""

    @property
    def short(self) -> str:
        """The claim in a few words."""

    @property
    def result(self) -> str:
        """``holds``, ``fails`` or ``undecided``."""

    @property
    def figure(self) -> float | None:
        """What decided."""

    @property
    def low(self) -> float | None:
        """Lower end of its interval."""

    @property
    def high(self) -> float | None:
        """Upper end."""

    @property
    def threshold(self) -> float:
        """What it must lie above."""


class ClaimsReport(Protocol):
    """What became of the claims on a cohort."""

    @property
    def claims(self) -> Sequence[Claim]:
        """In their order."""


class Cohort(Protocol):
    """Organisms with labels."""

    organisms: xr.Dataset

    @property
    def rules(self) -> list[str]:
        """The rules, sorted."""

    @property
    def passive(self) -> np.ndarray:
        """Whether each organism was under passive exposure (organism,)."""

    def final_performance(self) -> np.ndarray:
        """Return each organism's performance at the end (organism,)."""


class Recording(Protocol):
    """Responses of populations over sessions."""

    @property
    def data(self) -> xr.Dataset:
        """With dimensions named as in `lrplan.terms.UNIT_DIMS`."""

    @property
    def source(self) -> str:
        """Where it comes from."""

    @property
    def tracked(self) -> bool:
        """Whether units are the same in all sessions."""
