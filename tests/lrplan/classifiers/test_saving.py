"""A file says what it belongs to, and nothing in it is ever run."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import zipfile

import numpy as np
import pytest
import torch

from lrplan import Design
from lrplan.classifiers import (
    classifiers,
    cohort_digest,
    load_classifier,
    make_classifier,
    save_classifier,
)
from lrplan.classifiers._saving import MANIFEST, MODEL, NETWORK, _canonical
from lrplan.classifiers.calibrated import Calibrated
from lrplan.classifiers.calibrated_forest import calibrated_forest
from lrplan.errors import DataError, UsageError

COHORT = "c" * 64
DESIGN = Design(units=30)


def data():
    rng = np.random.default_rng(0)
    y = np.array(["adam", "fa", "sgdm"])[np.arange(60) % 3]
    x = rng.standard_normal((60, 14))
    x[:, :3] += np.arange(60)[:, None] % 3
    return x, y


def fitted(name):
    return make_classifier(name, sessions=4, static=2, effort="quick").fit(*data())


@pytest.fixture(scope="module")
def network():
    return fitted("conv1d_mlp")


@pytest.fixture
def path(tmp_path, network):
    out = tmp_path / "model.lrplan"
    save_classifier(out, network, design=DESIGN, cohort_hash=COHORT)
    return out


def parts_of(path):
    with zipfile.ZipFile(path) as archive:
        return {n: archive.read(n) for n in archive.namelist()}


def write(path, parts):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)


def forge(path, **changed):
    """Change parts and make every checksum agree, as someone who means harm would."""
    parts = {**parts_of(path), **changed}
    manifest = json.loads(parts.pop(MANIFEST))
    manifest.pop("manifest_sha256")
    manifest["parts"] = {n: hashlib.sha256(d).hexdigest() for n, d in parts.items()}
    manifest["manifest_sha256"] = hashlib.sha256(_canonical(manifest)).hexdigest()
    write(path, {MANIFEST: json.dumps(manifest), **parts})


@pytest.mark.parametrize("name", [*classifiers.names(), "calibrated", "calibrated_forest"])
def test_what_is_read_judges_as_what_was_written(name, tmp_path, network):
    x, y = data()
    if name == "calibrated_forest":
        model = calibrated_forest().fit(x, y)
    elif name == "calibrated":
        model = Calibrated(network).fit(x, y)
    else:
        model = network if name == "conv1d_mlp" else fitted(name)
    path = tmp_path / "model.lrplan"
    save_classifier(path, model, design=DESIGN, cohort_hash=COHORT)
    read = load_classifier(path, design=DESIGN, cohort_hash=COHORT)
    assert type(read) is type(model)
    assert json.loads(parts_of(path)[MANIFEST])["schema"] == "lrplan.classifier/1"
    np.testing.assert_array_equal(read.predict_proba(x), model.predict_proba(x))
    np.testing.assert_array_equal(read.predict(x), model.predict(x))
    assert os.listdir(tmp_path) == ["model.lrplan"]
    # Writing changes nothing in what is written.
    model.predict_proba(x)


def test_another_cohort_or_design_is_refused_by_name(path):
    with pytest.raises(
        DataError, match=r"model.lrplan was trained on another cohort \(cccccccccccc"
    ):
        load_classifier(path, cohort_hash="d" * 64)
    with pytest.raises(DataError, match="another design .units 30, not 300"):
        load_classifier(path, design=Design(units=300))
    load_classifier(path)


@pytest.mark.parametrize("part", [MODEL, NETWORK])
def test_a_changed_part_is_named(path, part):
    parts = parts_of(path)
    changed = bytearray(parts[part])
    changed[len(changed) // 2] ^= 1
    write(path, {**parts, part: bytes(changed)})
    with pytest.raises(DataError, match=f"{part} was changed or is damaged"):
        load_classifier(path)


def test_a_changed_manifest_is_seen(path):
    parts = parts_of(path)
    write(path, {**parts, MANIFEST: parts[MANIFEST].replace(b"c" * 64, b"d" * 64)})
    with pytest.raises(DataError, match="manifest.json was changed or is damaged"):
        load_classifier(path, cohort_hash="d" * 64)
    write(path, {**parts, MANIFEST: b"[]"})
    with pytest.raises(DataError, match="manifest.json is damaged"):
        load_classifier(path)


def test_every_cut_file_is_refused(path, tmp_path):
    whole = path.read_bytes()
    cut = tmp_path / "cut.lrplan"
    for length in range(0, len(whole), len(whole) // 40):
        cut.write_bytes(whole[:length])
        with pytest.raises(DataError, match="cut.lrplan"):
            load_classifier(cut)


class Foreign:
    """A class that no classifier is made of."""

    def __init__(self):
        self.x = 1


class Runs:
    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


def test_other_types_are_refused_by_name(path):
    from skops.io import dumps

    forge(path, **{MODEL: dumps({"model": Foreign()})})
    with pytest.raises(DataError, match=r"asks for .*Foreign.* nothing of it was run"):
        load_classifier(path)


def test_a_network_that_would_run_a_command_is_refused(path, tmp_path):
    mark = tmp_path / "ran"
    buffer = io.BytesIO()
    torch.save({"convolution": Runs(f"touch {mark}")}, buffer)
    for hostile in (buffer.getvalue(), pickle.dumps(Runs(f"touch {mark}"))):
        forge(path, **{NETWORK: hostile})
        with pytest.raises(DataError, match="network.pt holds more than weights"):
            load_classifier(path)
    assert not mark.exists()


def test_a_tree_that_leads_nowhere_is_refused(tmp_path):
    """Compiled code would follow it out of memory."""
    model = fitted("random_forest")
    path = tmp_path / "model.lrplan"
    model.trees_[3].tree_.children_left[0] = 10**6
    save_classifier(path, model, design=DESIGN, cohort_hash=COHORT)
    with pytest.raises(DataError, match="a tree of model.skops leads nowhere"):
        load_classifier(path)


def test_a_tree_within_another_classifier_is_looked_at_too(tmp_path):
    from sklearn.ensemble import RandomForestClassifier

    x = np.random.default_rng(0).standard_normal((40, 4))
    model = Calibrated(RandomForestClassifier(5, random_state=0), folds=2)
    model.fit(x, np.where(x[:, 0] > 0, "a", "b"))
    path = tmp_path / "model.lrplan"
    save_classifier(path, model, design=DESIGN, cohort_hash=COHORT)
    assert (load_classifier(path).predict(x) == model.predict(x)).all()
    model.estimator_.estimators_[2].tree_.children_left[0] = 10**6
    save_classifier(path, model, design=DESIGN, cohort_hash=COHORT)
    with pytest.raises(DataError, match="a tree of model.skops leads nowhere"):
        load_classifier(path)


@pytest.mark.parametrize(
    "content", [b"", b"not a zip", pickle.dumps({"a": 1})], ids=["empty", "text", "pickle"]
)
def test_something_else_is_refused(tmp_path, content):
    path = tmp_path / "model.lrplan"
    with pytest.raises(DataError, match="no classifier at"):
        load_classifier(path)
    path.write_bytes(content)
    with pytest.raises(DataError, match="is not a saved classifier"):
        load_classifier(path)


def test_another_scikit_learn_is_refused(path):
    parts = parts_of(path)
    manifest = json.loads(parts[MANIFEST])
    manifest["versions"]["scikit-learn"] = "0.1.2"
    write(path, {**parts, MANIFEST: json.dumps(manifest)})
    forge(path)
    with pytest.raises(DataError, match=r"saved with scikit-learn 0\.1\.2"):
        load_classifier(path)


def test_a_design_from_before_modalities_had_settings_is_known(path):
    parts = parts_of(path)
    manifest = json.loads(parts[MANIFEST])
    assert manifest["design"].pop("settings") == {}
    write(path, {**parts, MANIFEST: json.dumps(manifest)})
    forge(path)
    load_classifier(path, design=DESIGN)


def test_what_could_not_be_read_again_is_not_written(tmp_path):
    with pytest.raises(UsageError, match="not a fitted classifier"):
        save_classifier(
            tmp_path / "m", make_classifier("linear_svm"), design=DESIGN, cohort_hash=COHORT
        )
    model = fitted("linear_svm")
    model.extra_ = Foreign()
    with pytest.raises(UsageError, match="Foreign cannot be saved"):
        save_classifier(tmp_path / "m", model, design=DESIGN, cohort_hash=COHORT)


def test_cohorts_have_different_hashes_wherever_they_lie(make_cohort, tmp_path):
    one, again = (make_cohort(tmp_path / f"{n}.zarr", effect=0.0) for n in ("one", "again"))
    trained_anew = make_cohort(tmp_path / "anew.zarr", effect=0.0, seed=1)
    larger = make_cohort(tmp_path / "larger.zarr", effect=0.0, per_rule=13)
    assert cohort_digest(one) == cohort_digest(again)
    assert len({cohort_digest(c) for c in (one, trained_anew, larger)}) == 3
