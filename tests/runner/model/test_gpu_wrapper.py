"""The lmms-eval wrapper on a GPU that is pretended: nothing mixes devices, and the answers are the CPU's."""

import pytest
import torch
from asking_model import make, requests, texts
from pretended_gpu import GPU, PretendedGpu, place

pytestmark = pytest.mark.usefixtures("lmms_eval")
VISIONZIP = {"strategy": "visionzip", "dominant": 5, "contextual": 3}


@pytest.mark.thin(2)
@pytest.mark.parametrize("kept", [2, 0], ids=["cached", "encoded"])
@pytest.mark.parametrize(
    "strategy",
    [{"strategy": "pdrop"}, VISIONZIP, {"strategy": "vanilla"}, {"strategy": "fastv"}],
    ids=lambda one: one["strategy"],
)
def test_the_wrapper_answers_on_a_gpu_as_on_the_cpu(llava, strategy, kept):
    arguments = {**strategy, "batch_size": 3, "feature_cache": kept, "workers": 0}
    model = make(llava, **arguments)
    wanted = texts(model.generate_until(requests(model)))
    model = make(llava, **arguments)
    model.placed = GPU
    place(model.loaded.model)
    gpu = PretendedGpu()
    with gpu:
        found = [texts(model.generate_until(requests(model))) for _ in range(2)]
    assert gpu.mixed == []
    assert found == [wanted, wanted]
    assert next(model.loaded.model.parameters()).as_subclass(torch.Tensor).device.type == "cpu"
