"""A step's memory: by hand, against what a real forward saves, and against a real optimizer."""

import pytest
import torch
from test_cost import IMAGE, config_of
from transformers import LlavaForConditionalGeneration
from transformers.loss.loss_utils import ForCausalLMLoss

from pdrop_eval import PyramidDrop, Vanilla
from pdrop_eval.run.bench.memory import peak_bytes
from pdrop_eval.run.train.estimate.cost import architecture_of
from pdrop_eval.run.train.estimate.memory import (
    Sharing,
    decoder_activations,
    layer_parameters,
    states,
    step_memory,
    vision_activations,
)

ALONE = Sharing("none", 1)
ZERO2 = Sharing("deepspeed", 8, weights=False, gradients=True, optimizer=True)
ZERO3 = Sharing("deepspeed", 8, weights=True, gradients=True, optimizer=True)
FSDP = Sharing("fsdp", 8, weights=True, gradients=True, optimizer=True)
SIZES = architecture_of(config_of(kv_heads=4))
PARTS = {"vision": "model.vision", "projector": "model.multi_modal", "decoder": ("model.lang", "lm_head")}
TEXT = 100


class Saved:
    """Bytes that autograd saves, without the weights; `between` modules of a list, from the first on."""

    def __init__(self, model, modules):
        self.weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
        self.found, self.start, self.end = {}, None, 0
        modules[0].register_forward_pre_hook(self._begin)
        modules[-1].register_forward_hook(self._finish)

    def __enter__(self):
        self.hooks = torch.autograd.graph.saved_tensors_hooks(self._pack, lambda tensor: tensor)
        self.hooks.__enter__()
        return self

    def __exit__(self, *exception):
        self.hooks.__exit__(*exception)

    def _pack(self, tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self.weights:
            self.found[storage.data_ptr()] = (storage.nbytes(), tensor)
        return tensor

    def _total(self):
        return sum(size for size, _ in self.found.values())

    def _begin(self, *_):
        self.start = self._total()

    def _finish(self, *_):
        self.end = self._total()

    @property
    def bytes(self):
        return self.end - self.start


def forward(train, dtype, strategy, layers, checkpointing=False):
    torch.manual_seed(0)
    model = LlavaForConditionalGeneration(config_of(kv_heads=4)).to(dtype).train()
    learning = tuple(name for part in train for name in ([PARTS[part]] if part != "decoder" else PARTS[part]))
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith(learning))
    if checkpointing:
        getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)()
        model.disable_input_require_grads()
    ids = torch.tensor([[1, 5, *[IMAGE] * 25, *[7] * (TEXT - 2)]] * 2)
    labels = torch.where(torch.arange(ids.shape[1]) > 60, ids, -100)
    pixels = torch.randn(2, 3, 20, 20, dtype=dtype)
    saved = Saved(model, layers(model))
    with strategy(model), saved:
        model(input_ids=ids, pixel_values=pixels, labels=labels, use_cache=False)
    return saved.bytes


@pytest.mark.parametrize("strategy", [Vanilla(), PyramidDrop()], ids=lambda s: s.name)
@pytest.mark.parametrize("train", [("projector",), ("projector", "decoder")], ids="+".join)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_decoder_activations_are_what_a_forward_saves(dtype, train, strategy):
    """Within the small rest: positions, the log-sum of attention, the norms' variances."""
    found = forward(train, getattr(torch, dtype), strategy, lambda m: m.model.language_model.layers)
    tokens = [2 * (n + TEXT) for n in strategy.schedule(8, 25)]
    wanted = decoder_activations(SIZES, tokens, "decoder" in train, False, dtype)
    assert found == pytest.approx(wanted, rel=0.1)


