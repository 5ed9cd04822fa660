"""Plug-ins of another package, each one short file: found, sound, and of no effect unasked."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch

import lrplan
from lrplan.cli.list_ import KINDS
from lrplan.measure.modalities import modalities
from lrplan.measure.observables import families
from lrplan.simulate.architectures import Head, architectures
from lrplan.simulate.credits import Credit, credits
from lrplan.simulate.credits.backpropagation import Backpropagation
from lrplan.simulate.learn.learning import Learners, stacked
from lrplan.simulate.network import Pass, init_params
from lrplan.simulate.optimizers.sgdm import SGDM
from lrplan.simulate.rules import Rule, rules
from lrplan.simulate.tasks import tasks

PLUGINS = Path(__file__).parents[1] / "plugins"
PAGE = Path(__file__).parents[2] / "docs" / "plug-ins.md"
GROUPS = {
    "observables": "participation_ratio",
    "modalities": "shared_gain",
    "rules": "sign_symmetry",
    "credits": "sign_symmetry",
}
"""By entry-point group and kind of ``lrplan list``, the module that stands there."""
CONTRACTS = {
    "participation_ratio": ("ObservableContract",),
    "shared_gain": ("ModalityContract",),
    "sign_symmetry": ("RuleContract", "CreditContract"),
}


def install(place, name, modules, points):
    """Lay out what pip leaves of a package: its modules, and what it says of itself."""
    package = place / name
    package.mkdir()
    for module, text in {"__init__": "", **modules}.items():
        (package / f"{module}.py").write_text(text, encoding="utf-8")
    info = place / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    groups = [f"[{group}]\n{point} = {where}\n" for group, point, where in points]
    (info / "entry_points.txt").write_text("\n".join(groups))
    return place


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder into which a lab's package is installed."""
    return install(
        tmp_path_factory.mktemp("site-packages"),
        "lab_plugins",
        {name: (PLUGINS / f"{name}.py").read_text() for name in GROUPS.values()},
        [(f"lrplan.{group}", name, f"lab_plugins.{name}") for group, name in GROUPS.items()],
    )


def python(*arguments, site=None, cwd):
    """Run a Python of its own, with the lab's package installed or not, and return its stdout."""
    paths = [str(site)] * (site is not None) + [str(Path(lrplan.__file__).parents[1])]
    done = subprocess.run(
        [sys.executable, *arguments],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths), "MPLBACKEND": "Agg"},
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def plugin(monkeypatch):
    """Return a function that imports one of the files and so registers it for one test."""
    for registry in (families, modalities, rules, credits):
        registry.names()
        monkeypatch.setattr(registry, "_entries", dict(registry._entries))

    def load(name):
        spec = importlib.util.spec_from_file_location(f"tried_{name}", PLUGINS / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, spec.name, module)
        spec.loader.exec_module(module)
        return module

    return load


@pytest.mark.parametrize("name", sorted(set(GROUPS.values())))
def test_a_plug_in_is_one_short_file(name):
    assert len((PLUGINS / f"{name}.py").read_text().splitlines()) < 60


@pytest.mark.parametrize("kind", GROUPS)
def test_the_command_lists_what_another_package_brings(kind, site, tmp_path):
    said = python("-m", "lrplan.cli", "list", kind, "--json", site=site, cwd=tmp_path)
    listed = {entry["name"] for entry in json.loads(said)}
    here = {entry["name"] for entry in KINDS[kind][0]()}
    [new] = listed - here
    assert new.startswith(GROUPS[kind]) and here < listed


@pytest.mark.parametrize("name", CONTRACTS)
def test_each_keeps_its_contract(name, site, tmp_path):
    held = "\n".join(f"lrplan.testing.{c}.run({name!r})" for c in CONTRACTS[name])
    python("-c", f"import lrplan.testing\n{held}", site=site, cwd=tmp_path)


