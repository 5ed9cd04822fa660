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
from lrplan.simulate.credits import Backpropagation, FixedFeedback
from lrplan.simulate.learn.train import train
from lrplan.simulate.network import Pass, init_params
from lrplan.simulate.rules import rules
from lrplan.simulate.run.pack import pack, part_bytes
from lrplan.simulate.run.recipe import parse_recipe

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
def sign_symmetry(tmp_path, monkeypatch):
    """The rule of CONTRIBUTING.md, registered for one test as a lab's own module."""
    [text] = blocks("CONTRIBUTING.md", "python")
    (tmp_path / "documented_rule.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    rules.names()
    monkeypatch.setattr(rules, "_entries", dict(rules._entries))
    importlib.invalidate_caches()
    importlib.import_module("documented_rule")
    yield rules.get("sign_symmetry")
    del sys.modules["documented_rule"]


def test_the_documented_rule_trains(sign_symmetry):
    assert sign_symmetry.cites
    made = parse_recipe(RECIPE.format(rule="sign_symmetry"))
    for spec in made.specs:
        trained = train([spec], made.storage)[0]
        assert not trained.diverged
        assert trained.arrays["loss"][-1] < trained.arrays["loss"][0]
    # The same on a stack.
    pair = parse_recipe(
        RECIPE.format(rule="sign_symmetry").replace(
            '["mlp", "knet4_lrn"]', '"mlp"\nmodel_seed=[1,2]'
        )
    )
    assert len(train(list(pair.specs), pair.storage)) == 2


@pytest.mark.parametrize(
    ("name", "settings"),
    [("mlp", {"width": 9, "depth": 3}), ("knet4_lrn", {"channels": [3, 4, 5]})],
)
def test_the_documented_rule_is_backpropagation_with_the_weights_own_magnitudes(
    sign_symmetry, name, settings
):
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
    found = gradients(sign_symmetry.credit, magnitudes)
    unsigned = gradients(FixedFeedback(), magnitudes)
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
