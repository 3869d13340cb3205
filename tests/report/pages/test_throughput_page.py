"""The page of the benchmark of evaluation throughput."""

from tools.speed.answering.throughput_page import throughput_lines, throughput_page

COMMON = {
    "processor_ms": [9.0, 10.0, 11.0],
    "batch_size": 1,
    "workers": 2,
    "before": False,
    "same_answers": 90,
}
FOUND = {
    "before": "3c6f181",
    "model": "mini576",
    "suite": "mini",
    "tasks": ["pope", "gqa"],
    "samples": 120,
    "rounds": 3,
    "device": "cpu",
    "dtype": "float32",
    "threads": 1,
    "hardware": {"cpu": "A processor", "cores": 2, "gpus": []},
    "load": {"others": 0.04, "average": 0.2},
    "packages": {"torch": "2.13.0", "transformers": "5.23.0", "lmms-eval": "0.7.3"},
    "code": {"version": "0.1.0", "commit": "0123456789abcdef", "dirty": False},
    "contenders": [
        {
            **COMMON,
            "name": "stock",
            "strategy": None,
            "samples_per_second": [19.0, 20.0, 21.0],
            "speedup": [1.0, 1.0, 1.0],
            "same_answers": 120,
        },
        {
            **COMMON,
            "name": "pdrop",
            "strategy": "pdrop",
            "batch_size": 8,
            "samples_per_second": [58.0, 60.0, 62.0],
            "speedup": [2.9, 3.0, 3.1],
            "gain": [2.1, 2.2, 2.3],
            "processor_gain": [1.6, 1.7, 1.8],
            "as_before": 120,
            "answering_overhead": [0.02, 0.031, 0.04],
            "task_overhead": [0.05, 0.06, 0.07],
            "hit_rate": 0.75,
        },
    ],
}


def test_each_way_of_answering_has_its_line():
    page = throughput_page(FOUND)
    [stock] = [line for line in page.splitlines() if line.startswith("| lmms-eval llava_hf, batch 1")]
    assert [cell.strip() for cell in stock.split("|")[2:-1]] == [
        "20.0 [19.0, 21.0]",
        "1",
        "",
        "10.0 [9.0, 11.0]",
        "",
        "",
        "",
        "100.0%",
        "",
    ]
    [own] = [line for line in page.splitlines() if line.startswith("| PDrop, batch 8")]
    cells = [cell.strip() for cell in own.split("|")[2:-1]]
    assert cells == [
        "60.0 [58.0, 62.0]", "3.00 [2.90, 3.10]", "2.20 [2.10, 2.30]", "10.0 [9.0, 11.0]", "3.1% [2.0, 4.0]",
        "6.0% [5.0, 7.0]", "75%", "75.0%", "100.0%",
    ]  # fmt: skip


def test_the_page_says_what_made_it():
    page = throughput_page(FOUND)
    for words in (
        "120 questions of pope, gqa",
        "A processor, 2 cores",
        "0123456789",
        "3 rounds",
        "0.0 cores",
    ):
        assert words in page
    assert "with changes" not in page


def test_the_list_is_short():
    assert throughput_lines(FOUND).splitlines() == [
        "- lmms-eval llava_hf, batch 1: 20.0 questions a second, 1.00 times stock",
        "- PDrop, batch 8: 60.0 questions a second, 3.00 times stock",
    ]


def test_the_page_says_whether_goals_are_met_and_by_how_much_not():
    [stock, own] = FOUND["contenders"]
    slow = {**own, "batch_size": 1, "answering_overhead": [0.10, 0.125, 0.13]}
    alone = {
        **own,
        "workers": 0,
        "samples_per_second": [15.0, 16.0, 17.0],
        "answering_overhead": [0.2, 0.25, 0.3],
    }
    page = throughput_page({**FOUND, "contenders": [stock, own, slow, alone]})
    assert "- PDrop, batch 8: 3.1%, met." in page
    assert "- PDrop, batch 1: 12.5%, missed by 7.5 points." in page
    # 16 questions a second are 62.5 ms each, of which a fifth is beyond the model's own time
    assert "takes 50.0 ms in the model and 12.5 ms outside it" in page
    times = "2.20 times, met over 3c6f181 (1.70 times in processor time); 3.00 times, missed by 0.50"
    assert f"- PDrop, batch 8: {times} over lmms-eval's." in page
    fast = {**alone, "samples_per_second": [75.0, 80.0, 85.0]}
    page = throughput_page({**FOUND, "contenders": [stock, slow, fast]})
    assert "- PDrop, batch 1: 12.5%, no goal: the model takes 10.0 ms." in page


def test_without_an_earlier_commit_there_is_no_gain():
    [stock, own] = FOUND["contenders"]
    own = {key: value for key, value in own.items() if key not in ("gain", "as_before")}
    page = throughput_page({**FOUND, "before": None, "contenders": [stock, own]})
    assert "Goals:" not in page
    assert "| 3.00 [2.90, 3.10] |" in " ".join(page.split())


def test_a_busy_machine_is_named_where_a_goal_is_missed():
    assert "isn't in these numbers" not in throughput_page(FOUND)
    page = throughput_page({**FOUND, "load": {"others": 1.8, "average": 20.0}})
    assert "Others kept 1.8 of the 2 cores busy meanwhile, so threads=auto took 1" in page