RESULTS = """
import json, sys
import numpy as np
import lrplan
from lrplan.measure.modalities import modalities
from lrplan.measure.observables import families
from lrplan.simulate.credits import credits
from lrplan.simulate.rules import rules

cohort = lrplan.open_cohort(sys.argv[1])
registered = sorted(n for r in (families, rules, credits, modalities) for n in r.names())
found = [lrplan.forecast(cohort, design, rng=0) for design in (
    lrplan.Design(units=20, noise=0.1), lrplan.Design(units="all", noise=0)
)]
found.append(lrplan.analyse("separation", cohort, rng=0, classifier="linear_svm", splits=4))
found.append(lrplan.evaluate_claims(cohort, rng=np.random.default_rng(0), claims=[4]))
print(*registered)
print(json.dumps([f.to_json() for f in found]))
"""


@pytest.mark.slow
def test_what_is_not_asked_for_changes_no_result(separable, site, tmp_path):
    """Forecasts, analyses and claims on a cohort made before: the same to the last bit."""
    (before, expected), (now, found) = (
        python("-c", RESULTS, str(separable.path), site=place, cwd=tmp_path).splitlines()
        for place in (None, site)
    )
    assert set(now.split()) - set(before.split()) == set(GROUPS.values())
    assert found == expected


def test_a_design_that_names_an_observable_takes_it(separable, plugin):
    plugin("participation_ratio")
    from lrplan.measure.observe import observe_cohort

    names = ("standard-1", "participation_ratio")
    found = observe_cohort(separable, lrplan.Design(units=9, observables=names), rng=0)
    assert found.observables[-1] == "participation_ratio_stimuli"
    assert len(found.observables) == 22
    # Four stimuli, centred, spread over three dimensions at most.
    raw = lrplan.Design(units=9, observables="participation_ratio", scaling="raw")
    ratio = observe_cohort(separable, raw, rng=0).values
    assert (ratio >= 1).all() and (ratio <= 3 + 1e-5).all()
    whole = lrplan.Design(units="all", noise=0, observables=names)
    with pytest.raises(lrplan.DataError, match="no observable 'participation_ratio_stimuli'"):
        observe_cohort(separable, whole, rng=0)


def test_the_participation_ratio_counts_dimensions(plugin):
    compute = plugin("participation_ratio").compute
    for dimensions in (2, 3, 7):
        # As many stimuli, each with a group of units of its own: centring takes one dimension.
        apart = np.kron(np.eye(dimensions), np.ones((1, 5)))
        np.testing.assert_allclose(compute(apart), dimensions - 1)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((6, 30))
    expected = np.linalg.eigvalsh(np.cov(x.T)).clip(0)
    np.testing.assert_allclose(compute(x), expected.sum() ** 2 / (expected**2).sum())
    np.testing.assert_allclose(compute(1e-30 * x + 0.0), compute(x))
    rotation, _ = np.linalg.qr(rng.standard_normal((30, 30)))
    np.testing.assert_allclose(compute(x @ rotation + rng.standard_normal(30)), compute(x))
    for still in (np.zeros((4, 5)), np.full((4, 5), 0.1, np.float32), np.ones((4, 1)) * x[0]):
        assert compute(still) == 0


@dataclass(frozen=True, kw_only=True)
class Stated(Credit):
    """The stated equivalence for autodiff: x enters through S, W through a detached x."""

    summary: ClassVar[str] = "stated"
    cites: ClassVar[str] = "a test"

    def apply(self, op, x, weight, backward):
        by = op.forward(x, (torch.sign(weight) * weight.abs().mean()).detach())
        return by - by.detach() + op.forward(x.detach(), weight)


