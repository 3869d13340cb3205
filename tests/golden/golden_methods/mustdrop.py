"""MustDrop's half in the decoder, with the cut of its caches: sums, maxima, ids, lengths and answers."""

from dataclasses import dataclass, field

import torch

from golden_methods.decoder import (
    ATTENTION,
    compare_answer,
    compare_lengths,
    compare_prefill,
    inputs_of,
    llama,
)
from pdrop_eval.strategies.mustdrop import MustDrop, looked_at


@dataclass
class Noting(MustDrop):
    """MustDrop, and each drop's sums and maxima."""

    found: list = field(default_factory=list)

    def select(self, context):
        image = context.image[0]
        self.found.append([part[0][image] for part in looked_at(context)])
        return super().select(context)


def strategy_of(case):
    params = case.params("prune_after_layers", "global_thr", "individual_thr", "key_set", "positions")
    layers = [layer + 1 for layer in params["prune_after_layers"]]
    names = ("global_thr", "individual_thr", "positions")
    settings = {name: params[name] for name in names if name in params}
    key_set = case.tensor("key_set").tolist() if "key_set" in case.tensors else params.get("key_set")
    cut = "kv_len_per_layer_after_prefill" in case.value("expected")
    return Noting(layers=layers, key_set=key_set, cut_caches=cut, **settings)


def check(case):
    expected = case.value("expected")
    for attention in ATTENTION:
        model, (embeds, mask), strategy = llama(case, attention), inputs_of(case), strategy_of(case)
        with torch.no_grad(), strategy(model, image_mask=mask) as report:
            output = model(inputs_embeds=embeds, output_hidden_states=True)
        case.equal("number of drops", len(report.retained), len(expected["kept_image_indices"]))
        for d, kept in enumerate(expected["kept_image_indices"]):
            case.equal(f"kept_image_indices {d}", report.retained[d][0], kept)
            for what, ours in zip(("sum", "max"), strategy.found[d], strict=True):
                case.close_if_told(f"stage{d}_attention_{what}", ours, atol=1e-5)
        text = int((~mask).sum())
        lengths = [per_row[0] + text for per_row in report.image_tokens_per_layer]
        cached = expected.get("kv_len_per_layer_after_prefill", lengths)
        case.equal("kv_lengths", [per_row[0] for per_row in report.kv_lengths], cached)
        compare_lengths(case, lengths, output, cached)
        compare_prefill(case, output)
        compare_answer(case, model, strategy_of(case))


METHODS = {"mustdrop_llm": {None: check}}
