"""Fitted classifiers on disk: nothing in a file is executed, and a file says what it belongs to."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lrplan.errors import DataError, UsageError
from lrplan.measure.design import Design

if TYPE_CHECKING:
    from lrplan.cohort.store import Cohort

SCHEMA = "lrplan.classifier/1"
MANIFEST, MODEL, NETWORK = "manifest.json", "model.skops", "network.pt"
# What a file may hold beyond what skops itself trusts (numbers, arrays, scikit-learn's own types).
TRUSTED = (
    "lrplan.classifiers.calibrated.Calibrated",
    "lrplan.classifiers.conv1d_mlp.Conv1dMLP",
    "lrplan.classifiers.extra_trees.ExtraTrees",
    "lrplan.classifiers.linear_svm.LinearSVM",
    "lrplan.classifiers.random_forest.RandomForest",
    "lrplan.classifiers.random_kernels.RandomKernels",
    # Compiled code walks its nodes unchecked, so they are checked here; see `_sound_trees`.
    "sklearn.tree._tree.Tree",
)
# No part of a classifier that was ever trained here comes near it; a hostile file may say more.
LARGEST_BYTES = 2_000_000_000


def cohort_digest(cohort: Cohort) -> str:
    """Return a hash of what a cohort holds: organisms, what they learned, and all metadata.

    Parameters
    ----------
    cohort : Cohort
        Any.

    Returns
    -------
    str
        SHA-256 in hexadecimal; the same wherever the cohort lies and whatever it is called.

    Examples
    --------
    >>> from lrplan import open_cohort
    >>> len(cohort_digest(open_cohort("starter")))
    64
    """
    held = {
        "organisms": cohort.organism_ids,
        "metadata_sha256": cohort.attributes["metadata_sha256"],
        # Organisms that were trained again differ in these, however alike their specs.
        "final_performance_sha256": _sha256(np.ascontiguousarray(cohort.final_performance())),
    }
    return _sha256(_canonical(held))


def save_classifier(
    path: str | Path,
    estimator: Any,
    *,
    design: Design | Mapping[str, Any],
    cohort_hash: str,
) -> None:
    """Write a fitted classifier with the design and the cohort that it belongs to.

    Parameters
    ----------
    path : str or Path
        Where; replaced if it exists.
    estimator : classifier
        Fitted, made of classes of lrplan and scikit-learn.
    design : Design or mapping
        Under which its training recordings were made.
    cohort_hash : str
        `cohort_digest` of the cohort it was trained on.

    Raises
    ------
    UsageError
        If it is not fitted, or holds types that `load_classifier` would refuse.
    """
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.validation import check_is_fitted
    from skops.io import dumps, get_untrusted_types

    try:
        check_is_fitted(estimator)
    except (NotFittedError, TypeError):
        raise UsageError(
            f"{type(estimator).__name__} is not a fitted classifier; call its fit first"
        ) from None
    network, rest = _without_network(estimator)
    parts = {MODEL: dumps(rest)}
    if network is not None:
        import torch

        buffer = io.BytesIO()
        torch.save({name: torch.as_tensor(values) for name, values in network.items()}, buffer)
        parts[NETWORK] = buffer.getvalue()
    strange = sorted(set(get_untrusted_types(data=parts[MODEL])) - set(TRUSTED))
    if strange:
        raise UsageError(
            f"a classifier made of {', '.join(strange)} cannot be saved; only classes of lrplan "
            "and scikit-learn can be read again"
        )
    manifest = {
        "schema": SCHEMA,
        "classifier": type(estimator).__name__,
        "design": _plain(design),
        "cohort": cohort_hash,
        "versions": _versions(),
        "parts": {name: _sha256(data) for name, data in parts.items()},
    }
    manifest["manifest_sha256"] = _sha256(_canonical(manifest))
    path = Path(path)
    partial = path.with_name(path.name + ".partial")
    with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(MANIFEST, json.dumps(manifest, indent=1))
        for name, data in parts.items():
            archive.writestr(name, data)
    partial.replace(path)


def load_classifier(
    path: str | Path,
    *,
    cohort_hash: str | None = None,
    design: Design | Mapping[str, Any] | None = None,
) -> Any:
    """Read a classifier that `save_classifier` wrote.

    Parameters
    ----------
    path : str or Path
        The file.
    cohort_hash : str, optional
        `cohort_digest` of the cohort in use; another one in the file is refused.
    design : Design or mapping, optional
        The design in use; another one in the file is refused.

    Returns
    -------
    classifier
        Fitted.

    Raises
    ------
    DataError
        If the file is missing, damaged, changed since it was written, asks for types that are
        not trusted, was written with another scikit-learn, or belongs to another cohort or design.
    """
    path = Path(path)
    manifest, parts = _read(path)
    if cohort_hash is not None and manifest["cohort"] != cohort_hash:
        raise DataError(
            f"{path} was trained on another cohort ({manifest['cohort'][:12]}...; this one is "
            f"{cohort_hash[:12]}...); train it on this cohort, or open the other one"
        )
    if design is not None:
        _compare(path, manifest["design"], _plain(design))
    ours, theirs = _versions(), manifest["versions"]
    if _minor(theirs.get("scikit-learn")) != _minor(ours["scikit-learn"]):
        raise DataError(
            f"{path} was saved with scikit-learn {theirs.get('scikit-learn')}; this is "
            f"{ours['scikit-learn']}, which may read it wrongly. Train it again"
        )
    estimator = _load_model(path, parts[MODEL])
    if NETWORK in parts:
        _set_network(path, estimator, parts[NETWORK])
    return estimator


def _read(path: Path) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Return the manifest and the parts, all compared with their checksums."""
    if not path.is_file():
        raise DataError(f"no classifier at {path}; `save_classifier` writes one")
    try:
        with zipfile.ZipFile(path) as archive:
            sizes = {i.filename: i.file_size for i in archive.infolist()}
            odd = sorted(set(sizes) - {MANIFEST, MODEL, NETWORK})
            if odd or not {MANIFEST, MODEL} <= set(sizes):
                raise DataError(f"{path} is not a saved classifier (it holds {sorted(sizes)[:5]})")
            if sum(sizes.values()) > LARGEST_BYTES:
                raise DataError(f"{path} would unpack to {sum(sizes.values())} bytes; refused")
            parts = {name: archive.read(name) for name in sizes}
    except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError, RuntimeError) as error:
        raise DataError(f"{path} is not a saved classifier, or is damaged ({error})") from None
    except Exception as error:  # zlib's own error is no OSError
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path} is damaged ({error})") from None
    try:
        manifest = json.loads(parts.pop(MANIFEST))
        said = manifest.pop("manifest_sha256")
        schema, listed = manifest["schema"], dict(manifest["parts"])
        expected = {"cohort": str, "design": dict, "versions": dict}
        sound = all(isinstance(manifest[name], kind) for name, kind in expected.items())
    except (ValueError, KeyError, TypeError, AttributeError):
        raise DataError(f"{path}: its {MANIFEST} is damaged; train the classifier again") from None
    if schema != SCHEMA:
        raise DataError(f"{path} has the schema {schema!r}; this lrplan reads {SCHEMA!r}")
    if not sound or said != _sha256(_canonical(manifest)):
        raise DataError(f"{path}: its {MANIFEST} was changed or is damaged; train it again")
    for name in sorted(set(listed) | set(parts)):
        if name not in parts or _sha256(parts[name]) != listed.get(name):
            raise DataError(f"{path}: {name} was changed or is damaged; train it again")
    return manifest, parts


