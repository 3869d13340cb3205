"""What the page draws: curves, the numbers of benchmarks of speed; and the comparisons it leads to."""

import json

import pytest
import synthetic
from benching import bench_record, write_bench
from paging import Read, build

from pdrop_eval.run.bench.record import SCHEMA

BUDGET = {"tokens": None, "share": 0.5, "tflops": None}
ONCE = {"ratio": None, "stages": None, "layers": [4], "ratios": [0.5]}


@pytest.fixture
def add(tmp_path, quick):
    """Writes a run of TextVQA and DocVQA, and returns its key."""

    def make(model, strategy, status="completed", **settings):
        head = synthetic.header(model, strategy, **settings)
        samples = synthetic.samples(model, strategy, "textvqa_val", range(4))
        tasks = {"textvqa_val": (samples, "d" * 64), "docvqa_val": (samples, "e" * 64)}
        made = synthetic.write_run(tmp_path / "runs", model, strategy, tasks, head=head, status=status)
        return f"{model}.{made.name}"

    return make


def curves(page):
    return {curve["name"]: curve for curve in page.index["curves"]}


def test_figure_4_has_a_point_a_run_at_its_flops_with_its_interval(add, paged):
    vanilla, dropped = add("mini576", "vanilla"), add("mini576", "pdrop", budget=BUDGET)
    page = paged(pictures=0)
    curve = curves(page)["figure4_mini576_docvqa_textvqa"]  # no run has its other two benchmarks
    assert curve.keys() >= {"name", "title", "kind", "x", "benchmarks", "series"}
    assert (curve["kind"], curve["x"]) == ("flops", "GFLOPs")
    assert curve["benchmarks"] == ["docvqa", "textvqa"]
    assert [(one["name"], one["strategy"]) for one in curve["series"]] == [
        ("vanilla", "vanilla"),
        ("PDrop", "pdrop"),
    ]
    for key, series in zip((vanilla, dropped), curve["series"], strict=True):
        (point,) = series["points"]
        score = page.runs[key]["scores"]["textvqa"]
        assert point["run"] == key
        assert point["bench"].keys() == {"docvqa", "textvqa"}
        found = point["bench"]["textvqa"]
        assert found["x"] == pytest.approx(1000 * score["tflops_mean"])
        assert [found[name] for name in ("score", "low", "high")] == [
            score[n] for n in ("score", "low", "high")
        ]


def test_figure_1_and_3_have_a_series_a_layer_over_the_share_that_remains(add, paged):
    vanilla, once = add("mini576", "vanilla"), add("mini576", "pdrop", fields=ONCE)
    other = add("mini576_pdrop_05", "pdrop", fields=ONCE)
    found = curves(paged(pictures=0))
    first = found["figure1_mini576"]
    assert (first["kind"], first["x"]) == ("ratio", "retained image tokens, %")
    (series,) = first["series"]
    assert (series["name"], series["layer"]) == ("before layer 4", 4)
    assert [(p["run"], p["bench"]["textvqa"]["x"]) for p in series["points"]] == [(once, 50), (vanilla, 100)]
    third = found["figure3_mini576"]["series"]
    assert [one["points"][0]["run"] for one in third] == [once, other]
    assert third[1]["name"].endswith("trained with PDrop λ=0.5")


def test_vanilla_alone_draws_nothing(add, paged):
    add("mini576", "vanilla")
    assert paged(pictures=0).index["curves"] == []


def test_benchmarks_of_speed_come_with_medians_and_quartiles(add, paged, tmp_path):
    add("mini576", "vanilla")
    write_bench(tmp_path, "0123456789", bench_record())
    page = paged(pictures=0)
    (record,) = page.index["efficiency"]["records"]
    assert record["key"] == "mini576.0123456789"
    names = ("model", "weights", "device", "dtype", "hardware", "image_tokens")
    assert [record[name] for name in names] == ["mini576", "random", "cpu", "float32", "A processor", 8]
    (batch,) = record["batches"]
    assert batch["batch_size"] == 4
    second = batch["variants"][1]
    assert second["label"] == "FastV k=3"
    assert second["strategy"] == "fastv"
    assert second["settings"] == ["k=3"]
    assert second["tokens_per_layer"] == [8, 4]
    assert second["prefill_ms"] == {"low": 1, "median": 2, "high": 4}
    assert second["decode_ms"] == {"low": 5, "median": 6, "high": 7}
    assert (second["tokens_per_second"], second["memory_bytes"], second["kv_cache_bytes"]) == (20, 1000, 30)
    assert second["tflops"] == 1


