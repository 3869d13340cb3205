"""A whole benchmark of a tiny model: what the record says, what is printed, and running out of memory."""

import copy
import json
import re
import shlex
from dataclasses import replace
from importlib.util import find_spec

import pytest
import torch

from pdrop_eval.models.families import published, published_config
from pdrop_eval.records.rows.run import to_runs
from pdrop_eval.report.bench import cli
from pdrop_eval.report.bench import gain as bench_gain
from pdrop_eval.report.bench.text import bench_text, layers_text, made_with
from pdrop_eval.run.bench import machine, session
from pdrop_eval.run.bench import model as models
from pdrop_eval.run.bench.sample import Sample, sample_of
from pdrop_eval.run.bench.settings import make_plan
from pdrop_eval.run.bench.spec import SizesSpec, compose_bench
from pdrop_eval.run.bench.timing import Runner
from pdrop_eval.run.bench.work import prepare
from pdrop_eval.run.config.compose import check_command_line
from pdrop_eval.strategies.registry import StrategyInfo
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.terminal.console import script
from tools.speed import bench_page, goals, scaling


@pytest.fixture(autouse=True)
def _idle(monkeypatch):
    monkeypatch.setattr(session.torch, "set_num_threads", lambda _: None)
    monkeypatch.setattr(machine.Load, "seen", lambda self: {"average": 0.1, "others": 0.0})


def one_line(text):
    return " ".join(text.split())


def labels(batch):
    return [one["label"] for one in batch["variants"]]


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


def test_what_is_there_is_not_measured_again_and_what_is_missing_is(config, monkeypatch):
    first = cli.bench(config("batch_sizes=[1]"))
    both = cli.bench(config("batch_sizes=[1,2]"))
    assert both["batches"]["1"] == first["batches"]["1"]
    assert both["created"] == first["created"]
    monkeypatch.setattr(session, "measure", None)
    assert cli.bench(config("batch_sizes=[2]")) == {k: v for k, v in both.items() if k != "folder"}
    monkeypatch.undo()


def test_again_measures_anew(config):
    first = cli.bench(config("batch_sizes=[1]", "strategies=[vanilla]"))
    again = cli.bench(config("batch_sizes=[1]", "strategies=[vanilla]", "again=true"))
    assert again["created"] > first["created"]


def test_a_record_that_was_cut_off_goes_on(config, monkeypatch):
    measured = []
    original = session.measure_batch

    def once(work, built, rows):
        measured.append(rows)
        if rows == 2 and measured.count(2) == 1:
            raise KeyboardInterrupt
        return original(work, built, rows)

    monkeypatch.setattr(session, "measure_batch", once)
    with pytest.raises(KeyboardInterrupt):
        cli.bench(config("batch_sizes=[1,2]", "strategies=[vanilla]"))
    record = cli.bench(config("batch_sizes=[1,2]", "strategies=[vanilla]"))
    assert measured == [1, 2, 2]
    assert record["status"] == "completed"


def full(monkeypatch, fits):
    """Memory that only the batches fit for which `fits(runner, rows)` is true."""
    original = Runner.memory

    def memory(self):
        if not fits(self, self.batch.image.shape[0]):
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\nmore")
        return original(self)

    monkeypatch.setattr(Runner, "memory", memory)


def test_a_variant_that_runs_out_of_memory_is_named_and_the_others_are_measured(config, monkeypatch):
    full(monkeypatch, lambda runner, rows: rows < 2 or runner.strategy.name == "pdrop")
    record = cli.bench(config("batch_sizes=[1,2]"))
    batch = record["batches"]["2"]
    assert batch["out_of_memory"] == dict.fromkeys(
        ["vanilla", "fastv"], "CUDA out of memory. Tried to allocate 2 GiB."
    )
    assert labels(batch) == ["pdrop"]
    assert batch["variants"][0]["prefill"]["speedup"] is None
    text = bench_text(record)
    assert "out of memory: vanilla, FastV" in one_line(text)
    assert "Batch 1" in text


