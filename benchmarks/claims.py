"""The paper's claims on a cohort, how long they take, and the table of docs/claims.md.

Prints each claim with its figure, and the seconds it took (what claims share is counted where it
is first needed). With --write, the part of a Markdown file between its two marks is replaced by the
table; what is written by hand around it stays.

    python benchmarks/claims.py --json claims.json --write docs/claims.md
    python benchmarks/claims.py --splits-table   # layer-wise against grouped splits
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

import lrplan
from lrplan.analyses import Result, analyse
from lrplan.claims import Claim, ClaimsReport, evaluate_claims

BEGIN = "<!-- begin: benchmarks/claims.py --write -->"
END = "<!-- end -->"


def number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def claims_table(report: ClaimsReport) -> str:
    lines = [
        f"Cohort `{report.cohort}`: {report.organisms} organisms of {', '.join(report.rules)}.",
        "",
        "| | claim | result | figure | 95% interval |",
        "|---|---|---|---|---|",
    ]
    for c in report.claims:
        span = "-" if c.low is None else f"{number(c.low)} to {number(c.high)}"
        lines.append(f"| {c.id} | {c.statement} | **{c.result}** | {number(c.figure)} | {span} |")
    lines += ["", "What the figures are:", ""]
    lines += [f"{c.id}. {c.note}" for c in report.claims]
    return "\n".join(lines)


def splits_table(result: Result) -> str:
    lines = [
        "| measure | classifier | grouped by organism | by layer (leaks) |",
        "|---|---|---|---|",
    ]
    data = result.dataset
    for m in data["measure"].values:
        for c in data["classifier"].values:
            cells = []
            for s in ("organism", "layer"):
                at = data.sel(measure=m, classifier=c, split=s)
                cells.append(
                    f"{float(at['accuracy']):.3f} [{float(at['low']):.3f}, {float(at['high']):.3f}]"
                )
            lines.append(f"| {m} | {c} | {cells[0]} | {cells[1]} |")
    return "\n".join(lines)


def replace_between(path: Path, text: str) -> None:
    """Put text between the marks of a file; a file without them is an error."""
    whole = path.read_text(encoding="utf-8")
    before, begin, rest = whole.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise SystemExit(f"{path} lacks the lines '{BEGIN}' and '{END}'")
    path.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cohort", default="starter")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--claim", type=int, action="append")
    parser.add_argument("--splits-table", action="store_true", help="only layer against organism")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--write", type=Path, help="Markdown file whose table is replaced")
    asked = parser.parse_args()
    cohort = lrplan.open_cohort(asked.cohort)
    rng = np.random.default_rng(asked.seed)
    start = time.perf_counter()
    if asked.splits_table:
        found = analyse("separation", cohort, rng=rng, split=["organism", "layer"])
        print(splits_table(found))
        print(f"\n{time.perf_counter() - start:.0f} s")
        if asked.json:
            asked.json.write_text(json.dumps(found.to_json(), indent=1), encoding="utf-8")
        return
    seconds: dict[int, float] = {}

    def done(claim: Claim) -> None:
        seconds[claim.id] = time.perf_counter() - start - sum(seconds.values())
        figure = f"{number(claim.figure)} [{number(claim.low)}, {number(claim.high)}]"
        print(
            f"{claim.id:2d} {claim.result:9s} {figure:24s} {seconds[claim.id]:6.1f} s", flush=True
        )

    report = evaluate_claims(cohort, rng=rng, claims=asked.claim, done=done)
    total = time.perf_counter() - start
    print(f"{len(report.claims)} claims in {total:.0f} s")
    if asked.json:
        out: dict[str, Any] = report.to_json() | {"seconds": seconds, "total_seconds": total}
        asked.json.write_text(json.dumps(out, indent=1), encoding="utf-8")
    if asked.write:
        replace_between(asked.write, claims_table(report))


if __name__ == "__main__":
    main()
