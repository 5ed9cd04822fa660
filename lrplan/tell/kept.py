"""Forecasts, kept in the cache: the same question of the same cohort is answered from there."""

from __future__ import annotations

import dataclasses
import zipfile
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from lrplan.cache import code_digest, content_digest, open_cache
from lrplan.cohort.integrity import PACKAGED, packaged_path
from lrplan.measure.design import Design
from lrplan.measure.kept import own_code
from lrplan.tell.forecast import Forecast

ROOMS = ("lrplan.tell.", "lrplan.measure.")
"""Where the classes of what is rebuilt live; no other code is called."""


@dataclasses.dataclass(frozen=True)
class Question:
    """What a forecast is asked, and so all that it depends on.

    Parameters
    ----------
    cohort : str
        Name or path of a cohort.
    design : Design
        The planned experiment.
    seed : int
        Of ``numpy.random.default_rng``, the forecast's `rng`.
    split : str
        As `lrplan.forecast` takes it.
    include_unlearned : bool
        As `lrplan.open_cohort` takes it.
    shuffle_labels : bool, default False
        As `lrplan.forecast` takes it.
    """

    cohort: str
    design: Design
    seed: int
    split: str
    include_unlearned: bool
    shuffle_labels: bool = False

    def key(self) -> dict[str, Any] | None:
        """Return the key of the answer in the cache; None where none can be kept.

        That is: the cache is off, the cohort cannot be read, or a plug-in takes part, of which it
        is not known when it changes.
        """
        if open_cache() is None or not own_code(self.design):
            return None
        path = packaged_path(self.cohort) if self.cohort in PACKAGED else Path(self.cohort)
        try:
            digest = content_digest(path)
        except (OSError, zipfile.BadZipFile):
            return None
        return {
            "kind": "forecast",
            "code": code_digest(),
            # Others than those that ship are called by their file, if they do not name themselves.
            "cohort": [digest, self.cohort if self.cohort in PACKAGED else path.stem],
            "design": self.design.to_json(),
            "seed": self.seed,
            "split": self.split,
            "include_unlearned": self.include_unlearned,
            "shuffle_labels": self.shuffle_labels,
        }


def find_forecast(key: Mapping[str, Any] | None) -> Forecast | None:
    """Return the forecast that was kept under a key; None if there is none."""
    cache = open_cache()
    if cache is None or key is None:
        return None
    found = cache.get(key)
    if found is None:
        return None
    try:
        rebuilt = rebuild(found.meta["forecast"], found.arrays)
    except (AttributeError, ImportError, KeyError, TypeError, ValueError):
        return None
    return rebuilt if isinstance(rebuilt, Forecast) else None


def keep_forecast(key: Mapping[str, Any] | None, forecast: Forecast) -> None:
    """Keep a forecast under a key, if there is one."""
    cache = open_cache()
    if cache is None or key is None:
        return
    arrays: dict[str, np.ndarray] = {}
    meta = {"forecast": describe(forecast, arrays)}
    cache.put(key, arrays, meta)


def describe(value: Any, arrays: dict[str, np.ndarray]) -> Any:
    """Return a value as plain ones, with its arrays put beside.

    Raises
    ------
    TypeError
        If it holds what cannot be rebuilt.
    """
    if value is None or isinstance(value, bool | int | str) or type(value) is float:
        return value
    if isinstance(value, np.ndarray | np.generic):
        name = str(len(arrays))
        arrays[name] = np.asarray(value)
        return {"scalar" if isinstance(value, np.generic) else "array": name}
    if isinstance(value, xr.DataArray):
        coords = [
            [str(n), list(c.dims), describe(c.values, arrays)] for n, c in value.coords.items()
        ]
        return {
            "labelled": describe(value.values, arrays),
            "dims": list(value.dims),
            "coords": coords,
            "name": value.name,
            "attrs": describe(dict(value.attrs), arrays),
        }
    if dataclasses.is_dataclass(value) and type(value).__module__.startswith(ROOMS):
        fields = {
            f.name: describe(getattr(value, f.name), arrays) for f in dataclasses.fields(value)
        }
        return {"class": [type(value).__module__, type(value).__name__], "fields": fields}
    if isinstance(value, Mapping):
        return {"mapping": [[describe(k, arrays), describe(v, arrays)] for k, v in value.items()]}
    if isinstance(value, list | tuple):
        kind = "list" if isinstance(value, list) else "tuple"
        return {kind: [describe(v, arrays) for v in value]}
    raise TypeError(f"{value!r} is of a kind that is not kept")


def rebuild(value: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    """Return what `describe` was given."""
    if not isinstance(value, dict):
        return value
    if "scalar" in value:
        return arrays[value["scalar"]][()]
    if "array" in value:
        return arrays[value["array"]]
    if "labelled" in value:
        return xr.DataArray(
            rebuild(value["labelled"], arrays),
            dims=value["dims"],
            coords={name: (dims, rebuild(c, arrays)) for name, dims, c in value["coords"]},
            name=value["name"],
            attrs=rebuild(value["attrs"], arrays),
        )
    if "class" in value:
        module, name = value["class"]
        made = getattr(import_module(module), name) if module.startswith(ROOMS) else None
        if not (isinstance(made, type) and dataclasses.is_dataclass(made)):
            raise ValueError(f"{module}.{name} is not rebuilt")
        return made(**{k: rebuild(v, arrays) for k, v in value["fields"].items()})
    if "mapping" in value:
        return {rebuild(k, arrays): rebuild(v, arrays) for k, v in value["mapping"]}
    if "list" in value:
        return [rebuild(v, arrays) for v in value["list"]]
    return tuple(rebuild(v, arrays) for v in value["tuple"])
