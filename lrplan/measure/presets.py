"""Presets: experiments as labs do them, each number with its source."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from lrplan.errors import UsageError
from lrplan.measure.design import RELATIVE, WITHIN
from lrplan.registry import nearest

HOW_SURE = ("published", "computed", "assumption")
UNITS = {
    "units": "recorded in a session: neurons, synapses or pairs",
    "trials": "of each stimulus in each session",
    "stimuli": "1",
    "sessions": "1",
    "days_between": "days from one session to the next",
    "tracked_fraction": "share of units found again in the next session",
    "noise": "standard deviations of the signal, of the mean over trials",
    "hours": "hours of a session",
}
"""What a preset says, and in which unit. Synapses have no trials and stimuli."""
WITHOUT_STIMULI = ("trials", "stimuli")
DAYS = "days_between"
"""The setting of a modality for the days from one checkpoint of a cohort to the next."""


@dataclass(frozen=True)
class Number:
    """A number, or a name, of a preset.

    Parameters
    ----------
    value : int, float or str
    sure : {"published", "computed", "assumption"}
        Whether the source says it, it follows from what the source says, or neither.
    source : str
        Where it comes from.
    """

    value: Any
    sure: str
    source: str


@dataclass(frozen=True)
class Preset:
    """An experiment as labs do it.

    Parameters
    ----------
    name, summary : str
    modality, measure : str
        As a Design takes them.
    tracked : bool
        Whether units that are found again in all sessions are taken, or all of each session.
    numbers : dict of str to Number
        Those that `UNITS` lists.
    settings : dict of str to Number
        Settings of the modality.
    """

    name: str
    summary: str
    modality: str
    measure: str
    tracked: bool
    numbers: Mapping[str, Number]
    settings: Mapping[str, Number]

    def value(self, name: str) -> Any:
        """Return a number's value; None where the preset has no such number."""
        return self.numbers[name].value if name in self.numbers else None

    @property
    def noise_reference(self) -> str:
        """What its noise is relative to: only activity has a signal within units here."""
        return WITHIN if self.measure == "activity" else RELATIVE

    def settings_for(self, checkpoints: Sequence[int], known: Mapping[str, Any]) -> dict[str, Any]:
        """Return the settings of the modality for sessions at these checkpoints of a cohort.

        Parameters
        ----------
        checkpoints : sequence of int
            Of the sessions, in order.
        known : mapping
            The settings that the modality has, by name.

        Returns
        -------
        dict
            With `DAYS` such that sessions are as many days apart on average as the preset says,
            if the modality knows days. A single session has no days between.
        """
        out = {name: number.value for name, number in self.settings.items()}
        passed = checkpoints[-1] - checkpoints[0]
        if DAYS in known and passed:
            out[DAYS] = self.value(DAYS) * (len(checkpoints) - 1) / passed
        return out

    def to_json(self) -> dict[str, Any]:
        """Return what ``lrplan list presets --json`` prints."""
        return {
            "name": self.name,
            "summary": self.summary,
            "modality": self.modality,
            "measure": self.measure,
            "tracked": self.tracked,
            "noise_reference": self.noise_reference,
            "numbers": {
                name: {**asdict(n), "unit": UNITS[name]} for name, n in self.numbers.items()
            },
            "settings": {name: asdict(number) for name, number in self.settings.items()},
        }


@cache
def presets() -> Mapping[str, Preset]:
    """Return all presets by name."""
    text = files("lrplan.data").joinpath("presets.toml").read_text(encoding="utf-8")
    return {name: _preset(name, table) for name, table in tomllib.loads(text).items()}


def get_preset(name: str) -> Preset:
    """Return a preset.

    Raises
    ------
    UsageError
        If there is none of this name.
    """
    known = presets()
    if name not in known:
        raise UsageError(f"unknown preset {name!r}; {nearest(str(name), known)}")
    return known[name]


def _preset(name: str, table: Mapping[str, Any]) -> Preset:
    left = dict(table)
    words = {key: left.pop(key) for key in ("summary", "modality", "measure", "tracked")}
    settings = left.pop("settings", {})
    needed = [n for n in UNITS if words["measure"] != "weights" or n not in WITHOUT_STIMULI]
    if list(left) != needed:
        raise ValueError(f"the preset {name} has {', '.join(left)}; expected {', '.join(needed)}")
    numbers = {key: Number(*found) for key, found in left.items()}
    of_modality = {key: Number(*found) for key, found in settings.items()}
    for key, number in {**numbers, **of_modality}.items():
        if number.sure not in HOW_SURE or not number.source:
            raise ValueError(f"{key} of the preset {name} has no source, or is {number.sure!r}")
    return Preset(name, **words, numbers=numbers, settings=of_modality)
