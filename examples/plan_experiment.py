"""Plan: find how many units an experiment needs to tell the learning rules apart.

Prints the forecast of a planned experiment, and how it changes with fewer units.
"""

from __future__ import annotations

import numpy as np

import lrplan


def main() -> None:
    """Forecast one design, then the same with fewer units."""
    cohort = lrplan.open_cohort("starter")
    design = lrplan.Design(
        units=300, noise=0.3, schedule=lrplan.Schedule(sessions=7), tracked=False
    )
    plan = lrplan.forecast(cohort, design, rng=np.random.default_rng(0))
    print(f"chance {plan.chance:.2f}, accuracy {plan.accuracy} within known conditions")
    for condition, accuracy in plan.held_out.items():
        print(f"  held-out {condition}: {accuracy}")
    print(f"one recording tells {plan.bits} bits about the rule")
    print("cannot be told apart:", plan.inseparable or "none")
    fewer = lrplan.sweep(cohort, design, units=[30, 100], noise=[0.3], rng=np.random.default_rng(0))
    print(fewer["accuracy"].to_series().round(3).to_string())


if __name__ == "__main__":
    main()
