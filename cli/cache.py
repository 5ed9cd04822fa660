"""``lrplan cache``: what was computed before and is kept on disk."""

from __future__ import annotations

from typing import Any

from lrplan.cli import _options, _output

EPILOG = """\b
Examples:
  lrplan cache info
  lrplan cache clear

Forecasts, and observables of whole cohorts, are kept in the user's cache folder, so that the same
question is answered at once. LRPLAN_CACHE names another folder, or is 'off'."""
INFO_EPILOG = """\b
Examples:
  lrplan cache info
  lrplan cache info --json"""
CLEAR_EPILOG = """\b
Examples:
  lrplan cache clear
  LRPLAN_CACHE=/scratch/lrplan lrplan cache clear"""
OFF = "the cache is off (LRPLAN_CACHE=off)"


def info(json: _options.Json = False, quiet: _options.Quiet = False) -> None:
    """Say where the cache lies, how many entries it has, and how large they are."""
    from lrplan.cache import open_cache

    cache = open_cache()
    if cache is None:
        return _tell({"folder": None}, OFF, json)
    found = cache.info()
    text = (
        f"{cache.folder}: {_entries(found)} of at most {_output.size(found['limit_bytes'])}; "
        "what was used longest ago goes first"
    )
    _tell({"folder": str(cache.folder), **found}, text, json)


def clear(json: _options.Json = False, quiet: _options.Quiet = False) -> None:
    """Remove all entries of the cache, and nothing else."""
    from lrplan.cache import open_cache

    cache = open_cache()
    if cache is None:
        return _tell({"folder": None, "entries": 0, "bytes": 0}, OFF, json)
    found = cache.clear()
    _tell({"folder": str(cache.folder), **found}, f"removed {_entries(found)}", json)


def _entries(found: dict[str, Any]) -> str:
    from lrplan.texts import counted

    return f"{counted(found['entries'], 'entry', 'entries')}, {_output.size(found['bytes'])}"


def _tell(found: dict[str, Any], text: str, json: bool) -> None:
    if json:
        _output.emit_json(found)
    else:
        _output.emit(text)
