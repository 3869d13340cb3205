"""A whole benchmark of a tiny model: what the record says and what is printed."""

import pytest
import torch
from bench_words import labels, one_line

from pdrop_eval.report.bench import cli
from pdrop_eval.report.bench.text import bench_text, layers_text
from pdrop_eval.run.bench import machine
from pdrop_eval.run.bench import model as models
from pdrop_eval.run.bench.settings import make_plan
from pdrop_eval.run.bench.timing import Runner
from pdrop_eval.run.bench.work import prepare


def test_the_record_has_every_phase_of_every_variant(every_variant):
    record = every_variant
    assert record["status"] == "completed"
    assert list(record["batches"]) == ["1", "2"]
    assert record["sample"]["image_tokens"] == 36  # 6 x 6 patches
    for batch in record["batches"].values():
        assert labels(batch) == ["vanilla", "fastv", "pdrop", "plain", "keep_all"]
        assert len(batch["vision"]["seconds"]) == 3
        for one in batch["variants"]:
            for phase in ("prefill", "ttft", "decode", "answer"):
                assert len(one[phase]["all_seconds"]) == 3
                assert min(one[phase]["all_seconds"]) > 0
            assert bool(one["ranking_seconds"]) == (one["label"] in ("fastv", "pdrop", "keep_all"))
    vanilla, fastv, pdrop, plain, keep_all = record["batches"]["1"]["variants"]
    assert vanilla["prefill"]["speedup"] == [1, 1, 1]
    assert vanilla["prefill"]["bound"] == 1
    assert 1 < fastv["prefill"]["bound"] < pdrop["prefill"]["bound"]
    assert keep_all["prefill"]["bound"] < 1  # it ranks, and drops nothing
    assert plain["prefill"]["bound"] is None
    # keys and values of 32 floats for 36 + 6 tokens; PDrop has 18, 9 and 4 image tokens after layers 1, 2, 3
    assert plain["kv_bytes_per_layer"] == vanilla["kv_bytes_per_layer"] == [2 * 32 * 4 * 42] * 4
    assert pdrop["kv_bytes_per_layer"] == [256 * n for n in (42, 24, 15, 10)]
    assert pdrop["peak_bytes"] < vanilla["peak_bytes"]
    rows = record["batches"]["2"]["variants"][0]
    assert rows["kv_bytes_per_layer"] == [2 * 256 * 42] * 4


pytestmark = pytest.mark.usefixtures("idle")


def test_what_is_printed_fits_the_terminal(every_variant):
    text = bench_text(every_variant, 80)
    assert max(map(len, text.splitlines())) <= 80
    assert "FLOPs bound" in text
    assert text.count("Prefill, ms") > 1  # five variants don't stand side by side


def test_layers_with_the_same_value_stand_together():
    assert layers_text([4.0, 4.0, 2.5]) == "4 x 2, 2.5 x 1"


def test_a_busy_machine_is_said_in_console_record_and_text(config, monkeypatch, capsys):
    monkeypatch.setattr(machine, "glance", lambda _: {"average": 3.0, "others": 1.5})
    monkeypatch.setattr(machine.Load, "seen", lambda self: {"average": 3.0, "others": 1.2})
    record = cli.bench(config("batch_sizes=[1]", "strategies=[vanilla]"))
    assert "keep 1.5 cores busy" in capsys.readouterr().err
    assert record["load"]["others"] == 1.5
    assert "busy machine, 1.2 cores taken by others" in one_line(bench_text(record))


def test_a_budget_is_solved_for_the_strategies_and_what_it_gains_is_said(config):
    record = cli.bench(config("batch_sizes=[1]", "budget.tokens=21", "strategies=[fastv,pdrop,keep_all]"))
    reached = {one["label"]: one.get("reached") for one in record["strategies"]}
    assert reached["vanilla"] is reached["keep_all"] is None
    # FastV: two layers see 36, two see 6
    assert reached["fastv"]["schedule"] == [36, 36, 6, 6]
    assert 19 < reached["pdrop"]["tokens"] <= 21
    text = cli.report(record)
    assert "What budget.tokens=21 gains, against vanilla" in text
    assert "36, 6 after 2 of 4 layers: 21.0 a layer in the mean" in one_line(text)
    assert "none near this budget yet" in one_line(text)
    gain = text.partition("What budget")[2].partition("Record:")[0]
    assert max(map(len, gain.splitlines())) <= 80


