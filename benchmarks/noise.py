"""Bias of the noise that is estimated from NWB files of a known one: 4 trials, 8 stimuli.

Run ``python benchmarks/noise.py``: five minutes on one core. Responses of `UNITS` units are written
as `lrplan record` writes them, read again, and the estimate is compared with what was written.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np

from lrplan.measure.noise import estimate_noise, signal_sd
from lrplan.nwb import read_nwb, write_nwb

STIMULI, TRIALS = 8, 4
SD_LN = 1.15
"""Standard deviation of the logarithm of rates over units."""
CASES = ("equal rates", "log-normal rates", "spontaneous rates", "no tuning")


def responses(case: str, units: int, rng: np.random.Generator) -> np.ndarray:
    """Return noiseless responses (session, stimulus, unit) of one session."""
    tuned = np.maximum(1 + 0.5 * rng.standard_normal((STIMULI, units)), 0)
    rates = np.exp(SD_LN * rng.standard_normal(units))
    if case == "equal rates":
        return tuned[None]
    if case == "log-normal rates":
        return (rates * tuned)[None]
    if case == "spontaneous rates":
        return (tuned + rates)[None]
    return np.broadcast_to(rates, (1, STIMULI, units)).copy()


def found(
    case: str, kind: str, noise: float, units: int, seed: int
) -> tuple[float, float, float, float, bool]:
    """Return what was written and what is estimated, within units and over all, and if driven."""
    rng = np.random.default_rng(seed)
    signal = responses(case, units, rng)
    within, over = (signal_sd(signal[0], r) for r in ("within", "relative"))
    tuned = case != CASES[-1]
    sd = noise * (within if tuned else over)
    with tempfile.TemporaryDirectory() as folder:
        files = write_nwb(
            signal, Path(folder) / "nwb", noise_sd=sd, kind=kind, trials=TRIALS, rng=rng
        )
        [estimate] = estimate_noise(read_nwb(files, min_sessions=1), rng=seed)
    true = sd / within if tuned else np.inf
    return true, estimate.noise[0], sd / over, estimate.over_units[0], estimate.driven


def main() -> None:
    """Print the table."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--units", type=int, default=100)
    asked.add_argument("--repeats", type=int, default=20)
    options = asked.parse_args()
    print("kind    responses           within units: written  estimated/written   over units: same")
    for kind in ("spikes", "dff"):
        for case in CASES:
            for noise in (0.5, 1.0):
                made = np.array(
                    [found(case, kind, noise, options.units, s) for s in range(options.repeats)]
                )
                true, got, over, got_over, driven = made.T
                within = "no signal" if np.isinf(true).any() else f"{np.mean(got / true):.3f}"
                print(
                    f"{kind:7s} {case:18s} {np.mean(true):20.3f} {within:>18s} "
                    f"{np.mean(over):14.3f} {np.mean(got_over / over):8.3f}   "
                    f"signal shown in {np.mean(driven):.2f}"
                )


if __name__ == "__main__":
    main()
