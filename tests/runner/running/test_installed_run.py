"""Benchmarks that run from lmms-eval's own files, from data with the real columns to a table."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import installed_data
import pytest

from pdrop_eval.records.rows.run import to_runs
from pdrop_eval.records.store import load_records, load_samples
from pdrop_eval.report.tables.overview import overview
from pdrop_eval.run.config.spec import compose_spec
from pdrop_eval.run.evaluate import cli

NAMED = "ocrbench,ai2d,mmmu_val,hallusion_bench_image,mathvista_testmini,refcoco_bbox_rec_val"


class Judge(BaseHTTPRequestHandler):
    """Finds every answer of HallusionBench right, and extracts 3 for MathVista."""

    def do_POST(self):
        asked = self.rfile.read(int(self.headers["Content-Length"])).decode()
        reply = "correct" if "intelligent teacher" in asked else "3"
        body = json.dumps({"model": "stub", "choices": [{"message": {"content": reply}}]})
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_):
        pass


@pytest.fixture
def judge():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Judge)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    server.server_close()


@pytest.mark.slow
def test_the_named_tasks_run_and_a_judge_scores_what_was_answered_later(tmp_path, judge, lmms_eval):
    data = installed_data.write_all(tmp_path / "data")
    common = [
        f"tasks=[{NAMED},realworldqa]", "suite=paper", f"data.root={data}",
        f"results={tmp_path / 'runs'}", "limit=4", "strategy=vanilla", "model.max_new_tokens=4",
    ]  # fmt: skip
    rows = [
        {"image": installed_data.picture(i), "question": f"How many, {i}?", "answer": "AB"[i % 2]}
        for i in range(4)
    ]
    installed_data.write(data, "realworldqa", rows)
    record = cli.evaluate(compose_spec(common))
    tasks = record["tasks"]
    waiting = {name for name, entry in tasks.items() if entry["status"] == "needs_judge"}
    assert waiting == {name for name in tasks if name.startswith(("hallusion", "mathvista"))}
    assert all(tasks[name]["score"] is None for name in waiting)
    assert (len(tasks), tasks["realworldqa"]["definition"]["name"]) == (9, "realworldqa")
    assert tasks["refcoco_bbox_rec_val"]["n"] == 4
    assert tasks["refcoco_bbox_rec_val"]["clusters"] == 2  # two expressions for each of two pictures
    before = load_samples(tmp_path / record["folder"], "hallusion_bench_image")

    settings = ["judge.model=stub", f"judge.base_url={judge}", "judge.api_key_env=null", "judge.retries=0"]
    judged = cli.evaluate(compose_spec([*common, *settings]))
    # every answer is called right
    assert judged["tasks"]["hallusion_bench_image"]["score"] == 100
    # the judge's 3 is none of the choices, "one" and "two", of which the first counts: two of four are wrong
    assert judged["tasks"]["mathvista_testmini_format"]["score"] <= 50
    assert judged["tasks"]["hallusion_bench_image"]["judge"]["answered"] == ["stub"]
    after = load_samples(tmp_path / record["folder"], "hallusion_bench_image")
    assert [one["answer"] for one in after] == [one["answer"] for one in before]
    assert judged["tasks"]["ocrbench"] == tasks["ocrbench"]  # nothing is answered again

    (section,) = overview(to_runs(load_records(tmp_path / "runs")))
    heads = section.grids[0].heads
    assert heads[2:] == [
        "OCRBench", "AI2D", "MMMU", "HallB", "MathVista-CoT", "MathVista-Sol", "MathVista", "RefCOCO",
        "realworldqa", "Record",
    ]  # fmt: skip
