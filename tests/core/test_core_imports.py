"""The core is a library: it needs torch and transformers, and nothing of the runner."""

import subprocess
import sys

import pytest

PROGRAM = """
import sys
for name in (
    "lmms_eval", "hydra", "omegaconf", "pandas", "datasets", "tabulate", "PIL", "decord", "pydantic",
    "openai", "psutil", "pyarrow", "matplotlib", "plotly",
):
    sys.modules[name] = None  # an import of it fails
import torch
from transformers import LlamaConfig, LlamaForCausalLM
from pdrop_eval import FastV, PyramidDrop, Vanilla
from pdrop_eval.efficiency.flops import theoretical_flops

sizes = {"hidden_size": 8, "intermediate_size": 8, "num_attention_heads": 1, "vocab_size": 8}
config = LlamaConfig(num_hidden_layers=4, **sizes)
model = LlamaForCausalLM(config).eval()
mask = torch.tensor([[False] + [True] * 8 + [False]])
reached = PyramidDrop.for_budget(config, share=0.5, image_tokens=64).reached
assert 0 < reached.share <= 0.5
for strategy in (Vanilla(), FastV(), PyramidDrop()):
    with torch.no_grad(), strategy(model, image_mask=mask) as drop:
        model(inputs_embeds=torch.randn(1, 10, 8))
    print(drop.kv_lengths[-1], theoretical_flops(config, strategy.schedule(4, 8)).total > 0)
"""


@pytest.mark.slow
def test_the_core_runs_without_the_runners_packages():
    run = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert run.stdout.split("\n")[:3] == ["[10] True", "[6] True", "[3] True"]
