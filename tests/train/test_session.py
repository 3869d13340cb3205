"""Trainings of a few steps: what learns, what is written, and how a training goes on."""

import json
import shutil
from importlib.util import find_spec

import pytest
import torch
from safetensors.torch import load_file
from short_training import START, training_config
from transformers import LlavaForConditionalGeneration

from pdrop_eval.models import families
from pdrop_eval.records.rows.training_info import Training
from pdrop_eval.run.train.plan import make_plan
from pdrop_eval.run.train.progress import Clock
from pdrop_eval.run.train.session import train
from pdrop_eval.utils.errors import UserError


def run(config):
    return train(make_plan(config))


def losses(record, phase=-1):
    return [loss for _, loss in record["phases"][phase]["losses"]]


def weights(folder):
    return LlavaForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).state_dict()


def changed_parts(before, after):
    return {
        families.multimodal("llava").part_of(name)
        for name in before
        if not torch.equal(before[name], after[name])
    }


@pytest.mark.slow
def test_each_phase_trains_its_parts_and_hands_its_model_on(config, tmp_path):
    record = run(config("phases=[pretrain,instruct]", "save_dtype=float32"))
    out = tmp_path / "out"
    start, first, last = weights(START), weights(out / "pretrain" / "model"), weights(out)
    assert changed_parts(start, first) == {"projector"}
    assert changed_parts(first, last) == {"projector", "decoder"}
    assert [phase["name"] for phase in record["phases"]] == ["pretrain", "instruct"]
    assert json.loads((out / "training_record.json").read_text()) == json.loads(json.dumps(record))


def test_the_record_says_what_was_done_and_what_it_cost(finished, data):
    record = finished[1]
    (phase,) = record["phases"]
    assert record["strategy"] == {
        "name": "pdrop", "ratio": 0.5, "stages": 4, "layers": None, "ratios": None, "rank_with": "next_layer",
        "score": "softmax", "rounding": "floor", "positions": "renumber",
    }  # fmt: skip
    assert (phase["steps"], phase["samples"], phase["seed"], phase["resumed"]) == (4, 16, 0, 0)
    assert phase["data"][0]["conversations"] == len(json.loads((data / "instruct.json").read_text()))
    assert phase["device_hours"] == phase["devices"] * phase["wall_hours"] > 0
    assert record["device_label"] == "CPU hours"
    assert record["device_hours"] == phase["device_hours"]
    assert record["training_flops"] == phase["flops"]["image_tokens"] > 0
    assert phase["loss"] == pytest.approx(sum(losses(record)) / 4)
    assert str(START) in record["base"]["pretrained"]


@pytest.mark.slow
def test_training_flops_follow_from_the_schedule(finished, config, data):
    """Vanilla: 144 image tokens in 8 layers; PyramidDrop 144, 72, 36, 18 in two layers each."""
    d, m, steps, batch = 128, 352, 4, 4
    conversations = json.loads((data / "instruct.json").read_text())
    pictured = sum("image" in c for c in conversations) / len(conversations)

    def layer(n):
        return 4 * n * d * d + 2 * n * n * d + 3 * n * d * m

    vanilla = run(config("strategy=vanilla"))
    for record, schedule in ((vanilla, [144] * 8), (finished[1], [144, 144, 72, 72, 36, 36, 18, 18])):
        # Forward, and twice that backward; attention's two products have no weights, but two inputs each.
        expected = 3 * sum(map(layer, schedule)) * steps * batch * pictured
        assert record["training_flops"] == pytest.approx(expected, rel=1e-6)


class KilledError(Exception):
    """Stands for the end of a process."""


def kill_at(monkeypatch, step):
    """Ends a training in the step after a checkpoint, or while one is being written."""
    whole = Clock.on_step_end

    def on_step_end(self, args, state, control, **more):
        if state.global_step == step:
            raise KilledError
        return whole(self, args, state, control, **more)

    monkeypatch.setattr(Clock, "on_step_end", on_step_end)


@pytest.fixture(scope="module")
def stopped(data, tmp_path_factory):
    """The folder of a training that was stopped after its second step of four; not to be changed."""
    out = tmp_path_factory.mktemp("stopped") / "out"
    with pytest.MonkeyPatch.context() as patch:
        kill_at(patch, 3)
        with pytest.raises(KilledError):
            run(training_config(data, out, "save_every=2"))
    return (out,)


