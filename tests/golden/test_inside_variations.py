"""Other cases of the golden kinds of strategies in the decoder: other sizes, layers, shares, images, dtypes.

Each is made here on a small random decoder, in the format of the official cases, with what `plain_decoder`
and `plain_inside_rules` say of it; the driver then compares it with this package, as it does with any
folder's cases.
"""

import golden_driver
import plain_inside_rules as plain
import pytest
import torch
from golden_case import MismatchError
from made_cases import expectation, prompt, run, tried
from plain_decoder import TEXT, prefill

golden_driver.registered()  # imports what the first case would wait for


@pytest.mark.parametrize(
    ("rank_with", "positions", "layers", "ratios", "of"),
    [
        ("last_layer", "keep", [1, 4], [0.29, 0.0], {"spans": ((0, 41),), "num_key_value_heads": 1}),
        ("next_layer", "keep", [3], [0.61], {"spans": ((3, 11), (20, 14)), "after": 1}),
        ("next_layer", "renumber", [2, 3, 5], [0.9, 0.5, 0.1], {"rope_theta": 500000.0, "head_dim": 12}),
    ],
)
def test_pyramiddrop(tmp_path, rank_with, positions, layers, ratios, of):
    params = {"layer_list": layers, "image_token_ratio_list": ratios, "positions": positions,
              "rank_with": rank_with}  # fmt: skip
    tried(tmp_path, "pdrop-keep", params, plain.pyramid(ratios, rank_with), layers, prompt(**of), positions)


@pytest.mark.parametrize(
    ("layers", "kept", "positions", "of"),
    [
        ([1, 3], [[0, 4, 20], []], "keep", {}),
        ([2, 4, 5], [[*range(29)], [3, 7, 21], [7]], "renumber", {"spans": ((3, 10), (15, 20)), "layers": 7}),
        ([6], [[5, 6]], "keep", {"dtype": torch.bfloat16}),
    ],
)
def test_given_ids(tmp_path, layers, kept, positions, of):
    params = {"drop_before_layers": layers, "positions": positions}
    tried(tmp_path, "given-indices", params, plain.given(kept), layers, prompt(**of), positions, steps=5)


@pytest.mark.parametrize(
    ("k", "positions", "of"),
    [
        (1, "keep", {"spans": ((0, 17),), "tie_word_embeddings": True}),
        (5, "renumber", {"num_key_value_heads": 2}),
        (2, "renumber", {"spans": ((2, 9), (14, 25))}),
    ],
)
def test_vtw(tmp_path, k, positions, of):
    rule = plain.given([[]])
    tried(tmp_path, "vtw", {"k": k, "positions": positions}, rule, [k], prompt(**of), positions, steps=11)


@pytest.mark.parametrize(
    ("each", "pivots", "k", "of", "params"),
    [
        (2, (4, 4), 1, {"spans": ((35, 50),)}, {"max_num_trunction": 23, "reduction_ratio": 0.9}),
        (3, (2, 3), 4, {"spans": ((0, 33),), "num_key_value_heads": 2}, {"reduction_ratio": 0.5}),
        (1, (5, 1), 3, {"spans": ((4, 20), (26, 17))}, {"max_num_trunction": 6, "positions": "renumber"}),
        (7, (1, 0), 2, {"after": 3}, {"max_num_trunction": 7}),
        (3, (4, 4), 5, {"spans": ((7, 29),)}, {"retain_token_num_for_llava_next": 90}),
    ],
)
def test_dart(tmp_path, each, pivots, k, of, params):
    of, rule = prompt(**of), plain.least_like(each, *pivots)
    positions = params.get("positions", "keep")
    found = prefill(of.model, of.embeds, of.ids, rule, [k], positions)
    expected, tensors = expectation(found, of.model, 8)
    told = rule.found
    number = {column: of.ids[column] for column in told["columns"]}
    expected |= {"image_pivots": [number[c] for c in told["image"]], "text_pivots_absolute": told["text"],
                 "pivot_order_absolute": told["order"],
                 "per_pivot_retained": [[number[c] for c in part] for part in told["parts"]]}  # fmt: skip
    tensors |= {"image_key_l1": told["norms"][told["columns"]], "text_key_l1": told["norms"][told["after"]]}
    params = {"drop_before_layer": k, "pivot_image_token": pivots[0], "pivot_text_token": pivots[1],
              "token_topk": each, "positions": positions, **params}  # fmt: skip
    run(tmp_path, "dart", params, of, expected, tensors)


