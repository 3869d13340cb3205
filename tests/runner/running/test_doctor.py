"""The doctor: every thing that a run needs, one line each, with the fix."""

import json
import shutil
import subprocess
import sys
import time

import pytest
import runner_tiny as tiny
from pyarrow import parquet

from pdrop_eval.run.config.spec import compose_spec
from pdrop_eval.run.doctor import cli, inputs
from pdrop_eval.run.doctor.cli import Finding, examine
from pdrop_eval.run.lmms.model import PdropLlava
from pdrop_eval.utils.code import versions
from pdrop_eval.utils.errors import UserError


def findings(llava, root, *overrides):
    """What the doctor finds, by the name of the thing."""
    given = [f"model.pretrained={llava}", f"data.root={root}", *overrides]
    return {finding.what: finding for finding in examine(compose_spec(given))}


def test_a_machine_with_everything_is_well(llava, data):
    found = findings(llava, data)
    assert {what for what, finding in found.items() if finding.status == "FAIL"} == set()
    for what in ("python", "packages", "device", "disk", "results", "mini576", *tiny.TASKS):
        assert found[what].status == "ok"
    assert found["mme"].text.startswith("6 rows")
    assert found["judge"].status == "warn"
    assert found["mini576"].text.startswith("llava, safetensors")


def test_all_that_is_wrong_is_said_at_once(llava, data, tmp_path):
    for task in ("gqa", "pope", "mmvet"):
        shutil.copy(data / f"{task}.parquet", tmp_path)
    table = parquet.read_table(tmp_path / "pope.parquet").drop_columns(["category"])
    parquet.write_table(table, tmp_path / "pope.parquet")
    (tmp_path / "gqa.parquet").write_bytes(b"broken")
    checkpoint = tmp_path / "checkpoint"
    shutil.copytree(llava, checkpoint)
    (checkpoint / "model.safetensors").unlink()
    found = findings(
        checkpoint, tmp_path, "tasks=[gqa,pope,mmvet,mme]", "results=/proc/runs", "judge.model=m",
        "judge.api_key_env=PDROP_NO_SUCH_KEY",
    )  # fmt: skip
    failed = {what: finding.text for what, finding in found.items() if finding.status == "FAIL"}
    assert "can't be read" in failed["gqa"]
    assert "no column 'category'" in failed["pope"]
    assert "mme.parquet is missing" in failed["mme"]
    assert "*.safetensors" in failed["mini576"]
    assert "/proc/runs" in failed["results"]
    assert "PDROP_NO_SUCH_KEY" in failed["judge"]
    assert found["mmvet"].status == "ok"


def test_a_package_that_a_task_needs_is_a_finding(monkeypatch):
    from pdrop_eval.benchmarks.installed import kinds

    monkeypatch.setattr(kinds, "missing_packages", lambda task: ("apted",) if task == "ocrbench_v2" else ())
    spec = compose_spec(["suite=paper", "tasks=[gqa,realworldqa,ocrbench_v2]"])
    [found] = inputs.task_packages(spec)
    assert (found.status, found.what, found.fix) == ("FAIL", "ocrbench_v2", "pip install apted")


@pytest.mark.parametrize("change", ["architecture", "weights", "code", "sizes", "config"])
def test_what_is_wrong_with_a_checkpoint_is_said_once(llava, data, tmp_path, change):
    folder = tmp_path / "checkpoint"
    shutil.copytree(llava, folder)
    config = json.loads((folder / "config.json").read_text())
    changes = {
        "architecture": {"model_type": "llava_llama", "mm_vision_tower": "x"},
        "code": {"auto_map": {"AutoModel": "a.B"}},
        "sizes": {"text_config": {**config["text_config"], "intermediate_size": 24}},
    }
    (folder / "config.json").write_text(json.dumps({**config, **changes.get(change, {})}))
    if change == "weights":
        (folder / "model.safetensors").unlink()
    if change == "config":
        (folder / "config.json").write_text("{")
    failed = [
        one
        for one in examine(compose_spec([f"model.pretrained={folder}", f"data.root={data}"]))
        if one.status == "FAIL"
    ]
    assert [one.what for one in failed] == ["mini576"]


def test_a_package_that_is_missing_or_too_old_is_named_with_its_command(monkeypatch):
    needs = ["torch>=99", "no-such-package>=1", "pillow>=1", "ruff>=99; extra == 'dev'"]
    monkeypatch.setattr(versions, "requires", lambda _: needs)
    found = list(cli._packages(None))
    assert [(f.status, f.what, f.fix) for f in found[:2]] == [
        ("FAIL", "torch", "pip install 'torch>=99'"),
        ("FAIL", "no-such-package", "pip install 'no-such-package>=1'"),
    ]
    assert found[2].status == "ok"
    assert found[2].text.startswith("pillow ")
    assert len(found) == 3


def test_a_full_disk(monkeypatch, llava, data):
    monkeypatch.setattr(cli.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, 10**6))
    assert findings(llava, data)["disk"].status == "FAIL"


def test_a_model_of_7b_on_a_processor_is_warned_about(llava, data):
    found = findings(llava, data, "model=llava_1_5_7b")
    assert found["device"].status == "warn"
    assert "device=cuda" in found["device"].fix
    assert "llava_1_5_7b_pdrop_04" in found["other checkpoints"].text


