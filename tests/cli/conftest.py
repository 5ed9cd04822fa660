"""Ways to run the command line: in this process, and as a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from lrplan import Design, Interval, Schedule
from lrplan.tell.forecast import Forecast
from lrplan.tell.held_out import Told
from lrplan.tell.verdict import Verdict

COMMAND = [sys.executable, "-m", "lrplan.cli"]


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str

    def json(self) -> Any:
        def refuse(constant: str) -> None:
            raise AssertionError(f"{constant} is not JSON")

        return json.loads(self.out, parse_constant=refuse)


Cli = Callable[..., Ran]


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str]) -> Cli:
    """Run one command in this process."""
    from lrplan.cli.main import main

    def run(*arguments: object) -> Ran:
        capfd.readouterr()
        code = main([str(a) for a in arguments])
        out, err = capfd.readouterr()
        return Ran(code, out, err)

    return run


@pytest.fixture(scope="session")
def process() -> Cli:
    """Run one command as a process of its own."""

    def run(*arguments: object, **options: Any) -> Ran:
        done = subprocess.run(
            [*COMMAND, *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=300,
            env=os.environ | {"COLUMNS": "100"},
            **options,
        )
        return Ran(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture(scope="session")
def command() -> list[str]:
    return COMMAND


@pytest.fixture
def plan() -> Forecast:
    """A forecast with hostile names, and one condition not held out."""
    rules = ["adam", "[red]sgdm[/red]"]
    return Forecast(
        cohort="starter",
        organisms=20,
        populations=60,
        design=Design(units=12),
        split="organism",
        accuracy=Interval(0.9, 0.85, 0.95),
        auc=Interval(0.97, 0.94, 0.99),
        animal=Interval(0.95, 0.9, 0.98),
        animal_auc=Interval(0.98, 0.96, 1.0),
        bits=Interval(0.5, 0.4, float("nan")),
        held_out={
            "family": Interval(0.62, 0.5, 0.75),
            "architecture": Interval(0.7, 0.6, 0.8),
            "task": None,
            "hyperparameters": Interval(0.81, 0.7, 0.9),
        },
        held_out_auc={
            "family": Interval(0.79, 0.66, 0.9),
            "architecture": Interval(0.8, 0.7, 0.9),
            "task": None,
            "hyperparameters": Interval(0.9, 0.8, 0.95),
        },
        families={
            "knet": Told(8, Interval(0.5, 0.4, 0.6), Interval(0.68, 0.6, 0.75)),
            "mlp": Told(8, Interval(0.74, 0.6, 0.8), Interval(0.9, 0.8, 0.95)),
            "resnet": Told(4, why="it lacks adam"),
        },
        not_held_out={"task": "the cohort has one task (digits)"},
        confusion=xr.DataArray(
            [[0.75, 0.25], [0.1, 0.9]],
            dims=("true", "predicted"),
            coords={"true": rules, "predicted": rules},
        ),
        pairs=xr.DataArray(
            [[np.nan, 0.9], [0.9, np.nan]], dims=("a", "b"), coords={"a": rules, "b": rules}
        ),
        pairs_auc=xr.DataArray(
            [[np.nan, 0.97], [0.97, np.nan]], dims=("a", "b"), coords={"a": rules, "b": rules}
        ),
        inseparable=[("adam", "sgdm")],
        warnings=["most populations hold\x1b[2J fewer units"],
        fates={"learned": 20, "not_learned": 4, "diverged": 1, "unknown": 0},
    )


@pytest.fixture
def verdict() -> Verdict:
    """A verdict that names a rule."""
    return Verdict(
        recording={
            "source": "a.nwb",
            "kind": "spikes",
            "sessions": 3,
            "units_per_session": [12, 14, 13],
            "stimuli": 4,
            "tracked": False,
        },
        design=Design(units=12, schedule=Schedule(sessions=3)),
        probabilities={"adam": 0.08, "sgdm": 0.92},
        areas=[{"animal": "m1", "area": "V1", "probabilities": {"adam": 0.08, "sgdm": 0.92}}],
        set=["sgdm"],
        answer="sgdm",
        reasons=[],
        expected_accuracy=Interval(0.9, 0.85, 0.95),
        expected_auc=Interval(0.97, 0.94, 0.99),
        expected_conditions="known",
        expected_families=[],
        expected_known=Interval(0.9, 0.85, 0.95),
        expected_held_out=None,
        chance=0.5,
        distance={"value": 0.3, "quantile": 0.6},
        null={"shuffles": 20, "probabilities": {"adam": 0.5, "sgdm": 0.5}, "same_answer": 0.5},
        noise=[],
        ingest={},
        warnings=["few trials"],
    )


@pytest.fixture(scope="session")
def recorded(
    process: Cli, tiny_cohort_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> list[Path]:
    """NWB files of one organism, written by `lrplan record`."""
    organism = process("cohort", "organisms", tiny_cohort_path, "--json").json()[0]["id"]
    out = tmp_path_factory.mktemp("recorded") / "rehearsal"
    done = process(
        *("record", "--cohort", tiny_cohort_path, "--organism", organism, "--layer", "deep"),
        *("--out", out, "--units", 12, "--sessions", 3, "--json"),
    )
    assert done.code == 0, done.err
    report = done.json()
    assert report["organism"] == organism
    return [Path(f) for f in report["files"]]
