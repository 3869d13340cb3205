"""Strategies in the decoder beside PyramidDrop and FastV: ids, scores, lengths, and what is answered."""

from dataclasses import dataclass, field
from unittest.mock import patch

import torch
from golden_case import MismatchError

from golden_methods.decoder import (
    ATTENTION,
    compare_answer,
    compare_lengths,
    compare_prefill,
    inputs_of,
    llama,
)
from pdrop_eval import FastV, PyramidDrop
from pdrop_eval.engine.interface import Drop, Selection
from pdrop_eval.strategies import dart
from pdrop_eval.strategies.base import Strategy
from pdrop_eval.strategies.dart import DART
from pdrop_eval.strategies.feather import Feather
from pdrop_eval.strategies.fitprune import FitPrune
from pdrop_eval.strategies.v2drop import V2Drop
from pdrop_eval.strategies.vtw import VTW

dart_norms, dart_pivots, dart_taken = dart.key_norms, dart.pivots, dart.taken


def run(case, strategy, form="", relative=False):
    """Prefill and decoding under a strategy, with both attentions; returns the last report.

    form: what the names of the case's values end with. relative: scores are to 1e-5 of the largest one.
    """
    for attention in ATTENTION:
        model, (embeds, mask) = llama(case, attention), inputs_of(case)
        with torch.no_grad(), strategy(model, image_mask=mask) as report:
            output = model(inputs_embeds=embeds, output_hidden_states=True)
        _chosen(case, report, form, relative)
        ours = [per_row[0] for per_row in report.kv_lengths]
        compare_lengths(case, ours, output, case.value("expected").get("kv_len_per_layer"))
        compare_prefill(case, output, form)
        compare_answer(case, model, strategy, form)
    return report


def _chosen(case, report, form, relative):
    kept = case.value("expected", f"kept_image_indices{form}")
    case.equal("number of drops", len(report.retained), len(kept))
    for d, expected in enumerate(kept):
        case.equal(f"kept_image_indices{form} {d}", report.retained[d][0], expected)
        if f"stage{d}_kept" in case.tensors:
            case.equal(f"stage{d}_kept", report.retained[d][0])
        if f"stage{d}_scores" in case.tensors:
            theirs = case.tensor(f"stage{d}_scores").abs()
            largest = theirs.max().item() if relative and len(theirs) else 1.0
            case.close(f"stage{d}_scores", report.scores[d][0], atol=1e-5 * largest)


@dataclass
class Given(Strategy):
    """Retains the tokens that a case names."""

    layers: tuple = ()
    kept: list = field(default_factory=list)
    positions: str = "keep"

    def drops(self, num_layers):
        return tuple(Drop(layer) for layer in self.layers)

    def select(self, context):
        chosen = torch.tensor(self.kept[context.drop], dtype=torch.long)
        ids = torch.isin(torch.arange(context.image_tokens[0]), chosen)
        if context.drop:
            ids = ids[torch.tensor(self.kept[context.drop - 1], dtype=torch.long)]
        keep = torch.zeros_like(context.image)
        keep[context.image] = ids
        return Selection(keep=keep)


def check_given(case):
    params = case.params("drop_before_layers", "positions")
    asked = params.get("positions", "keep")
    for positions in ("keep", "renumber") if asked == "both" else (asked,):
        form = f"_{positions}" if asked == "both" else ""
        kept = case.value("expected", f"kept_image_indices{form}")
        run(case, Given(tuple(params["drop_before_layers"]), kept, positions), form)


def check_pdrop_keep(case):
    params = case.params("layer_list", "image_token_ratio_list", "positions", "rank_with")
    ratios = params["image_token_ratio_list"]
    more = {
        "positions": "keep",
        **{name: params[name] for name in ("positions", "rank_with") if name in params},
    }
    run(case, PyramidDrop(layers=params["layer_list"], ratios=ratios, **more))


def check_vtw(case):
    params = case.params("k", "positions")
    run(case, VTW(**params))


def check_v2drop(case):
    params = case.params("drop_before_layers", "keep_ratios", "positions")
    layers, ratios = params["drop_before_layers"], params["keep_ratios"]
    strategy = V2Drop(layers=layers, keep_ratios=ratios, positions=params.get("positions", "keep"))
    run(case, strategy, relative=True)