def test_no_gpu_for_a_run_that_wants_one(llava, data, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert findings(llava, data, "device=cuda")["device"].status == "FAIL"


def test_a_hub_out_of_reach_is_waited_for_only_once(llava, monkeypatch, tmp_path):
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))

    def unreachable(*_, **__):
        time.sleep(0.5)
        raise ConnectionError("no route to host")

    monkeypatch.setattr("huggingface_hub.HfApi.repo_info", unreachable)
    config = compose_spec(["suite=paper", f"model.pretrained={llava}"])
    start = time.perf_counter()
    found = list(inputs.data(config))
    assert time.perf_counter() - start < 4  # one after the other they would take 8 seconds
    assert [finding.status for finding in found] == ["FAIL"] * 16
    assert "no route to host" in found[0].text


def test_downloaded_data_are_looked_at(llava, tmp_path):
    tiny.suite(tmp_path / "data", n=4, tasks=("pope",))
    found = findings(llava, tmp_path / "data", "suite=paper", "tasks=[pope,gqa]")
    assert (found["pope"].status, found["pope"].text[:6]) == ("ok", "4 rows")
    assert found["gqa"].status == "FAIL"
    assert "hf download" in found["gqa"].text


def test_a_line_fits_a_terminal_and_ends_with_the_fix():
    line = cli._line(Finding("warn", "python", "word " * 30, "use another"))
    assert max(map(len, line.splitlines())) <= 80
    assert line.startswith("warn python ")
    assert " ".join(line.split()).endswith("word -> use another")


def test_the_command_exits_with_what_it_found(llava, data, tmp_path, monkeypatch, capsys):
    def command(*arguments):
        monkeypatch.setattr(sys, "argv", ["pdrop-eval-doctor", *map(str, arguments)])
        try:
            cli.main()
        except SystemExit as leaving:
            return leaving.code
        return 0

    given = [f"model.pretrained={llava}", f"data.root={data}"]
    assert command(*given, "tasks=[gqa]") == 0
    assert "Everything that this run needs is there." in capsys.readouterr().out
    (tmp_path / "file").touch()
    assert command(*given, f"results={tmp_path}/file", "tasks=[gqa]") == 1
    assert "1 of these must be fixed" in capsys.readouterr().out
    assert command("suite=papers") == 2
    assert "Did you mean paper?" in capsys.readouterr().err


def test_the_help_needs_no_settings():
    command = [sys.executable, "-m", "pdrop_eval.run.doctor.cli", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "pdrop-eval-doctor suite=paper" in done.stdout


@pytest.mark.parametrize(("setting", "said"), [
    ("strategy.ratio=2", "ratio=2 is not allowed"),
    ("model.anyres=p9", "is for LLaVA-NeXT"),
    ("dtype=f32", "Did you mean float32"),
])  # fmt: skip
def test_a_setting_that_the_run_would_refuse_fails_here_too(llava, data, setting, said):
    found = findings(llava, data, "tasks=[gqa]", setting)
    assert found["settings"].status == "FAIL"
    assert said in found["settings"].text


def spoilt(llava, folder, file, **changes):
    """The checkpoint with other values in a JSON file; None takes one out."""
    shutil.copytree(llava, folder)
    content = {**json.loads((folder / file).read_text()), **changes}
    (folder / file).write_text(json.dumps({k: v for k, v in content.items() if v is not None}))
    return folder


@pytest.mark.parametrize(("file", "changes", "said"), [
    ("processor_config.json", {"patch_size": 8}, "counts 4 tokens for an image of 640x400 pixels"),
    ("processor_config.json", {"vision_feature_select_strategy": "full"}, "of which the model makes 16"),
    ("config.json", {"vision_feature_layer": 9}, "the model can't take what it makes of an image"),
])  # fmt: skip
def test_a_processor_that_does_not_fit_is_refused_in_the_same_words(
    llava, data, tmp_path, file, changes, said
):
    checkpoint = spoilt(llava, tmp_path / "checkpoint", file, **changes)
    found = findings(checkpoint, data, "tasks=[gqa]")["mini576"]
    assert found.status == "FAIL"
    assert said in found.text
    with pytest.raises(UserError) as refused:
        PdropLlava(str(checkpoint), device="cpu")
    assert str(refused.value) == found.text


@pytest.mark.parametrize("template", ["{{ raise_exception('no picture') }}", None])
def test_a_template_that_fails_is_refused_in_the_same_words(llava, data, tmp_path, template):
    checkpoint = shutil.copytree(llava, tmp_path / "checkpoint")
    path = checkpoint / "chat_template.jinja"
    path.write_text(template) if template else path.unlink()
    found = findings(checkpoint, data, "tasks=[gqa]")["mini576"]
    with pytest.raises(UserError, match="chat_template=vicuna") as refused:
        PdropLlava(str(checkpoint), device="cpu")
    assert (found.status, found.text) == ("FAIL", str(refused.value))
    assert findings(checkpoint, data, "tasks=[gqa]", "model.chat_template=vicuna")["mini576"].status == "ok"


def test_a_processor_of_2024_is_well_for_both(llava, data, tmp_path):
    lacking = dict.fromkeys(["patch_size", "num_additional_image_tokens", "vision_feature_select_strategy"])
    checkpoint = spoilt(llava, tmp_path / "checkpoint", "processor_config.json", **lacking)
    assert findings(checkpoint, data, "tasks=[gqa]")["mini576"].status == "ok"
    model = PdropLlava(str(checkpoint), device="cpu")
    assert model.preparer.process(tiny.picture(0))[1] == 16  # 16 pixels in patches of 4: 4 x 4


@pytest.mark.parametrize(("argument", "said"), [
    ("tasks=[foo]", "Unknown task"), ("limit=3", "Use an even limit"), ("experiment=table5", "several runs"),
])  # fmt: skip
def test_what_no_run_can_be_is_one_line_and_status_2(monkeypatch, capsys, argument, said):
    monkeypatch.setattr(sys, "argv", ["pdrop-eval-doctor", argument])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 2
    assert said in capsys.readouterr().err