def test_with_checkpointing_only_the_inputs_of_layers_are_kept():
    found = forward(
        ("projector", "decoder"), torch.float32, Vanilla(), lambda m: m.model.language_model.layers, True
    )
    tokens = [2 * (25 + TEXT)] * 8
    one_layer = decoder_activations(SIZES, tokens[:1], True, False, "float32")
    wanted = decoder_activations(SIZES, tokens, True, True, "float32") - one_layer
    assert wanted == 8 * tokens[0] * 32 * 4
    assert found == pytest.approx(wanted, rel=0.1)


def test_vision_activations_are_what_a_forward_saves():
    """Of the three layers, the last isn't used, but runs: what is before it is counted."""
    train = ("vision", "projector", "decoder")
    found = forward(train, torch.float32, Vanilla(), lambda m: m.model.vision_tower.encoder.layers[:2])
    assert found == pytest.approx(vision_activations(SIZES, 2, False, "float32"), rel=0.1)


def test_states_by_hand():
    """Ten parameters learn, thirty are frozen; eight devices."""
    assert states(ALONE, 10, 30, "float32") == (160, 40, 80)
    assert states(ALONE, 10, 30, "bfloat16") == (240, 40, 80)
    assert states(Sharing("none", 8), 10, 30, "float32") == (160, 80, 80)
    assert states(ZERO2, 10, 30, "bfloat16") == (80, 20 / 8, 120 / 8)
    assert states(ZERO3, 10, 30, "bfloat16") == (10, 20 / 8, 120 / 8)
    assert states(FSDP, 10, 30, "bfloat16") == (20, 5, 10)


def test_states_are_those_of_a_real_optimizer():
    layer = torch.nn.Linear(8, 8)
    optimizer = torch.optim.AdamW(layer.parameters())
    layer(torch.ones(1, 8)).sum().backward()
    optimizer.step()
    moments = [t for state in optimizer.state.values() for t in state.values() if t.dim()]

    def size(tensors):
        return sum(t.numel() * t.element_size() for t in tensors)

    gradients = [p.grad for p in layer.parameters()]
    real = (size(layer.parameters()), size(gradients), size(moments))
    assert states(ALONE, 72, 0, "float32") == real


def step(sharing=ALONE, train=("projector", "decoder"), tokens=(100,) * 8, **changes):
    settings = {"tiles": 2, "checkpointing": True, "dtype": "bfloat16", **changes}
    return step_memory(SIZES, sharing, 1000, 200, tokens=tokens, train=train, **settings)


def test_the_logits_are_of_the_tokens_that_are_left():
    """64 words: 2 bytes for a logit, 4 for its log-probability, 4 for each of two gradients."""
    assert step(tokens=(100, 50)).logits == 50 * 64 * 14


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_the_logits_take_what_a_real_loss_takes_at_its_peak(dtype):
    logits = torch.randn(1, 40, 1000).to(getattr(torch, dtype)).requires_grad_()
    labels = torch.arange(40)[None]
    found = peak_bytes(lambda: ForCausalLMLoss(logits, labels, 1000).backward(), "cpu") + logits.nbytes
    assert found == pytest.approx(step(tokens=(100, 40), dtype=dtype).logits * 1000 / 64, rel=0.02)


def test_what_is_gathered():
    """A layer has 4*32*32 + 3*32*48 weights; the head 32*64. FSDP has two layers and a layer's gradients."""
    assert layer_parameters(SIZES) == 8704
    assert step().gathered == step(ZERO2).gathered == 0
    assert step(ZERO3).gathered == 2 * 1200
    assert step(FSDP).gathered == 2 * (3 * 8704 + 32 * 64)


def test_the_total_and_what_makes_it_smaller():
    one = step()
    parts = one.weights + one.gradients + one.optimizer + one.gathered + one.activations + one.logits
    assert one.total == parts
    assert step(checkpointing=False).total > one.total > step(ZERO2).total
    assert step(train=("vision", "projector", "decoder")).activations > one.activations
    assert step(tokens=(100, 100, 50, 50, 25, 25, 12, 12)).activations < one.activations