@pytest.mark.parametrize("record", ["{", {"schema": SCHEMA, "batches": {}}, bench_record(schema=99)])
def test_a_benchmark_that_can_not_be_read_is_named(add, paged, tmp_path, record):
    add("mini576", "vanilla")
    write_bench(tmp_path, "0123456789", record)
    write_bench(tmp_path, "9876543210", bench_record())
    page = paged(pictures=0)
    assert [one["key"] for one in page.index["efficiency"]["records"]] == ["mini576.9876543210"]
    assert any("0123456789" in notice for notice in page.index["notices"])
    assert str(tmp_path) not in str(page.index["notices"])


def test_comparisons_are_copied_with_their_pictures(add, paged, tmp_path):
    add("mini576", "vanilla")
    folder = tmp_path / "compare"
    (folder / "a_vs_b.pictures").mkdir(parents=True)
    (folder / "a_vs_b.pictures/gqa-1.png").write_bytes(b"picture")
    table = '<table>\n<tr><td><img src="a_vs_b.pictures/gqa-1.png" alt=""><td>yes (a)/no</table>\n</html>\n'
    head = "<title>%s</title><style>td{x:y}</style>\n<h1>Changed answers: %s</h1>\n"
    place = f"{tmp_path}/runs/mini"
    (folder / "a_vs_b.answers.html").write_text(head % (place, place) + table)
    asked = {"suite": {"name": "mini"}, "limit": 8}
    document = {"runs": {"baseline": {"name": "a", **asked}, "candidate": {"name": "b", **asked}}}
    (folder / "a_vs_b.json").write_text(json.dumps(document))
    (folder / "broken.answers.html").write_text("<p>")
    page = paged(pictures=0)
    assert page.index["comparisons"] == [
        {"title": "b against a, mini, limit 8", "file": "downloads/compare/a_vs_b.answers.html"}
    ]
    assert (page.out / "downloads/compare/a_vs_b.pictures/gqa-1.png").read_bytes() == b"picture"
    copied = (page.out / "downloads/compare/a_vs_b.answers.html").read_text()
    assert copied == head % ("…/mini", "…/mini") + table
    assert any("broken" in notice for notice in page.index["notices"])
    (folder / "a_vs_b.answers.html").unlink()
    build(tmp_path, pictures=0)
    assert not any(name.startswith("downloads/compare") for name in Read(tmp_path / "site").files())


def compared(folder, stem, **candidate):
    """A comparison as it is written, of a baseline that was asked all questions of a suite."""
    asked = {"suite": {"name": "mini"}, "limit": None}
    runs = {"baseline": {"name": "vanilla", **asked}, "candidate": {"name": "pdrop", **asked, **candidate}}
    folder.mkdir(exist_ok=True)
    (folder / f"{stem}.json").write_text(json.dumps({"runs": runs}))
    (folder / f"{stem}.answers.html").write_text("<table></table>")


def test_comparisons_can_be_told_apart(add, paged, tmp_path):
    add("mini576", "vanilla")
    compared(tmp_path / "compare", "a")
    compared(tmp_path / "compare", "b")
    compared(tmp_path / "compare", "c", limit=8, suite={"name": "other"})
    compared(tmp_path / "compare", "d", suite=3)
    page = paged(pictures=0)
    assert [one["title"] for one in page.index["comparisons"]] == [
        "pdrop against vanilla, mini",
        "pdrop against vanilla, mini (b)",
        "pdrop against vanilla, other / mini, limit 8 / none",
    ]
    assert "The comparison d can't be read: AttributeError." in page.index["notices"]
