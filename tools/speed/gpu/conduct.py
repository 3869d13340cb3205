"""Runs the steps one after the other, each in a process of its own, and saves what each has found.

A step that fails, crashes, or takes too long is noted with the reason, and the others go on. The processes
are forked, so that torch is imported once; this one never touches the GPU.
"""

import json
import multiprocessing
import os
import time
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pdrop_eval.utils.code import provenance
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.files import read_text, write_atomically
from tools.speed.gpu.steps import STEPS, Step, import_all

SCHEMA = 1
DONE, SKIPPED = "done", "skipped"  # the others are tried again by the next run
_PATIENCE = 20  # a trial on a processor that others keep busy ends all the same
_fork = multiprocessing.get_context("fork")


def conduct(
    out: Path, device: str, seconds: float, *, again: bool = False, only: Sequence[str] = (),
    steps: Sequence[Step] = STEPS, tell: Callable[[str], None] = print,
) -> dict[str, Any]:  # fmt: skip
    """Run the steps that aren't done yet; return all that is known.

    Args:
        out: the JSON file, written after each step.
        device: "cuda", or "cpu" for a trial of every line.
        seconds: for all steps together; what isn't begun by then is left to the next run.
        again: forgets what is there.
        only: the names of some steps.
        steps: all of them.
        tell: says how far it is.

    Raises:
        UserError: no GPU, or a file of another machine.
    """
    began = time.monotonic()
    import_all()
    machine = _in_a_process(_environment, (device,), out, 60)
    if machine["status"] != DONE:
        raise UserError(f"The device {device} can't be used: {machine['reason']}.")
    found = _begun(out, machine["result"], again)
    for step in steps:
        if only and step.name not in only:
            continue
        if found["steps"].get(step.name, {}).get("status") in (DONE, SKIPPED):
            tell(f"{step.name}: done before")
            continue
        allowed = step.seconds * (_PATIENCE if device == "cpu" else 1)
        left = seconds - (time.monotonic() - began)
        if left < min(allowed, 5):
            tell(f"{step.name}: no time is left; the same command goes on")
            continue
        results = {name: one.get("result") for name, one in found["steps"].items()}
        entry = _in_a_process(_step, (step, device, results), out, min(allowed, left))
        found["steps"][step.name] = {**entry, "allowed_seconds": allowed}
        _save(out, found)
        tell(f"{step.name}: {entry['status']}, {entry['seconds']:.0f} s" + _reason(entry))
    return found


def _reason(entry: Mapping[str, Any]) -> str:
    return f" ({entry['reason']})" if entry.get("reason") else ""


def _begun(out: Path, machine: dict[str, Any], again: bool) -> dict[str, Any]:
    """What is there of an earlier run on this machine, with this machine's environment."""
    if again or not out.is_file():
        return {"schema": SCHEMA, "environment": machine, "steps": {}}
    try:
        found: dict[str, Any] = json.loads(read_text(out))
        same = all(found["environment"][key] == machine[key] for key in ("device", "packages"))
        steps = found["steps"]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{out} is damaged: {error!r}. Begin anew with --again.") from error
    if not same:
        raise UserError(
            f"{out} was measured on {found['environment']['device']} with other packages, or on another "
            "device. Begin anew with --again, or name another file with --out."
        )
    return {"schema": SCHEMA, "environment": machine, "steps": steps}


def _environment(device: str, keep: Callable[[Mapping[str, Any]], None], until: float) -> dict[str, Any]:
    from pdrop_eval.models.loading.checkpoint import check_device
    from pdrop_eval.models.loading.gpu import attention_backends, settle_attention

    check_device(device)
    settle_attention()
    hardware = provenance.hardware()
    return {
        "device": hardware["gpus"][0] if device != "cpu" else f"no GPU: {hardware['cpu']}",
        "tiny": device == "cpu",
        "gpus": hardware["gpus"],
        "cpu": hardware["cpu"],
        "cores": hardware["cores"],
        "attention_backends": attention_backends(),
        "packages": provenance.package_versions(),
        "code": provenance.code_identity(),
    }


def _step(
    step: Step, device: str, known: Mapping[str, Any], keep: Callable[[Mapping[str, Any]], None], until: float
) -> dict[str, Any]:
    from pdrop_eval.models.loading.gpu import settle_attention
    from tools.speed.gpu.ground import Ground

    settle_attention()
    return step.run(Ground(device, until, keep, known))


def _in_a_process(
    run: Callable[..., dict[str, Any]], given: tuple[Any, ...], out: Path, seconds: float
) -> dict[str, Any]:
    """Run something in a process of its own; return its status, result or reason, and seconds."""
    partial = out.with_suffix(".partial.json")
    partial.parent.mkdir(parents=True, exist_ok=True)
    partial.unlink(missing_ok=True)
    start, used = time.monotonic(), _seconds_of_children()
    process = _fork.Process(target=_child, args=(run, given, partial, start + seconds))
    process.start()
    try:
        process.join(seconds)
        is_late = process.is_alive()
    finally:
        if process.is_alive():
            process.kill()
        process.join()
    entry = json.loads(read_text(partial)) if partial.is_file() else {"status": "begun"}
    partial.unlink(missing_ok=True)
    if entry["status"] == "begun":
        why = f"ended after {seconds:.0f} s" if is_late else f"its process ended with {process.exitcode}"
        entry = {**entry, "status": "too long" if is_late else "crashed", "reason": why}
    cpu = round(_seconds_of_children() - used, 1)
    return {**entry, "seconds": round(time.monotonic() - start, 1), "cpu_seconds": cpu}


def _seconds_of_children() -> float:
    times = os.times()
    return times.children_user + times.children_system


def _child(run: Callable[..., dict[str, Any]], given: tuple[Any, ...], partial: Path, until: float) -> None:
    def keep(result: Mapping[str, Any]) -> None:
        write_atomically(partial, json.dumps({"status": "begun", "result": result}))

    from tools.speed.gpu.ground import SkippedError

    warnings.simplefilter("ignore")
    try:
        entry = {"status": DONE, "result": run(*given, keep=keep, until=until)}
    except SkippedError as error:
        entry = {"status": SKIPPED, "reason": str(error)}
    except BaseException as error:
        traceback.print_exc()
        so_far = json.loads(read_text(partial)) if partial.is_file() else {}
        text = str(error).partition("\n")[0].rstrip(".")
        kind = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
        entry = {**so_far, "status": "failed", "reason": kind + text}
    write_atomically(partial, json.dumps(entry))


def _save(out: Path, found: Mapping[str, Any]) -> None:
    write_atomically(out, json.dumps(found, indent=1) + "\n")
