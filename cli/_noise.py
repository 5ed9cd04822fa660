"""How noisy responses are, in the words of a lab: what the options say, as a Design takes it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from typer.core import TyperCommand

from lrplan.cli import _options
from lrplan.errors import DataError, UsageError

if TYPE_CHECKING:
    from lrplan.measure.design import Design
    from lrplan.measure.noise import NoiseEstimate

NOISE_FROM = "--noise-from"
READING = ("--label", "--align", "--window")
"""Options that say how a pilot recording is read."""
TRIALS_SETTINGS = ("trials_per_stimulus", "trials_per_target", "control_trials")
"""What modalities whose noise follows from their settings call their numbers of trials."""


class Pilot(TyperCommand):
    """A command in which ``--noise-from`` takes all files that follow it, as a shell lists them."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Repeat the option before each file."""
        return super().parse_args(ctx, _repeated(args, NOISE_FROM))


def _repeated(args: Sequence[str], option: str) -> list[str]:
    """Return arguments with the option before each of its values."""
    out: list[str] = []
    wanted, taking = False, False
    for word in args:
        if word.startswith("-"):
            taking = word == option or word.startswith(f"{option}=")
            wanted = word == option
        elif taking and not wanted:
            out.append(option)
        else:
            wanted = False
        out.append(word)
    return out


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What the options say of noise; None where one was not given.

    Parameters
    ----------
    noise, reference, snr, dprime, reliability, nu, trials
        As `cli._options` describes them.
    files : list of Path
        Those of ``--noise-from``.
    label, align, window : str, optional
        How they are read.
    """

    noise: float | None = None
    reference: str | None = None
    snr: float | None = None
    dprime: float | None = None
    reliability: float | None = None
    nu: float | None = None
    trials: int | None = None
    files: list[Path] = field(default_factory=list)
    label: str | None = None
    align: str | None = None
    window: str | None = None

    @property
    def given(self) -> list[str]:
        """The options that say how noisy responses are."""
        told = {
            "--noise": self.noise,
            "--snr": self.snr,
            "--dprime": self.dprime,
            "--reliability": self.reliability,
            "--nu": self.nu,
            NOISE_FROM: self.files or None,
        }
        return [option for option, value in told.items() if value is not None]


@dataclass(frozen=True)
class Said:
    """What that comes to.

    Parameters
    ----------
    design : dict
        ``noise`` and ``noise_reference`` of a Design, where they were given.
    settings : dict
        Settings of the modality that were given by other names.
    estimate : NoiseEstimate or None
        That of a pilot recording.
    notes : list of str
        What to tell the user.
    """

    design: dict[str, Any]
    settings: dict[str, Any]
    estimate: NoiseEstimate | None = None
    notes: list[str] = field(default_factory=list)


def say(asked: Asked, modality: str, *, seed: int) -> Said:
    """Return the noise of a Design, and settings of its modality, from what was asked.

    Raises
    ------
    UsageError
        If two options say how noisy responses are, one lacks what it needs to mean something, or
        a number makes no sense.
    DataError
        If the pilot recording shows no noise, or no signal.
    """
    _refuse_idle(asked)
    settings = {} if asked.nu is None else _setting("nu", asked.nu, "--nu", modality)
    if asked.reference is not None:
        _check_reference(asked)
    if asked.files:
        return _of_pilot(asked, modality, settings, seed)
    design: dict[str, Any] = {} if asked.reference is None else {"noise_reference": asked.reference}
    notes = []
    found = _converted(asked)
    if found is not None:
        from lrplan.measure.noise import doubt

        noise, reference = found
        design = {"noise": noise, "noise_reference": reference}
        question = doubt(noise)
        notes += [] if question is None else [question]
    return Said(design, settings, notes=notes)


def _refuse_idle(asked: Asked) -> None:
    """Refuse two answers to one question, and options that say nothing."""
    if len(asked.given) > 1:
        raise UsageError(
            f"{' and '.join(asked.given)} both say how noisy responses are; give one of them"
        )
    for option, value in zip(READING, (asked.label, asked.align, asked.window), strict=True):
        if value is not None and not asked.files:
            raise UsageError(
                f"{option} says how the recording of {NOISE_FROM} is read, but none is given"
            )


def _check_reference(asked: Asked) -> None:
    from lrplan.measure.design import ABSOLUTE, NOISE_REFERENCES, WITHIN
    from lrplan.registry import nearest

    if asked.reference not in NOISE_REFERENCES:
        known = nearest(str(asked.reference), NOISE_REFERENCES)
        raise UsageError(f"unknown noise_reference {asked.reference!r}; {known}")
    [option] = asked.given or ["--noise"]
    if option == "--nu":
        raise UsageError("--nu is in % per sqrt(Hz) of dF/F; leave --noise-reference out")
    if option == "--dprime" and asked.reference != WITHIN:
        raise UsageError(
            f"--dprime is between stimuli of one unit, and so --noise-reference {WITHIN}, not "
            f"{asked.reference!r}"
        )
    if option != "--noise" and asked.reference == ABSOLUTE:
        raise UsageError(
            f"--noise-reference {ABSOLUTE} is the network's own unit, which {option} does not "
            "know; use 'within' or 'relative'"
        )


def _converted(asked: Asked) -> tuple[float, str] | None:
    """Return the noise of the mean over trials and its reference; None if none was given."""
    from lrplan.measure.design import RELATIVE, WITHIN
    from lrplan.measure.noise import from_dprime, from_reliability, from_snr

    if asked.noise is not None:
        return asked.noise, asked.reference or RELATIVE
    if asked.snr is not None:
        noise = from_snr(asked.snr, trials=_trials(asked, "--snr"))
        return noise, _named(asked, f"--snr {asked.snr:g}")
    if asked.dprime is not None:
        return from_dprime(asked.dprime, trials=_trials(asked, "--dprime")), WITHIN
    if asked.reliability is not None:
        noise = from_reliability(asked.reliability)
        return noise, _named(asked, f"--reliability {asked.reliability:g}")
    return None


def _trials(asked: Asked, option: str) -> int:
    if asked.trials is None:
        raise UsageError(
            f"{option} is that of single trials; say with --trials how many of each stimulus are "
            "averaged"
        )
    return asked.trials


def _named(asked: Asked, option: str) -> str:
    """Return the reference by its name: no figure is taken for one of two that differ so much."""
    if asked.reference is None:
        raise UsageError(
            f"{option}: of which signal? Say --noise-reference within (how a unit's response "
            "varies over stimuli, as of tuning curves) or --noise-reference relative (over stimuli "
            "and units together); with log-normal rates noise differs two to four times between "
            "them"
        )
    return asked.reference


def refuse_noise(asked: Asked, modality: str) -> None:
    """Refuse to be told the noise of a modality whose noise follows from its settings.

    Raises
    ------
    UsageError
        If an option says it, or what it is relative to.
    """
    told = [option for option in asked.given if option != "--nu"]
    # That --nu has no reference is said where the two are put together.
    if asked.reference is not None and not asked.given:
        told.append("--noise-reference")
    if told:
        raise UsageError(
            f"{' and '.join(told)}: the noise of the modality {modality!r} follows from its "
            "settings; leave the option out and change those by --set NAME=VALUE (`lrplan list "
            "modalities` shows them)"
        )


def trials_settings(trials: int | None, modality: str) -> dict[str, int]:
    """Return a number of trials as the settings of a modality that are numbers of trials."""
    if trials is None:
        return {}
    return {name: trials for name in TRIALS_SETTINGS if _has(modality, name)}


def check_trials(asked: Asked, modality: str, *, idle: bool) -> None:
    """Refuse a number of trials that says nothing.

    Parameters
    ----------
    asked : Asked
        With or without a number of trials.
    modality : str
        The one that records.
    idle : bool
        Whether nothing but a setting, or an option of noise, could depend on the number.

    Raises
    ------
    UsageError
        If nothing does.
    """
    from lrplan.arguments import positive_int
    from lrplan.measure.modalities import modalities

    if asked.trials is None:
        return
    positive_int(asked.trials, "trials")
    if trials_settings(asked.trials, modality):
        return
    if modalities.get(modality).takes_noise == "none":
        raise UsageError(
            f"--trials is {asked.trials}, but the modality {modality!r} has no trials; leave "
            "--trials out, and see `lrplan list modalities` for its settings"
        )
    if idle and not {"--snr", "--dprime", NOISE_FROM} & set(asked.given):
        [option] = asked.given or ["--noise"]
        raise UsageError(
            f"--trials is {asked.trials}, but {option} is of the mean over all trials, however "
            "many they are; leave --trials out, or say the noise of single trials with --snr or "
            f"--dprime, or a pilot recording with {NOISE_FROM}"
        )


def _setting(name: str, value: Any, option: str, modality: str) -> dict[str, Any]:
    """Return an option as the setting of a modality that has it."""
    from lrplan.measure.modalities import modalities

    if not _has(modality, name):
        which = [m for m in modalities.names() if _has(m, name)]
        raise UsageError(
            f"{option} is a setting of {' and '.join(which) or 'no modality that is installed'}, "
            f"not of the modality {modality!r}"
            + (f"; use --modality {which[0]}" if which else "; say the noise otherwise")
        )
    return {name: value}


def _has(modality: str, setting: str) -> bool:
    from lrplan.measure.modalities import modalities, settings_of

    return setting in settings_of(modalities.get(modality))


def _of_pilot(asked: Asked, modality: str, settings: dict[str, Any], seed: int) -> Said:
    """Return the noise of a recording, for as many trials as are planned."""
    import numpy as np

    from lrplan import read_nwb
    from lrplan.measure.design import RELATIVE, WITHIN
    from lrplan.measure.noise import estimate_noise, refuse_without_signal
    from lrplan.randomness import Streams

    try:
        recording = read_nwb(
            asked.files,
            label=asked.label,
            align=asked.align,
            window_s=_options.window(asked.window),
            min_sessions=1,
        )
    except DataError as error:
        raise _with_python(error) from None
    # The numbers that `lrplan score` draws with the same seed, so that both say the same.
    streams = Streams.draw(np.random.default_rng(seed))
    estimates = estimate_noise(recording, rng=streams.rng("noise"))
    refuse_without_signal(recording, estimates)
    [estimate] = estimates
    reference = asked.reference or WITHIN
    noise = (estimate.over_units if reference == RELATIVE else estimate.noise)[0]
    session = "" if recording.sessions == 1 else f", first of {recording.sessions} sessions"
    notes = [f"noise of {recording.source}{session}: {estimate.line()}"]
    notes += [f"Warning: {w}" for w in recording.ingest.get("warnings", ())]
    if asked.trials is not None and estimate.trials is not None:
        factor = (estimate.trials / asked.trials) ** 0.5
        noise *= factor
        if factor != 1:
            notes.append(
                f"of {asked.trials} trials in place of {estimate.trials:.3g} noise is "
                f"{factor:.3g} times as large"
            )
    if recording.kind == "spikes" and modality == "ideal":
        notes.append(
            "the pilot holds spikes, whose noise grows with the rate; that of --modality counts "
            "does so, that of 'ideal' does not"
        )
    return Said({"noise": noise, "noise_reference": reference}, settings, estimate, notes)


def _with_python(error: DataError) -> DataError:
    """Say how a pilot is read whose message names options that the command does not have."""
    lacking = set(re.findall(r"--[a-z][a-z-]+", str(error))) - set(READING)
    if not lacking:
        return error
    return DataError(
        f"{error}; only `lrplan score` takes {' and '.join(sorted(lacking))}: here choose by "
        "lrplan.read_nwb in Python, and say what lrplan.measure.noise.estimate_noise finds with "
        "--noise"
    )


def both_line(told: Mapping[str, float], design: Design) -> str:
    """Return noise relative to both signals in one line."""
    words = {
        "within": "of the signal within units (how responses vary over stimuli)",
        "relative": "of the signal over stimuli and units",
    }
    first = design.noise_reference
    other = "relative" if first == "within" else "within"
    return (
        f"Noise: {told[first]:.3g} {words[first]}; in these networks {told[other]:.3g} "
        f"{words[other]}"
    )


def noise_json(
    told: Mapping[str, float] | None, estimate: NoiseEstimate | None
) -> dict[str, Any] | None:
    """Return what was found of the noise, for ``--json``; None where there is nothing."""
    if told is None and estimate is None:
        return None
    return {
        "within": None if told is None else told["within"],
        "relative": None if told is None else told["relative"],
        "pilot": None if estimate is None else estimate.to_json(),
    }