def _load_model(path: Path, data: bytes) -> Any:
    from skops.io import get_untrusted_types, loads

    try:
        strange = sorted(set(get_untrusted_types(data=data)) - set(TRUSTED))
    except Exception as error:
        raise DataError(f"{path}: {MODEL} cannot be read ({error})") from None
    if strange:
        raise DataError(
            f"{path} asks for {', '.join(strange)}, which no classifier of lrplan is made of; it "
            "is refused, and nothing of it was run"
        )
    try:
        estimator = loads(data, trusted=list(TRUSTED))
        sound = _sound_trees(estimator)
    except Exception as error:
        raise DataError(f"{path}: {MODEL} cannot be read ({error})") from None
    if not sound:
        raise DataError(f"{path}: a tree of {MODEL} leads nowhere; it is refused")
    return estimator


def _sound_trees(estimator: Any) -> bool:
    """Return whether each step down each tree leads to a later node of the same tree.

    Nor may a tree look at more features than its classifier hands to it.
    """
    for tree, features in _trees_in(estimator, None, set()):
        left, right, feature = tree.children_left, tree.children_right, tree.feature
        if features is not None and tree.n_features != features:
            return False
        inner = np.flatnonzero(left != -1)
        for child in (left[inner], right[inner]):
            if (child <= inner).any() or (child >= tree.node_count).any():
                return False
        if (feature[inner] < 0).any() or (feature[inner] >= tree.n_features).any():
            return False
        if len(tree.value) != tree.node_count or (right[left == -1] != -1).any():
            return False
    return True