def test_auto_halves_the_batch_until_it_fits(config, monkeypatch, capsys):
    full(monkeypatch, lambda runner, rows: rows <= 4)
    record = cli.bench(config("batch_sizes=auto", "strategies=[vanilla]"))
    assert list(record["batches"]) == ["4"]
    assert record["auto"] == 4
    assert "A batch of 16 doesn't fit, trying 8" in capsys.readouterr().err
    monkeypatch.setattr(session, "measure", None)
    assert cli.bench(config("batch_sizes=auto", "strategies=[vanilla]"))["auto"] == 4


def test_auto_measures_where_other_batches_are_in_the_record_and_takes_one_that_fits_from_it(
    config, monkeypatch
):
    full(monkeypatch, lambda runner, rows: rows <= 2)
    first = cli.bench(config("batch_sizes=[1,2]", "strategies=[vanilla]", "rounds=1"))
    assert first["auto"] is None
    measured = []
    original = session.measure_batch
    monkeypatch.setattr(
        session,
        "measure_batch",
        lambda work, built, rows: measured.append(rows) or original(work, built, rows),
    )
    found = cli.bench(config("batch_sizes=auto", "strategies=[vanilla]", "rounds=1"))
    assert measured == [16, 8, 4]
    assert found["auto"] == 2
    assert found["batches"] == first["batches"]


def test_what_ran_out_of_memory_is_tried_again(config, monkeypatch):
    with monkeypatch.context() as patch:
        full(patch, lambda runner, rows: rows < 2)
        first = cli.bench(config("batch_sizes=[1,2]", "strategies=[vanilla]"))
    assert first["batches"]["2"]["out_of_memory"]
    second = cli.bench(config("batch_sizes=[1,2]", "strategies=[vanilla]"))
    assert second["batches"]["1"] == first["batches"]["1"]
    assert not second["batches"]["2"]["out_of_memory"]
    assert labels(second["batches"]["2"]) == ["vanilla"]


def test_a_batch_at_which_no_variant_fits_is_named_and_has_no_table(config, monkeypatch):
    full(monkeypatch, lambda runner, rows: rows == 2)
    record = cli.bench(config("batch_sizes=[1,2]", "strategies=[vanilla,pdrop]"))
    text = bench_text(record)
    assert "Batch 1: out of memory: vanilla, PDrop" in text
    assert text.count("Peak memory, MiB") == 1
    page = bench_page.bench_page([record])
    assert "**Batch 1: out of memory: vanilla, PDrop**" in page
    assert "KV cache a layer in KiB, batch 2:" in page
    with pytest.raises(UserError, match=r"need vanilla, fastv, pdrop, plain, keep_all too: Batch 1: out of"):
        goals.find_goals(record)


def test_where_nothing_fits_the_error_says_so(config, monkeypatch):
    full(monkeypatch, lambda runner, rows: False)
    monkeypatch.setattr(session, "available", lambda device: 3 * 2**29)
    words = (
        r"Not even a batch of 2 fits the memory: 1.5 GiB were free beside the weights, and 2.0 GiB more at "
        r"one time were asked for when it was full. Try batch_sizes=auto"
    )
    for _ in range(2):  # the second time there is a record
        with pytest.raises(UserError, match=words):
            cli.bench(config("batch_sizes=[2]"))


def test_other_errors_are_bugs(config, monkeypatch):
    monkeypatch.setattr(Runner, "memory", lambda self: torch.ones(2, 3) @ torch.ones(2, 3))
    with pytest.raises(RuntimeError, match="shapes"):
        cli.bench(config("batch_sizes=[1]"))


def test_weights_that_do_not_fit_are_refused_before_they_are_made(config, monkeypatch):
    monkeypatch.setattr(models, "available", lambda device: 2**10)
    with pytest.raises(
        UserError, match=r"weights take .* in float32, and .* free on cpu. Use dtype=bfloat16"
    ):
        prepare(make_plan(config()))


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


def test_what_is_printed_fits_the_terminal(every_variant):
    text = bench_text(every_variant, 80)
    assert max(map(len, text.splitlines())) <= 80
    assert "FLOPs bound" in text
    assert text.count("Prefill, ms") > 1  # five variants don't stand side by side