@pytest.mark.parametrize("extra", [
    pytest.param((), id="plain", marks=pytest.mark.essential),
    pytest.param(
        ("gradient_checkpointing=true", "lora.rank=4"), id="lora", marks=[pytest.mark.slow, pytest.mark.whole]
    ),
])  # fmt: skip
def test_a_killed_training_goes_on_to_the_same_weights(config, data, tmp_path, monkeypatch, extra):
    """Two epochs of three steps, of two batches each; what it resumes from is inside of the first epoch."""
    conversations = json.loads((data / "instruct.json").read_text())
    pictured = [one for one in conversations if "image" in one]
    (tmp_path / "few.json").write_text(json.dumps(pictured[:12]))
    changes = ("steps=null", "epochs=2", "per_device_batch=2", f"files=[{tmp_path}/few.json]")
    steps = (*(f"recipe.instruct.{change}" for change in changes), "save_every=2", *extra)
    whole = run(config(*steps, f"output={tmp_path}/whole"))
    with monkeypatch.context() as patch:
        kill_at(patch, 4)
        with pytest.raises(KilledError):
            run(config(*steps))
    folder = tmp_path / "out" / "instruct"
    half = folder / "checkpoint-3"  # as a process leaves it that is killed while it writes
    half.mkdir()
    (half / "model.safetensors").write_bytes(b"half")
    resumed = run(config(*steps))
    assert len(losses(whole)) == 6
    assert not half.exists()
    assert resumed["phases"][0]["resumed"] == 1
    assert losses(resumed) == losses(whole)
    mine, theirs = (load_file(tmp_path / name / "model.safetensors") for name in ("out", "whole"))
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)


@pytest.mark.whole
@pytest.mark.slow
def test_a_training_goes_on_from_an_older_checkpoint_too(config, tmp_path, monkeypatch):
    whole = run(config(f"output={tmp_path}/whole"))
    with monkeypatch.context() as patch:
        kill_at(patch, 4)
        with pytest.raises(KilledError):
            run(config("save_every=1", "keep=3"))
    for step in (2, 3):
        shutil.rmtree(tmp_path / "out" / "instruct" / f"checkpoint-{step}")
    assert losses(run(config("save_every=1", "keep=3"))) == losses(whole)


def test_what_is_done_is_not_done_again(finished, config, tmp_path, monkeypatch, capsys):
    shutil.copytree(finished[0], tmp_path / "out")
    monkeypatch.setattr("pdrop_eval.run.train.session._train_phase", lambda *_: pytest.fail("trained again"))
    assert run(config()) == finished[1]
    assert "done already" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "strategy", "what"),
    [
        (["strategy=vanilla"], "vanilla", "strategy"),
        (["strategy.ratio=0.6"], "pdrop", "0.6"),
        (["seed=1"], "pdrop", "seed: 0 there, 1 here"),
        (["recipe.instruct.learning_rate=2e-5"], "pdrop", "settings"),
        (["model.pretrained=embedded:mini576"], "pdrop", "start"),
    ],
    ids=["strategy", "ratio", "seed", "rate", "start"],
)
@pytest.mark.parametrize("there", ["finished", "stopped"])
def test_another_training_is_refused(config, tmp_path, overrides, strategy, what, there, request):
    shutil.copytree(request.getfixturevalue(there)[0], tmp_path / "out")
    with pytest.raises(UserError, match="belongs to another training") as error:
        run(config(f"strategy={strategy}", "save_every=2", *overrides))
    assert what in str(error.value)
    assert "output=<folder>" in str(error.value)


@pytest.mark.slow
def test_parts_have_their_own_learning_rates(config, tmp_path):
    run(
        config(
            "recipe.instruct.train=[vision,projector,decoder]",
            "recipe.instruct.projector_learning_rate=1e-30",
            "recipe.instruct.vision_learning_rate=1e-4",
            "save_dtype=float32",
        )
    )
    assert changed_parts(weights(START), weights(tmp_path / "out")) == {"vision", "decoder"}


@pytest.mark.slow
def test_gradient_checkpointing_changes_no_loss(finished, config):
    assert losses(run(config("gradient_checkpointing=true"))) == losses(finished[1])


@pytest.mark.parametrize("strategy", ["vanilla", "fastv", "pdrop", "visionzip", "random"])
@pytest.mark.slow
def test_every_strategy_trains_in_both_precisions(config, tmp_path, strategy):
    exact = run(config(f"strategy={strategy}"))
    rough = run(config(f"strategy={strategy}", "dtype=bfloat16", f"output={tmp_path}/bf16"))
    assert losses(rough)[0] == pytest.approx(losses(exact)[0], rel=0.05)
    assert losses(rough) != losses(exact)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            ["strategy=uniform", "strategy.tokens=145"],
            r"strategy.tokens=145 is not .* from 1 to 144",
        ),
        (["strategy=visionzip", "strategy.preset=64"], "an image here has 1 of 144: give the settings"),
    ],
)
def test_what_the_models_config_rules_out_is_refused_before_weights_are_read(
    config, monkeypatch, settings, words
):
    monkeypatch.setattr("pdrop_eval.run.train.models.load_start", None)  # calling it would be another error
    with pytest.raises(UserError, match=words):
        run(config(*settings))


