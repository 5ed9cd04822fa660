"""What the documents show is run as it stands there."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from lrplan.cohort import format as schema
from lrplan.simulate.architectures import Head, architectures
from lrplan.simulate.credits import credits
from lrplan.simulate.credits.backpropagation import Backpropagation
from lrplan.simulate.credits.feedback_alignment import FeedbackAlignment
from lrplan.simulate.learn.train import train
from lrplan.simulate.network import Pass, init_params
from lrplan.simulate.rules import rules
from lrplan.simulate.run.pack import pack, part_bytes
from lrplan.simulate.run.recipe import parse_recipe
from lrplan.testing import CreditContract, RuleContract

ROOT = Path(__file__).parents[2]
RECIPE = """
[grid]
rule = "{rule}"
architecture = ["mlp", "knet4_lrn"]
task = "digits"
batch_size = 128
learning_rate = 0.02
[training]
epochs = 1
checkpoints = 2
[architectures.mlp]
width = 16
[architectures.knet4_lrn]
channels = [3, 4, 5]
[storage]
units = 12
"""


def blocks(document: str, language: str) -> list[str]:
    text = (ROOT / document).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


@pytest.fixture
def register(tmp_path, monkeypatch):
    """Register what a document shows, for one test, as a lab's own module."""
    shown = []

    def run(text):
        name = f"documented_{len(shown)}"
        (tmp_path / f"{name}.py").write_text(text)
        shown.append(name)
        importlib.invalidate_caches()
        return importlib.import_module(name)

    monkeypatch.syspath_prepend(str(tmp_path))
    for registry in (rules, credits):
        registry.names()
        monkeypatch.setattr(registry, "_entries", dict(registry._entries))
    yield run
    for name in shown:
        del sys.modules[name]


RULES = {
    "CONTRIBUTING.md": ("sign_symmetry", blocks("CONTRIBUTING.md", "python")[0]),
    "add-a-rule.md": ("sign_symmetry", blocks("docs/add-a-rule.md", "python")[0]),
    "add-a-rule.md, own update": ("oja", blocks("docs/add-a-rule.md", "python")[1]),
}


@pytest.mark.parametrize("where", RULES)
def test_a_documented_rule_trains(where, register):
    name, text = RULES[where]
    register(text)
    rule = rules.get(name)
    assert rule.credit_name == name
    made = parse_recipe(RECIPE.format(rule=name))
    for spec in made.specs:
        trained = train([spec], made.storage)[0]
        assert not trained.diverged
        if name != "oja":  # whose hidden layers know of no loss
            assert trained.arrays["loss"][-1] < trained.arrays["loss"][0]
        first, *_, last = np.moveaxis(trained.arrays["synapses"], 1, 0)
        assert (first != last).any(-1).all(), "a layer did not learn"
    # The same in a stack.
    text = RECIPE.format(rule=name).replace('["mlp", "knet4_lrn"]', '"mlp"\nmodel_seed=[1,2]')
    pair = parse_recipe(text)
    for spec, one in zip(pair.specs, train(list(pair.specs), pair.storage), strict=True):
        alone = train([spec], pair.storage)[0].arrays["synapses"]
        np.testing.assert_allclose(one.arrays["synapses"], alone, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("where", RULES)
def test_a_documented_rule_keeps_the_contracts(where, register):
    name, text = RULES[where]
    register(text)
    RuleContract.run(name)
    CreditContract.run(name)


def test_the_documented_contracts_and_test_pass(register):
    first, own_update, contracts, *tests = blocks("docs/add-a-rule.md", "python")
    register(first)
    register(own_update)
    held = [c for n, c in vars(register(contracts)).items() if n.startswith("Test")]
    assert len(held) == 2
    for contract in held:
        contract.run(contract.name)
    assert len(tests) == 2
    for text in tests:
        [run] = [f for n, f in vars(register(text)).items() if n.startswith("test_")]
        run()


@pytest.mark.parametrize("first", ["credits", "rules"])
def test_the_documented_package_is_found_through_its_entry_points(first, tmp_path, monkeypatch):
    """One module stands in both groups, whichever is read first."""
    import tomllib

    [text] = blocks("docs/add-a-rule.md", "toml")
    groups = tomllib.loads(text)["project"]["entry-points"]
    assert set(groups) == {rules.group, credits.group}
    (tmp_path / "my_lab").mkdir()
    (tmp_path / "my_lab" / "__init__.py").touch()
    (tmp_path / "my_lab" / "sign_symmetry.py").write_text(RULES["add-a-rule.md"][1])
    info = tmp_path / "my_lab-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my_lab\nVersion: 1.0\n")
    points = [
        f"[{group}]\n" + "".join(f"{name} = {where}\n" for name, where in named.items())
        for group, named in groups.items()
    ]
    (info / "entry_points.txt").write_text("\n".join(points))
    for registry in (rules, credits):
        registry.names()
        monkeypatch.setattr(registry, "_entries", dict(registry._entries))
        monkeypatch.setattr(registry, "_loaded", False)
    monkeypatch.syspath_prepend(str(tmp_path))
    for registry in (credits, rules) if first == "credits" else (rules, credits):
        assert "sign_symmetry" in registry.names()
    rule = rules.get("sign_symmetry").with_settings({"gain": 0.5, "momentum": 0.8})
    assert rule.credit_name == "sign_symmetry"
    assert rule.credit == credits.get("sign_symmetry")(gain=0.5)
    for module in ("my_lab.sign_symmetry", "my_lab"):
        del sys.modules[module]


