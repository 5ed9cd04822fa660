from __future__ import annotations

import errno
import os
import subprocess
import sys

import pytest
import typer

from lrplan.cli import _output, list_
from lrplan.cli.main import app
from lrplan.errors import DataError

COMMANDS = {"design", "score", "inspect", "record", "simulate", "tune", "cohort", "list"}


def commands(group=None, path=()):
    """Yield every command with its name."""
    group = group or typer.main.get_command(app)
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        else:
            yield " ".join((*path, name)), command


ALL = dict(commands())


def test_help_names_every_command_and_the_exit_codes(cli):
    ran = cli("--help")
    assert ran.code == 0
    assert all(f"  {name} " in ran.out for name in COMMANDS)
    assert "4 done, but the answer" in " ".join(ran.out.split())
    assert ran.err == ""


def test_help_loads_nothing_heavy():
    heavy = "numpy scipy sklearn torch zarr xarray h5py pynwb matplotlib rich"
    code = (
        "import sys; from lrplan.cli.main import main; main(['--help']); "
        f"sys.exit(' '.join(m for m in {heavy.split()!r} if m in sys.modules) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr.strip()) == (0, "")


@pytest.mark.parametrize("name", ALL)
def test_each_command_documents_each_option_and_gives_an_example(cli, name):
    ran = cli(*name.split(), "--help")
    assert ran.code == 0
    assert f"lrplan {name}" in ran.out.split("Examples:")[1]
    for parameter in ALL[name].params:
        assert parameter.help, parameter.name


def test_defaults_are_those_of_the_design():
    from dataclasses import fields

    from lrplan.measure.design import Design

    defaults = {f.name: f.default for f in fields(Design)}
    given = {p.name: p.default for p in ALL["design"].params}
    for name in ("units", "noise", "modality", "tracked", "scaling"):
        assert given[name] == defaults[name], name
    assert (given["measure"], given["stimuli"], given["position"]) == (None, None, None)


def test_version(cli):
    from importlib.metadata import version

    assert cli("--version").out == f"lrplan {version('lrplan')}\n"


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("", "no command"),
        ("desing", "'design'"),
        ("cohort", "Missing command"),
        ("cohort inf", "'info'"),
        ("list", "Missing argument"),
        ("list rule", "nearest: rules"),
        ("list [b]", "known: analyses, architectures"),
        ("score", "Missing argument"),
        ("simulate recipe.toml", "--out"),
        ("tune recipe.toml", "--out"),
        ("design --unit 3", "nearest: --units"),
        ("design extra", "extra"),
        ("design --units", "--units"),
        ("design --units abc", "'abc' is neither a whole number nor 'all'"),
        ("design --units 3.5", "'3.5' is neither a whole number nor 'all'"),
        ("design --units 0", "units is 0"),
        ("design --units -5", "units is -5"),
        ("design --units nan", "'nan'"),
        ("design --noise x", "'x' is not a number"),
        ("design --noise nan", "noise is nan"),
        ("design --noise inf", "noise is inf"),
        ("design --noise -1", "noise is -1.0"),
        ("design --sessions 0", "sessions is 0"),
        ("design --sessions x", "'x' is not a whole number; see `lrplan design --help`"),
        ("design --units", "requires an argument; see `lrplan design --help`"),
        ("cohort select c --out", "requires an argument; see `lrplan cohort select --help`"),
        ("--cohort", "see `lrplan --help`"),
        ("score a.nwb --without ,", "--without names nothing"),
        ("cohort select starter --out x --organism ,", "--organism names nothing"),
        ("design --measure ,", "--measure names nothing"),
        ("design --spacing -1", "spacing is -1"),
        ("design --start -1", "start is -1"),
        ("design --stimuli 0", "stimuli is 0"),
        ("design --seed -1", "'-1'"),
        ("design --seed x", "'x'"),
        ("design --modality idael", "nearest: ideal"),
        ("design --measure activty", "nearest: activity"),
        ("design --measure activity,activity", "different measures"),
        ("design --modality counts --measure weights", "not weights"),
        ("design --split organisms", "nearest: organism"),
        ("design --position shallow", "unknown position"),
        ("design --noise-reference abs", "nearest: absolute"),
        ("design --scaling rel", "nearest: relative"),
        ("design --plot x.gif", ".png, .pdf, .svg"),
        ("design --plot nowhere/x.png", "no directory"),
        ("score a.nwb --window 1,2,3", "--window is '1,2,3'"),
        ("score a.nwb --window x", "--window is 'x'"),
        ("score a.nwb --position depe", "nearest: deep"),
        ("score a.nwb --noise -1", "noise is -1.0"),
        ("record --organism a --layer b --out c --kind spike", "nearest: spikes"),
        ("record --organism a --layer b --out c --trials 0", "trials is 0"),
        ("record --organism a --layer b --out c --units 0", "units is 0"),
        ("simulate recipe.toml --out x --workers 0", "workers is 0"),
        ("simulate recipe.toml --out x --device gpu", "unknown device 'gpu'"),
        ("tune recipe.toml --out x --workers 0", "workers is 0"),
        ("tune recipe.toml --out x --device gpu", "unknown device 'gpu'"),
    ],
)
def test_a_mistake_in_usage_is_one_line_and_exit_2(cli, tmp_path, monkeypatch, line, told):
    monkeypatch.chdir(tmp_path)
    ran = cli(*line.split())
    assert ran.code == 2
    assert ran.out == ""
    assert ran.err.count("\n") == 1
    assert ran.err.startswith("lrplan: ")
    assert told in ran.err
    assert list(tmp_path.iterdir()) == []


