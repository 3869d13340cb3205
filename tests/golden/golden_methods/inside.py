"""Strategies in the decoder beside PyramidDrop and FastV: ids, scores, lengths, and what is answered."""

from dataclasses import dataclass, field

import torch

from golden_methods.decoder import ATTENTION, greedy, image_mask, llama
from pdrop_eval import PyramidDrop
from pdrop_eval.engine.interface import Drop, Selection
from pdrop_eval.strategies.base import Strategy
from pdrop_eval.strategies.vtw import VTW


def run(case, strategy, form="", rtol=0.0, atol=1e-5):
    """Prefill and decoding under a strategy, with both attentions; returns the last report.

    form: what the names of the case's values end with. rtol, atol: of scores, where the case has them.
    """
    for attention in ATTENTION:
        model, embeds = llama(case, attention), case.tensor("inputs_embeds")
        mask = image_mask(case, embeds)
        with torch.no_grad(), strategy(model, image_mask=mask) as report:
            output = model(inputs_embeds=embeds, output_hidden_states=True)
        _chosen(case, report, form, rtol, atol)
        lengths = case.value("expected", "seq_len_at_layer_input")
        case.equal("lengths", [per_row[0] for per_row in report.kv_lengths], lengths)
        cached = [layer.keys.shape[2] for layer in output.past_key_values.layers]
        case.equal("cached lengths", cached, case.value("expected").get("kv_len_per_layer", lengths))
        case.close(f"prefill_logits_last{form}", output.logits[0, -1])
        states = torch.stack([states[0, -1] for states in output.hidden_states])
        case.close(f"prefill_hidden_last{form}", states)
        with strategy(model, image_mask=mask):
            tokens, logits = greedy(model, inputs_embeds=embeds)
        case.equal(f"decode_tokens{form}", tokens, case.value("expected", f"decode_tokens{form}"))
        case.close(f"decode_logits{form}", logits)
    return report


def _chosen(case, report, form, rtol, atol):
    kept = case.value("expected", f"kept_image_indices{form}")
    case.equal("number of drops", len(report.retained), len(kept))
    for d, expected in enumerate(kept):
        case.equal(f"kept_image_indices{form} {d}", report.retained[d][0], expected)
        if f"stage{d}_kept" in case.tensors:
            case.equal(f"stage{d}_kept", report.retained[d][0])
        if f"stage{d}_scores" in case.tensors:
            case.close(f"stage{d}_scores", report.scores[d][0], rtol=rtol, atol=atol)


@dataclass
class Given(Strategy):
    """Retains the tokens that a case names."""

    layers: tuple = ()
    kept: list = field(default_factory=list)
    positions: str = "keep"

    def drops(self, num_layers):
        return tuple(Drop(layer) for layer in self.layers)

    def select(self, context):
        chosen = torch.tensor(self.kept[context.drop])
        ids = torch.isin(torch.arange(context.image_tokens[0]), chosen)
        if context.drop:
            ids = ids[torch.tensor(self.kept[context.drop - 1])]
        keep = torch.zeros_like(context.image)
        keep[context.image] = ids
        return Selection(keep=keep)


def check_given(case):
    params = case.params("drop_before_layers", "positions")
    for positions in ("keep", "renumber") if params["positions"] == "both" else (params["positions"],):
        kept = case.value("expected", f"kept_image_indices_{positions}")
        run(case, Given(tuple(params["drop_before_layers"]), kept, positions), f"_{positions}")


def check_pdrop_keep(case):
    params = case.params("layer_list", "image_token_ratio_list", "positions", "rank_with")
    ratios = params["image_token_ratio_list"]
    more = {name: params[name] for name in ("positions", "rank_with")}
    run(case, PyramidDrop(layers=params["layer_list"], ratios=ratios, **more))


def check_vtw(case):
    params = case.params("k", "positions")
    run(case, VTW(**params))


METHODS = {
    "given-indices": {None: check_given},
    "pdrop-keep": {None: check_pdrop_keep},
    "vtw": {None: check_vtw},
}