def test_a_strategy_of_ones_own_that_cannot_train_is_refused_by_its_class(config, monkeypatch):
    from pdrop_eval.strategies.uniform import Uniform

    monkeypatch.setattr(Uniform, "trains", False)
    with pytest.raises(UserError, match="uniform can't be trained with, nor be given labels"):
        run(config("strategy=uniform"))


def test_the_loss_is_the_strategys_own(finished, config):
    """The first step's loss is that of a forward under the strategy on the same batch."""
    from pdrop_eval.run.train import models
    from pdrop_eval.run.train.data import loader
    from pdrop_eval.run.train.data.phase_samples import phase_samples
    from pdrop_eval.strategies.pyramiddrop import PyramidDrop

    plan = make_plan(config())
    (phase,) = plan.phases
    start = models.load_start(START, plan.config)
    samples, _ = phase_samples(
        plan.config, phase.name, phase.conversations, start.processor, start.fixed_tokens
    )
    ids = list(loader.GroupedSampler(samples, 4, 0))[:4]
    batch = loader.Collator(start.processor)([samples[i] for i in ids])
    with PyramidDrop(ratio=0.5)(start.model), torch.no_grad():
        dropped = start.model(**batch).loss.item()
    with torch.no_grad():
        kept = start.model(**batch).loss.item()
    assert losses(finished[1])[0] == pytest.approx(dropped, rel=1e-4)
    assert dropped != pytest.approx(kept, rel=1e-2)


@pytest.mark.slow
def test_lora_learns_in_the_decoder_and_is_merged(config, tmp_path):
    run(config("lora.rank=4", "recipe.instruct.train=[decoder]", "save_dtype=float32"))
    before, after = weights(START), weights(tmp_path / "out")
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert all("proj.weight" in name and "language_model.layers" in name for name in changed)


@pytest.mark.slow
@pytest.mark.skipif(find_spec("peft") is None, reason="peft is of the extra train")
def test_an_adapter_is_merged_into_the_start_once(config, tmp_path, lora_adapter):
    adapter = lora_adapter(tmp_path / "adapter")
    common = [f"recipe.{phase}.train=[projector]" for phase in ("pretrain", "instruct")]
    common += ["phases=[pretrain,instruct]", "save_dtype=float32", "on_error=skip"]
    record = run(config(f"model.adapter={adapter}", *common))
    before, after = weights(START), weights(tmp_path / "out")
    assert changed_parts(before, after) == {"projector", "decoder"}
    (name,) = [name for name in before if name.endswith("language_model.layers.0.self_attn.q_proj.weight")]
    torch.testing.assert_close(after[name], before[name].float() + 6)
    assert record["base"]["adapter"]["adapter"] == str(adapter)
    assert f"with the adapter {adapter}" in Training.of(record).start
    with pytest.raises(UserError, match=r"belongs to another training \(start"):
        run(config(*common))


def test_logs_can_be_read_by_tensorboard(finished):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    out, record = finished
    events = EventAccumulator(str(out / "instruct" / "logs"))
    events.Reload()
    assert [event.value for event in events.Scalars("train/loss")] == pytest.approx(losses(record))


def test_too_little_data_for_a_batch_is_refused(config):
    with pytest.raises(UserError, match=r"50 samples with images and 1 without: neither fill"):
        run(config("recipe.instruct.batch_size=64"))


def test_two_runs_do_not_write_to_one_folder(config, tmp_path):
    from pdrop_eval.utils.files import Lock

    plan = make_plan(config())
    held = Lock(tmp_path / "out")
    with pytest.raises(UserError, match="being written by process"):
        train(plan)
    held.release()


@pytest.mark.slow
def test_a_training_killed_before_its_model_is_written_takes_no_further_step(config, tmp_path, monkeypatch):
    whole = run(config(f"output={tmp_path}/whole", "recipe.instruct.schedule=constant", "log_every=10"))
    settings = ("recipe.instruct.schedule=constant", "log_every=10")
    with monkeypatch.context() as patch:
        patch.setattr("pdrop_eval.run.train.session._save", lambda *_: (_ for _ in ()).throw(KilledError))
        with pytest.raises(KilledError):
            run(config(*settings))
    resumed = run(config(*settings))
    assert resumed["phases"][0]["steps"] == 4
    assert losses(resumed) == losses(whole)
    mine, theirs = (load_file(tmp_path / name / "model.safetensors") for name in ("out", "whole"))
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)


