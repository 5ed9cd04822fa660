"""What is installed: three folders under one name, whole, with arrows that point one way."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = {"lrplan": "lrplan", "simulate": "lrplan/simulate", "cli": "lrplan/cli"}


def sources(folder: str) -> list[Path]:
    return sorted(p for p in (ROOT / folder).rglob("*.py") if "__pycache__" not in p.parts)


def copied(place: Path) -> Path:
    """Copy the tree, links as links, so that the tree itself stays as it is."""
    copy = place / "tree"
    copy.mkdir()
    for folder in FOLDERS:
        unwanted = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / folder, copy / folder, ignore=unwanted, symlinks=True)
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, copy)
    return copy


def ran(*command: str | Path, **options) -> str:
    done = subprocess.run(
        [str(c) for c in command], capture_output=True, text=True, check=False, **options
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def wheel_path(tmp_path_factory):
    for needed in ("setuptools", "build"):
        if importlib.util.find_spec(needed) is None:
            pytest.skip(f"{needed} is not installed; the test extra has it")
    place = tmp_path_factory.mktemp("wheel")
    copy, dist = copied(place), place / "dist"
    build = (sys.executable, "-m", "build", "--wheel", "--no-isolation")
    ran(*build, "--outdir", dist, copy)
    [path] = dist.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def wheel(wheel_path):
    with zipfile.ZipFile(wheel_path) as archive:
        yield archive


MODULES = """
import json, pkgutil, site, sys
# An lrplan that the tests run with, and its finder, are out of the way.
sys.meta_path[:] = [f for f in sys.meta_path if "editable" not in repr(f).lower()]
for name in [n for n in sys.modules if "__editable__" in n]:
    del sys.modules[name]
for place in sys.argv[1:]:
    sys.path.insert(0, place)
    site.addsitedir(place)
import lrplan.cli, lrplan.simulate
found = {m.name for m in pkgutil.walk_packages(lrplan.__path__, "lrplan.")}
files = [m.__file__ for m in (lrplan, lrplan.simulate, lrplan.cli)]
print(json.dumps([sorted(found), files]))
"""


def in_tree() -> set[str]:
    """Every module and package that the tree holds, by name."""
    names = set()
    for folder, target in FOLDERS.items():
        for path in sources(folder):
            inside = path.relative_to(ROOT / folder).with_suffix("").parts
            parts = [*target.split("/"), *inside]
            names.add(".".join(p for p in parts if p != "__init__"))
    return names - {"lrplan"}


def test_an_import_in_the_root_sees_the_packages_of_the_root(wheel_path, tmp_path):
    """The README's own `pip install .`, and then Python started in the checkout."""
    with zipfile.ZipFile(wheel_path) as archive:
        archive.extractall(tmp_path)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    found, files = json.loads(ran(sys.executable, "-c", MODULES, cwd=ROOT, env=environment))
    assert all(Path(f).is_relative_to(ROOT) for f in files), files
    assert set(found) == in_tree()


def test_an_installed_wheel_has_the_same_packages(wheel_path, tmp_path):
    place = tmp_path / "site"
    with zipfile.ZipFile(wheel_path) as archive:
        archive.extractall(place)
    environment = {**os.environ, "PYTHONPATH": str(place)}
    found, files = json.loads(ran(sys.executable, "-c", MODULES, cwd=tmp_path, env=environment))
    assert all(Path(f).is_relative_to(place) for f in files), files
    assert set(found) == in_tree()


def test_an_editable_install_has_the_same_packages(tmp_path):
    for needed in ("setuptools", "pip"):
        if importlib.util.find_spec(needed) is None:
            pytest.skip(f"{needed} is not installed")
    copy = copied(tmp_path)
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation"]
    # Without it pip would remove what is installed where the tests run.
    pip.append("--ignore-installed")
    ran(*pip, "--disable-pip-version-check", "--prefix", tmp_path / "env", "-e", copy)
    [site] = (tmp_path / "env").rglob("site-packages")
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    found, files = json.loads(
        ran(sys.executable, "-c", MODULES, site, cwd=tmp_path / "env", env=environment)
    )
    assert all(Path(f).is_relative_to(copy) for f in files), files
    assert set(found) == in_tree()


