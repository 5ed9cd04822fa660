"""Write a virtual recording as NWB files, so that a lab can rehearse its analysis."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from numbers import Real
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from lrplan.arguments import positive_int
from lrplan.errors import DataError, UsageError
from lrplan.nwb._text import clean
from lrplan.registry import nearest

KINDS = ("spikes", "dff")
MOST_HZ = 500.0
"""Highest mean spike rate of a population that `write_nwb` agrees to write."""

_FIRST_SESSION = datetime(2025, 1, 1, 12, tzinfo=UTC)
_BASELINE_SD = 0.01
_PARTIAL = ".partial"


@dataclass(frozen=True)
class _Layout:
    """What is the same in all sessions: names, times and the gain."""

    kind: str
    trials: int
    window_s: float
    gap_s: float
    rate_hz: float
    gain: float
    noise_sd: float
    stimuli: list[str]
    subject: str
    description: str
    tracked: bool


def write_nwb(
    signal: np.ndarray,
    out: str | os.PathLike[str],
    *,
    noise_sd: float,
    kind: str,
    rng: np.random.Generator,
    trials: int = 10,
    unit_ids: Sequence[Any] | np.ndarray | None = None,
    tracked: bool = True,
    stimulus_names: Sequence[str] | None = None,
    description: str = "Virtual recording of an artificial neural network, written by lrplan",
    subject_id: str = "virtual",
    window_s: float = 1.0,
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
    noise_sd : float
        Standard deviation of the noise of a response, the mean over a stimulus's trials, in the
        same unit; for spikes its root mean square in the first session.
    kind : {"spikes", "dff"}
        Spike times, or dF/F of regions of interest. Spikes are Poisson with the mean that makes
        responses equal in law to the modality ``counts``; dF/F is the signal plus white noise,
        held over the window, near 0 between trials.
    rng : numpy.random.Generator
        Source of the noise, the order of trials and the files' identifiers. The same generator
        gives the same data.
    trials : int, default 10
        Trials of each stimulus in each session.
    unit_ids : sequence, optional
        What is written as ``tracking_id``; by default 0, 1, ...
    tracked : bool, default True
        Whether units are the same in all sessions; if so they have a column ``tracking_id``.
    stimulus_names : sequence of str, optional
        By default ``stimulus_0``, ``stimulus_1``, ...
    description, subject_id : str
        What the files say of the recording and of the subject.
    window_s, gap_s : float
        Duration of a trial and of the pause before and after it, in seconds.
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
    if kind not in KINDS:
        raise UsageError(f"unknown kind {kind!r}; {nearest(str(kind), KINDS)}")
    trials = positive_int(trials, "trials")
    for name, number in (("window_s", window_s), ("gap_s", gap_s), ("rate_hz", rate_hz)):
        _check_number(number, name, above=True)
    _check_number(noise_sd, "noise_sd", above=False)
    if kind == "dff":
        _check_frames(window_s, gap_s, rate_hz)
        gain = dff_gain(signal)
    else:
        gain = spike_gain(signal, noise_sd=noise_sd, trials=trials, window_s=window_s)
        _check_rate(signal, gain)
    subject = re.sub(r"[^A-Za-z0-9.-]+", "-", str(subject_id)).strip("-")
    if not subject:
        raise UsageError(f"subject_id is {clean(subject_id)!r}; expected letters or digits")
    layout = _Layout(
        kind=kind,
        trials=trials,
        window_s=float(window_s),
        gap_s=float(gap_s),
        rate_hz=float(rate_hz),
        gain=gain,
        noise_sd=float(noise_sd),
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
    target = Path(out)
    created = _prepare(target)
    digits = max(2, len(str(sessions)))
    suffix = "ecephys" if kind == "spikes" else "ophys"
    finals = [
        target / f"sub-{subject}_ses-{s + 1:0{digits}d}_{suffix}.nwb" for s in range(sessions)
    ]
    partials = [f.with_name(f".{f.name}{_PARTIAL}") for f in finals]
    try:
        for s, partial in enumerate(partials):
            content = _session_bytes(layout, signal[s], ids, s, digits, rng)
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


def spike_gain(signal: np.ndarray, *, noise_sd: float, trials: int, window_s: float) -> float:
    """Return the spikes per second that one unit of activation stands for.

    The modality ``counts`` makes of a value x the number c * Poisson(x / c), with c the square
    of `noise_sd` over the first session's mean rectified value. Here the Poisson number is the
    sum over a stimulus's trials, each with mean x / (c * trials), so that a mean rate is the
    modality's response times 1 / (c * trials * window_s).

    Raises
    ------
    UsageError
        If there is no noise, or nothing is active: then no finite number of spikes will do.
    """
    mean = float(np.nanmean(np.maximum(signal[0], 0)))
    if noise_sd == 0:
        raise UsageError(
            "noise_sd is 0, but spikes are noisy by nature; use a noise above 0, or kind='dff'"
        )
    if mean == 0:
        raise UsageError(
            "no unit is active in the first session, so spikes have no scale; use kind='dff'"
        )
    return mean / (noise_sd**2 * trials * window_s)


def dff_gain(signal: np.ndarray) -> float:
    """Return the dF/F that one unit of activation stands for: its 99th percentile becomes 1."""
    top = float(np.nanpercentile(np.abs(signal), 99))
    if top == 0:
        top = float(np.nanmax(np.abs(signal)))
    return 1 / top if top > 0 else 1.0


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


def _session_bytes(
    layout: _Layout,
    signal: np.ndarray,
    ids: np.ndarray,
    session: int,
    digits: int,
    rng: np.random.Generator,
) -> bytes:
    """Return one session's file.

    It is built in memory: then a full disk is an error of one plain write, and not of HDF5 in
    the middle of closing a file.
    """
    import pynwb

    recorded = np.isfinite(signal).all(axis=0)
    nwbfile = _empty_file(layout, session, digits, rng)
    order = rng.permutation(np.repeat(np.arange(len(layout.stimuli)), layout.trials))
    start = _add_trials(nwbfile, layout, order)
    if layout.kind == "spikes":
        _add_spikes(nwbfile, layout, signal[:, recorded][order], start, ids[recorded], rng)
    else:
        _add_dff(nwbfile, layout, signal[:, recorded][order], ids[recorded], rng)
    with h5py.File("memory.nwb", "w", driver="core", backing_store=False) as memory:
        io = pynwb.NWBHDF5IO(file=memory, mode="w")
        io.write(nwbfile)
        memory.flush()
        return bytes(memory.id.get_file_image())


def _empty_file(layout: _Layout, session: int, digits: int, rng: np.random.Generator) -> Any:
    """Return an NWB file with everything but the data."""
    import pynwb

    start = _FIRST_SESSION + timedelta(days=session)
    per = "Hz" if layout.kind == "spikes" else "dF/F"
    identifier = hashlib.sha256(rng.bytes(16)).hexdigest()[:32]
    return pynwb.NWBFile(
        session_description=layout.description,
        identifier=f"{layout.subject}-{session + 1:0{digits}d}-{identifier}",
        session_start_time=start,
        file_create_date=start,
        timestamps_reference_time=start,
        session_id=f"{session + 1:0{digits}d}",
        experimenter=["Lab, Virtual"],
        institution="lrplan",
        lab="lrplan",
        experiment_description="An artificial neural network, recorded as if it were a circuit.",
        keywords=["virtual recording", "artificial neural network", "learning rule"],
        notes=(
            f"One unit of the network's activation is {layout.gain:.9g} {per}; the noise of a mean "
            f"over {layout.trials} trials has a standard deviation of {layout.noise_sd:.9g} of "
            "these units (spikes: its root mean square in the first session)."
        ),
        subject=pynwb.file.Subject(
            subject_id=layout.subject,
            description="An artificial neural network, not an animal.",
            # NCBI's taxon for what has no species: "synthetic construct".
            species="http://purl.obolibrary.org/obo/NCBITaxon_32630",
            sex="U",
            age=f"P{session + 1}D",
        ),
    )


def _add_trials(nwbfile: Any, layout: _Layout, order: np.ndarray) -> np.ndarray:
    """Add the table of trials and return their start times."""
    from hdmf.common import VectorData
    from pynwb.epoch import TimeIntervals

    period = layout.window_s + layout.gap_s
    start: np.ndarray = layout.gap_s + np.arange(len(order)) * period
    if layout.kind == "dff":
        # Edges as quotients of whole numbers: exact, where sums of 0.1 are not.
        gap, window = round(layout.gap_s * layout.rate_hz), round(layout.window_s * layout.rate_hz)
        frame = gap + np.arange(len(order)) * (gap + window)
        start, stop = frame / layout.rate_hz, (frame + window) / layout.rate_hz
    else:
        stop = start + layout.window_s
    names = [layout.stimuli[k] for k in order]
    columns = [
        VectorData(name="start_time", description="Start of the trial in s", data=start),
        VectorData(name="stop_time", description="End of the trial in s", data=stop),
        VectorData(name="stimulus_name", description="The stimulus that was shown", data=names),
    ]
    nwbfile.trials = TimeIntervals(
        name="trials",
        description="One row for each presentation of a stimulus",
        columns=columns,
        id=np.arange(len(order)),
    )
    return start


def _add_spikes(
    nwbfile: Any,
    layout: _Layout,
    signal: np.ndarray,
    start: np.ndarray,
    ids: np.ndarray,
    rng: np.random.Generator,
) -> None:
    """Add Poisson spikes of the units, uniform over the window of each trial."""
    from hdmf.common import VectorData, VectorIndex
    from pynwb.misc import Units

    expected = np.maximum(signal, 0) * layout.gain * layout.window_s  # (trial, unit)
    counts = rng.poisson(expected).T  # unit by unit, as the table keeps them
    trial = np.repeat(np.broadcast_to(np.arange(len(start)), counts.shape).ravel(), counts.ravel())
    unit = np.repeat(np.arange(len(counts)), counts.sum(axis=1))
    times = start[trial] + layout.window_s * rng.random(len(trial))
    # start + window * 0.999... can round up to the stop, which is outside.
    times = np.minimum(times, np.nextafter(start + layout.window_s, -np.inf)[trial])
    times = times[np.lexsort((times, unit))]
    spikes = VectorData(name="spike_times", description="Spike times in s", data=times)
    columns = [
        spikes,
        VectorIndex(name="spike_times_index", data=np.cumsum(counts.sum(axis=1)), target=spikes),
        *_tracking(layout, ids),
    ]
    nwbfile.units = Units(
        name="units",
        description="Units of one layer of the network",
        columns=columns,
        id=np.arange(len(counts)),
        resolution=1e-9,
    )


def _tracking(layout: _Layout, ids: np.ndarray) -> list[Any]:
    """Return the column that says which unit is which in other sessions."""
    from hdmf.common import VectorData

    if not layout.tracked:
        return []
    text = "The same number in every session for the same unit"
    return [VectorData(name="tracking_id", description=text, data=list(ids.tolist()))]


def _add_dff(
    nwbfile: Any, layout: _Layout, signal: np.ndarray, ids: np.ndarray, rng: np.random.Generator
) -> None:
    """Add dF/F that is flat in the window of each trial and near 0 between trials."""
    from hdmf.backends.hdf5 import H5DataIO
    from hdmf.common import VectorData, VectorIndex
    from pynwb.ophys import DfOverF, ImageSegmentation, OpticalChannel, RoiResponseSeries

    trials, units = signal.shape
    gap, window = round(layout.gap_s * layout.rate_hz), round(layout.window_s * layout.rate_hz)
    sd = layout.noise_sd * np.sqrt(layout.trials)
    response = layout.gain * (signal + sd * rng.standard_normal(signal.shape))
    frames = np.empty((trials, gap + window, units), dtype=np.float32)
    frames[:, :gap] = _BASELINE_SD * rng.standard_normal((trials, gap, units), dtype=np.float32)
    frames[:, gap:] = response[:, None]
    tail = _BASELINE_SD * rng.standard_normal((gap, units), dtype=np.float32)
    data = np.concatenate([frames.reshape(-1, units), tail])
    device = nwbfile.create_device(name="Microscope", description="Virtual two-photon microscope")
    plane = nwbfile.create_imaging_plane(
        name="ImagingPlane",
        optical_channel=OpticalChannel(
            name="OpticalChannel", description="Virtual channel", emission_lambda=510.0
        ),
        description="One layer of the network",
        device=device,
        excitation_lambda=920.0,
        imaging_rate=layout.rate_hz,
        indicator="none",
        location="layer of an artificial neural network",
    )
    module = nwbfile.create_processing_module(name="ophys", description="Virtual imaging")
    segmentation, container = ImageSegmentation(), DfOverF()
    module.add(segmentation)
    module.add(container)
    pixels = np.zeros(units, dtype=[("x", "u4"), ("y", "u4"), ("weight", "f4")])
    side = int(np.ceil(np.sqrt(units)))
    pixels["x"], pixels["y"], pixels["weight"] = (
        np.arange(units) % side,
        np.arange(units) // side,
        1,
    )
    mask = VectorData(name="pixel_mask", description="One pixel for each unit", data=pixels)
    table = segmentation.create_plane_segmentation(
        name="PlaneSegmentation",
        description="One region of one pixel for each unit",
        imaging_plane=plane,
        columns=[
            mask,
            VectorIndex(name="pixel_mask_index", data=np.arange(1, units + 1), target=mask),
            *_tracking(layout, ids),
        ],
        id=np.arange(units),
    )
    region = table.create_roi_table_region(
        description="All units", region=list(range(units)), name="rois"
    )
    series = RoiResponseSeries(
        name="RoiResponseSeries",
        description="dF/F of each unit: its response held over the trial, near 0 between trials",
        data=H5DataIO(data, compression="gzip", compression_opts=1, shuffle=True),
        rois=region,
        unit="n.a.",
        # Frames are timed by their middle, so that none lies on the edge of a trial.
        starting_time=0.5 / layout.rate_hz,
        rate=layout.rate_hz,
    )
    container.add_roi_response_series(series)
