"""Every architecture keeps its contract, and each family keeps it with other units and paths."""

from __future__ import annotations

import pytest

from lrplan.simulate.architectures import architectures
from lrplan.testing import ArchitectureContract

VARIANTS = {
    "mlp": [
        {"nonlinearity": "softplus", "normalisation": "layer", "skip": True},
        {"nonlinearity": "tanh", "normalisation": "none", "gain": 0.8},
    ],
    "convnet": [
        {"nonlinearity": "tanh", "normalisation": "layer", "pooling": "mean", "kernel": 5},
        {"nonlinearity": "gelu", "normalisation": "none", "skip": True, "gain": 1.2},
    ],
    "knet4": [{"nonlinearity": "softplus", "normalisation": "none"}],
    "knet5_lrn": [{"nonlinearity": "gelu"}],
    "alexnet": [
        {"nonlinearity": "gelu", "normalisation": "batch"},
        {"nonlinearity": "tanh", "normalisation": "layer", "gain": 1.2},
    ],
    "densenet": [
        {"nonlinearity": "softplus", "normalisation": "none", "blocks": [1, 2], "kernel": 5},
        {"nonlinearity": "tanh", "normalisation": "layer", "gain": 1.2},
    ],
    "resnet": [
        {"nonlinearity": "tanh", "normalisation": "none", "blocks": [1, 2]},
        {"nonlinearity": "softplus", "normalisation": "layer", "version": 2, "kernel": 5},
        {"nonlinearity": "gelu", "normalisation": "none", "version": 2, "blocks": [2, 1]},
    ],
}


def narrow(settings):
    """Return widths small enough for many passes in a second."""
    widths = {"width": 6, "growth": 4, "channels": [4, 5, 6, 7]}
    small = {k: v for k, v in widths.items() if k in settings}
    if "channels" in small:
        small["channels"] = small["channels"][: len(settings["channels"])]
    return small


# ResNet-34 has the code of ResNet-18, and twice its layers.
NAMES = [
    pytest.param(name, marks=[pytest.mark.slow] if name.startswith("resnet34") else [])
    for name in architectures.names()
]


@pytest.mark.parametrize("check", ArchitectureContract.checks())
@pytest.mark.parametrize("name", NAMES)
def test_an_architecture_keeps_its_contract(name, check):
    settings = narrow(architectures.get(name).settings)
    ArchitectureContract.run(name, check, settings=settings)


@pytest.mark.parametrize("check", [c for c in ArchitectureContract.checks() if "setting" not in c])
@pytest.mark.parametrize(
    ("name", "changed"),
    [(name, changed) for name, each in VARIANTS.items() for changed in each],
    ids=lambda v: v if isinstance(v, str) else "-".join(map(str, v.values())),
)
def test_it_does_with_other_units_and_paths(name, changed, check):
    settings = narrow(architectures.get(name).settings)
    ArchitectureContract.run(name, check, settings=settings | changed)