@pytest.mark.parametrize(
    ("method", "layers", "ratio", "stride", "of"),
    [
        ("feather", [1, 2], 0.5, 4, {"spans": ((5, 49),), "num_key_value_heads": 2}),
        ("feather", [3, 6], 0.9, 1, {"spans": ((0, 25),)}),
        ("feather", [2, 5], 0.35, 2, {"spans": ((2, 16), (21, 36))}),
        ("fastv-norope", [1, 3, 6], 0.4, None, {"spans": ((6, 31),)}),
        ("fastv-norope", [2, 4], 0.99, None, {}),
    ],
)
def test_without_rope(tmp_path, method, layers, ratio, stride, of):
    sides = [round(length**0.5) for _, length in of.get("spans", ())]
    params = {"drop_before_layers": layers, "ratio_removed": ratio, "stride": stride, "rope_in_score": False,
              "positions": "keep"}  # fmt: skip
    tried(tmp_path, method, params, plain.without_rope(ratio, stride, sides), layers, prompt(**of))


@pytest.mark.parametrize(
    ("removed", "positions", "of"),
    [
        ([0, 0, 7, 0, 0, 11], "keep", {"num_key_value_heads": 2}),
        ([3, 1, 1, 2, 4, 0], "renumber", {"spans": ((0, 14), (17, 12)), "after": 1}),
        ([0, 30, 0, 0, 0, 0], "keep", {}),
    ],
)
def test_fitprune(tmp_path, removed, positions, of):
    before = [layer + 1 for layer, number in enumerate(removed) if number]
    params = {"delete_scheme": removed, "reduction_ratio": None, "positions": positions}

    def change(expected, tensors):
        expected["prune_layers"] = [layer - 1 for layer in before]

    tried(tmp_path, "fitprune", params, plain.fitted(removed), before, prompt(**of), positions, change=change)


@pytest.mark.parametrize(
    ("layers", "ratios", "positions", "of"),
    [
        ([1], [0.35], "keep", {"spans": ((4, 27),), "dtype": torch.float64}),
        ([2, 3, 4, 5], [0.9, 1.0, 0.01, 0.5], "renumber", {"num_key_value_heads": 1}),
        ([3, 5], [0.5, 0], "keep", {"spans": ((1, 8), (9, 15))}),
    ],
)
def test_v2drop(tmp_path, layers, ratios, positions, of):
    params = {"drop_before_layers": layers, "keep_ratios": ratios, "positions": positions}
    tried(tmp_path, "v2drop", params, plain.changed(ratios), layers, prompt(**of), positions)


@pytest.mark.parametrize(
    ("after", "thresholds", "key_set", "cut", "of"),
    [
        ([1, 2], (0.03, 0.2), [0, 29], True, {}),
        ([2, 3, 4], (0.05, 0.4), [], True, {"num_key_value_heads": 2, "spans": ((0, 21),)}),
        ([0, 5], (0.04, 0.15), None, False, {"spans": ((4, 15), (20, 16))}),
        ([3], (0.011, 0.01), [1], False, {"after": 1}),
    ],
)
def test_mustdrop(tmp_path, after, thresholds, key_set, cut, of):
    of, rule = prompt(**of), plain.must(*thresholds, key_set or [])
    found = prefill(of.model, of.embeds, of.ids, rule, [layer + 1 for layer in after], "renumber")
    last = [column for column, one in enumerate(of.ids) if one == TEXT or one in found.stages[-1].ids]

    def cut_caches(found, expected):
        alive = [*range(len(of.ids))]
        for layer, cache in enumerate(found.caches):
            if layer - 1 in after:
                kept = found.stages[after.index(layer - 1)].ids
                alive = [column for column, one in enumerate(of.ids) if one == TEXT or one in kept]
            if layer >= after[0]:
                places = [alive.index(column) for column in last]
                found.caches[layer] = tuple(part[:, places] for part in cache)
                found.positions[layer] = len(last)
        expected["kv_len_per_layer_after_prefill"] = [cache[0].shape[1] for cache in found.caches]

    expected, tensors = expectation(found, of.model, 8, cut_caches if cut else None)
    for d, parts in enumerate(rule.looked):
        tensors |= {
            f"stage{d}_attention_{what}": part for what, part in zip(("sum", "max"), parts, strict=True)
        }
    params = {"prune_after_layers": after, "global_thr": thresholds[0], "individual_thr": thresholds[1]}
    run(
        tmp_path,
        "mustdrop_llm",
        params | ({} if key_set is None else {"key_set": key_set}),
        of,
        expected,
        tensors,
    )


METHODS = {"1.0": "sparsevlm_v1.0", "1.5": "sparsevlm_v1.5", "plus": "sparsevlm_plus_v2.0"}