@pytest.mark.slow
def test_a_phase_belongs_to_the_one_before_it(config, tmp_path):
    run(config("phases=[pretrain,instruct]"))
    shutil.rmtree(tmp_path / "out" / "pretrain")
    with pytest.raises(UserError, match="their folders are there"):
        run(config("phases=[pretrain,instruct]", "recipe.pretrain.learning_rate=1e-3"))
    (tmp_path / "out" / "training_record.json").unlink()
    with pytest.raises(UserError, match="belongs to another training"):
        run(config("phases=[pretrain,instruct]", "recipe.pretrain.learning_rate=1e-2"))


@pytest.mark.parametrize(
    ("first", "then"), [("[pretrain,instruct]", "[pretrain]"), ("[pretrain]", "[instruct]")]
)
@pytest.mark.slow
def test_phases_that_would_overwrite_a_model_are_refused(config, tmp_path, first, then):
    before = run(config(f"phases={first}"))
    weights = (tmp_path / "out" / "model.safetensors").read_bytes()
    with pytest.raises(UserError, match="output=<folder>"):
        run(config(f"phases={then}"))
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == weights
    assert json.loads((tmp_path / "out" / "training_record.json").read_text()) == json.loads(
        json.dumps(before)
    )


@pytest.mark.slow
def test_phases_may_follow_one_by_one(config):
    run(config("phases=[pretrain]"))
    assert [phase["name"] for phase in run(config("phases=[pretrain,instruct]"))["phases"]] == [
        "pretrain",
        "instruct",
    ]


def test_what_is_no_training_of_ours_is_not_overwritten(config, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(START, copy)
    for output, start in ((copy, START), (copy, copy)):
        with pytest.raises(UserError, match="overwrit"):
            run(config(f"output={output}", f"model.pretrained={start}"))


@pytest.mark.slow
def test_a_repaired_image_is_seen_on_resume(config, data, tmp_path, monkeypatch):
    folder = tmp_path / "data"
    shutil.copytree(data, folder)
    name = json.loads((folder / "instruct.json").read_text())[0]["image"]
    (folder / "images" / name).rename(tmp_path / name)
    settings = (
        f"recipe.instruct.files=[{folder}/instruct.json]", f"recipe.instruct.images={folder}/images",
        "on_error=skip", "save_every=2",
    )  # fmt: skip
    with monkeypatch.context() as patch:
        kill_at(patch, 3)
        with pytest.raises(KilledError):
            run(config(*settings))
    (tmp_path / name).rename(folder / "images" / name)
    with pytest.raises(UserError, match="samples: "):
        run(config(*settings))


def test_a_broken_image_is_found_before_training(config, data, tmp_path):
    folder = tmp_path / "data"
    shutil.copytree(data, folder)
    name = json.loads((folder / "instruct.json").read_text())[0]["image"]
    (folder / "images" / name).write_bytes(b"no image")
    settings = (f"recipe.instruct.files=[{folder}/instruct.json]", f"recipe.instruct.images={folder}/images")
    with pytest.raises(UserError, match=rf"line \d+ \(id .*{name} can't be read.*on_error=skip"):
        run(config(*settings))
    (phase,) = run(config(*settings, "on_error=skip", "recipe.instruct.steps=1"))["phases"]
    assert phase["skipped"] == {"unreadable image": 1}


@pytest.mark.slow
def test_text_alone_teaches_a_projector_nothing(config, data):
    settings = ("phases=[instruct]", "recipe.instruct.train=[projector]", "recipe.instruct.batch_size=4")
    with pytest.raises(UserError, match=r"it has no image, and the decoder does not learn"):
        run(config(*settings))
    assert run(config(*settings, "on_error=skip"))["phases"][0]["skipped"] == {"text alone": 1}


@pytest.mark.slow
def test_samples_that_fill_no_batch_are_counted(config, capsys):
    (phase,) = run(config("recipe.instruct.steps=null"))["phases"]
    assert phase["left_out_of_an_epoch"] == 3
    assert (phase["epochs"], phase["samples"]) == (1.0, 48)
    assert "3 of each epoch left out" in " ".join(capsys.readouterr().err.split())


def test_the_processor_is_saved_for_prompts(finished):
    saved = json.loads((finished[0] / "tokenizer_config.json").read_text())
    assert saved["padding_side"] == "left"
