"""Bring in the published data set of Nayebi et al. (2020)."""

from __future__ import annotations

import hashlib
import json
import math
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lrplan.cohort._unpickle import load_arrays
from lrplan.cohort._writing import new_cohort, refuse_existing
from lrplan.cohort.format import FAST, CohortWriter, sha256
from lrplan.cohort.store import Cohort, open_cohort
from lrplan.errors import DataError, UsageError
from lrplan.registry import nearest
from lrplan.terms import POSITIONS, STORED_OBSERVABLES

KEYS = ("X", "Y", "X_cat", "meta", "obs_keys")
CITES = "Nayebi et al., NeurIPS 2020"

ROLES = {
    "rule": ("rule", "learning_rule", "learningrule", "lr_rule"),
    "architecture": ("architecture", "arch", "model", "model_name", "network", "net"),
    "task": ("task", "dataset", "data", "dataset_name", "task_name"),
    "batch_size": ("batch_size", "batchsize", "batch", "bs", "train_batch_size"),
    "learning_rate": ("learning_rate", "base_learning_rate", "eta", "init_lr"),
    "model_seed": ("model_seed", "init_seed", "weight_seed", "tf_seed"),
    "data_seed": ("data_seed", "dataset_seed", "data_order_seed", "shuffle_seed"),
    "layer": ("layer", "layer_name", "layername"),
    "layer_index": ("layer_index", "layer_idx", "layer_num", "layer_number", "layer_no"),
}
"""What a field of ``meta`` may be called, in lower case with underscores."""

OTHER_ROLES = ("organism", "ignore")
NEEDED = ("rule", "architecture", "task", "layer")

RULES = {
    "sgdm": ("sgdm", "sgd", "momentum", "sgd_momentum", "sgdmomentum"),
    "adam": ("adam",),
    "feedback_alignment": ("feedback", "fa", "feedback_alignment", "feedbackalignment"),
    "information_alignment": (
        *("information", "ia", "info", "information_alignment", "informationalignment"),
    ),
}
CREDIT = {
    "sgdm": ("backpropagation", "sgdm"),
    "adam": ("backpropagation", "adam"),
    "feedback_alignment": ("feedback_alignment", "sgdm"),
    "information_alignment": ("information_alignment", "sgdm"),
}
"""Credit assignment and optimizer of each rule of the paper."""

TASKS = {
    "cifar10": ("cifar10", "cifar"),
    "imagenet": ("imagenet", "supervised_imagenet"),
    "simclr": ("simclr", "imagenet_simclr", "simclr_imagenet"),
    "wsn": ("audionet", "wsn", "word_speaker_noise"),
}
OBJECTIVE = {
    "cifar10": "supervised",
    "imagenet": "supervised",
    "wsn": "supervised",
    "simclr": "self-supervised",
}
ARCHITECTURES = (
    *("resnet18", "resnet34", "resnet18v2", "resnet34v2", "alexnet", "alexnet_lrn"),
    *("knet4", "knet4_lrn", "knet5", "knet5_lrn"),
)

MEASURES = {
    # The longest spellings first: an activity change is no activity.
    "grad": (
        *("layerwise_activity_change", "layerwise_act_change", "layer_wise_activity_change"),
        *("activity_change", "act_change", "layerwise", "layer_wise", "gradient", "grads", "grad"),
    ),
    "act": ("activations", "activation", "activity", "acts", "act"),
    "weight": ("weights", "weight", "kernel", "w"),
}
FUNCTIONS = {"raw": ("raw", "id", "identity"), "abs": ("abs", "absolute"), "sq": ("sq", "square")}
STATISTICS = {
    "norm": ("norm", "l2", "l2norm", "l2_norm"),
    "mean": ("mean", "avg", "average"),
    "var": ("var", "variance"),
    "skew": ("skew", "skewness"),
    "kurtosis": ("kurtosis", "kurt"),
    "median": ("median",),
    "thirdquartile": ("thirdquartile", "third_quartile", "q3", "quartile3", "75th_percentile"),
}
SECTIONS = ("meta", "observables", "rules", "tasks", "architectures", "constants")
NORM_NOTE = "L2 norm as published, not divided by the square root of the number of values"