def test_each_batch_size_keeps_the_code_and_the_load_it_was_measured_under(config, monkeypatch):
    code = {"version": "1", "commit": "a" * 40, "dirty": False}
    monkeypatch.setattr(session.provenance, "code_identity", lambda: code)
    cli.bench(config("batch_sizes=[1]", "strategies=[vanilla]"))
    code = {"version": "1", "commit": "b" * 40, "dirty": True}
    monkeypatch.setattr(machine, "glance", lambda _: {"average": 1.0, "others": 0.2})
    record = cli.bench(config("batch_sizes=[1,2]", "strategies=[vanilla]"))
    assert [batch["code"]["commit"][0] for batch in record["batches"].values()] == ["a", "b"]
    assert [batch["before"]["others"] for batch in record["batches"].values()] == [0.0, 0.2]
    assert made_with(record).endswith("code 1 at aaaaaaaaaa and 1 at bbbbbbbbbb with changes.")


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


def test_layers_with_the_same_value_stand_together():
    assert layers_text([4.0, 4.0, 2.5]) == "4 x 2, 2.5 x 1"


def test_a_sample_is_made_of_whole_images():
    one = published_config("llava_1_5_7b")
    assert sample_of(one, None, 64) == Sample(1, 1, 576, 64, (336, 336))
    assert sample_of(one, 5184, 64).images == 9
    with pytest.raises(UserError, match="Use 576 or 1152"):
        sample_of(one, 600, 64)
    # LLaVA-NeXT: an overview and 2 x 2 tiles of 24 x 24, and a newline behind each of 48 rows
    tiled = published_config("llava_next_7b")
    whole = Sample(1, 5, 2880 + 48, 64, (672, 672))
    assert sample_of(tiled, None, 64) == whole
    assert sample_of(tiled, 2880, 64) == whole
    assert sample_of(tiled, 5760, 64).images == 2


def test_smaller_tiles_of_onevision_have_grids_of_their_own():
    plan = make_plan(compose_bench(["model=llava_onevision_7b", "sizes.tile=126"]))
    config = models.model_config(plan)
    assert config.image_grid_pinpoints[:7] == [[126, 126 * n] for n in range(1, 7)] + [[252, 126]]
    # an overview and 3 x 3 tiles of 9 x 9 patches, with a newline behind each of 27 rows
    assert sample_of(config, None, 64) == Sample(1, 10, 81 + 27 * 28, 64, (378, 378))


@pytest.mark.thin(5)
# Billions of parameters of the published checkpoints, with tower and projector, which the names don't count:
# Qwen2-0.5B of 0.494 and SigLIP of 0.40 are "0.5b", and the 7b of Qwen2 has 7.6 before a tower of 0.3 to 0.7.
# Embeddings that are the head, too, count once.
@pytest.mark.parametrize("name", published())
def test_published_sizes_have_the_size_in_their_name(name):
    """A name rounds, and some leave the tower out: OneVision's 0.5B are the language model's."""
    family, _ = published()[name]
    try:
        family.check_version()
    except UserError as error:
        pytest.skip(str(error))
    number, unit = re.search(r"_([\d.]+)([bm])$", name).groups()
    nominal = float(number) * {"b": 1e9, "m": 1e6}[unit]
    with torch.device("meta"):
        model = family.load_class()(published_config(name))
        model.tie_weights()
    counted = model if name != "llava_onevision_0.5b" else model.model.language_model
    assert 0.9 < sum(p.numel() for p in counted.parameters()) / nominal < 1.27


@pytest.mark.parametrize("name", ["llava_next_7b", "mini", "mini_next_p5"])
@pytest.mark.slow
def test_other_models_run(config, name):
    sizes = [] if "mini" in name else ["sizes.kv_heads=2"]
    resized = config(f"model={name}", "batch_sizes=[2]", "strategies=[pdrop]", "rounds=1", *sizes)
    if "mini" in name:
        resized = replace(resized, sizes=SizesSpec())
    record = cli.bench(resized)
    assert labels(record["batches"]["2"]) == ["vanilla", "pdrop"]


