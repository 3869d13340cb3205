"""FSDP2 in two processes on the CPU: loss and gradients are those of one process, hooks in any order."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import sharded

HERE = Path(__file__).parent


@pytest.mark.whole
@pytest.mark.slow
def test_a_sharded_step_is_that_of_one_process():
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(HERE)}
    done = subprocess.run(
        [*command, str(HERE / "sharded.py")], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == list(sharded.CASES)
