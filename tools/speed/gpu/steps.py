"""The steps in their order, what is worth most first, with the seconds that each may take. No torch."""

from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from pdrop_eval.utils.errors import UserError

FAMILIES = ("llava_1_5_7b", "llava_next_7b", "qwen2_5_vl_7b")


@dataclass(frozen=True)
class Step:
    """One step.

    Attributes:
        name: its name.
        title: its heading in the page.
        seconds: what it may take; it is ended then, and what it has saved by then stays.
        function: what runs, as "module:function" in this package; it takes a `Ground`.
        model: a further argument of it, or "".
    """

    name: str
    title: str
    seconds: float
    function: str
    model: str = ""

    def run(self, ground: Any) -> dict[str, Any]:
        """Return its result."""
        module, _, name = self.function.partition(":")
        function = getattr(import_module(f"tools.speed.gpu.{module}"), name)
        found: dict[str, Any] = function(ground, self.model) if self.model else function(ground)
        return found


STEPS = (
    Step("rates", "What the device reaches", 20, "timing:rates"),
    Step("answers", "Answers of the processor and of the device", 35, "answers:answers"),
    Step("llava_1_5_7b", "LLaVA-1.5-7B", 50, "timing:family", "llava_1_5_7b"),
    Step("llava_next_7b", "LLaVA-NeXT-7B", 75, "timing:family", "llava_next_7b"),
    Step("qwen2_5_vl_7b", "Qwen2.5-VL-7B", 50, "timing:family", "qwen2_5_vl_7b"),
    Step("harness", "The evaluation itself", 60, "harness:harness"),
    Step("kernels", "Kernels of attention, and cuDNN's plans", 45, "kernels:kernels"),
    Step("gradients", "Gradients that aren't finite", 20, "kernels:gradients"),
    Step("waits", "Where the host waits", 20, "kernels:waits"),
    Step("attention", "SDPA, FlashAttention, torch.compile", 50, "timing:attention"),
    Step("padding", "Padded rows", 20, "answers:padding"),
    Step("tower", "The vision tower, and copies", 20, "moving:tower"),
    Step("largest", "The largest batch", 25, "timing:largest"),
    Step("loading", "Loading", 20, "moving:loading"),
    Step("training", "Training", 30, "training:training"),
)


def import_all() -> None:
    """Import and find out what the steps need, once for the processes that are forked for them.

    Nothing is computed, nor is the GPU looked for: a process that has used it can't be forked.
    """
    for step in STEPS:
        import_module(f"tools.speed.gpu.{step.function.partition(':')[0]}")
    from tools.speed.gpu.ground import Ground

    for model in FAMILIES:
        with suppress(UserError):  # its own step says so
            Ground("cpu", 0, lambda _: None).work(model)