@dataclass(frozen=True)
class Map:
    """What a user says of a data set whose names lrplan does not know.

    Parameters
    ----------
    meta : mapping
        Field of ``meta`` to what it is: one of `ROLES`, ``organism`` (tells organisms apart, and
        nothing else) or ``ignore``.
    observables : mapping
        Key of ``obs_keys`` to lrplan's name of the observable.
    rules, tasks, architectures : mapping
        Value in the data set to lrplan's word.
    constants : mapping
        Label that all organisms share, such as a task.
    """

    meta: Mapping[str, str] = field(default_factory=dict)
    observables: Mapping[str, str] = field(default_factory=dict)
    rules: Mapping[str, str] = field(default_factory=dict)
    tasks: Mapping[str, str] = field(default_factory=dict)
    architectures: Mapping[str, str] = field(default_factory=dict)
    constants: Mapping[str, Any] = field(default_factory=dict)


def read_map(path: str | Path) -> Map:
    """Read a TOML file of names.

    Parameters
    ----------
    path : str or Path
        With tables of `SECTIONS`, all optional.

    Raises
    ------
    DataError
        If it cannot be read, or is no TOML.
    UsageError
        If a section, a role, an observable or a rule is unknown.
    """
    path = Path(path)
    try:
        given = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is no TOML: {error}") from None
    for section, content in given.items():
        if section not in SECTIONS:
            raise UsageError(f"{path}: unknown section [{section}]; {nearest(section, SECTIONS)}")
        if not isinstance(content, dict):
            raise UsageError(f"{path}: {section} is {content!r}; expected a table, [{section}]")
        for key, value in content.items():
            if isinstance(value, dict | list) or (
                section != "constants" and type(value) is not str
            ):
                raise UsageError(f"{path}: [{section}] {key} is {value!r}; expected a word")
    known = {
        "meta": (*ROLES, *OTHER_ROLES),
        "observables": STORED_OBSERVABLES,
        "rules": tuple(RULES),
    }
    for section, words in known.items():
        for key, value in given.get(section, {}).items():
            if value not in words:
                raise UsageError(
                    f"{path}: [{section}] {key} = {value!r} is unknown; {nearest(value, words)}"
                )
    allowed = tuple(r for r in ROLES if r not in ("layer", "layer_index"))
    for key in given.get("constants", {}):
        if key not in allowed:
            raise UsageError(f"{path}: unknown constant {key!r}; {nearest(key, allowed)}")
    return Map(**given)


@dataclass(frozen=True)
class Imported:
    """What an import made, and how it understood the file.

    Parameters
    ----------
    cohort : Cohort
        The new one.
    fields : dict
        What each field of ``meta`` was taken for.
    notes : list of str
        What is worth knowing: values that are not finite, labels that the file lacks.
    """

    cohort: Cohort
    fields: dict[str, str]
    notes: list[str]


