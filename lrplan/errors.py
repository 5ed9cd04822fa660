"""Errors that a user can mend, each with the exit code of the command line."""

from __future__ import annotations

EXIT_DONE = 0
EXIT_FAULT = 1
EXIT_USAGE = 2
EXIT_DATA = 3
EXIT_CANNOT_TELL = 4


class LrplanError(Exception):
    """Base of all errors that say what came, what was expected and what to do."""

    exit_code = EXIT_FAULT


class UsageError(LrplanError, ValueError):
    """A name, a number or a combination that lrplan cannot work with."""

    exit_code = EXIT_USAGE


class PluginError(LrplanError, ValueError):
    """A plug-in that cannot be loaded; it is never skipped, since results would change silently."""


class DataError(LrplanError, ValueError):
    """A file that is missing, unreadable, damaged, or lacks what is needed."""

    exit_code = EXIT_DATA