@pytest.mark.parametrize(
    ("name", "settings"),
    [("mlp", {"width": 9, "depth": 3}), ("knet4_lrn", {"channels": [3, 4, 5]})],
)
def test_the_rule_of_contributing_is_backpropagation_with_the_weights_own_magnitudes(
    register, name, settings
):
    register(RULES["CONTRIBUTING.md"][1])
    network = architectures.get(name).build((1, 16, 16), Head("readout", 10), **settings)
    drawn = init_params(network, np.random.default_rng(0))
    params = {k: torch.from_numpy(v).double() for k, v in drawn.items()}
    rng = np.random.default_rng(1)
    x = torch.from_numpy(rng.standard_normal((4, 1, 16, 16)))
    y = torch.from_numpy(rng.integers(0, 10, 4))
    magnitudes = {layer.name: params[f"{layer.name}.weight"].abs() for layer in network.layers[1:]}

    def gradients(credit, backward):
        def loss(params):
            run = Pass(params, credit=credit, backward=backward)
            return torch.nn.functional.cross_entropy(network.forward(run, x), y)

        return torch.func.grad(loss)(params)

    expected = gradients(Backpropagation(), {})
    found = gradients(rules.get("sign_symmetry").credit, magnitudes)
    unsigned = gradients(FeedbackAlignment(), magnitudes)
    first = f"{network.layers[0].name}.weight"
    for key, value in expected.items():
        assert torch.allclose(found[key], value, rtol=0, atol=1e-10), key
    assert not torch.allclose(unsigned[first], expected[first], rtol=0, atol=1e-6)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    place = tmp_path_factory.mktemp("documented")
    made = parse_recipe(RECIPE.format(rule="sgdm"))
    paths = []
    for trained in (train([spec], made.storage)[0] for spec in made.specs):
        paths.append(place / f"{trained.spec.hash}.npz")
        paths[-1].write_bytes(part_bytes(trained))
    about = {"lrplan_version": "0.1.0", "torch_version": "2", "device": "cpu"}
    pack(made, paths, place / "cohort.zarr", about)
    return place / "cohort.zarr"


def test_the_snippet_of_the_format_reads_a_cohort(cohort, monkeypatch, capsys):
    [text] = blocks("docs/cohort-format.md", "python")
    monkeypatch.chdir(cohort.parent)
    names: dict[str, object] = {}
    exec(compile(text, "cohort-format.md", "exec"), names)
    assert capsys.readouterr().out.startswith("sgdm")
    tree, activity = names["tree"], names["activity"]
    group = tree["responses"].to_dataset()
    coded = [group["responses" + part].values for part in ("", "_scale", "_offset")]
    expected = schema.decode(*coded)[0]
    np.testing.assert_allclose(activity.values, expected, rtol=1e-5, atol=1e-6)
    tree.close()


def test_the_table_of_the_format_is_the_format(cohort):
    import zarr

    root = zarr.open_group(str(cohort), mode="r")
    text = (ROOT / "docs" / "cohort-format.md").read_text(encoding="utf-8")
    rows = [tuple(c.strip() for c in line.split("|")[1:-1]) for line in text.splitlines()]
    found = {row[:2]: row for row in rows if len(row) == 6}
    for v in schema.VARIABLES:
        array = root[f"{v.group}/{v.name}"]
        assert isinstance(array, zarr.Array)
        kind = str(array.dtype) if array.dtype.kind in "iuf" else "string"
        expected = (v.group, v.name, ", ".join(v.dims), kind, v.long_name, v.units)
        assert found[v.group, v.name] == expected
    for name in root.attrs:
        assert f"`{name}`" in text


def test_the_recipe_of_the_manual_is_one():
    [text] = blocks("docs/simulate.md", "toml")
    made = parse_recipe(text)
    assert len(made.specs) == 2 * 3 * (2 + 2 + 2 + 1)


def test_the_citation_is_valid():
    yaml = pytest.importorskip("yaml")
    content = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    for key in ("cff-version", "message", "title", "authors"):
        assert content[key]
    assert content["cff-version"] == "1.2.0"
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert content["version"] == project["version"]
    assert content["license"] == project["license"]


def test_links_between_documents_lead_somewhere():
    for document in (*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")):
        text = document.read_text(encoding="utf-8")
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", text):
            assert (document.parent / target).exists(), f"{document.name}: {target}"
