from __future__ import annotations

import pytest

KINDS = (
    "rules",
    "credits",
    "optimizers",
    "architectures",
    "tasks",
    "modalities",
    "observables",
    "sets",
)
SOME = {
    "rules": {"sgdm", "adam", "feedback_alignment", "information_alignment"},
    "credits": {"backpropagation", "feedback_alignment", "information_alignment"},
    "optimizers": {"adam", "sgdm"},
    "architectures": {"mlp", "knet4", "knet5", "knet4_lrn", "knet5_lrn"},
    "tasks": {
        "cifar10",
        "digits",
        "digits_simclr",
        "gratings",
        "imagenet",
        "shapes",
        "simclr",
        "tones",
        "wsn",
    },
    "modalities": {"ideal"},
    "observables": {"act_abs_median", "weight_sq_kurtosis", "grad_raw", "change_turn"},
    "sets": {"standard-1", "nayebi2020", "geometry-1", "geometry-1-untracked"},
}
ALSO = {
    "rules": {"settings", "credit", "optimizer", "learning_rate"},
    "credits": {"settings"},
    "optimizers": {"settings"},
    "architectures": {"family", "settings", "size"},
    "tasks": {"objective", "needs", "settings"},
    "modalities": {"measures", "settings", "about_settings"},
    "observables": {"degree", "measure", "family", "needs"},
    "sets": {"observables", "number"},
}


@pytest.mark.parametrize("kind", KINDS)
def test_json_is_an_array_with_names_and_sources(cli, kind):
    ran = cli("list", kind, "--json")
    assert (ran.code, ran.err) == (0, "")
    found = ran.json()
    assert SOME[kind] <= {entry["name"] for entry in found}
    for entry in found:
        assert entry["cites"] and entry["summary"]
        assert entry.keys() == {"name", "summary", "cites"} | ALSO[kind]


@pytest.mark.parametrize("kind", KINDS)
def test_table_fits_a_page(cli, kind):
    ran = cli("list", kind)
    assert ran.code == 0
    first = {line.split()[0] for line in ran.out.splitlines() if line.split()}
    assert first >= SOME[kind]
    assert max(map(len, ran.out.splitlines())) <= 100


def test_a_rule_has_the_settings_of_its_credit_and_its_optimizer(cli):
    listed = {k: cli("list", k, "--json").json() for k in ("rules", "credits", "optimizers")}
    settings = {(k, e["name"]): e["settings"] for k, entries in listed.items() for e in entries}
    for rule in listed["rules"]:
        parts = settings["credits", rule["credit"]] | settings["optimizers", rule["optimizer"]]
        assert rule["settings"].keys() == parts.keys(), rule["name"]


def test_the_45_observables_of_the_paper_are_there(cli):
    families = [o["family"] for o in cli("list", "observables", "--json").json()]
    assert [families.count(f) for f in ("weight", "act", "grad")] == [21, 21, 3]


def test_observables_say_their_family_and_what_they_need(cli):
    from lrplan.cli.list_ import _needs_words

    listed = {o["name"]: o for o in cli("list", "observables", "--json").json()}
    assert listed["act_raw_mean"]["needs"] == {
        "trajectory": False,
        "tracked": False,
        "sessions": 1,
        "stimuli": 1,
        "units": 1,
        "noise": False,
    }
    needs = listed["change_turn"]["needs"]
    assert (needs["tracked"], needs["sessions"], needs["noise"]) == (True, 2, True)
    lines = [" ".join(line.split()) for line in cli("list", "observables").out.splitlines()]
    assert "name family summary degree" in lines
    assert "family measure needs cites" in lines
    assert "act activity nothing Nayebi et al., NeurIPS 2020" in lines
    assert _needs_words(needs) == "2 sessions, 2 stimuli, 2 units, tracked units, known noise"


@pytest.mark.parametrize(
    ("task", "words"),
    [
        ("cifar10", ("www.cs.toronto.edu/~kriz/cifar.html", "cifar-10-batches-py/data_batch_1")),
        ("imagenet", ("image-net.org", "imagenet/train/<class>/*.JPEG", "imagenet/val/<class>")),
        ("wsn", ("speech/<word>/<speaker>/*.wav", "background/<noise>/*.wav", "wsn.h5")),
        ("shapes", ("nothing",)),
        ("tones", ("nothing",)),
    ],
)
def test_tasks_say_what_data_they_need_and_where_they_lie(cli, task, words):
    [needs] = [e["needs"] for e in cli("list", "tasks", "--json").json() if e["name"] == task]
    shown = "".join(cli("list", "tasks").out.split())
    for word in words:
        assert word in needs
    assert task in shown
