"""Presets on the command line: what a flag does not say, the preset says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from lrplan.cli import _noise
from lrplan.errors import UsageError

if TYPE_CHECKING:
    import typer

    from lrplan.measure.noise import NoiseEstimate
    from lrplan.measure.presets import Preset

FIELDS = ("units", "stimuli", "sessions")
"""Options that have a number's name in a preset."""


@dataclass(frozen=True)
class Planned:
    """What options and preset say together.

    Parameters
    ----------
    values : dict
        The options, those that were not typed as the preset has them.
    noise : dict
        ``noise`` and ``noise_reference`` of a Design, where they are known.
    settings : dict
        Of the modality.
    trials : int or None
        Of each stimulus in each session.
    estimate : NoiseEstimate or None
        That of a pilot recording.
    notes : list of str
        What to tell the user.
    """

    values: dict[str, Any]
    noise: dict[str, Any]
    settings: dict[str, Any]
    trials: int | None
    estimate: NoiseEstimate | None
    notes: list[str] = field(default_factory=list)


def fill(
    values: Mapping[str, Any], name: str | None, context: typer.Context
) -> tuple[dict[str, Any], Preset | None]:
    """Return options by name, those that were not typed as a preset has them, and the preset.

    Parameters
    ----------
    values : mapping
        Some options of the command.
    name : str or None
        Of a preset.
    context : typer.Context
        Knows which options were typed.
    """
    if name is None:
        return dict(values), None
    from lrplan.measure.presets import get_preset

    preset = get_preset(name)
    told = {f: preset.value(f) for f in FIELDS}
    told |= {"modality": preset.modality, "measure": [preset.measure], "tracked": preset.tracked}
    untyped = {f: v for f, v in told.items() if f in values and not _typed(context, f)}
    return {**values, **untyped}, preset


def _typed(context: typer.Context, option: str) -> bool:
    source = context.get_parameter_source(option)
    return source is not None and source.name == "COMMANDLINE"


def plan(
    values: dict[str, Any],
    preset: Preset | None,
    *,
    modality: str,
    asked: _noise.Asked,
    given: Mapping[str, Any],
    checkpoints: list[int],
    seed: int,
    written: bool,
) -> Planned:
    """Put together what options and preset say of noise and settings.

    Parameters
    ----------
    values, preset
        As `fill` returns them.
    modality : str
        The one that records.
    asked : Asked
        What was said of noise.
    given : mapping
        Settings of ``--set``.
    checkpoints : list of int
        Those of the sessions, of which settings of a preset depend on how far they are apart.
    seed : int
        Of the interval of a pilot's noise.
    written : bool
        Whether trials are written, so that their number says something whatever the noise.
    """
    from lrplan.measure.modalities import make_modality, modalities, settings_of

    technique = modalities.get(modality)
    own_noise = technique.takes_noise == "none"
    if own_noise:
        _noise.refuse_noise(asked, modality)
    known = settings_of(technique)
    own = None if preset is None else preset.value("trials")
    usual = make_modality(modality).written_trials if written and own is None else own
    said = _noise.say(
        asked if asked.trials is not None else replace(asked, trials=usual), modality, seed=seed
    )
    noise, notes = dict(said.design), list(said.notes)
    settings: dict[str, Any] = {}
    if preset is not None and modality == preset.modality:
        settings |= _noise.trials_settings(own, modality)
        settings |= preset.settings_for(checkpoints, known)
    elif preset is not None and preset.settings:
        notes.append(
            f"the modality is {modality}, so what the preset sets of {preset.modality} is left out"
        )
    of_preset = preset is not None and not own_noise and not asked.given
    if preset is not None and of_preset:
        noise = _preset_noise(preset, asked)
    if not written:
        _noise.check_trials(asked, modality, idle=own is None or not of_preset)
    of_trials = _noise.trials_settings(asked.trials, modality)
    told = dict.fromkeys(of_trials, "--trials") | {name: f"--{name}" for name in said.settings}
    twice = sorted(set(told) & set(given))
    if twice:
        raise UsageError(f"{told[twice[0]]} and --set {twice[0]} say the same; give one of them")
    settings |= of_trials | said.settings | dict(given)
    # A number of trials that --set names is that of the modality, whatever the preset has.
    named = set(_noise.TRIALS_SETTINGS) & set(given)
    trials = own if asked.trials is None and not named else asked.trials
    return Planned(values, noise, settings, trials, said.estimate, notes)


def _preset_noise(preset: Preset, asked: _noise.Asked) -> dict[str, Any]:
    """Return the noise of a preset, for as many trials as are asked, and what it is relative to.

    Raises
    ------
    UsageError
        If the user names another reference: a number of one is none of another.
    """
    noise, reference = preset.value("noise"), preset.noise_reference
    if asked.reference not in (None, reference):
        raise UsageError(
            f"--noise-reference is {asked.reference!r}, but the noise of the preset {preset.name}, "
            f"{noise:g}, is of {reference!r}; leave --noise-reference out, or say the noise with "
            "--noise"
        )
    own = preset.value("trials")
    more = 1.0 if asked.trials is None or own is None else (own / asked.trials) ** 0.5
    return {"noise": noise * more, "noise_reference": reference}
