"""Medians, speed-ups, exponents and memory: against numbers worked out by hand."""

import errno
import math
import subprocess
from collections import namedtuple

import pytest
import torch

from pdrop_eval.run.bench import machine, memory, outcome
from pdrop_eval.run.bench.statistics import fit_exponent, quartiles, speedup, throughput
from pdrop_eval.utils.errors import SampleError
from pdrop_eval.utils.memory import is_out_of_memory


def test_quartiles():
    assert quartiles([5, 1, 4, 2, 3]) == [2, 3, 4]
    assert quartiles([7]) == [7, 7, 7]


def test_a_speedup_is_of_the_times_of_one_round():
    # 2/1, 3/1, 8/2: 2, 3, 4, whatever the medians of the times are
    assert speedup([2, 3, 8], [1, 1, 2]) == [2.5, 3, 3.5]


def test_throughput_counts_the_first_token():
    # 4 rows in 2 seconds, each of a first token and 9 more
    found = throughput([2.0], rows=4, new_tokens=9)
    assert found == {"samples_per_second": [2, 2, 2], "tokens_per_second": [20, 20, 20]}


def test_exponents_of_powers_are_exact():
    slope, error = fit_exponent([1, 2, 4], [3, 12, 48])  # 3 n^2
    assert slope == pytest.approx(2)
    assert error == pytest.approx(0, abs=1e-12)


def test_the_exponents_error_is_that_of_the_slope():
    # logarithms to base e: x = 0, 1, 2 and y = 0, 2, 1; slope 1/2, residuals -1/2, 1, -1/2
    slope, error = fit_exponent([1, math.e, math.e**2], [1, math.e**2, math.e])
    assert slope == pytest.approx(0.5)
    assert error == pytest.approx(math.sqrt(1.5 / 1 / 2))


def test_the_peak_is_of_what_is_held_at_one_time():
    def work():
        first = torch.empty(1000, 1000)  # 4 MB
        second = torch.empty(500, 1000)  # 2 MB more
        del first
        third = torch.empty(250, 1000)  # 1 MB, when 4 are gone
        return second, third

    assert memory.peak_bytes(work, "cpu") == 6_000_000


@pytest.mark.skipif(memory.resource is None, reason="needs a POSIX system")
def test_beyond_the_free_memory_an_allocation_fails_and_the_limit_goes_again(monkeypatch):
    monkeypatch.setattr(memory, "available", lambda device: 2**28)
    before = memory.resource.getrlimit(memory.resource.RLIMIT_AS)
    with pytest.raises(RuntimeError) as caught, memory.within_memory("cpu"):
        torch.empty(2**30, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)
    assert memory.resource.getrlimit(memory.resource.RLIMIT_AS) == before


# By torch's allocators for CUDA, ROCm, Apple and the processor; by libraries; by the runtimes; by C++.
FULL = [
    "CUDA out of memory. Tried to allocate 2.00 GiB", "HIP out of memory. Tried to allocate",
    "MPS backend out of memory (MPS allocated: 9 GB)", "XPU out of memory.", "CUDA error: out of memory",
    "[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory: you tried",
    "DefaultCPUAllocator: not enough memory: you tried", "std::bad_alloc",
    "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
    "CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`",
    "cuDNN error: CUDNN_STATUS_ALLOC_FAILED", "cusolver error: CUSOLVER_STATUS_ALLOC_FAILED",
    "CUDA error: HIPBLAS_STATUS_ALLOC_FAILED when calling", "HIP error: hipErrorOutOfMemory",
    "rocblas_status_memory_error", "MIOpen Error: miopenStatusAllocFailed", "cudaErrorMemoryAllocation",
    "Native API failed. Native API returns: 39 (UR_RESULT_ERROR_OUT_OF_DEVICE_MEMORY)",
]  # fmt: skip
OTHER = [
    "mat1 and mat2 shapes cannot be multiplied", "CUDA error: device-side assert triggered",
    "CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm`",
    "cuDNN error: CUDNN_STATUS_BAD_PARAM", "[Errno 28] No space left on device",
]  # fmt: skip