def test_the_model_gets_what_generate_gives_it(config):
    work = prepare(make_plan(config()))
    built = models.build(work.plan, work.config)
    batch = models.make_batch(work.config, work.sample, 2, "float32", "cpu")
    seen = []

    def note(module, args, kwargs):
        # transformers 5.0 hands over two more: a mask that is all true, and numbers of columns.
        kwargs = {
            name: value for name, value in kwargs.items() if name not in ("attention_mask", "cache_position")
        }
        shapes = {name: tuple(value.shape) for name, value in kwargs.items() if torch.is_tensor(value)}
        seen.append({**shapes, "logits_to_keep": kwargs["logits_to_keep"]})

    hook = built.register_forward_pre_hook(note, with_kwargs=True)
    ones = torch.ones_like(batch.places)
    built.generate(
        input_ids=batch.whole["input_ids"], inputs_embeds=batch.embeds, attention_mask=ones,
        max_new_tokens=3, min_new_tokens=3, do_sample=False, pad_token_id=1,
    )  # fmt: skip
    generated = seen.copy()
    seen.clear()
    runner = Runner(built, None, batch, 2, "cpu")
    runner.prefill()
    runner.answer()
    hook.remove()
    assert generated == [seen[0], *seen[2:]]  # seen[1]: from pixels to the first token


def test_one_off_allocations_do_not_count_for_the_variant_that_is_first(config, monkeypatch):
    calls = []
    for name in ("first_tokens", "memory"):
        original = getattr(Runner, name)
        monkeypatch.setattr(
            Runner,
            name,
            lambda self, name=name, original=original: (
                calls.append((name, self.strategy.name)) or original(self)
            ),
        )
    cli.bench(config("batch_sizes=[1]", "strategies=[pdrop]", "rounds=1"))
    assert calls[:3] == [("first_tokens", "vanilla"), ("first_tokens", "pdrop"), ("memory", "vanilla")]


def test_compiled_are_parts_that_all_layers_share(config, monkeypatch):
    compiled = []

    def compile_(function, dynamic):
        assert dynamic
        compiled.append(type(function.__self__).__name__)
        return function

    monkeypatch.setattr(models.torch, "compile", compile_)
    record = cli.bench(config("batch_sizes=[1]", "strategies=[pdrop]", "compile=true", "rounds=1"))
    assert compiled == ["LlamaMLP", "LlamaRMSNorm", "LlamaRMSNorm"] * 4
    assert "sdpa, torch.compile." in one_line(bench_text(record))


def test_a_strategy_before_the_decoder_is_measured_on_what_it_leaves(config):
    """36 patches and 6 tokens of text; 4 layers. VisionZip leaves 5 + 3."""
    own = "strategies=[vanilla,{visionzip:{dominant:5,contextual:3}},{uniform:{tokens:9}}]"
    record = cli.bench(config(own, "batch_sizes=[2]"))
    schedules = [one["schedule"] for one in record["strategies"]]
    assert schedules == [[36] * 4, [8] * 4, [9] * 4]
    vanilla, zipped, uniform = record["batches"]["2"]["variants"]
    assert vanilla["kv_bytes_per_layer"][0] * 14 == zipped["kv_bytes_per_layer"][0] * 42
    assert uniform["kv_bytes_per_layer"][0] * 42 == vanilla["kv_bytes_per_layer"][0] * 15
    assert all(seconds > 0 for seconds in zipped["ranking_seconds"])
    assert zipped["prefill"]["bound"] > 3  # 14 tokens in place of 42
