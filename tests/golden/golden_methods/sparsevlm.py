"""SparseVLM: raters, ranks, heads, what is retained and merged at each drop, and what is answered."""

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
from pdrop_eval.strategies import raters, sparsevlm
from pdrop_eval.strategies.sparsevlm import SparseVLM

VERSIONS = {"sparsevlm_v1.0": "1.0", "sparsevlm_v1.5": "1.5", "sparsevlm_plus_v2.0": "plus"}
KNOWN = (
    "prune_after_layers", "counts", "scale", "bias", "recycle_share", "cluster_divisor", "heads_selected",
    "positions",
)  # fmt: skip


@dataclass
class Noting(SparseVLM):
    """SparseVLM, and what it found on its way at each drop."""

    found: list = field(default_factory=list)

    def select(self, context):
        rated = raters.text_raters(context)
        behind = context.text_after[0].nonzero()[:, 0]
        note = {"raters": rated[0][behind].nonzero()[:, 0].tolist()}
        if self.version == "1.0":
            note["rank"] = raters.ranked_attention(context, rated)[1][0]
        if self.version == "plus":
            sums = raters.corrected_attention(context, rated, self.heads)[1][0]
            best = sums.topk(min(self.heads, len(sums))).indices.sort().values
            note["sums"], note["heads"] = sums, best.tolist()
        self.found.append(note)
        selection = super().select(context)
        if selection.merge is not None:
            merge = selection.merge
            alive = context.image[0].cumsum(0) - 1
            candidates, number, noise = merge.args[0][0]

            def noting(hidden):
                made = sparsevlm.clustered(hidden[0, candidates], number, noise)
                note["recycling"] = {
                    "candidates": alive[candidates].tolist(),
                    "cluster_num": number,
                    "centers": made.centres.tolist(),
                    "assignment": made.assignment.tolist(),
                }
                note["merged"] = made.tokens
                return merge(hidden)

            return sparsevlm.Selection(scores=selection.scores, keep=selection.keep, merge=noting)
        return selection


def strategy_of(case):
    params = {name: value for name, value in case.params(*KNOWN).items() if value is not None}
    names = {
        "counts": "counts", "scale": "scale", "bias": "bias", "positions": "positions",
        "recycle_share": "recycle", "cluster_divisor": "cluster", "heads_selected": "heads",
    }  # fmt: skip
    settings = {ours: params[theirs] for theirs, ours in names.items() if theirs in params}
    layers = [layer + 1 for layer in params["prune_after_layers"]]
    return Noting(version=VERSIONS[case.value("method")], layers=layers, **settings)


def check(case):
    for attention in ATTENTION:
        model = llama(case, attention)
        _prefill(case, model)
        compare_answer(case, model, strategy_of(case))


def _prefill(case, model):
    (embeds, mask), strategy = inputs_of(case), strategy_of(case)
    with torch.no_grad(), strategy(model, image_mask=mask) as report:
        output = model(inputs_embeds=embeds, output_hidden_states=True)
    expected, found = case.value("expected"), strategy.found
    case.equal("number of drops", len(report.retained), len(expected["kept_alive_indices"]))
    for d, record in enumerate(report.records):
        case.equal("text_raters", found[d]["raters"], expected.get("text_raters", found[d]["raters"]))
        kept = record.after[0][record.before[0]].nonzero()[:, 0].tolist()
        case.close_if_told(f"stage{d}_scores", report.scores[d][0], atol=1e-5)
        case.equal(f"kept_alive_indices {d}", kept, expected["kept_alive_indices"][d])
        if f"stage{d}_kept" in case.tensors:
            case.equal(f"stage{d}_kept", kept)
        ids = [max(i, -1) for i in expected["alive_ids_after"][d]]
        case.equal(f"alive_ids_after {d}", report.retained[d][0], ids)
        if expected.get("ranks"):
            case.equal(f"rank {d}", found[d]["rank"], expected["ranks"][d])
        if expected.get("selected_heads"):
            case.equal(f"selected_heads {d}", found[d]["heads"], expected["selected_heads"][d])
            case.close_if_told(f"stage{d}_head_sums", found[d]["sums"], rtol=1e-4)
        if expected.get("recycling") and expected["recycling"][d]:
            theirs = expected["recycling"][d]
            case.equal(f"recycling {d}", {name: found[d]["recycling"][name] for name in theirs}, theirs)
            case.close_if_told(f"stage{d}_merged", found[d]["merged"], atol=1e-5)
    compare_lengths(case, [per_row[0] for per_row in report.kv_lengths], output)
    compare_prefill(case, output)


METHODS = {name: {None: check} for name in VERSIONS}
