"""Pages made of benchmarks: time and memory, goals, scaling with image tokens."""

import copy
import json

import pytest

from pdrop_eval.report.bench import cli
from tools.speed.prefill import bench_page, goals, scaling

pytestmark = pytest.mark.usefixtures("idle")


def test_the_page_tells_machines_apart_and_leaves_out_where_nothing_fits(every_variant, tmp_path):
    def save(name, **changes):
        path = tmp_path / "llava" / name / "record.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps({**every_variant, **changes}))

    save("one")
    save("newer", updated="9999")
    save("other", hardware={**every_variant["hardware"], "cpu": "another"})
    empty = {**every_variant["batches"]["1"], "variants": []}
    save("none", batches={"1": empty}, sample={**every_variant["sample"], "text_tokens": 7})
    found = bench_page.newest(tmp_path)
    assert sorted(one["hardware"]["cpu"] == "another" for one in found) == [False, True]
    assert {one["updated"] for one in found} == {"9999", every_variant["updated"]}


def test_goals_and_scaling_are_not_on_the_page():
    for settings in (goals.SETTINGS, scaling.SETTINGS):
        (folder,) = [one.partition("=")[2] for one in settings if one.startswith("results=")]
        assert not folder.startswith(str(bench_page.RECORDS))


def test_the_page_has_the_newest_of_each_kind(config, tmp_path):
    cli.bench(config("batch_sizes=[1]", "strategies=[vanilla]"))
    last = cli.bench(config("batch_sizes=[1]", "strategies=[vanilla]", "seed=1"))
    found = bench_page.newest(tmp_path / "bench")
    assert [one["created"] for one in found] == [last["created"]]
    page = bench_page.bench_page(found)
    assert "4 layers, 36 image tokens" in page
    assert "- vanilla: 10.5 x 4" in page  # 10,752 bytes in each of 4 layers


def test_goals_are_met_up_to_their_limits(every_variant):
    record = copy.deepcopy(every_variant)
    variants = {one["label"]: one for one in record["batches"]["1"]["variants"]}
    for label, seconds in (
        ("vanilla", 1.0),
        ("fastv", 0.5),
        ("pdrop", 0.9),
        ("plain", 1.0),
        ("keep_all", 1.01),
    ):
        one = variants[label]
        for phase in ("prefill", "decode"):
            one[phase]["seconds"] = [seconds] * 3
            one[phase]["all_seconds"] = one[phase]["all_cpu_seconds"] = [seconds] * 3
        one["ranking_seconds"] = [0.02 if label == "pdrop" else 0.001] * 3
    found = goals.find_goals(record)
    # n = 42, d = 32, m = 48; a layer: 4nd^2 + 2n^2d + 3ndm = 172032 + 112896 + 193536 = 478464; at 18 + 6
    # tokens 98304 + 36864 + 110592 = 245760: FastV's share is (2 * 478464 + 2 * 245760) / (4 * 478464)
    assert found[0].limit == pytest.approx(1.03 * (478464 + 245760) / (2 * 478464))
    assert [goal.met for goal in found] == [True, False, True, True, False, True, True]
    assert found[2].measured == [1.01] * 3
    # half the pairs of attention: 422016 and 227328 a layer
    assert found[0].causal == pytest.approx((422016 + 227328) / (2 * 422016))
    assert found[0].above_causal == pytest.approx(0.5 * 2 * 422016 / (422016 + 227328) - 1)
    note = "FLOPs ratio with the causal half of attention: 0.769; measured is 35.0% below it"
    assert found[0].note == note
    assert [goal.causal is None for goal in found[2:]] == [True] * 5
    page = goals.goals_page(record, found)
    assert page.count("| missed ") == 2
    assert "| met " in page
    assert f"no goal: {note}" in page
    assert "on 1 CPU thread(s)" in page
    record["code"] = {"version": "1", "commit": None, "dirty": True}
    for batch in record["batches"].values():
        batch["code"] = record["code"]
    assert "code 1 with changes." in goals.goals_page(record, found)


def test_the_goals_command_writes_both_files(every_variant, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(goals, "bench", lambda config: every_variant)
    monkeypatch.setattr(goals, "FILE", tmp_path / "goals.json")
    monkeypatch.setattr(goals.sys, "argv", ["goals"])
    goals.main()
    written = json.loads((tmp_path / "goals.json").read_text())["goals"]
    assert len(written) == 7
    assert written[0]["causal"] > 0.7
    assert (tmp_path / "goals.md").read_text().startswith("# Goals")
    printed = capsys.readouterr().out
    assert "keep-all: prefill time over plain transformers'" in printed
    assert printed.count("FLOPs ratio with the causal half of attention: 0.") == 2


@pytest.mark.slow
def test_scaling_fits_an_exponent_to_every_quantity(config, tmp_path, monkeypatch):
    def tiny(overrides):
        n = next(int(o.split("=")[1]) for o in overrides if o.startswith("image_tokens="))
        return config("batch_sizes=[1]", "rounds=1", f"image_tokens={n}")

    monkeypatch.setattr(scaling, "compose_bench", tiny)
    monkeypatch.setattr(scaling, "TOKENS", (36, 72, 144))
    monkeypatch.setattr(scaling, "FILE", tmp_path / "scaling.json")
    monkeypatch.setattr(scaling.sys, "argv", ["scaling"])
    scaling.main()
    found = json.loads((tmp_path / "scaling.json").read_text())
    assert found["image_tokens"] == [36, 72, 144]
    assert [one["vanilla"]["kv_bytes"] for one in found["points"]] == [
        4 * 256 * (n + 6) for n in (36, 72, 144)
    ]
    slope, error = found["exponents"]["vanilla"]["kv_bytes"]
    assert 0.8 < slope < 1  # six text tokens are there at any size
    assert error < 0.05
    page = (tmp_path / "scaling.md").read_text()
    assert "n = 144" in page
    assert page.count("prefill time grows as n^") == len(found["exponents"])
    found["records"][1]["code"]["dirty"] = True
    assert " with changes." in scaling.scaling_page(found)


def test_what_exponents_come_to_follows_from_them():
    steep = {"prefill_seconds": [1.5, 0.1], "flops": [1.2, 0.0], "peak_bytes": [1.0, 0.02]}
    assert scaling.said("pdrop", steep) == (
        "PDrop: prefill time grows as n^1.50, faster than its FLOPs (n^1.20); peak memory as n^1.00, in "
        "proportion to n, within its error."
    )
    flat = {"prefill_seconds": [1.1, 0.1], "flops": [1.2, 0.0], "peak_bytes": [1.3, 0.02]}
    assert "n^1.10, as its FLOPs do, within its error" in scaling.said("vanilla", flat)
    assert "n^1.30, faster than n." in scaling.said("vanilla", flat)