def check_dart(case):
    names = ("max_num_trunction", "reduction_ratio", "pivot_image_token", "pivot_text_token", "positions")
    of_next = "retain_token_num_for_llava_next"  # the code's other name of the first
    params = case.params("drop_before_layer", "token_topk", of_next, *names)
    given = {name: params[name] for name in names if params.get(name) is not None}
    if params.get(of_next) is not None:
        given["max_num_trunction"] = params[of_next]
    strategy = DART(k=params["drop_before_layer"], **given)
    columns = inputs_of(case)[1][0].nonzero()[:, 0].tolist()
    if "token_topk" in params:
        case.equal("token_topk", strategy.each(len(columns)), params["token_topk"])
    compare_pivots(case, columns, noted(case, strategy))


def noted(case, strategy):
    """Run DART; returns what it found on its way: norms, pivots, and what each takes."""
    found = {}

    def norms(keys):
        found["norms"] = dart_norms(keys)
        return found["norms"]

    def chosen(context, *given):
        (found["pivots"],) = dart_pivots(context, *given)
        return [found["pivots"]]

    def turns(states, alive, kept, order, number):
        parts = []
        for turn in range(order.shape[1]):
            now = dart_taken(states, alive, kept, order[:, turn : turn + 1], number[:, turn : turn + 1])
            parts.append(set((now & ~kept)[0].nonzero().flatten().tolist()))
            kept = now
        found["turns"] = parts
        return kept

    with patch.multiple(dart, key_norms=norms, pivots=chosen, taken=turns):
        run(case, strategy)
    return found


def compare_pivots(case, columns, found):
    """columns: of the image tokens."""
    number = {column: i for i, column in enumerate(columns)}
    heads = (case.value("llama_config", f"num_{name}_heads") for name in ("attention", "key_value"))
    norms = found["norms"][0] * next(heads) / next(heads)  # official ones count a key head once a query head
    case.close_if_told("image_key_l1", norms[columns], rtol=1e-5)
    case.close_if_told("text_key_l1", norms[columns[-1] + 1 :], rtol=1e-5)
    expected = case.value("expected")
    case.equal("image_pivots", [number[c] for c in found["pivots"].image], expected["image_pivots"])
    case.equal("text_pivots_absolute", found["pivots"].text, expected["text_pivots_absolute"])
    case.equal("pivot_order_absolute", found["pivots"].order, expected["pivot_order_absolute"])
    taken = [sorted(number[c] for c in turn) for turn in found["turns"]]
    case.equal("per_pivot_retained", taken, [sorted(turn) for turn in expected["per_pivot_retained"]])


def _without_rope(case):
    """The drops and settings of FEATHER's repository, which has two methods."""
    params = case.params("drop_before_layers", "ratio_removed", "stride", "rope_in_score", "positions")
    if params.get("rope_in_score"):
        raise MismatchError("its score has no RoPE")
    return (
        params["drop_before_layers"],
        params.get("stride"),
        {"r": params["ratio_removed"], "positions": params.get("positions", "keep")},
    )


def check_feather(case):
    layers, stride, given = _without_rope(case)
    run(case, Feather(layers=layers, stride=3 if stride is None else stride, **given))


def check_fastv(case):
    layers, stride, given = _without_rope(case)
    if stride is not None:
        raise MismatchError("FastV keeps no grid")
    run(case, FastV(k=layers, rope=False, rounding="truncate", **given))


def check_fitprune(case):
    params = case.params("delete_scheme", "reduction_ratio", "positions", "score")
    ratio, removed = params.get("reduction_ratio"), params["delete_scheme"]
    case.equal("score", params.get("score", "cross*self, head max"), "cross*self, head max")
    if ratio is not None:
        case.equal("delete_scheme", list(FitPrune(reduction_ratio=int(ratio)).recipe_of(32, 576)), removed)
    strategy = FitPrune(removed=removed, positions=params.get("positions", "keep"))
    layers = [drop.scoring_layer for drop in strategy.drops(len(removed))]
    case.equal("prune_layers", layers, case.value("expected").get("prune_layers", layers))
    run(case, strategy, relative=True)


METHODS = {
    "dart": {None: check_dart},
    "fastv-norope": {None: check_fastv},
    "feather": {None: check_feather},
    "fitprune": {None: check_fitprune},
    "v2drop": {None: check_v2drop},
    "given-indices": {None: check_given},
    "pdrop-keep": {None: check_pdrop_keep},
    "vtw": {None: check_vtw},
}
