"""Registries: a file or an entry point is all that a plug-in needs, and nothing fails unseen."""

from __future__ import annotations

import sys
import uuid

import pytest

from lrplan.analyses import analyses
from lrplan.classifiers import classifiers
from lrplan.errors import PluginError, UsageError
from lrplan.measure.modalities import modalities
from lrplan.measure.observables import families
from lrplan.registry import Registry, nearest
from lrplan.simulate.architectures import architectures
from lrplan.simulate.credits import credits
from lrplan.simulate.optimizers import optimizers
from lrplan.simulate.rules import rules
from lrplan.simulate.tasks import tasks

REGISTRIES = [
    *(rules, architectures, tasks, modalities, families, credits, optimizers),
    *(classifiers, analyses),
]


@pytest.fixture(params=REGISTRIES, ids=lambda r: r.kind)
def registry(request):
    return request.param


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package with a registry and its folder; `write` puts a module into it."""
    name = f"plugins_{uuid.uuid4().hex}"
    folder = tmp_path / name
    folder.mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(module, text):
        (folder / f"{module}.py").write_text(text)

    write(
        "__init__",
        "from lrplan.registry import Registry\n"
        f"things = Registry('thing', package={name!r}, group='{name}.things')\n",
    )
    yield name, tmp_path, write
    for module in [m for m in sys.modules if m.split(".")[0] == name or m == f"other_{name}"]:
        del sys.modules[module]


def things(name):
    import importlib

    importlib.invalidate_caches()
    return importlib.import_module(name).things


def test_every_registry_has_entries_and_says_its_kind(registry):
    assert registry.names() == sorted(registry.names())
    assert registry.names()
    assert [name for name, _ in registry.items()] == registry.names()
    for name in registry.names():
        assert name == name.lower()
        assert registry.get(name) is dict(registry.items())[name]


def test_an_unknown_name_is_answered_with_the_nearest(registry):
    for name in registry.names():
        with pytest.raises(UsageError) as raised:
            registry.get(name + "x")
        message = str(raised.value)
        assert message.startswith(f"unknown {registry.kind} {name + 'x'!r}; nearest: ")
        assert name in message
    with pytest.raises(UsageError, match="known: " + ", ".join(registry.names())):
        registry.get("qqqqqqqq")


def test_a_name_that_is_taken_raises(registry):
    name, entry = registry.items()[0]
    with pytest.raises(ValueError, match=f"{registry.kind} '{name}' is registered twice"):
        registry.add(name, entry)
    with pytest.raises(ValueError, match="registered twice"):
        registry.register(name)(entry)


def test_a_registry_is_found_by_its_entry_point_group(registry):
    assert registry.group.startswith("lrplan.")


def test_a_new_file_is_found(package):
    name, _, write = package
    write("one", f"from {name} import things\nthings.add('one', 1)\n")
    write("_private", "raise RuntimeError('a private module is not a plug-in')\n")
    assert things(name).names() == ["one"]
    assert things(name).get("one") == 1


def test_a_decorator_registers_what_it_decorates(package):
    name, _, write = package
    write("one", f"from {name} import things\n@things.register('one')\nclass One: pass\n")
    assert things(name).get("one").__name__ == "One"


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("import there_is_no_such_module", "ModuleNotFoundError: No module named 'there_is_no"),
        ("raise RuntimeError('broken')", "RuntimeError: broken"),
        ("def broken(:", "SyntaxError"),
        ("from PACKAGE import things\nthings.add('half', 1)\n1 / 0", "ZeroDivisionError"),
    ],
)
def test_a_broken_file_raises_each_time_and_is_never_skipped(package, text, error):
    name, _, write = package
    write("a_sound_one", f"from {name} import things\nthings.add('sound', 1)\n")
    write("broken", text.replace("PACKAGE", name))
    for _ in range(2):
        with pytest.raises(PluginError, match=rf"{name}.broken cannot be loaded: {error}"):
            things(name).names()
        with pytest.raises(PluginError, match=error):
            things(name).get("sound")


def test_two_files_with_one_name_raise(package):
    name, _, write = package
    for module in ("one", "two"):
        write(module, f"from {name} import things\nthings.add('same', {module!r})\n")
    both = f"thing 'same' is registered twice, by {name}.one and by {name}.two"
    with pytest.raises(PluginError, match=both):
        things(name).names()


def install(place, package, group, target):
    """Lay out what pip leaves of a package with one entry point."""
    info = place / f"{package}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{group}]\nmine = {target}\n")


def test_entry_points_of_another_package_are_read(package):
    name, place, _ = package
    (place / f"other_{name}.py").write_text(
        f"from {name} import things\nthings.add('from_elsewhere', 2)\n"
    )
    install(place, f"other_{name}", f"{name}.things", f"other_{name}")
    assert things(name).get("from_elsewhere") == 2


def test_a_broken_entry_point_raises(package):
    name, place, _ = package
    install(place, f"other_{name}", f"{name}.things", f"other_{name}")
    said = f"entry point {name}.things: mine of other_{name} cannot be loaded: ModuleNotFoundError"
    with pytest.raises(PluginError, match=said):
        things(name).names()


def test_plug_ins_of_another_kind_may_bring_some_of_this(package):
    name, place, write = package
    write(
        "__init__",
        "from lrplan.registry import Registry\n"
        f"things = Registry('thing', package={name!r}, group='{name}.things', "
        f"beside=[('others_{name}', '{name}.others')])\n",
    )
    others = place / f"others_{name}"
    others.mkdir()
    (others / "__init__.py").touch()
    (others / "one.py").write_text(f"from {name} import things\nthings.add('beside', 1)\n")
    assert things(name).names() == ["beside"]


def test_a_rule_of_another_package_can_be_trained(tmp_path, monkeypatch):
    """The whole way: a dist-info on the path, a recipe that names the rule, an organism."""
    from lrplan.simulate.learn.train import train
    from lrplan.simulate.run.recipe import parse_recipe

    module = f"lab_{uuid.uuid4().hex}"
    (tmp_path / f"{module}.py").write_text(
        "from dataclasses import replace\n"
        "from lrplan.simulate.rules import rules\n"
        "from lrplan.simulate.rules.sgdm import Rule\n"
        "sgdm = dict(rules._entries)['sgdm']\n"
        "rules.add('lab_rule', replace(sgdm, name='lab_rule', learning_rate=0.01))\n"
    )
    install(tmp_path, module, "lrplan.rules", module)
    monkeypatch.syspath_prepend(str(tmp_path))
    before = dict(rules._entries)
    monkeypatch.setattr(rules, "_loaded", False)
    monkeypatch.setattr(rules, "_entries", before)
    made = parse_recipe(
        '[grid]\nrule = "lab_rule"\narchitecture = "mlp"\ntask = "digits"\nbatch_size = 512\n'
        "[training]\nepochs = 1\ncheckpoints = 2\n[architectures.mlp]\nwidth = 8\n"
    )
    assert made.specs[0].learning_rate == 0.01
    assert not train(list(made.specs), made.storage)[0].diverged
    del sys.modules[module]


def test_nearest_copes_with_case_hyphens_and_nothing_like_it():
    known = ["feedback_alignment", "sgdm"]
    assert nearest("Feedback-Alignment", known).startswith("nearest: feedback_alignment")
    assert nearest("feedback", known).startswith("nearest: feedback_alignment")
    assert nearest("zzz", known) == "known: feedback_alignment, sgdm"
    assert nearest("", known) == "known: feedback_alignment, sgdm"


def test_of_many_names_a_message_holds_the_nearest_few_and_says_how_to_list_all():
    known = [f"act_{i:02}" for i in range(30)]
    told = nearest("act_077", known, listing="lrplan list things")
    assert told.startswith("nearest: act_07, ")
    assert told.endswith(" (30 in all: `lrplan list things`)")
    assert told.count(",") == 2
    assert nearest("act", known).count(",") == 4
    few = ", ".join(known[:5])
    assert nearest("zzz", known) == f"known: {few}, ... (30 in all)"


def test_what_lists_all_of_a_registry_exists(registry):
    from lrplan.cli.list_ import KINDS

    assert registry.group.rpartition(".")[2] in KINDS


def test_a_registry_is_generic_over_its_entries():
    registry: Registry[int] = Registry(
        "number", package="lrplan.measure.modalities", group="none.at.all"
    )
    registry.add("one", 1)
    assert registry.get("one") == 1