def import_paper(dataset: str | Path, out: str | Path, *, names: Map | None = None) -> Imported:
    """Make a cohort of the data set that the paper's authors published.

    A row is the trajectory of one layer; an organism is what shares all of ``meta`` but the
    layer. Only observables are known: the cohort has no responses, synapses, pairs and behaviour.

    Parameters
    ----------
    dataset : str or Path
        ``dataset.pkl``: a dict of ``X`` (row, checkpoint, observable), ``Y`` (row,), ``X_cat``
        (row, checkpoint, 3), ``meta`` (record array) and ``obs_keys``. It is read without running
        anything that it names.
    out : str or Path
        A directory or ``.zip`` file that does not exist; it appears in one step, whole.
    names : Map, optional
        What names mean that lrplan does not know.

    Returns
    -------
    Imported
        Values that are not finite are kept; forecasts drop such observables and say so.

    Raises
    ------
    UsageError
        If `out` exists, or a name needs to be explained in a map.
    DataError
        If the file is damaged, asks for anything but numpy arrays, or has another form.

    Notes
    -----
    Form of the file: Nayebi et al., NeurIPS 2020, and its published data.
    """
    dataset, out = Path(dataset), Path(out)
    names = names or Map()
    refuse_existing(out)
    data = _data(load_arrays(dataset), dataset)
    order = _observable_order(data["obs_keys"], names, dataset)
    positions = _positions(data["X_cat"], dataset)
    columns, fields = _columns(data["meta"], names, dataset)
    rules = _rules(data["Y"], columns.pop("rule", None), names, dataset)
    owner, ids = _organisms(data["meta"], fields, rules)
    layers = _words(columns["layer"])
    _refuse_twice(owner, layers, ids, dataset)
    index = None
    if "layer_index" in columns:
        index = _numbers(columns["layer_index"], "layer_index", fields, dataset).astype(np.int32)
    # Layers of an organism stand together, in their order if it is known, or in that of the file.
    rows = np.lexsort((np.zeros_like(owner) if index is None else index, owner))
    first = np.unique(owner, return_index=True)[1]
    notes: list[str] = []
    with new_cohort(out) as path:
        writer = CohortWriter(
            path,
            {
                "name": out.name.removesuffix(".zip").removesuffix(".zarr"),
                "imported": {"file": dataset.name, "sha256": _digest(dataset), "cites": CITES},
                "fields": fields,
            },
            level=FAST,
        )
        writer.write("organisms", "id", np.array(ids, dtype=object))
        for name, words in _categories(rules[first], columns, first, names).items():
            writer.write_categories("organisms", name, words)
        for name, dtype in (
            ("batch_size", np.int32),
            ("learning_rate", np.float64),
            ("model_seed", np.int64),
            ("data_seed", np.int64),
        ):
            if name in columns:
                values = _numbers(columns[name][first], name, fields, dataset)
                writer.write("organisms", name, values.astype(dtype))
            else:
                notes.append(f"the file does not say the {name.replace('_', ' ')}")
        writer.write("populations", "organism", owner[rows].astype(np.int32))
        writer.write("populations", "layer", np.array(layers, dtype=object)[rows])
        if index is not None:
            writer.write("populations", "layer_index", index[rows])
        writer.write_categories("populations", "layer_position", list(positions[rows]))
        writer.write("observables", "observable", np.array(STORED_OBSERVABLES, dtype=object))
        notes += _write_observables(writer, data["X"], rows, order)
        writer.close()
    return Imported(open_cohort(out), fields, notes)


# -- the form of the file -----------------------------------------------------------------------


def _data(content: Any, path: Path) -> dict[str, Any]:
    """Return the five parts of the data set, with shapes that fit each other."""
    if not isinstance(content, dict):
        raise DataError(
            f"{path} holds a {type(content).__name__}; expected a dict of {', '.join(KEYS)}"
        )
    data = {_plain(k): v for k, v in content.items()}
    missing = [k for k in KEYS if k not in data]
    if missing:
        raise DataError(
            f"{path} lacks {', '.join(missing)}; it has {', '.join(map(str, data)) or 'nothing'}"
        )
    x = data["X"]
    if not isinstance(x, np.ndarray) or x.dtype.kind not in "fiu" or x.ndim != 3 or not x.size:
        raise DataError(
            f"{path}: X is {_shape_of(x)}; expected numbers (row, checkpoint, observable)"
        )
    keys = data["obs_keys"]
    keys = keys.ravel().tolist() if isinstance(keys, np.ndarray) else keys
    if not isinstance(keys, list | tuple) or not all(isinstance(_plain(k), str) for k in keys):
        raise DataError(f"{path}: obs_keys is no list of names")
    data["obs_keys"] = [str(_plain(k)) for k in keys]
    if len(keys) != x.shape[2]:
        raise DataError(f"{path}: X has {x.shape[2]} observables, obs_keys names {len(keys)}")
    y, meta = data["Y"], data["meta"]
    data["Y"] = y = np.asarray(y)
    if not isinstance(meta, np.ndarray) or not meta.dtype.names:
        raise DataError(f"{path}: meta is {_shape_of(meta)}; expected a record array with fields")
    data["meta"] = meta.ravel()
    for name, count in (("Y", len(y.ravel())), ("meta", meta.size), ("X_cat", _length(data))):
        if count != len(x):
            raise DataError(f"{path}: X has {len(x)} rows, {name} has {count}")
    data["Y"] = y.ravel()
    return data


def _length(data: Mapping[str, Any]) -> int:
    cat = data["X_cat"]
    return len(cat) if isinstance(cat, np.ndarray) and cat.ndim else 0


