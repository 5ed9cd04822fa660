"""One session of a virtual recording as the bytes of an NWB file."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import h5py
import numpy as np

_FIRST_SESSION = datetime(2025, 1, 1, 12, tzinfo=UTC)
_BASELINE_SD = 0.01


@dataclass(frozen=True)
class Layout:
    """What is the same in all sessions: names, times and the gain (Hz or dF/F per activation).

    `noise` says of the noise what the file's notes are to say.
    """

    kind: str
    trials: int
    window_s: float
    gap_s: float
    rate_hz: float
    gain: float
    noise: str
    stimuli: list[str]
    subject: str
    description: str
    tracked: bool


def session_bytes(
    layout: Layout,
    responses: np.ndarray,
    ids: np.ndarray,
    session: int,
    digits: int,
    rng: np.random.Generator,
) -> bytes:
    """Return one session's file.

    It is built in memory: then a full disk is an error of one plain write, and not of HDF5 in
    the middle of closing a file.

    Parameters
    ----------
    layout : Layout
        What all sessions share.
    responses : array (stimulus, trial, unit)
        As a modality made them, in the network's unit; NaN where a unit was not recorded.
    ids : array (unit,)
        What is written as ``tracking_id``.
    session, digits : int
        The number of the session, from 0, and the digits of its name.
    rng : numpy.random.Generator
        Source of the order of trials, the times of spikes in them, and the baseline of dF/F.
    """
    import pynwb

    recorded = np.isfinite(responses).all(axis=(0, 1))
    nwbfile = _empty_file(layout, session, digits, rng)
    order = rng.permutation(len(layout.stimuli) * layout.trials)
    start = _add_trials(nwbfile, layout, order // layout.trials)
    shown = layout.gain * responses.reshape(len(order), -1)[order][:, recorded].astype(np.float64)
    if layout.kind == "spikes":
        _add_spikes(nwbfile, layout, shown, start, ids[recorded], rng)
    else:
        _add_dff(nwbfile, layout, shown, ids[recorded], rng)
    with h5py.File("memory.nwb", "w", driver="core", backing_store=False) as memory:
        io = pynwb.NWBHDF5IO(file=memory, mode="w")
        io.write(nwbfile)
        memory.flush()
        return bytes(memory.id.get_file_image())


def _empty_file(layout: Layout, session: int, digits: int, rng: np.random.Generator) -> Any:
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
        notes=(f"One unit of the network's activation is {layout.gain:.9g} {per}; {layout.noise}."),
        subject=pynwb.file.Subject(
            subject_id=layout.subject,
            description="An artificial neural network, not an animal.",
            # NCBI's taxon for what has no species: "synthetic construct".
            species="http://purl.obolibrary.org/obo/NCBITaxon_32630",
            sex="U",
            age=f"P{session + 1}D",
        ),
    )


def _add_trials(nwbfile: Any, layout: Layout, order: np.ndarray) -> np.ndarray:
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
    layout: Layout,
    rates_hz: np.ndarray,
    start: np.ndarray,
    ids: np.ndarray,
    rng: np.random.Generator,
) -> None:
    """Add the spikes of each trial (trial, unit), uniform over its window."""
    from hdmf.common import VectorData, VectorIndex
    from pynwb.misc import Units

    counts = np.rint(rates_hz * layout.window_s).astype(int).T  # unit by unit, as in the table
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


def _tracking(layout: Layout, ids: np.ndarray) -> list[Any]:
    """Return the column that says which unit is which in other sessions."""
    from hdmf.common import VectorData

    if not layout.tracked:
        return []
    text = "The same number in every session for the same unit"
    return [VectorData(name="tracking_id", description=text, data=list(ids.tolist()))]


def _add_dff(
    nwbfile: Any, layout: Layout, dff: np.ndarray, ids: np.ndarray, rng: np.random.Generator
) -> None:
    """Add dF/F (trial, unit) that is flat in the window of each trial and near 0 between trials."""
    from hdmf.backends.hdf5 import H5DataIO
    from hdmf.common import VectorData, VectorIndex
    from pynwb.ophys import DfOverF, ImageSegmentation, OpticalChannel, RoiResponseSeries

    trials, units = dff.shape
    gap, window = round(layout.gap_s * layout.rate_hz), round(layout.window_s * layout.rate_hz)
    frames = np.empty((trials, gap + window, units), dtype=np.float32)
    frames[:, :gap] = _BASELINE_SD * rng.standard_normal((trials, gap, units), dtype=np.float32)
    frames[:, gap:] = dff[:, None]
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
