from __future__ import annotations


def test_a_recording_shows_what_it_offers_and_what_would_be_read(cli, recorded):
    ran = cli("inspect", recorded[0])
    assert (ran.code, ran.err) == (0, "")
    for word in ("/units", "/intervals/trials", "stimulus_name", "start_time", "No ROI series"):
        assert word in ran.out
    assert "one session" in " ".join(ran.out.split())
    assert max(map(len, ran.out.splitlines())) <= 100


def test_json_is_one_document(cli, recorded):
    found = cli("inspect", recorded[0], "--json").json()
    assert found["schema"] == "lrplan.inspect/1"
    assert found["chosen"]["label"] == "stimulus_name"
    assert found["problems"] == []


def test_hostile_names_are_harmless():
    from lrplan.cli import _output
    from lrplan.cli.inspect import inspect_parts

    hostile = "[red]x[/red]\x1b]0;t\x07"
    report = {
        "file": hostile,
        "nwb_version": "2.6.0",
        "session": {"start": None, "id": hostile, "subject": hostile},
        "units": [{"path": hostile, "n": 1, "columns": [hostile], "spikes": None}],
        "roi_series": [],
        "intervals": [
            {
                "path": hostile,
                "rows": 1,
                "columns": [
                    {"name": hostile, "dtype": "text", "example": hostile, "distinct": 1, "nan": 0}
                ],
            }
        ],
        "chosen": {"label": hostile},
        "problems": [hostile],
        "warnings": [hostile],
    }
    from io import StringIO

    from rich.console import Console

    out = StringIO()
    console = Console(file=out, markup=False, highlight=False, width=200)
    for part in inspect_parts(report):
        console.print(_output.plain(part) if isinstance(part, str) else part)
    assert out.getvalue().count("[red]x[/red]?]0;t?") >= 9
    assert not set(out.getvalue()) & set("\x1b\x07")