@pytest.mark.thin(1)
# Of 480x640 pixels: 17x23 and 15x20, and those of InternVL's 12 tiles and thumbnail, 256 each.
# Reduced in width and depth, as a 7B doesn't fit.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "tokens"),
    [("qwen2_vl_2b", 391), ("qwen2_5_vl_7b", 391), ("qwen3_vl_4b", 300), ("internvl3_2b", 3328)],
)
def test_a_reduced_model_of_each_further_family_runs(name, tokens, tmp_path):
    sizes = {
        "layers": 4, "width": 64, "intermediate": 96, "heads": 4, "vocabulary": 64, "vision_layers": 4,
        "vision_width": 32, "vision_heads": 2,
    }  # fmt: skip
    given = [f"sizes.{key}={value}" for key, value in sizes.items()]
    given += ["batch_sizes=[1]", "rounds=1", "warmup=0", "new_tokens=2", f"results={tmp_path}"]
    record = cli.bench(compose_bench([f"model={name}", *given]))
    assert labels(record["batches"]["1"]) == ["vanilla", "fastv", "pdrop"]
    assert record["sample"]["image_tokens"] == tokens


def test_a_checkpoints_own_weights(config):
    own = config("model=mini", "batch_sizes=[1]", "strategies=[pdrop]", "rounds=1")
    own = replace(own, weights="checkpoint", sizes=SizesSpec())
    assert "its own weights" in bench_text(cli.bench(own))


@pytest.mark.skipif(find_spec("peft") is None, reason="peft is of the extra train")
def test_a_checkpoint_is_measured_with_its_adapter(config, tmp_path, lora_adapter):
    adapter = lora_adapter(tmp_path / "adapter")
    asked = config("model=mini", "batch_sizes=[1]", "strategies=[pdrop]", "rounds=1")
    own = replace(asked, weights="checkpoint", sizes=SizesSpec())
    beside = replace(own, model=replace(own.model, adapter=str(adapter), merge_adapter=False))
    plan = make_plan(beside)
    assert plan.identity["model"] != make_plan(own).identity["model"]
    layer = models.build(plan, None).get_submodule("model.language_model.layers.0.self_attn.q_proj")
    torch.testing.assert_close(layer(torch.ones(1, 128)), layer.base_layer(torch.ones(1, 128)) + 6 * 128)
    record = cli.bench(beside)
    assert record["model"]["adapter"]["merged"] is False
    assert f"its own weights and the adapter {adapter}" in " ".join(bench_text(record, 400).split())


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


def evaluation(strategy, per_layer, score, **changes):
    """A run as reports read it, as far as scores near a budget go."""
    record = {
        "run_id": f"{strategy}-{score}",
        "created": "2026-01-01T00:00:00+00:00",
        "model": {"name": "llava_1_5_7b"},
        "status": "completed",
        "suite": {"name": changes.get("suite", "mini")},
        "identity": {"code": {"sha256": changes.get("code", "c")}, "data_sha256": {}},
        "strategy": {"name": strategy, "fields": {"rounding": changes.get("rounding", "round")}},
        "efficiency": {"image_tokens": 36, "image_tokens_per_layer": per_layer},
        "tasks": {"gqa": {"benchmark": "gqa", "score": score, "n": 1}},
        "config": {},
    }
    (run,) = to_runs([record])
    run.changes = changes.get("changes", [])
    return run


def test_scores_of_the_nearest_evaluation_stand_beside_vanillas():
    runs = [
        evaluation("vanilla", [36] * 4, 60.0),
        evaluation("fastv", [36, 36, 6, 6], 50.0),  # 21 of 36 a layer
        evaluation("fastv", [36, 36, 7, 7], 51.0),
        evaluation("pdrop", [36, 36, 6, 6], 55.0),
    ]
    one = {"strategy": "fastv", "reached": {"share": 21 / 36}, "fields": {"rounding": "round", "r": 0.8}}
    lines = bench_gain._scores(one, runs, "llava_1_5_7b")
    assert "suite=mini at 58.3% of the tokens a layer" in one_line(lines[0])
    assert lines[1].strip() == "gqa 50.0 (60.0)"
    far = {**one, "reached": {"share": 0.2}}
    said = bench_gain._scores(far, runs, "llava_1_5_7b")
    assert "none near this budget yet" in said[0]
    start = f"{script('pdrop-eval')} model=llava_1_5_7b strategy="
    assert said[1:] == [f"{start}fastv budget.share=0.2", f"{start}vanilla"]
    for command in said[1:]:
        check_command_line(shlex.split(command)[1:])
    other = {**one, "fields": {"rounding": "floor"}}
    assert "none near this budget" in bench_gain._scores(other, runs, "mini")[0]