def raising(error):
    def entries():
        raise error

    return {"rules": (entries, ())}


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (ZeroDivisionError("by\nzero"), 1, "internal fault: ZeroDivisionError: by zero; please"),
        (DataError("a\x1b[31m\nb\u202ec"), 3, "lrplan: a?[31m b?c\n"),
        (MemoryError(), 3, "not enough memory"),
        (OSError(errno.ENOSPC, "No space left", "/x/y"), 3, "the disk is full (/x/y)"),
        (PermissionError(errno.EACCES, "Permission denied", "/x/y"), 3, "/x/y: Permission denied"),
        (KeyboardInterrupt(), 130, "lrplan: interrupted\n"),
    ],
)
def test_each_fault_is_one_line_with_its_code(cli, monkeypatch, error, code, told):
    monkeypatch.delenv("LRPLAN_DEBUG", raising=False)
    monkeypatch.setattr(list_, "KINDS", raising(error))
    ran = cli("list", "rules")
    assert (ran.code, ran.out, ran.err.count("\n")) == (code, "", 1)
    assert told in ran.err


def test_a_traceback_is_shown_where_it_is_asked_for(cli, monkeypatch):
    monkeypatch.setenv("LRPLAN_DEBUG", "1")
    monkeypatch.setattr(list_, "KINDS", raising(ZeroDivisionError("by zero")))
    ran = cli("list", "rules")
    assert ran.code == 1
    assert "Traceback" in ran.err
    assert ran.err.splitlines()[-1].startswith("lrplan: internal fault: ZeroDivisionError")


def test_json_is_strict_and_takes_numpy():
    import json

    import numpy as np

    value = {
        "nan": float("nan"),
        "inf": np.float32("-inf"),
        "array": np.array([[1.5, np.nan]]),
        "tuple": (np.int64(3), np.bool_(True)),
        "text": "\x1b[31mred\ud800",
        4: None,
    }
    text = _output.json_text(value)
    assert json.loads(text) == {
        "nan": None,
        "inf": None,
        "array": [[1.5, None]],
        "tuple": [3, True],
        "text": "\x1b[31mred\ud800",
        "4": None,
    }
    assert text.isascii()
    assert "\x1b" not in text


def test_tables_show_foreign_text_as_it_is_and_harmless(capsys):
    _output.show(
        _output.table("[bold]t[/bold]\x07", ("[i]c",), [["[red]x[/red]\x1b[2J\r\ny :smile:"]]),
        "[link=file]z\x9b",
    )
    out = capsys.readouterr().out
    assert "[bold]t[/bold]?" in out
    assert "[red]x[/red]?[2J y :smile:" in out
    assert "[link=file]z?" in out
    assert not set(out) & set("\x1b\x07\x9b\r")


def test_a_reader_that_has_gone_ends_quietly(command):
    for arguments in (["list", "observables"], ["list", "rules", "--json"], ["--help"]):
        reader, writer = os.pipe()
        os.close(reader)
        done = subprocess.run([*command, *arguments], stdout=writer, stderr=subprocess.PIPE)
        os.close(writer)
        assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is full")
def test_a_result_that_cannot_be_written_is_an_error(command):
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [*command, "list", "modalities"], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode == 3
    assert done.stderr == "lrplan: the disk is full; free some space and run the command again\n"


def test_the_process_exits_with_the_code_of_the_command(process):
    ran = process("design", "--units", "0")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == "lrplan: units is 0; expected a whole number of at least 1\n"
    assert process("design", "--cohort", "nowhere.zarr").code == 3
