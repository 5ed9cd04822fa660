"""Score: rehearse an analysis, from NWB files to a verdict.

Writes a virtual recording of one organism as NWB files, reads them back as one would read real
ones, and scores them against all other organisms.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

import lrplan


def main() -> None:
    """Record, read, score."""
    cohort = lrplan.open_cohort("starter")
    organism = cohort.organism_table()[-1]
    with tempfile.TemporaryDirectory() as folder:
        files = lrplan.record_nwb(
            cohort,
            organism=organism["id"],
            layer="deep",
            out=Path(folder) / "nwb",
            units=100,
            sessions=7,
            noise=0.2,
            kind="dff",
            rng=np.random.default_rng(0),
        )
        recording = lrplan.read_nwb(files)
    verdict = lrplan.score(
        recording, cohort, rng=np.random.default_rng(0), without=[organism["id"]]
    )
    print(f"inferred: {verdict.design.units} units, noise {verdict.design.noise:.2f}")
    for rule, p in verdict.probabilities.items():
        print(f"  {rule}: {p:.2f}")
    print("answer:", verdict.answer or f"cannot tell ({'; '.join(verdict.reasons)})")
    print(f"expected accuracy {verdict.expected_accuracy}, chance {verdict.chance:.2f}")
    print("the rule was", organism["rule"])


if __name__ == "__main__":
    main()