@pytest.mark.parametrize(
    ("name", "settings"),
    [("mlp", {"width": 9, "depth": 3}), ("knet4_lrn", {"channels": [3, 4, 5]})],
)
@pytest.mark.parametrize("organisms", [1, 3])
def test_sign_symmetry_learns_by_what_it_states_and_not_by_backpropagation(
    name, settings, organisms, plugin
):
    """One update of training at a rate of 1, alone and in a stack, in float64."""
    plugin("sign_symmetry")
    network = architectures.get(name).build((1, 16, 16), Head("readout", 10), **settings)
    each = [init_params(network, np.random.default_rng(i)) for i in range(organisms)]
    params = stacked(each, torch.device("cpu"), torch.float64)
    rng = np.random.default_rng(9)
    images = torch.from_numpy(rng.standard_normal((organisms, 8, 1, 16, 16)))
    labels = torch.from_numpy(rng.integers(0, 10, (organisms, 8)))

    def learned(credit):
        rule = Rule(
            "tried", credit, SGDM(momentum=0.0, nesterov=False), 1.0, summary="tried", cites="none"
        )
        learners = Learners(
            network,
            [rule] * organisms,
            tasks.get("digits"),
            {},
            {k: p.clone() for k, p in params.items()},
            {},
            torch.ones(organisms, dtype=torch.float64),
        )
        learners.learn(images, labels, 1.0)
        return {k: params[k] - p.detach() for k, p in learners.params.items()}

    found, exact = learned(credits.get("sign_symmetry")()), learned(Backpropagation())
    for i in range(organisms):

        def loss(params, i=i):
            run = Pass(params, credit=Stated())
            return torch.nn.functional.cross_entropy(network.forward(run, images[i]), labels[i])

        expected = torch.func.grad(loss)({k: p[i] for k, p in params.items()})
        for key, value in expected.items():
            assert torch.allclose(found[key][i], value, rtol=0, atol=1e-10), key
        *hidden, last = (f"{layer.name}.weight" for layer in network.layers)
        assert torch.allclose(found[last][i], exact[last][i], rtol=0, atol=1e-10)
        for key in hidden:
            ours, theirs = found[key][i].flatten(), exact[key][i].flatten()
            assert torch.cosine_similarity(ours, theirs, dim=0) < 0.99, key


def blocks(language):
    text = PAGE.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def documented(tmp_path_factory):
    """The package of the page, installed."""
    [project] = [tomllib.loads(text)["project"] for text in blocks("toml")]
    points = [(g, n, w) for g, named in project["entry-points"].items() for n, w in named.items()]
    [module] = [text for text in blocks("python") if "families.add" in text]
    [(_, name, where)] = points
    place = tmp_path_factory.mktemp("documented")
    package, _, file = where.partition(".")
    assert package == project["name"].replace("-", "_") and file == name
    return install(place, package, {file: module}, points)


def test_the_documented_test_passes(documented, tmp_path):
    [text] = [text for text in blocks("python") if "lrplan.testing" in text]
    (tmp_path / "test_drift.py").write_text(text)
    run = ("-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path))
    assert " passed" in python(*run, site=documented, cwd=tmp_path)


@pytest.mark.slow
def test_the_documented_design_takes_the_observable(documented, tmp_path):
    [text] = [text for text in blocks("python") if "lrplan.Design" in text]
    said = python("-c", text + "print(*design.observables)", site=documented, cwd=tmp_path)
    assert said.endswith("standard-1 drift\n")


def test_the_page_names_every_group_contract_and_option():
    """As the table has them: `| group | what | contract | options |`."""
    import lrplan.testing

    rows = re.findall(
        r"^\| `(lrplan\.\w+)` \| .* \| `(\w+)` \| (.*?) ?\|$", PAGE.read_text(), re.MULTILINE
    )
    listed = {contract: (group, re.findall(r"`(\w+)`", rest)) for group, contract, rest in rows}
    contracts = set(lrplan.testing.__all__) - {"Contract"}
    assert set(listed) == contracts
    for name in contracts:
        contract = getattr(lrplan.testing, name)
        group, options = listed[name]
        assert group == contract.registry.group
        for option in options:
            assert hasattr(contract, option)
        with pytest.raises(lrplan.UsageError, match=", ".join(options) or "it has none"):
            contract.run("anything", anything=1)