def test_the_wheel_holds_every_module_and_no_other(wheel):
    expected = {
        f"{target}/{path.relative_to(ROOT / folder).as_posix()}"
        for folder, target in FOLDERS.items()
        for path in sources(folder)
    }
    found = {name for name in wheel.namelist() if name.endswith(".py")}
    assert found - expected == set(), "in the wheel only"
    assert expected - found == set(), "missing in the wheel: list the package in pyproject.toml"


def test_the_wheel_puts_one_name_into_site_packages(wheel):
    top = {name.split("/")[0] for name in wheel.namelist()}
    assert {name for name in top if not name.endswith(".dist-info")} == {"lrplan"}


def test_the_wheel_holds_the_data_files(wheel):
    names = set(wheel.namelist())
    assert "lrplan/py.typed" in names
    for path in (ROOT / "lrplan" / "data").iterdir():
        if path.suffix in (".zip", ".toml"):
            name = f"lrplan/data/{path.name}"
            assert name in names
            assert wheel.getinfo(name).file_size == path.stat().st_size


def test_the_wheel_has_the_command_and_the_licence(wheel):
    names = wheel.namelist()
    [points] = [n for n in names if n.endswith(".dist-info/entry_points.txt")]
    assert "lrplan = lrplan.cli.main:run" in wheel.read(points).decode()
    assert any(n.endswith("LICENSE") for n in names)


def test_no_file_is_byte_code_or_a_test(wheel):
    names = [n for n in wheel.namelist() if not n.startswith("lrplan/testing/")]
    assert not [n for n in names if n.endswith(".pyc") or "test" in n.lower()]


@pytest.mark.parametrize(
    "module",
    [
        *("lrplan", "lrplan.cohort.store", "lrplan.measure.design", "lrplan.measure.recording"),
        *("lrplan.testing", "lrplan.testing.observables", "lrplan.testing.classifiers"),
    ],
)
def test_planning_needs_neither_torch_nor_the_simulation(module):
    script = f"import {module}, sys, json; print(json.dumps(sorted(sys.modules)))"
    out = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=True
    )
    loaded = set(json.loads(out.stdout))
    for heavy in ("torch", "lrplan.simulate", "lrplan.cli"):
        assert heavy not in loaded, f"importing {module} imports {heavy}"


def imports(path: Path, package: str) -> set[str]:
    """Return every module that a file names in an import, wherever it stands."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = package.split(".")
                base = ".".join([*parts[: len(parts) - node.level + 1], *filter(None, [base])])
            found |= {base} | {f"{base}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize(
    ("folder", "forbidden"),
    [("lrplan", ("lrplan.simulate", "lrplan.cli")), ("simulate", ("lrplan.cli",))],
)
def test_arrows_point_one_way(folder, forbidden):
    files = sources(folder)
    assert len(files) > 5
    for path in files:
        inside = path.relative_to(ROOT / folder).parent.parts
        if folder == "lrplan" and inside == ("testing",):
            continue  # The top floor: its contracts are of all kinds, those of simulation too.
        package = ".".join([*FOLDERS[folder].split("/"), *inside])
        for name in imports(path, package):
            for wrong in forbidden:
                assert not (name + ".").startswith(wrong + "."), f"{path} imports {name}"


def test_every_folder_with_modules_is_listed():
    import tomllib

    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    listed = set(settings["tool"]["setuptools"]["packages"])
    expected = {
        ".".join([*target.split("/"), *path.parent.relative_to(ROOT / folder).parts])
        for folder, target in FOLDERS.items()
        for path in sources(folder)
    }
    assert expected == listed
