"""Simulate: train a small cohort of your own and open it.

Trains 8 small networks in some seconds; a real cohort has hundreds.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import lrplan
from lrplan.simulate.run.recipe import parse_recipe
from lrplan.simulate.run.simulate import simulate

RECIPE = """
name = "my-cohort"

[grid]
rule = ["sgdm", "adam", "feedback_alignment", "information_alignment"]
architecture = "mlp"
task = "digits"
model_seed = [0, 1]

[training]
epochs = 3

[architectures.mlp]
width = 64

[storage]
units = 64
"""


def main() -> None:
    """Train the recipe's organisms, then list what they learned."""
    recipe = parse_recipe(RECIPE)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "my-cohort.zarr"
        simulate(
            recipe,
            out,
            on_organism=lambda spec, diverged: print(f"trained {spec.rule} ({spec.hash})"),
        )
        cohort = lrplan.open_cohort(out)
        for rule, accuracy in cohort.info()["final_performance"]["digits"].items():
            print(f"{rule}: {accuracy:.2f} of held-out digits")
        print(cohort.tree["responses"])


if __name__ == "__main__":  # the workers of `simulate` import this file
    main()