def _trees_in(value: Any, features: int | None, seen: set[int]) -> Iterator[tuple[Any, int | None]]:
    """Yield all trees, wherever they are in a classifier, and the features they are given."""
    from sklearn.tree._tree import Tree

    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, Tree):
        yield value, features
        return
    parts: list[Any] = []
    if isinstance(value, Mapping):
        parts = list(value.values())
    elif isinstance(value, (list, tuple, set)):
        parts = list(value)
    elif isinstance(value, np.ndarray):
        parts = value.ravel().tolist() if value.dtype.hasobject else []
    elif hasattr(value, "__dict__") and not isinstance(value, type):
        own = vars(value)
        if "kept_" in own:
            features = int(np.sum(own["kept_"]))
        parts = list(own.values())
    for part in parts:
        yield from _trees_in(part, features, seen)


def _without_network(estimator: Any) -> tuple[dict[str, np.ndarray] | None, Any]:
    """Split a classifier into a network's weights and all the rest."""
    from copy import copy

    inner = getattr(estimator, "estimator_", None)
    if inner is not None:
        network, inner = _without_network(inner)
        rest = copy(estimator)
        rest.estimator_ = inner
        return network, rest
    if not hasattr(estimator, "weights_"):
        return None, estimator
    rest = copy(estimator)
    del rest.weights_
    return dict(estimator.weights_), rest


def _set_network(path: Path, estimator: Any, data: bytes) -> None:
    import torch

    try:
        network = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        weights = {str(name): values.numpy() for name, values in network.items()}
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(
            f"{path}: {NETWORK} holds more than weights or is damaged ({reason}); it is refused"
        ) from None
    inner = estimator
    while hasattr(inner, "estimator_"):
        inner = inner.estimator_
    inner.weights_ = weights


def _compare(path: Path, saved: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    # Modalities had no settings at first.
    saved, wanted = ({"settings": {}} | dict(d) for d in (saved, wanted))
    differing = [k for k in sorted({*saved, *wanted}) if saved.get(k) != wanted.get(k)]
    if differing:
        changes = ", ".join(f"{k} {saved.get(k)!r}, not {wanted.get(k)!r}" for k in differing)
        raise DataError(
            f"{path} was trained for another design ({changes}); train it for this design"
        )


def _plain(design: Design | Mapping[str, Any]) -> dict[str, Any]:
    """Return a design as JSON gives it back."""
    values = design.to_json() if isinstance(design, Design) else dict(design)
    plain: dict[str, Any] = json.loads(_canonical(values))
    return plain


def _canonical(values: Any) -> bytes:
    return json.dumps(values, sort_keys=True, separators=(",", ":")).encode()


def _sha256(data: Any) -> str:
    return hashlib.sha256(data).hexdigest()


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in ("lrplan", "scikit-learn", "skops")}


def _minor(version: Any) -> tuple[str, ...]:
    return tuple(str(version).split(".")[:2])
