"""The outputs of official code (README.md describes them), and the driver that compares them with ours."""

import json
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import golden_driver
import pytest
import torch
from golden_case import MismatchError
from safetensors.torch import load_file, save_file

ROOT = Path(__file__).resolve().parents[2]
CASES = golden_driver.FOLDER
METHODS, FAMILIES = golden_driver.registered()


def test_case(golden_name, golden_folder, record_property):
    record_property("golden case", golden_name)
    try:
        line = golden_driver.run(golden_folder, golden_name)
    except golden_driver.MissingError as missing:
        record_property("golden line", f"{missing} isn't there yet")
        pytest.skip(f"{missing} isn't there yet")
    except MismatchError as bad:
        record_property("golden line", str(bad))
        raise
    record_property("golden line", line)


def test_all_cases_are_here():
    count = Counter(name.partition("_")[0] for name in golden_driver.names(CASES))
    assert count == {
        "pdrop": 10,
        "fastv": 5,
        "fam": 22,
        "mustdrop": 1,
        "pre": 45,
        "random": 1,
        "sparsevlm10": 1,
        "sparsevlm15": 3,
        "sparsevlmplus": 1,
        "vtw": 3,
        "dart": 3,
        "feather": 3,
        "fitprune": 3,
        "v2drop": 2,
    }
    assert len([name for name in golden_driver.names(CASES) if name.startswith("pdrop_train")]) == 2


def test_the_strategies_in_the_decoder_are_checked():
    assert {
        "pdrop",
        "pdrop-train",
        "pdrop-keep",
        "fastv",
        "given-indices",
        "vtw",
        "vtw-findk",
        "dart",
        "feather",
        "fastv-norope",
        "fitprune",
        "v2drop",
    } <= set(METHODS)


def test_the_cases_stay_small():
    sizes = [path.stat().st_size for path in CASES.iterdir()]
    assert max(sizes) < 15e6
    assert sum(sizes) < 40e6


CHEAP = "pdrop_mqa"


def copied(folder, name=CHEAP, tensors=None, data=None):
    """A copy of a case in another folder, with other tensors, or other values in its JSON."""
    known = json.loads((CASES / f"{name}.json").read_text())
    (folder / f"{name}.json").write_text(json.dumps({**known, "tensors_sha256": None, **(data or {})}))
    found = load_file(CASES / f"{name}.safetensors")
    save_file({**found, **(tensors(found) if tensors else {})}, folder / f"{name}.safetensors")
    return folder


def test_an_untouched_copy_passes(tmp_path):
    line = golden_driver.run(copied(tmp_path), CHEAP)
    assert line.startswith("pdrop: number of drops, stage0_kept, ")


@pytest.mark.parametrize(
    ("tamper", "words"),
    [
        (lambda t: {"stage0_kept": t["stage0_kept"].flip(0)}, "stage0_kept differ"),
        (lambda t: {"stage0_scores": t["stage0_scores"] + 2e-5}, "stage0_scores differ by up to 2e-05"),
        (lambda t: {"decode_logits": t["decode_logits"] + 2e-4}, "decode_logits differ"),
        (lambda t: {"inputs_embeds": t["inputs_embeds"] + 1e-2}, "differ"),
        (lambda t: {"prefill_hidden_last": t["prefill_hidden_last"][1:]}, "have the shape"),
        (lambda t: {"prefill_logits_last": torch.full_like(t["prefill_logits_last"], torch.nan)}, "differ"),
    ],
    ids=["ids", "scores", "logits", "inputs", "shape", "nan"],
)
def test_a_case_with_other_tensors_fails(tmp_path, tamper, words):
    with pytest.raises(MismatchError, match=words):
        golden_driver.run(copied(tmp_path, tensors=tamper), CHEAP)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"method": None}, "names no method"),
        ({"level": "e2e"}, "pdrop has no level 'e2e'"),
        ({"params": {"k": 3}}, "no variant has these params: k"),
        ({"tensors_sha256": "0" * 64}, "isn't the file that the JSON's tensors_sha256 names"),
        ({"input": {}}, "the JSON has no input.image_start"),
    ],
)
def test_a_case_with_another_json_fails(tmp_path, data, words):
    with pytest.raises(MismatchError, match=words):
        golden_driver.run(copied(tmp_path, data=data), CHEAP)


def test_a_file_that_is_missing_or_cut_off_fails(tmp_path):
    folder = copied(tmp_path)
    tensors = folder / f"{CHEAP}.safetensors"
    tensors.write_bytes(tensors.read_bytes()[:5000])
    with pytest.raises(MismatchError, match="safetensors can't be read"):
        golden_driver.run(folder, CHEAP)
    (folder / f"{CHEAP}.json").write_text("{")
    with pytest.raises(MismatchError, match="json can't be read"):
        golden_driver.run(folder, CHEAP)
    (folder / f"{CHEAP}.json").unlink()
    assert golden_driver.names(folder) == [CHEAP]  # tensors alone are a case that fails
    with pytest.raises(MismatchError, match="json can't be read"):
        golden_driver.run(folder, CHEAP)


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("a", {"method": "pre-nobody", "level": "function"}, "method pre-nobody"),
        ("a", {"method": "fastv", "family": "nobody_vl"}, "family nobody_vl"),
        ("fam_no_one_given", {"method": "function"}, "family no_one"),
    ],
)
def test_what_is_not_there_yet_is_named(tmp_path, name, data, words):
    (tmp_path / f"{name}.json").write_text(json.dumps(data))
    with pytest.raises(golden_driver.MissingError, match=words):
        golden_driver.run(tmp_path, name)


@pytest.mark.slow
def test_any_folder_is_run_and_a_line_is_printed_for_each_case(tmp_path):
    copied(tmp_path)
    shutil.copy(CASES / "fastv_k2_r50.json", tmp_path / "broken.json")
    (tmp_path / "fam_nobody_vl_given.json").write_text('{"method": "given"}')
    command = [sys.executable, "-m", "pytest", "tests/golden", "-p", "no:cacheprovider", "--golden-dir"]
    done = subprocess.run([*command, tmp_path], cwd=ROOT, capture_output=True, text=True, check=False)
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    start = next(i for i, line in enumerate(lines) if "golden cases of" in line)
    found = lines[start + 1 : start + 5]
    assert found[0].startswith("FAIL broken broken.safetensors can't be read")
    assert found[1] == "skip fam_nobody_vl_given family nobody_vl isn't there yet"
    assert found[2].startswith("pass pdrop_mqa pdrop: number of drops, stage0_kept, ")
    assert found[3] == "1 pass, 1 FAIL, 1 skip"
    assert done.returncode == 1


@pytest.mark.slow
@pytest.mark.parametrize("there", [True, False])
def test_a_folder_without_cases_is_refused(tmp_path, there):
    folder = tmp_path if there else tmp_path / "nowhere"
    command = [sys.executable, "-m", "pytest", "tests/golden", "-p", "no:cacheprovider", "--golden-dir"]
    done = subprocess.run([*command, folder], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert ("holds no case" if there else "is no folder") in done.stdout + done.stderr
