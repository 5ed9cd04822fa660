"""The command ``lrplan``: its commands, its exit codes, and one line for every error."""

from __future__ import annotations

import errno
import os
import sys
import warnings
from collections.abc import Sequence
from typing import Annotated, Any, TextIO

import typer

from lrplan.cli import (
    _noise,
    _output,
    analyse,
    cache,
    claims,
    cohort,
    compare,
    design,
    inspect,
    list_,
    record,
    score,
    simulate,
    tune,
)
from lrplan.errors import EXIT_DATA, EXIT_DONE, EXIT_FAULT, EXIT_USAGE, LrplanError

INTERRUPTED = 130
USAGE_ERROR: type[Exception] = typer.BadParameter.__mro__[1]
"""The base class of usage errors; typer exports it only through its subclass."""

DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
OUTSIDE = (
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO, errno.ENOENT, errno.EEXIST),
    *(errno.EISDIR, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.EMFILE, errno.ENFILE),
    *(errno.EFBIG, errno.ESTALE, errno.ENXIO, errno.EBUSY, errno.ETXTBSY),
)
"""What the system refuses for reasons that lie with files, not with lrplan."""

EPILOG = """\b
Examples:
  lrplan design --units 300 --noise 0.1
  lrplan inspect session1.nwb
  lrplan score session1.nwb session2.nwb session3.nwb

Exit codes: 0 done, 1 internal fault, 2 usage, 3 bad or unreadable data, 4 done, but the answer
is 'cannot tell'."""

SETTINGS: dict[str, Any] = {
    "add_completion": False,
    "rich_markup_mode": None,
    "pretty_exceptions_enable": False,
    "context_settings": {"help_option_names": ["-h", "--help"]},
}

app = typer.Typer(name="lrplan", epilog=EPILOG, invoke_without_command=True, **SETTINGS)
app.command("design", cls=_noise.Pilot, epilog=design.EPILOG)(design.design)
app.command("inspect", epilog=inspect.EPILOG)(inspect.inspect)
app.command("score", epilog=score.EPILOG)(score.score)
app.command("compare", cls=compare.Sides, epilog=compare.EPILOG)(compare.compare)
app.command("record", cls=_noise.Pilot, epilog=record.EPILOG)(record.record)
app.command("simulate", epilog=simulate.EPILOG)(simulate.simulate)
app.command("tune", epilog=tune.EPILOG)(tune.tune)
app.command("analyse", **analyse.SETTINGS)(analyse.analyse)
app.command("claims", epilog=claims.EPILOG)(claims.claims)
app.command("list", epilog=list_.EPILOG)(list_.list_kind)
cohorts = typer.Typer(
    help="Look into cohorts, check, join and divide them.", epilog=cohort.EPILOG, **SETTINGS
)
cohorts.command("info", epilog=cohort.INFO_EPILOG)(cohort.info)
cohorts.command("organisms", epilog=cohort.ORGANISMS_EPILOG)(cohort.organisms)
cohorts.command("check", epilog=cohort.CHECK_EPILOG)(cohort.check)
cohorts.command("merge", epilog=cohort.MERGE_EPILOG)(cohort.merge)
cohorts.command("select", epilog=cohort.SELECT_EPILOG)(cohort.select)
cohorts.command("import", epilog=cohort.IMPORT_EPILOG)(cohort.import_)
app.add_typer(cohorts, name="cohort")
caches = typer.Typer(
    help="What was computed before and is kept: where, how much; remove it.",
    epilog=cache.EPILOG,
    **SETTINGS,
)
caches.command("info", epilog=cache.INFO_EPILOG)(cache.info)
caches.command("clear", epilog=cache.CLEAR_EPILOG)(cache.clear)
app.add_typer(caches, name="cache")


def _show_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        _output.emit(f"lrplan {version('lrplan')}")
        raise typer.Exit()


@app.callback()
def lrplan(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Plan and score experiments that tell which learning rule a neural circuit uses."""
    if context.invoked_subcommand is None:
        _output.complain("no command was given; see `lrplan --help`, or try `lrplan design`")
        raise typer.Exit(EXIT_USAGE)


def main(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code; every error becomes one line on stderr."""
    code = _checked(arguments)
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        _output.close_stdout()
    except OSError as error:
        _output.close_stdout()
        _output.complain(f"the result cannot be written: {error.strerror}")
        return EXIT_DATA
    return code


def _checked(arguments: Sequence[str]) -> int:
    try:
        command = typer.main.get_command(app)
        code = command.main(list(arguments), prog_name="lrplan", standalone_mode=False)
        if code == INTERRUPTED:
            _output.complain("interrupted")
        return code if isinstance(code, int) else EXIT_DONE
    except LrplanError as error:
        _trace()
        _output.complain(str(error))
        return error.exit_code
    except USAGE_ERROR as error:
        _output.complain(_usage_text(error, arguments))
        return EXIT_USAGE
    except (typer.Abort, KeyboardInterrupt):
        _output.complain("interrupted")
        return INTERRUPTED
    except MemoryError:
        _trace()
        _output.complain(
            "there is not enough memory for this; close other programs, or ask for fewer units, "
            "stimuli or workers"
        )
        return EXIT_DATA
    except SystemExit as error:
        # How typer ends when the reader of its help text has gone.
        if isinstance(error.__context__, OSError) and error.__context__.errno == errno.EPIPE:
            _output.close_stdout()
            return EXIT_DONE
        raise
    except Exception as error:
        _trace()
        if isinstance(error, OSError) and error.errno in (*DISK_FULL, *OUTSIDE):
            _output.complain(_system_text(error))
            return EXIT_DATA
        _output.complain(
            f"internal fault: {type(error).__name__}: {error}; please report; set LRPLAN_DEBUG=1 "
            "for the traceback"
        )
        return EXIT_FAULT


def _usage_text(error: Exception, arguments: Sequence[str]) -> str:
    """Return a usage error of the parser as one sentence that says where to look."""
    text = str(getattr(error, "message", error))
    possibilities = getattr(error, "possibilities", None)
    if not possibilities:
        text = error.format_message()  # type: ignore[attr-defined]
    elif "Did you mean" not in text:
        text = f"{text.rstrip('.')}; nearest: {', '.join(possibilities)}"
    text = text.rstrip(".")
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else _command_path(arguments)
    return f"{text}; see `{path} --help`"


def _command_path(arguments: Sequence[str]) -> str:
    """Return the command that arguments begin with, as far as there is one."""
    path = "lrplan"
    command: Any = typer.main.get_command(app)
    for word in arguments:
        command = getattr(command, "commands", {}).get(word)
        if command is None:
            break
        path += f" {word}"
    return path


def _system_text(error: OSError) -> str:
    if error.errno in DISK_FULL:
        what = f" ({error.filename})" if error.filename else ""
        return f"the disk is full{what}; free some space and run the command again"
    what = f"{error.filename}: " if error.filename else ""
    return f"{what}{error.strerror}"


def _trace() -> None:
    if os.environ.get("LRPLAN_DEBUG"):
        import traceback

        traceback.print_exc()


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Show a warning of a library on one line; details only where they are asked for."""
    if os.environ.get("LRPLAN_DEBUG") or issubclass(category, UserWarning):
        _output.note(f"warning: {message}", quiet=_output.quiet_was_asked(sys.argv))


def run() -> None:
    """Be the console command: as `main`, with the process's arguments, streams and exit."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            # A name that the terminal's encoding lacks is no reason to fail.
            reconfigure(errors="backslashreplace")
    warnings.showwarning = _show_warning
    sys.exit(main(sys.argv[1:]))
