"""Write a virtual recording as NWB files, so that a lab can rehearse its analysis."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np

from lrplan.arguments import generator, positive_int
from lrplan.errors import DataError, UsageError
from lrplan.measure.modalities import Course, Modality, make_modality, modalities
from lrplan.nwb._session import Layout, session_bytes
from lrplan.nwb._text import clean
from lrplan.registry import nearest

KINDS = {"spikes": "counts", "dff": "ideal"}
"""What can be written, and the modality that makes it by default."""
MOST_HZ = 500.0
"""Highest mean spike rate of a population that `write_nwb` agrees to write."""

_PARTIAL = ".partial"


def write_nwb(
    signal: np.ndarray,
    out: str | os.PathLike[str],
    *,
    noise_sd: float = 0.0,
    kind: str | None = None,
    modality: str | None = None,
    settings: Mapping[str, Any] | None = None,
    rng: np.random.Generator | int,
    trials: int | None = None,
    unit_ids: Sequence[Any] | np.ndarray | None = None,
    tracked: bool = True,
    checkpoints: Sequence[int] | None = None,
    stimulus_names: Sequence[str] | None = None,
    description: str = "Virtual recording of an artificial neural network, written by lrplan",
    subject_id: str = "virtual",
    window_s: float | None = None,
    gap_s: float = 0.5,
    rate_hz: float = 10.0,
) -> list[Path]:
    """Write a virtual recording as valid NWB 2 files, one for each session.

    All files get their final names at the end, when all of them are complete: a run that is
    killed leaves none.

    Parameters
    ----------
    signal : array (session, stimulus, unit)
        Noiseless responses in the network's unit. A unit that is NaN for all stimuli of a
        session is not recorded in it.
    out : path
        Directory to write to; new or empty.
    noise_sd : float, default 0.0
        Standard deviation of the noise of a response, the mean over a stimulus's trials, in the
        same unit; for spikes its root mean square in the first session. 0 where it follows from
        the settings of the modality.
    kind : {"spikes", "dff"}, optional
        Spike times, spread evenly over the window of each trial, or dF/F of regions of interest,
        held over the window and near 0 between trials. By default what the modality is written
        as.
    modality : str, optional
        The measurement model that makes the trials; by default ``counts`` for spikes and
        ``ideal`` for dF/F.
    settings : mapping of str to value, optional
        Settings of the modality.
    rng : numpy.random.Generator or int
        Source of the noise, the order of trials and the files' identifiers, or a seed. The same
        generator gives the same data.
    trials : int, optional
        Trials of each stimulus in each session; by default the modality's, or 10.
    unit_ids : sequence, optional
        What is written as ``tracking_id``; by default 0, 1, ...
    tracked : bool, default True
        Whether units are the same in all sessions; if so they have a column ``tracking_id``.
    checkpoints : sequence of int, optional
        When sessions are, in checkpoints of the cohort after the first: by default one apart.
        Techniques that lose units over days ask for it.
    stimulus_names : sequence of str, optional
        By default ``stimulus_0``, ``stimulus_1``, ...
    description, subject_id : str
        What the files say of the recording and of the subject.
    window_s : float, optional
        Duration of a trial in seconds; by default the modality's, or 1.
    gap_s : float, default 0.5
        Duration of the pause before and after a trial, in seconds.
    rate_hz : float, default 10.0
        Frames per second of dF/F. `window_s` and `gap_s` must be whole numbers of frames.

    Returns
    -------
    list of pathlib.Path
        The files, in the order of the sessions.

    Raises
    ------
    UsageError
        If a number makes no sense, spikes would be too many, or `out` holds something.
    DataError
        If the files cannot be written, for instance because the disk is full.

    Examples
    --------
    >>> import numpy as np, tempfile
    >>> from lrplan.nwb import write_nwb
    >>> rng = np.random.default_rng(0)
    >>> out = tempfile.mkdtemp()
    >>> files = write_nwb(rng.random((2, 3, 5)), out, noise_sd=0.1, kind="dff", rng=rng)
    >>> [f.name for f in files]
    ['sub-virtual_ses-01_ophys.nwb', 'sub-virtual_ses-02_ophys.nwb']
    """
    signal = _checked_signal(signal)
    sessions, stimuli, units = signal.shape
    kind, modality = kind_and_modality(kind, modality)
    technique = make_modality(modality, settings)
    trials = technique.written_trials if trials is None else positive_int(trials, "trials")
    window_s = technique.written_window_s if window_s is None else window_s
    rng = generator(rng)
    # Only of a technique that has constants, so that others record what they always did.
    key = int(rng.integers(2**63)) if technique.takes_noise == "none" else 0
    for name, number in (("window_s", window_s), ("gap_s", gap_s), ("rate_hz", rate_hz)):
        _check_number(number, name, above=True)
    _check_number(noise_sd, "noise_sd", above=False)
    if kind == "dff":
        _check_frames(window_s, gap_s, rate_hz)
    gain = technique.gain(signal, trials=trials, noise_sd=noise_sd, window_s=window_s)
    if kind == "spikes":
        _check_rate(signal, gain)
    subject = re.sub(r"[^A-Za-z0-9.-]+", "-", str(subject_id)).strip("-")
    if not subject:
        raise UsageError(f"subject_id is {clean(subject_id)!r}; expected letters or digits")
    layout = Layout(
        kind=kind,
        trials=trials,
        window_s=float(window_s),
        gap_s=float(gap_s),
        rate_hz=float(rate_hz),
        gain=gain,
        noise=_noise_words(technique, trials, float(noise_sd)),
        stimuli=_stimulus_names(stimulus_names, stimuli),
        subject=subject,
        description=clean(description, None),
        tracked=tracked,
    )
    ids = np.arange(units) if unit_ids is None else np.asarray(unit_ids)
    if ids.shape != (units,) or len(set(ids.tolist())) != units:
        raise UsageError(
            f"unit_ids has shape {ids.shape} and {len(set(ids.ravel().tolist()))} different "
            f"values; expected one for each of {units} units"
        )
    if ids.dtype.kind not in "iu":
        ids = np.array([str(i) for i in ids.tolist()], dtype=object)
    if not isinstance(out, str | os.PathLike):
        raise UsageError(f"out is {out!r}; expected the path of a directory")
    target = Path(out)
    responses = technique.trials(
        signal,
        trials=trials,
        noise_sd=float(noise_sd),
        course=Course(signal[0], tracked=tracked, checkpoints=checkpoints, key=key),
        rng=rng,
    )
    created = _prepare(target)
    digits = max(2, len(str(sessions)))
    suffix = "ecephys" if kind == "spikes" else "ophys"
    finals = [
        target / f"sub-{subject}_ses-{s + 1:0{digits}d}_{suffix}.nwb" for s in range(sessions)
    ]
    partials = [f.with_name(f".{f.name}{_PARTIAL}") for f in finals]
    try:
        for s, partial in enumerate(partials):
            content = session_bytes(layout, responses[s], ids, s, digits, rng)
            with open(partial, "xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        for partial, final in zip(partials, finals, strict=True):
            os.replace(partial, final)
    except BaseException as error:
        for path in (*partials, *finals):
            path.unlink(missing_ok=True)
        if created:
            target.rmdir()
        if isinstance(error, OSError):
            raise DataError(
                f"{clean(target)} cannot be written ({clean(error.strerror or error)}); nothing "
                "was kept; make room or choose another directory"
            ) from error
        raise
    return finals


def kind_and_modality(kind: str | None, modality: str | None) -> tuple[str, str]:
    """Return what is written and the modality that makes it; each is found from the other.

    Raises
    ------
    UsageError
        If one is unknown, does not measure activity, or the two do not fit.
    """
    if modality is None:
        kind = "spikes" if kind is None else kind
        if kind not in KINDS:
            raise UsageError(f"unknown kind {kind!r}; {nearest(str(kind), KINDS)}")
        return kind, KINDS[kind]
    technique = modalities.get(modality)
    if "activity" not in technique.measures:
        raise UsageError(
            f"modality {modality!r} measures {', '.join(technique.measures)}; only activity can "
            "be written as NWB"
        )
    if kind not in (None, technique.writes):
        raise UsageError(
            f"modality {modality!r} is written as {technique.writes}, not as {kind!r}; leave out "
            "one of kind (--kind) and modality (--modality)"
        )
    return technique.writes, modality


def _noise_words(technique: Modality, trials: int, noise_sd: float) -> str:
    """Return what the files say of the noise."""
    if technique.takes_noise == "none":
        settings = ", ".join(f"{name} {value}" for name, value in asdict(technique).items())
        return f"the noise follows from the settings of the technique: {settings}"
    return (
        f"the noise of a mean over {trials} trials has a standard deviation of {noise_sd:.9g} of "
        "these units (spikes: its root mean square in the first session)"
    )


def _checked_signal(signal: Any) -> np.ndarray:
    try:
        values = np.asarray(signal, dtype=np.float64)
    except (TypeError, ValueError):
        raise UsageError("signal is not an array of numbers (session, stimulus, unit)") from None
    if values.ndim != 3 or 0 in values.shape:
        raise UsageError(f"signal has shape {values.shape}; expected (session, stimulus, unit)")
    if np.isinf(values).any():
        raise UsageError("signal holds infinite values; expected finite ones")
    gone = np.isnan(values)
    if (gone.any(axis=1) != gone.all(axis=1)).any() or gone.all(axis=(1, 2)).any():
        raise UsageError(
            "signal holds NaN for some stimuli of a unit, or for all units of a session; expected "
            "numbers, or NaN for all stimuli of a unit that is not recorded"
        )
    return values


def _check_number(value: Any, name: str, *, above: bool) -> None:
    real = isinstance(value, Real) and not isinstance(value, bool) and np.isfinite(float(value))
    if not real or value < 0 or (above and value == 0):
        raise UsageError(
            f"{name} is {value!r}; expected a finite number {'above' if above else 'of at least'} 0"
        )


def _check_frames(window_s: float, gap_s: float, rate_hz: float) -> None:
    """Raise unless windows and gaps are whole numbers of frames, so that none lies on an edge."""
    for name, seconds in (("window_s", window_s), ("gap_s", gap_s)):
        frames = seconds * rate_hz
        if round(frames) < 1 or abs(frames - round(frames)) > 1e-6:
            raise UsageError(
                f"{name} is {seconds:g} s, which is {frames:g} frames at {rate_hz:g} Hz; expected "
                "a whole number of frames"
            )


def _check_rate(signal: np.ndarray, gain: float) -> None:
    highest = float(np.nanmean(np.maximum(signal, 0), axis=2).max()) * gain
    if highest > MOST_HZ:
        raise UsageError(
            f"the mean rate of the units would reach {highest:,.0f} Hz to keep the noise this "
            f"low; expected at most {MOST_HZ:g} Hz; use more trials, a longer window or more noise"
        )


def _stimulus_names(names: Sequence[str] | None, stimuli: int) -> list[str]:
    if names is None:
        digits = len(str(stimuli - 1))
        return [f"stimulus_{k:0{digits}d}" for k in range(stimuli)]
    if isinstance(names, str) or not isinstance(names, Sequence | np.ndarray):
        raise UsageError(f"stimulus_names is {names!r}; expected {stimuli} names")
    out = [str(n) for n in names]
    if len(out) != stimuli or len(set(out)) != stimuli or not all(n.strip() for n in out):
        raise UsageError(
            f"stimulus_names has {len(set(out))} different names; expected {stimuli}, none empty"
        )
    return out


def _prepare(target: Path) -> bool:
    """Make the directory, or check that it is empty; return whether it was made.

    What a killed run left under a temporary name is removed.
    """
    try:
        if target.is_dir():
            held = list(target.iterdir())
            left = [p for p in held if p.name.startswith(".") and p.name.endswith(_PARTIAL)]
            if len(left) < len(held):
                raise UsageError(
                    f"{clean(target)} is not empty; nothing is overwritten; choose a new directory"
                )
            for path in left:
                path.unlink()
            return False
        if os.path.lexists(target):
            raise UsageError(
                f"{clean(target)} exists and is not a directory; choose a new directory"
            )
        target.mkdir(parents=True)
    except OSError as error:
        raise DataError(
            f"{clean(target)} cannot be made ({clean(error.strerror or error)}); choose another "
            "directory"
        ) from error
    return True
