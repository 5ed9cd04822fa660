from __future__ import annotations

RULES = {"sgdm", "adam", "feedback_alignment", "information_alignment"}


def test_info_as_json(cli, tiny_cohort_path):
    ran = cli("cohort", "info", tiny_cohort_path, "--json")
    assert (ran.code, ran.err) == (0, "")
    found = ran.json()
    assert found["organisms"] == 24
    assert found["by_rule"] == dict.fromkeys(sorted(RULES), 6)
    assert found["architectures"] == ["mlp"]
    assert found["tasks"] == ["digits"]
    assert (found["checkpoints"], found["stimuli"], found["units_stored"]) == (5, 4, 16)
    assert found["bytes"] == sum(
        p.stat().st_size for p in tiny_cohort_path.rglob("*") if p.is_file()
    )
    assert set(found["final_performance"]["digits"]) == RULES


def test_info_as_a_table_shows_performance_by_task_and_rule(cli, tiny_cohort_path):
    found = cli("cohort", "info", tiny_cohort_path, "--json").json()
    ran = cli("cohort", "info", tiny_cohort_path)
    assert ran.code == 0
    rows = [" ".join(line.split()) for line in ran.out.splitlines()]
    for rule, share in found["final_performance"]["digits"].items():
        assert f"{rule} 6 {100 * share:.1f} %" in rows
    assert max(map(len, ran.out.splitlines())) <= 100


def test_organisms(cli, tiny_cohort_path):
    found = cli("cohort", "organisms", tiny_cohort_path, "--json").json()
    assert len({o["id"] for o in found}) == 24
    first = found[0]
    assert [x["position"] for x in first["layers"]] == ["early", "middle", "deep"]
    assert (first["rule"], first["learning_rate"], first["batch_size"]) == ("sgdm", 0.02, 64)
    ran = cli("cohort", "organisms", tiny_cohort_path)
    assert ran.code == 0
    for organism in found:
        [line] = [x for x in ran.out.splitlines() if organism["id"] in x]
        assert organism["rule"] in line
        assert f"{100 * organism['final_performance']:.1f} %" in line
    assert max(map(len, ran.out.splitlines())) <= 100


def test_the_longest_names_fit_a_line_of_100(capsys):
    from lrplan.cli import _output
    from lrplan.cli.cohort import organism_parts

    record = {
        "id": "0123456789abcdef",
        "rule": "information_alignment",
        "architecture": "knet5_lrn",
        "task": "digits_simclr",
        "batch_size": 1024,
        "learning_rate": 0.0125,
        "model_seed": 10,
        "data_seed": 10,
        "diverged": True,
        "layers": [],
        "final_performance": None,
    }
    _output.show(*organism_parts([record]))
    [line] = [x for x in capsys.readouterr().out.splitlines() if "0123456789abcdef" in x]
    for word in ("information_alignment", "knet5_lrn", "digits_simclr", "0.0125", "diverged"):
        assert word in line
    assert len(line) <= 100


def test_a_missing_cohort_is_bad_data(cli, tmp_path):
    for command in ("info", "organisms"):
        ran = cli("cohort", command, tmp_path / "missing.zarr")
        assert (ran.code, ran.out, ran.err.count("\n")) == (3, "", 1)
        assert "missing.zarr" in ran.err
