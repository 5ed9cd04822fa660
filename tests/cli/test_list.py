from __future__ import annotations

import pytest

KINDS = ("rules", "architectures", "tasks", "modalities", "observables")
SOME = {
    "rules": {"sgdm", "adam", "feedback_alignment", "information_alignment"},
    "architectures": {"mlp", "knet4", "knet5", "knet4_lrn", "knet5_lrn"},
    "tasks": {"digits", "digits_simclr"},
    "modalities": {"ideal"},
    "observables": {"act_abs_median", "weight_sq_kurtosis", "grad_raw"},
}
ALSO = {
    "rules": {"settings", "credit", "optimizer", "learning_rate"},
    "architectures": {"settings", "size"},
    "tasks": {"objective", "needs", "settings"},
    "modalities": {"measures"},
    "observables": {"degree", "measure", "family"},
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


def test_the_45_observables_of_the_paper_are_there(cli):
    families = [o["family"] for o in cli("list", "observables", "--json").json()]
    assert [families.count(f) for f in ("weight", "act", "grad")] == [21, 21, 3]