def test_errors_of_memory_are_known_from_others():
    assert [words for words in FULL if not is_out_of_memory(RuntimeError(words))] == []
    assert [words for words in OTHER if is_out_of_memory(RuntimeError(words))] == []
    assert is_out_of_memory(torch.OutOfMemoryError(FULL[0]))
    assert is_out_of_memory(torch.AcceleratorError("CUDA error: out of memory"))
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(OSError(errno.ENOMEM, "Cannot allocate memory"))
    assert not is_out_of_memory(ValueError("not enough memory"))
    assert not is_out_of_memory(OSError(errno.ENOSPC, "No space left on device"))
    assert not is_out_of_memory(None)


def test_an_error_that_was_raised_from_one_of_memory_is_one():
    outer = SampleError("task gqa, sample 3 can't be answered")
    outer.__cause__ = RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED")
    assert is_out_of_memory(outer)


def test_a_machine_is_busy_when_others_take_more_than_a_third_of_a_core(monkeypatch):
    # all processes computed 3 seconds in 2, this one 2 of them: half a core is others'
    every, own, wall = iter([10.0, 13.0]), iter([1.0, 3.0]), iter([0.0, 2.0])
    monkeypatch.setattr(machine, "_all_seconds", lambda: next(every))
    monkeypatch.setattr(machine, "_own_seconds", lambda: next(own))
    monkeypatch.setattr(machine.time, "perf_counter", lambda: next(wall))
    load = machine.Load().seen()
    assert load["others"] == 0.5
    assert machine.is_busy(load)
    assert "0.5 cores busy" in machine.warning(load)
    assert not machine.is_busy({"average": 9.0, "others": 0.3})
    assert not machine.is_busy({"average": 9.0, "others": None})


def test_all_seconds_are_those_that_somebody_computed(monkeypatch):
    times = {
        "user": 5.0,
        "nice": 1.0,
        "system": 2.0,
        "idle": 100.0,
        "iowait": 7.0,
        "irq": 0.5,
        "softirq": 0.25,
    }
    times |= {"irq": 0.5, "softirq": 0.25, "steal": 0.25}
    times |= {"guest": 3.0, "guest_nice": 0.5}  # user and nice have the guests' in them
    counted = namedtuple("counted", times)(**times)
    monkeypatch.setattr(machine.psutil, "cpu_times", lambda: counted)
    assert machine._all_seconds() == 9.0


def test_what_a_failed_allocation_asked_for():
    assert outcome.asked_for("CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has") == 2.5 * 2**30
    assert outcome.asked_for("not enough memory: you tried to allocate 1024 bytes. Error code 12") == 1024
    assert outcome.asked_for("CUDA error: out of memory") is None


def test_a_busy_gpu_is_seen_before_the_benchmark(monkeypatch):
    monkeypatch.setattr(machine.Load, "seen", lambda self: {"average": 0.1, "others": 0.0})
    monkeypatch.setattr(torch.cuda, "utilization", lambda index: 40 + index)
    monkeypatch.setattr(torch.cuda, "device_memory_used", lambda index: 3 * 2**30)
    load = machine.glance("cuda:1", seconds=0)
    assert load["gpu"] == {"percent": 41, "used_bytes": 3 * 2**30}
    assert machine.is_busy(load)
    assert "keep the GPU busy 41% of the time (with 3.0 GiB of its memory)." in machine.warning(load)
    assert not machine.is_busy({**load, "gpu": {"percent": 5, "used_bytes": 2**30}})
    assert not machine.is_busy({**load, "gpu": None})
    assert "gpu" not in machine.glance("cpu", seconds=0)


def test_without_nvidias_package_its_command_says_how_busy_a_gpu_is(monkeypatch):
    def no_package(index):
        raise ModuleNotFoundError("pynvml does not seem to be installed")

    asked = []

    def command(words, **_):
        asked.append(words)
        return subprocess.CompletedProcess(words, 0, stdout="17, 512\n")

    monkeypatch.setattr(torch.cuda, "utilization", no_package)
    monkeypatch.setattr(machine.subprocess, "run", command)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert machine.gpu_load("cuda") == {"percent": 17, "used_bytes": 2**29}
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,GPU-abc")
    machine.gpu_load("cuda:1")
    assert [words[1] for words in asked] == ["--id=0", "--id=GPU-abc"]

    def no_command(words, **_):
        raise FileNotFoundError(words[0])

    monkeypatch.setattr(machine.subprocess, "run", no_command)
    assert machine.gpu_load("cuda:0") is None
