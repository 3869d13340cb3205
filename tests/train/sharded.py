"""Run by two processes: a step under FSDP2 against the same step in one process; prints what was equal."""

import torch
import torch.distributed as dist
from test_cost import IMAGE, config_of
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor
from transformers import LlavaForConditionalGeneration

from pdrop_eval import FastV, PyramidDrop, Vanilla

DECODER = ("model.multi_modal", "model.language_model", "lm_head")
LAST = PyramidDrop(rank_with="last_layer", score="logits", positions="keep")
# A strategy, what learns, whether with checkpointing, and whether the model is sharded before the strategy's
# hooks are on: the Trainer shards after, a loop of one's own may do it before.
CASES = {
    "pdrop": (PyramidDrop(), DECODER, True, False),
    "pdrop_before": (PyramidDrop(), DECODER, False, True),
    "pdrop_projector": (PyramidDrop(), ("model.multi_modal",), True, False),
    "pdrop_last_layer": (LAST, ("model.", "lm_head"), True, True),
    "fastv": (FastV(), DECODER, False, False),
    "vanilla": (Vanilla(), DECODER, False, False),
}


def batch():
    """Four rows of an image and a conversation, the last of text alone."""
    random = torch.Generator().manual_seed(1)
    ids = torch.randint(3, 50, (4, 50), generator=random)
    ids[:3, 2:27] = IMAGE
    labels = ids.clone()
    labels[:, :32] = labels[0, 32:40] = -100
    pixels = torch.randn(3, 3, 20, 20, generator=random)
    return ids, labels, pixels


def model_of(train):
    torch.manual_seed(0)
    model = LlavaForConditionalGeneration(config_of())
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, 0.3)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith(train))
    return model.train()


def step(model, strategy, rows, items, inside=lambda: None):
    ids, labels, pixels = batch()
    images = pixels[rows.start : min(rows.stop, 3)]
    with strategy(model) as drop:
        inside()
        output = model(
            input_ids=ids[rows],
            pixel_values=images,
            labels=labels[rows],
            attention_mask=torch.ones_like(ids[rows]),
            use_cache=False,
            num_items_in_batch=items,
        )
        output.loss.backward()
    return output.loss.detach(), drop


def shard(model):
    policy = {"mp_policy": MixedPrecisionPolicy()}
    for layer in (*model.model.language_model.layers, *model.model.vision_tower.encoder.layers):
        fully_shard(layer, **policy)
    fully_shard(model.get_input_embeddings(), **policy)  # these two as accelerate does
    fully_shard([model.model.language_model.norm, model.lm_head], reshard_after_forward=False, **policy)
    return fully_shard(model, **policy)


def check(strategy, train, checkpointing, before):
    rank = dist.get_rank()
    items = int((batch()[1][:, 1:] != -100).sum())
    whole = model_of(train)
    loss, dropped = step(whole, strategy, slice(0, 4), items)
    model = model_of(train)
    if checkpointing:
        getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)()
        model.disable_input_require_grads()
    if before:
        shard(model)
    inside = (lambda: None) if before else (lambda: shard(model))
    part, _ = step(model, strategy, slice(2 * rank, 2 * rank + 2), items, inside)
    dist.all_reduce(part)
    torch.testing.assert_close(part, loss)
    for (place, expected), parameter in zip(whole.named_parameters(), model.parameters(), strict=True):
        assert isinstance(parameter, DTensor), place
        assert (parameter.grad is None) == (expected.grad is None), place
        if expected.grad is not None:
            # averaged over the processes, while each process's loss is its share of the sum
            torch.testing.assert_close(2 * parameter.grad.full_tensor(), expected.grad)
    retained = dropped.image_tokens_per_layer
    assert (retained[-1] < retained[0]) == (strategy.name != "vanilla")


def main():
    dist.init_process_group("gloo")
    for name, case in CASES.items():
        check(*case)
        if dist.get_rank() == 0:
            print(name)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