@pytest.mark.parametrize(
    ("version", "after", "params", "of"),
    [
        ("1.0", [0, 2], {"scale": 1.4, "bias": -2.0}, {"num_key_value_heads": 2, "after": 14}),
        ("1.0", [1, 3], {"scale": 0.5, "bias": 0}, {"spans": ((3, 4),), "after": 20}),  # full rank
        ("1.5", [1, 2, 3, 4], {"counts": [40, 12, 5, 2]}, {"spans": ((0, 45),), "after": 13}),
        ("1.5", [2], {"counts": [3]}, {"spans": ((4, 13), (17, 12))}),
        ("1.5", [0, 3], {"counts": [10, 3], "recycle_share": 0.6, "cluster_divisor": 5}, {"layers": 5}),
        ("plus", [0, 4], {"counts": [17, 4], "heads_selected": 3}, {"num_key_value_heads": 2}),
        ("plus", [2], {"counts": [9]}, {"num_attention_heads": 16, "num_key_value_heads": 16, "head_dim": 8}),
    ],
)
def test_sparsevlm(tmp_path, version, after, params, of):
    of = prompt(**of)
    names = {"recycle_share": "recycle", "cluster_divisor": "cluster", "heads_selected": "heads"}
    rule = plain.sparse(version, **{names.get(name, name): value for name, value in params.items()})
    positions = "keep" if version == "plus" else "renumber"
    found = prefill(of.model, of.embeds, of.ids, rule, [layer + 1 for layer in after], positions)
    expected, tensors = expectation(found, of.model, 8)
    notes = rule.notes
    expected = {"alive_ids_after": expected.pop("kept_image_indices"), **expected}
    expected |= {"kept_alive_indices": [stage.kept for stage in found.stages],
                 "text_raters": notes[0]["raters"],
                 "ranks": [note["rank"] for note in notes] if version == "1.0" else None,
                 "selected_heads": [note["heads"] for note in notes] if version == "plus" else None,
                 "recycling": [note.get("recycling") for note in notes]}  # fmt: skip
    for d, note in enumerate(notes):
        tensors[f"stage{d}_kept"] = torch.tensor(found.stages[d].kept)
        own = {"merged": note.get("merged"), "head_sums": note.get("sums")}
        tensors |= {f"stage{d}_{what}": value for what, value in own.items() if value is not None}
    params = {"prune_after_layers": after, "positions": positions, **params}
    run(tmp_path, METHODS[version], params, of, expected, tensors)


@pytest.mark.parametrize("direction", ["p_full", None])
def test_the_choice_of_k(tmp_path, direction):
    asked = [prompt(layers=4, spans=spans, after=7) for spans in (((3, 12),), ((1, 5), (8, 9)))]
    tried_k, tensors, rows = [2, 3], {}, []
    for number, of in enumerate(asked):
        full = prefill(of.model, of.embeds, of.ids, None, (), "keep").logits
        rows.append([])
        for k in tried_k:
            withdrawn = prefill(of.model, of.embeds, of.ids, plain.given([[]]), [k], "keep").logits
            p = withdrawn.softmax(-1)
            rows[-1].append(sum(float(a * (a / b).log()) for a, b in zip(p, full.softmax(-1), strict=True)))
        tensors |= {f"inputs_embeds_{number}": of.embeds[None].clone(), f"full_logits_last_{number}": full}
    mean = torch.tensor(rows).mean(0).tolist()
    first = min(k for k, one in zip(tried_k, mean, strict=True) if one <= mean[1] + 0.01)
    expected = {"candidates": tried_k, "k_for_eta": {str(mean[1] + 0.01): first, "1e-9": None}}
    params = {"first_candidate": 2} | ({"direction": f"sum {direction} * ..."} if direction else {})
    of = asked[0]
    of.place = [one.place for one in asked]
    tensors["kl"] = torch.tensor(rows)
    if direction:
        with pytest.raises(MismatchError, match="its divergence is sum p_withdrawn"):
            run(tmp_path, "vtw-findk", params, of, expected, tensors)
    else:
        run(tmp_path, "vtw-findk", params, of, expected, tensors)


def test_what_cases_may_leave_out(tmp_path):
    def change(expected, tensors):
        del expected["seq_len_at_layer_input"]
        for name in ("prefill_hidden_last", "decode_logits", "stage0_kept", "stage0_scores"):
            del tensors[name]

    params = {"layer_list": [2], "image_token_ratio_list": [0.4]}
    line = tried(
        tmp_path, "pdrop-keep", params, plain.pyramid([0.4], "next_layer"), [2], prompt(), change=change
    )
    assert line.endswith("number of drops, kept_image_indices 0, prefill_logits_last, decode_tokens")