@pytest.mark.parametrize(
    ("name", "fields", "said"),
    [
        ("fastv", {"k": 3, "r": 0.8, "rounding": "floor"}, ["strategy=fastv", "strategy.rounding=floor"]),
        (
            "pdrop",
            {"ratio": 0.4, "stages": 4, "score": "logits"},
            ["strategy=pdrop", "strategy.score=logits"],
        ),
        (
            "visionzip+pdrop",
            {"visionzip.dominant": 30, "visionzip.contextual": 5, "pdrop.ratio": 0.4},
            ["combine=[visionzip,{pdrop:{ratio:0.4}}]"],
        ),
    ],
)
def test_the_command_that_measures_scores_names_the_settings_that_are_not_usual(name, fields, said):
    """A budget decides FastV's K and R, PyramidDrop's λ, and how many tokens VisionZip leaves."""
    assert bench_gain._chosen({"strategy": name, "fields": fields}) == said
    check_command_line(said)


@pytest.mark.parametrize("other", [{"suite": "paper"}, {"changes": ["dtype=float16"]}, {"code": "d"}])
def test_scores_stand_side_by_side_only_where_suite_settings_and_code_are_equal(other):
    one = {"strategy": "fastv", "reached": {"share": 21 / 36}, "fields": {"rounding": "round"}}
    runs = [evaluation("vanilla", [36] * 4, 60.0, **other), evaluation("fastv", [36, 36, 6, 6], 50.0)]
    assert "none near this budget" in bench_gain._scores(one, runs, "mini")[0]
    both = [*runs, evaluation("fastv", [36, 36, 6, 6], 52.0, **other)]
    assert bench_gain._scores(one, both, "mini")[1].strip() == "gqa 52.0 (60.0)"


def test_another_size_has_no_scores(every_variant, monkeypatch):
    runs = [evaluation("vanilla", [36] * 4, 60.0), evaluation("pdrop", [36, 18, 9, 4], 50.0)]
    monkeypatch.setattr(bench_gain, "_runs", lambda *_: runs)
    record = copy.deepcopy(every_variant)
    record["budget"] = {"share": 0.5}
    assert bench_gain._resized(record)
    record["config"]["sizes"] = dict.fromkeys(record["config"]["sizes"])
    assert not bench_gain._resized(record)
    record["config"]["architecture"] = "llava_next_7b"
    assert bench_gain._resized(record)


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


def test_which_settings_a_gain_names_and_compares_is_said_by_the_strategy(monkeypatch):
    """A budget decides `keep` and `depth`; `extra` has a label, and `score` must be the same in both runs."""
    info = StrategyInfo(
        "own", solved_fields=("keep",), layout_fields=("depth",), label_fields=("extra {extra}",)
    )
    monkeypatch.setattr(bench_gain, "info_of", lambda _: info)
    fields = {"keep": 0.25, "depth": 3, "extra": 1, "score": "logits"}
    reached = {
        "layers": [3], "counts": [9], "image_tokens": 36, "schedule": [36, 36, 36, 9], "tokens": 29.25
    }  # fmt: skip
    one = {"label": "own", "strategy": "own", "fields": fields, "reached": reached, "tflops": 1.0,
           "flops": {"ttft": 1.0}}  # fmt: skip
    assert bench_gain._found(one, one)[0] == "own depth=3 keep=0.25"
    assert bench_gain._rest(fields, info) == {"score": "logits"}


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
