"""Kill `lrplan simulate` at random moments, go on, and compare with an uninterrupted run.

Usage::

    python benchmarks/kill.py [--kills 5] [--seed 0] [--json FILE]

Each round starts the command on two workers, waits for a random moment and kills the whole process
group with SIGKILL. Then one more run finishes the cohort. It must equal the cohort of one run
that nobody killed, array by array and attribute by attribute, and no round may lose an organism
that was finished before it.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import zarr

RECIPE = """
name = "kill"
[grid]
rule = ["sgdm", "adam", "feedback_alignment", "information_alignment"]
architecture = "mlp"
task = ["digits", "digits_simclr"]
batch_size = [32, 64, 96]
model_seed = [0, 1]
[training]
epochs = {epochs}
checkpoints = 11
[architectures.mlp]
width = 64
[storage]
units = 64
stimuli = 8
synapses = 64
pairs = 8
validation = 16
"""
ORGANISMS = 48


def command(recipe: Path, out: Path) -> list[str]:
    return [
        *(sys.executable, "-c", "from lrplan.cli.main import run; run()", "simulate", str(recipe)),
        *("--out", str(out), "--workers", "2", "--device", "cpu", "--quiet"),
    ]


def arrays(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    root = zarr.open_group(str(path), mode="r")
    members = root.members(max_depth=None)
    found = {name: np.asarray(a[...]) for name, a in members if isinstance(a, zarr.Array)}
    return found, dict(root.attrs)


def parts(out: Path) -> dict[str, int]:
    partial = out.with_name(out.name + ".partial")
    return {p.name: p.stat().st_mtime_ns for p in partial.glob("*.npz")}


def kill_once(recipe: Path, out: Path, new: int, then_s: float) -> dict[str, Any]:
    """Kill the command some time after it has finished `new` organisms; say what is left."""
    before = parts(out)
    began = time.monotonic()
    process = subprocess.Popen(
        command(recipe, out), start_new_session=True, stdout=subprocess.DEVNULL
    )
    while len(parts(out)) < len(before) + new and process.poll() is None:
        time.sleep(0.01)
    time.sleep(then_s)
    over = process.poll() is not None
    if not over:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    after_s = time.monotonic() - began
    after = parts(out)
    kept = out.exists() or all(after.get(name) == when for name, when in before.items())
    hidden = list(out.with_name(out.name + ".partial").glob(".*.npz.*"))
    return {
        "after_s": round(after_s, 2),
        "killed": not over,
        "organisms_before": len(before),
        "organisms_after": len(after),
        "half_written_files": len(hidden),
        "nothing_lost": kept,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=8, help="passes over the training set")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    with tempfile.TemporaryDirectory() as place:
        recipe = Path(place) / "kill.toml"
        recipe.write_text(RECIPE.format(epochs=options.epochs), encoding="utf-8")
        whole, out = Path(place) / "whole.zarr", Path(place) / "killed.zarr"
        began = time.monotonic()
        subprocess.run(command(recipe, whole), check=True, stdout=subprocess.DEVNULL)
        uninterrupted_s = time.monotonic() - began
        print(f"uninterrupted: {uninterrupted_s:.1f} s")
        # Random moments, spread over the organisms that are left; 0 new ones is a kill at once.
        rounds: list[dict[str, Any]] = []
        print("kill  after s  organisms before  after  half-written  nothing lost")
        for i in range(options.kills):
            share = (ORGANISMS - len(parts(out))) / (options.kills - i)
            new, then_s = int(rng.uniform(0, share + 1)), rng.uniform(0, 2)
            rounds.append(kill_once(recipe, out, new, then_s))
            r = rounds[-1]
            print(
                f"{i + 1:4d}  {r['after_s']:7.2f}  {r['organisms_before']:16d}  "
                f"{r['organisms_after']:5d}  {r['half_written_files']:12d}  "
                f"{'yes' if r['nothing_lost'] else 'NO'}"
                f"{'' if r['killed'] else '  (was over before the kill)'}"
            )
        left = len(parts(out))
        began = time.monotonic()
        subprocess.run(command(recipe, out), check=True, stdout=subprocess.DEVNULL)
        finish_s = time.monotonic() - began
        (a, a_attributes), (b, b_attributes) = arrays(whole), arrays(out)
        differing = sorted(
            name
            for name in set(a) | set(b)
            if name not in a
            or name not in b
            or a[name].dtype != b[name].dtype
            or not np.array_equal(a[name], b[name], equal_nan=a[name].dtype.kind == "f")
        )
        clean = not out.with_name(out.name + ".partial").exists()
        figures = {
            "schema": "lrplan.benchmark.kill/1",
            "kills": sum(r["killed"] for r in rounds),
            "rounds": rounds,
            "organisms": int(a["organisms/id"].size),
            "organisms_kept_before_last_run": left,
            "uninterrupted_s": round(uninterrupted_s, 1),
            "last_run_s": round(finish_s, 1),
            "arrays": len(a),
            "values": int(sum(v.size for v in a.values())),
            "differing_arrays": differing,
            "equal_attributes": a_attributes == b_attributes,
            "nothing_left_behind": clean,
        }
    print(
        f"last run: {finish_s:.1f} s from {left} of {figures['organisms']} organisms; "
        f"{len(a) - len(differing)} of {len(a)} arrays ({figures['values']} values) are equal"
    )
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    sound = not differing and figures["equal_attributes"] and clean
    return 0 if sound and all(r["nothing_lost"] for r in rounds) else 1


if __name__ == "__main__":
    sys.exit(main())