def _shape_of(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"an array of {value.dtype} of shape {value.shape}"
    return f"a {type(value).__name__}"


def _plain(value: Any) -> Any:
    """Return text as str: files of Python 2 hold bytes."""
    if isinstance(value, np.generic):
        value = value.item()
    return value.decode("latin-1") if isinstance(value, bytes) else value


def _words(values: Sequence[Any] | np.ndarray) -> list[str]:
    """Return values as text; whole numbers are written without a point."""
    out = []
    for value in values:
        value = _plain(value)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        out.append(str(value))
    return out


def _folded(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", str(name).lower()).strip("_")


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# -- names --------------------------------------------------------------------------------------


def _observable_order(keys: Sequence[str], names: Map, path: Path) -> list[int]:
    """Return the column of each of `STORED_OBSERVABLES`."""
    strange = [k for k in names.observables if k not in keys]
    if strange:
        raise UsageError(
            f"the map explains the observable {strange[0]!r}, which obs_keys of {path} lacks; "
            f"{nearest(strange[0], keys)}"
        )
    place: dict[str, int] = {}
    unknown = []
    for i, key in enumerate(keys):
        name = names.observables.get(key) or _observable(key)
        if name is None:
            unknown.append(key)
        elif name in place:
            raise UsageError(
                f"{path}: {keys[place[name]]!r} and {key!r} are both taken for {name}; say which "
                "is which under [observables] in a --map file"
            )
        else:
            place[name] = i
    if unknown:
        raise UsageError(
            f"{path}: obs_keys has {', '.join(map(repr, unknown))}, unknown here; say under "
            f"[observables] in a --map file what they are, such as {unknown[0]!r} = "
            f"{STORED_OBSERVABLES[0]!r} ({nearest(unknown[0], STORED_OBSERVABLES)})"
        )
    missing = [n for n in STORED_OBSERVABLES if n not in place]
    if missing:
        raise DataError(
            f"{path}: obs_keys lacks {', '.join(missing)}; all {len(STORED_OBSERVABLES)} "
            "observables are needed"
        )
    return [place[n] for n in STORED_OBSERVABLES]


def _observable(key: str) -> str | None:
    """Return lrplan's name of an observable that is spelled in another way."""
    folded = _folded(key)
    if folded in STORED_OBSERVABLES:
        return folded
    measure, rest = _taken(folded, MEASURES)
    if measure is None:
        return None
    function, rest = _taken(rest, FUNCTIONS)
    if measure == "grad":
        return None if rest else f"grad_{function or 'raw'}"
    statistic = _spelled(rest, STATISTICS)
    return f"{measure}_{function or 'raw'}_{statistic}" if statistic else None


def _taken(text: str, words: Mapping[str, Sequence[str]]) -> tuple[str | None, str]:
    """Return the first of some words that a text has in any spelling, and the text without it."""
    for word, ways in words.items():
        for way in ways:
            if f"_{way}_" in f"_{text}_":
                return word, f"_{text}_".replace(f"_{way}_", "_", 1).strip("_")
    return None, text


def _spelled(text: str, words: Mapping[str, Sequence[str]]) -> str | None:
    return next((word for word, ways in words.items() if text in ways), None)


def _columns(
    meta: np.ndarray, names: Map, path: Path
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Return the columns of ``meta`` by what they are, and what each field was taken for."""
    given = [str(n) for n in meta.dtype.names or ()]
    strange = [n for n in names.meta if n not in given]
    if strange:
        raise UsageError(
            f"the map explains the field {strange[0]!r}, which meta of {path} lacks; "
            f"{nearest(strange[0], given)}"
        )
    spellings = {s: role for role, ways in ROLES.items() for s in ways}
    fields: dict[str, str] = {}
    unknown = []
    for name in given:
        role = names.meta.get(name) or spellings.get(_folded(name))
        if role is None:
            unknown.append(name)
        else:
            fields[name] = role
    told = ", ".join(f"{n} is the {r.replace('_', ' ')}" for n, r in fields.items()) or "none"
    if unknown:
        raise UsageError(
            f"{path}: meta has the fields {', '.join(map(repr, unknown))}, unknown here "
            f"(recognised: {told}); say under [meta] in a --map file what each is: "
            f"{', '.join(ROLES)}, 'organism' (only tells organisms apart) or 'ignore'"
        )
    columns: dict[str, np.ndarray] = {}
    for name, role in fields.items():
        if role in OTHER_ROLES:
            continue
        if role in columns:
            both = [repr(n) for n, r in fields.items() if r == role]
            raise UsageError(
                f"{path}: meta has {' and '.join(both)}, both taken for the "
                f"{role.replace('_', ' ')}; say under [meta] in a --map file which one is not"
            )
        columns[role] = meta[name]
    for role, value in names.constants.items():
        if role in columns:
            raise UsageError(f"the map gives a constant {role}, but meta of {path} has it too")
        columns[role] = np.full(len(meta), value, dtype=object)
    if "layer" not in columns and "layer_index" in columns:
        columns["layer"] = columns["layer_index"]
    lacking = [r for r in NEEDED if r not in columns and r != "rule"]
    if lacking:
        raise UsageError(
            f"{path}: meta has no field for the {' and the '.join(lacking)} (recognised: {told}); "
            "name it under [meta] in a --map file"
            + (", or under [constants], if all share it" if lacking != ["layer"] else "")
        )
    return columns, fields


def _rules(y: np.ndarray, told: np.ndarray | None, names: Map, path: Path) -> np.ndarray:
    """Return the rule of each row, in lrplan's words."""
    labels = _words(y)
    by_label: dict[str, str] = {}
    if told is not None:
        for label, value in zip(labels, _words(told), strict=True):
            rule = _rule(value, names)
            if rule is None:
                raise _unknown_rule(value, path)
            if by_label.setdefault(label, rule) != rule:
                raise DataError(
                    f"{path}: Y and meta do not agree: {label!r} in Y is {by_label[label]!r} in "
                    f"one row and {rule!r} in another"
                )
        if len(set(by_label.values())) < len(by_label):
            raise DataError(
                f"{path}: Y has {len(by_label)} labels, meta {len(set(by_label.values()))} rules"
            )
    else:
        for label in sorted(set(labels)):
            rule = _rule(label, names)
            if rule is None:
                raise _unknown_rule(label, path)
            by_label[label] = rule
    return np.array([by_label[label] for label in labels], dtype=object)


def _rule(value: str, names: Map) -> str | None:
    return names.rules.get(value) or _spelled(_folded(value), RULES)


def _unknown_rule(value: str, path: Path) -> UsageError:
    return UsageError(
        f"{path}: the rule {value!r} is unknown here; say under [rules] in a --map file which of "
        f'{", ".join(RULES)} it is, such as "{value}" = "sgdm"'
    )


def _word(value: str) -> str:
    """Return a value as one word: flag_meanings are separated by blanks."""
    return re.sub(r"\s+", "_", value.strip()) or "unnamed"


def _categories(
    rules: np.ndarray, columns: Mapping[str, np.ndarray], first: np.ndarray, names: Map
) -> dict[str, list[str]]:
    plain = {re.sub("[^a-z0-9]", "", a): a for a in ARCHITECTURES}
    tasks, architectures = [], []
    for value in _words(columns["task"][first]):
        task = names.tasks.get(value) or _spelled(_folded(value), TASKS) or value
        tasks.append(_word(task))
    for value in _words(columns["architecture"][first]):
        bare = re.sub("[^a-z0-9]", "", value.lower())
        architectures.append(_word(names.architectures.get(value) or plain.get(bare) or value))
    objectives = [
        OBJECTIVE.get(t) or ("self-supervised" if "simclr" in t.lower() else "supervised")
        for t in tasks
    ]
    return {
        "rule": list(rules),
        "credit": [CREDIT[r][0] for r in rules],
        "optimizer": [CREDIT[r][1] for r in rules],
        "objective": objectives,
        "architecture": architectures,
        "task": tasks,
    }


def _numbers(values: np.ndarray, name: str, fields: Mapping[str, str], path: Path) -> np.ndarray:
    """Return a column as numbers; whole ones, but for a learning rate."""
    out = np.empty(len(values))
    for i, value in enumerate(_words(values)):
        try:
            out[i] = float(value)
        except ValueError:
            out[i] = math.nan
        whole = name != "learning_rate"
        if not math.isfinite(out[i]) or (whole and not out[i].is_integer()):
            field_name = next((f for f, r in fields.items() if r == name), name)
            raise UsageError(
                f"{path}: the {name.replace('_', ' ')} of a row is {value!r}; expected a "
                f"{'whole ' if whole else ''}number. If the field {field_name!r} is something "
                f'else, say so under [meta] in a --map file, such as {field_name} = "organism"'
            )
    return out


# -- rows ---------------------------------------------------------------------------------------


def _positions(cat: Any, path: Path) -> np.ndarray:
    """Return early, middle or deep for each row, from a one-hot code that never changes."""
    if not isinstance(cat, np.ndarray) or cat.dtype.kind not in "fiub" or cat.shape[-1:] != (3,):
        raise DataError(
            f"{path}: X_cat is {_shape_of(cat)}; expected one-hot positions (row, checkpoint, 3)"
        )
    code = cat.reshape(len(cat), -1, 3)
    one_hot = ((code == 0) | (code == 1)).all(axis=(1, 2)) & (code.sum(axis=2) == 1).all(axis=1)
    constant = (code == code[:, :1]).all(axis=(1, 2))
    if not (one_hot & constant).all():
        row = int(np.flatnonzero(~(one_hot & constant))[0])
        raise DataError(
            f"{path}: X_cat of row {row} is not one layer position throughout; expected one 1 and "
            "two 0, the same at all checkpoints"
        )
    return np.array(POSITIONS, dtype=object)[code[:, 0].argmax(axis=1)]


def _organisms(
    meta: np.ndarray, fields: Mapping[str, str], rules: np.ndarray
) -> tuple[np.ndarray, list[str]]:
    """Return the organism of each row, in order of appearance, and the organisms' identities.

    An identity is the first 16 hexadecimal digits of the SHA-256 of what tells the organism from
    others.
    """
    telling = sorted(
        name for name, role in fields.items() if role not in ("layer", "layer_index", "ignore")
    )
    columns = [_words(meta[name]) for name in telling]
    places: dict[tuple[str, ...], int] = {}
    owner = np.array(
        [places.setdefault(key, len(places)) for key in zip(rules, *columns, strict=True)],
        dtype=int,
    )
    ids = [
        sha256(
            json.dumps(
                dict(zip(("rule of Y", *telling), key, strict=True)), sort_keys=True
            ).encode()
        )[:16]
        for key in places
    ]
    return owner, ids


def _refuse_twice(owner: np.ndarray, layers: Sequence[str], ids: Sequence[str], path: Path) -> None:
    seen: dict[tuple[int, str], int] = {}
    for row, key in enumerate(zip(owner.tolist(), layers, strict=True)):
        if key in seen:
            raise DataError(
                f"{path}: rows {seen[key]} and {row} are the same layer {key[1]!r} of one organism "
                f"({ids[key[0]]}); a field of meta that tells them apart is ignored, or missing"
            )
        seen[key] = row


def _write_observables(
    writer: CohortWriter, x: np.ndarray, rows: np.ndarray, order: Sequence[int]
) -> list[str]:
    """Write all trajectories in lrplan's order, and return what is odd about them."""
    target = writer.create("observables", "observables", x.shape, np.float32, {"norm": NORM_NOTE})
    step = target.chunks[0] * 4
    lost, bad = 0, np.zeros(len(order), dtype=bool)
    for start in range(0, len(rows), step):
        block = x[rows[start : start + step]][:, :, order]
        with np.errstate(over="ignore"):
            kept = block.astype(np.float32)
        lost += int((np.isfinite(block) & ~np.isfinite(kept)).sum())
        bad |= ~np.isfinite(kept).all(axis=(0, 1))
        target[start : start + len(kept)] = kept
    notes = []
    if lost:
        notes.append(f"{lost} values are beyond single precision and became infinite")
    if bad.any():
        said = [n for n, b in zip(STORED_OBSERVABLES, bad, strict=True) if b]
        notes.append(
            f"{len(said)} observables are not finite somewhere, and forecasts drop them: "
            + ", ".join(said)
        )
    return notes
