"""Round trip: organisms recorded to NWB and scored through the command line.

Each organism is left out of the training of the classifier that scores it. Prints the share of
recordings whose most probable rule is the right one, with its 95% interval, beside the accuracy
that the forecast promised for the Designs that `score` inferred; how often a verdict gave an
answer, and how often that was right; and how often the 95% set held the right rule.

    python benchmarks/round_trip.py --organisms 48 --json round_trip.json
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

import lrplan
from lrplan.tell.intervals import Bootstrap

COMMAND = [sys.executable, "-m", "lrplan.cli"]
LAYERS = ("early", "middle", "deep")


def run(*arguments: object, codes: tuple[int, ...] = (0,)) -> str:
    done = subprocess.run(
        [*COMMAND, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    if done.returncode not in codes:
        raise RuntimeError(f"{arguments}: exit {done.returncode}: {done.stderr}")
    return done.stdout


def round_trip(asked: argparse.Namespace, organism: dict[str, Any], place: int) -> dict[str, Any]:
    kind, layer = ("spikes", "dff")[place % 2], LAYERS[place // 2 % 3]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "nwb"
        recorded = ["--cohort", asked.cohort, "--organism", organism["id"], "--layer", layer]
        recorded += ["--units", asked.units, "--noise", asked.noise, "--kind", kind]
        recorded += ["--sessions", asked.sessions, "--seed", asked.seed + place]
        run("record", *recorded, "--out", out, "--quiet")
        files = sorted(out.glob("*.nwb"))
        text = run(
            *("score", *files, "--cohort", asked.cohort, "--without", organism["id"]),
            *("--position", layer if asked.position else "unknown", "--json", "--quiet"),
            codes=(0, 4),
        )
        shutil.rmtree(out)
    verdict = json.loads(text)
    p = verdict["probabilities"]
    best = max(p, key=p.get)
    found = {
        "organism": organism["id"],
        "rule": organism["rule"],
        "kind": kind,
        "layer": layer,
        "best": best,
        "right": best == organism["rule"],
        "answer": verdict["answer"],
        "in_set": organism["rule"] in verdict["set"],
        "expected": verdict["expected_accuracy"],
        "noise": verdict["design"]["noise"],
        "quantile": verdict["distance"]["quantile"],
    }
    print(".", end="", file=sys.stderr, flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cohort", default="starter")
    parser.add_argument("--organisms", type=int, default=48)
    parser.add_argument("--units", type=int, default=300)
    parser.add_argument("--noise", type=float, default=0.1)
    parser.add_argument("--sessions", type=int, default=21)
    parser.add_argument("--position", action="store_true", help="tell `score` the position")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    table = lrplan.open_cohort(asked.cohort).organism_table()
    rng = np.random.default_rng(asked.seed)
    chosen = []
    rules = sorted({o["rule"] for o in table})
    for rule in rules:
        members = [o for o in table if o["rule"] == rule and not o["diverged"]]
        picked = rng.permutation(len(members))[: asked.organisms // len(rules)]
        chosen += [members[i] for i in picked]
    with ThreadPoolExecutor(asked.workers) as pool:
        found = list(
            pool.map(lambda job: round_trip(asked, job[1], job[0]), list(enumerate(chosen)))
        )
    print(file=sys.stderr)

    def share(name: str, rows: list[dict[str, Any]]) -> str:
        values = np.array([float(r[name]) for r in rows])
        rules = np.array([r["rule"] for r in rows])
        return str(Bootstrap(rules, np.arange(len(rows)), rng=rng).balanced(values))

    promised = {
        k: float(np.mean([r["expected"][k] for r in found])) for k in ("mean", "low", "high")
    }
    answered = [r for r in found if r["answer"] is not None]
    print(f"{len(found)} organisms, {asked.units} units, noise {asked.noise}; chance 0.25")
    print(f"most probable rule right   {share('right', found)}")
    for kind in ("spikes", "dff"):
        print(f"  {kind:24s} {share('right', [r for r in found if r['kind'] == kind])}")
    print("promised                   {mean:.3f} [{low:.3f}, {high:.3f}]".format(**promised))
    print(f"right rule in the 95% set  {share('in_set', found)}")
    print(
        f"answers given              {len(answered)}, of which right "
        f"{sum(r['answer'] == r['rule'] for r in answered)}"
    )
    print(f"inferred noise             {np.mean([r['noise'] for r in found]):.3f}")
    print(f"farther than 99% of virtual {sum(r['quantile'] > 0.99 for r in found)}")
    if asked.json:
        asked.json.write_text(json.dumps(found, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
