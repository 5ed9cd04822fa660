"""What is installed: three folders under one name, whole, with arrows that point one way."""

from __future__ import annotations

import ast
import importlib.util
import json
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


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """A wheel built from a copy of the tree, so that the tree stays as it is."""
    for needed in ("setuptools", "build"):
        if importlib.util.find_spec(needed) is None:
            pytest.skip(f"{needed} is not installed; the test extra has it")
    place = tmp_path_factory.mktemp("wheel")
    copy = place / "tree"
    copy.mkdir()
    for folder in FOLDERS:
        unwanted = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / folder, copy / folder, ignore=unwanted)
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, copy)
    made = subprocess.run(
        [
            *(sys.executable, "-m", "build", "--wheel", "--no-isolation"),
            *("--outdir", str(place / "dist"), str(copy)),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 0, made.stdout[-3000:] + made.stderr[-3000:]
    [path] = (place / "dist").glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        yield archive


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
