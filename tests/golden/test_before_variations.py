"""Other cases of the golden kinds of strategies before the decoder: odd sizes, batches, ties, one token, all.

Each is made here from random tensors, in the format of the official cases, with what `plain_rules` says of
them; the driver then compares it with this package, as it does with any folder's cases.
"""

import json

import golden_driver
import numpy as np
import plain_rules as plain
import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional


def case(folder, method, level, params, tensors, **more):
    """Write a case; returns what the driver says of it."""
    values = {}
    for name, value in tensors.items():
        found = torch.as_tensor(np.array(value))
        values[name] = (found.float() if found.is_floating_point() else found).contiguous()
    save_file(values, folder / "it.safetensors")
    told = {"method": f"pre-{method}", "level": level, "params": params, "weights": {}, **more}
    (folder / "it.json").write_text(json.dumps(told))
    return golden_driver.run(folder, "it")


def random(seed):
    """A generator of arrays that float32 holds exactly."""
    rng = np.random.default_rng(seed)
    return lambda *shape: rng.normal(size=shape).astype(np.float32).astype(np.float64)


def attention_of(values):
    """Softmax over the class token and all patches, its own column cut off: [P, heads, N]."""
    whole = np.exp(values) / np.exp(values).sum(-1, keepdims=True)
    return whole[..., 1:].astype(np.float32).astype(np.float64)


def projector(draw, width, out):
    shapes = {"linear_1.weight": (out, width), "linear_1.bias": (out,), "linear_2.weight": (out, out),
              "linear_2.bias": (out,)}  # fmt: skip
    return {name: draw(*shape) for name, shape in shapes.items()}


def named(weights):
    return {f"projector/{name}": value for name, value in weights.items()}


@pytest.mark.parametrize(("tiles", "n", "count"), [(2, 63, 9), (1, 35, 1), (3, 20, 20)])
def test_fastervlm(tmp_path, tiles, n, count):
    draw = random(count)
    attention, states, weights = (
        attention_of(draw(tiles, 4, n + 1)),
        draw(tiles, n + 1, 16),
        projector(draw, 16, 24),
    )
    scores = attention.mean(1)
    kept = [plain.top(own, count) for own in scores]
    features = [plain.project(state[1:][own], weights) for state, own in zip(states, kept, strict=True)]
    tensors = {"cls_attention": attention, "hidden_states": states, "scores": scores, "kept": kept}
    tensors |= {"features": features, **named(weights)}
    case(tmp_path, "fastervlm", "function", {"visual_token_num": count}, tensors)


def test_fastervlm_takes_the_earlier_of_equal_patches(tmp_path):
    draw = random(3)
    attention, states, weights = draw(1, 1, 12) * 0 + 0.0625, draw(1, 13, 16), projector(draw, 16, 24)
    attention[0, 0, [4, 7]] = 0.125
    kept = [[0, 1, 4, 7]]
    features = [plain.project(states[0, 1:][kept[0]], weights)]
    tensors = {"cls_attention": attention, "hidden_states": states, "scores": attention[:, 0], "kept": kept}
    tensors |= {"features": features, **named(weights)}
    case(tmp_path, "fastervlm", "function", {"visual_token_num": 4}, tensors)


@pytest.mark.parametrize("method", ["fastervlm", "vispruner"])
@pytest.mark.parametrize(("down", "across", "side", "count"), [(1, 2, 5, 8), (3, 1, 6, 12), (2, 2, 5, 4)])
def test_several_tiles_chosen_by_attention(tmp_path, method, down, across, side, count):
    draw, tiles = random(down), 1 + down * across
    attention, states = attention_of(draw(tiles, 4, side * side + 1)), draw(tiles, side * side + 1, 16)
    weights = projector(draw, 16, 24)
    if method == "fastervlm":
        kept, more = [plain.top(own, count) for own in attention.mean(1)], {}
    else:
        kept = [
            plain.vispruner(*of, count, 0.5)[1] for of in zip(attention.mean(1), states[:, 1:], strict=True)
        ]
        more = {"important_ratio": 0.5}
    mask = np.zeros((tiles, side * side), dtype=bool)
    for tile, own in enumerate(kept):
        mask[tile, own] = True
    source = plain.packed(kept, side, down, across)
    features = np.array([plain.project(states[t, 1 + p][None], weights)[0] for t, p in source])
    tensors = {"cls_attention": attention, "hidden_states": states, "kept_mask": mask,
               "packed_source": source, "packed_features": features, **named(weights)}  # fmt: skip
    shapes = {"tiles": tiles, "side": side, "grid": [down, across]}
    case(tmp_path, method, "next", {"visual_token_num": count, "per": "tile", **more}, tensors,
         shapes=shapes, input={"image_size_wh": [640, 480]})  # fmt: skip


@pytest.mark.parametrize(
    ("tiles", "n", "dominant", "contextual"), [(2, 33, 6, 5), (1, 20, 1, 20), (1, 17, 17, 1), (2, 9, 4, 2)]
)
def test_visionzip(tmp_path, tiles, n, dominant, contextual):
    draw = random(n)
    attention, states, keys = (
        attention_of(draw(tiles, 4, n + 1)),
        draw(tiles, n + 1, 16),
        draw(tiles, n + 1, 8),
    )
    scores = attention.sum(1)
    found = [plain.visionzip(*of, dominant, contextual) for of in zip(scores, states, keys, strict=True)]
    kept = np.array([own for own, _ in found]).reshape(tiles, -1).astype(int)
    tensors = {"cls_attention": attention, "hidden_states": states, "keys": keys, "scores": scores,
               "kept": kept, "output": [made for _, made in found]}  # fmt: skip
    case(tmp_path, "visionzip", "function", {"dominant": dominant, "contextual": contextual}, tensors)


@pytest.mark.parametrize(("down", "across"), [(2, 2), (1, 3)])
def test_visionzip_on_several_tiles(tmp_path, down, across):
    draw, tiles, side, dominant, contextual = random(5), 1 + down * across, 5, 7, 3
    attention, states = attention_of(draw(tiles, 4, 26)), draw(tiles, 26, 16)
    keys = draw(tiles, 26, 8)
    found = [plain.visionzip(*of, 7, 3) for of in zip(attention.sum(1), states, keys, strict=True)]
    kept = [own for own, _ in found]
    # Rows of a tile's output: the class token, then its dominant patches, then the contextual ones.
    patches = [(t, 1 + kept[t].index(p)) for t, p in plain.packed([[], *kept[1:]], side, down, across)]
    source = [(0, row) for row in range(dominant + contextual)] + patches
    source += [(t, 0) for t in range(1, tiles)]
    source += [(t, row) for t in range(1, tiles) for row in range(dominant, dominant + contextual)]
    output = np.array([made for _, made in found])
    tensors = {"cls_attention": attention, "hidden_states": states, "keys": keys, "kept": kept,
               "output": output, "packed_source": source,
               "packed": [output[t, row] for t, row in source]}  # fmt: skip
    shapes = {"side": side, "grid_height_width": [down, across]}
    case(
        tmp_path, "visionzip", "next", {"dominant": 7, "contextual": 3, "per": "tile"}, tensors, shapes=shapes
    )


@pytest.mark.parametrize(
    ("n", "ratio", "count"), [(33, 0.3, 10), (25, 0.02, 1), (21, 1.0, 21), (50, 0.05, 2)]
)
def test_divprune(tmp_path, n, ratio, count):
    tokens = random(n)(n, 24)
    picked = plain.divprune(tokens, count)
    kept = sorted(picked)
    unit = tokens / np.linalg.norm(tokens, axis=1, keepdims=True)
    tensors = {"tokens": tokens, "distance": 1 - unit @ unit.T, "picked": picked, "kept": kept,
               "features": tokens[kept]}  # fmt: skip
    expected = {"distinct": len(set(picked))}
    case(
        tmp_path, "divprune", "function", {"subset_ratio": ratio, "count": count}, tensors, expected=expected
    )


@pytest.mark.parametrize(
    ("down", "across", "size"), [(1, 2, (300, 640)), (2, 1, (640, 250)), (2, 2, (480, 640))]
)
def test_divprune_on_several_tiles_with_newlines(tmp_path, down, across, size):
    draw, side, tiles = random(across), 6, 1 + down * across
    features, newline = draw(tiles, side * side, 24), draw(24)
    rows = plain.unpadded(plain.stitched(side, down, across), *size)
    tokens = [features[0, p] for p in range(side * side)]
    lines = [False] * len(tokens)
    for row in rows:
        tokens += [features[t, p] for t, p in row] + [newline]
        lines += [False] * len(row) + [True]
    tokens, lines = np.array(tokens), np.array(lines)
    ratio = 0.1
    count = round(ratio * len(tokens))
    kept = sorted(plain.divprune(tokens, count))
    tensors = {"tile_features": features, "image_newline": newline, "tokens": tokens, "is_newline": lines,
               "kept": kept, "features": tokens[kept]}  # fmt: skip
    case(tmp_path, "divprune", "next", {"subset_ratio": ratio, "count": count}, tensors,
         shapes={"side": side, "grid": [down, across], "tiles": tiles},
         input={"image_size_wh": [size[1], size[0]]},
         expected={"newlines_kept": int(lines[kept].sum())})  # fmt: skip


@pytest.mark.parametrize(
    ("tiles", "n", "count", "ratio"),
    [(2, 50, 20, 0.5), (1, 41, 21, 0.4), (1, 30, 10, 1.0), (1, 40, 2, 0.5), (2, 36, 36, 0.25)],
)
def test_vispruner(tmp_path, tiles, n, count, ratio):
    draw = random(n)
    attention, states, weights = (
        attention_of(draw(tiles, 4, n + 1)),
        draw(tiles, n + 1, 16),
        projector(draw, 16, 24),
    )
    scores = attention.mean(1)
    found = [plain.vispruner(*of, count, ratio) for of in zip(scores, states[:, 1:], strict=True)]
    kept = [own for _, own in found]
    important = np.array([own for own, _ in found]).reshape(tiles, -1).astype(int)
    features = [plain.project(state[1:][own], weights) for state, own in zip(states, kept, strict=True)]
    tensors = {"cls_attention": attention, "hidden_states": states, "scores": scores, "kept": kept,
               "kept_important": important, "features": features, **named(weights)}  # fmt: skip
    case(tmp_path, "vispruner", "function", {"visual_token_num": count, "important_ratio": ratio}, tensors)


@pytest.mark.parametrize(("tiles", "n", "count", "segments"), [(1, 20, 6, 2), (2, 15, 1, 1), (3, 12, 5, 4)])
def test_cdpruner(tmp_path, tiles, n, count, segments):
    draw = random(n)
    projected, images, texts = draw(tiles, n, 24), draw(tiles, n, 12), draw(segments, 12)
    rel = plain.relevance(images, texts)
    picked = [plain.cdpruner(*of, count) for of in zip(projected, rel, strict=True)]
    kept = np.sort(np.array(picked), axis=1)
    tensors = {"projected": projected, "image_embeds": images, "text_embeds": texts, "relevance": rel,
               "picked": picked, "kept": kept,
               "features": [own[ids] for own, ids in zip(projected, kept, strict=True)]}  # fmt: skip
    case(tmp_path, "cdpruner", "function", {"visual_token_num": count}, tensors)
    shapes = {"side": 3, "grid": [2, 1], "tiles": 3}
    draw = random(1)
    projected, images = draw(3, 9, 24), draw(3, 9, 12)
    rel = plain.relevance(images, texts)
    picked = [plain.cdpruner(*of, 2) for of in zip(projected, rel, strict=True)]
    source = plain.packed([sorted(own) for own in picked], 3, 2, 1)
    tensors = {"projected": projected, "image_embeds": images, "text_embeds": texts, "relevance": rel,
               "picked": picked, "kept": np.sort(np.array(picked), axis=1), "packed_source": source,
               "packed_features": [projected[t, p] for t, p in source]}  # fmt: skip
    case(tmp_path, "cdpruner", "next", {"visual_token_num": 2, "per": "tile"}, tensors, shapes=shapes,
         input={"image_size_wh": [300, 640]})  # fmt: skip


@pytest.mark.parametrize("plus", [False, True])
@pytest.mark.parametrize(
    ("n", "ratio", "seed"), [(70, None, 1), (45, 0.125, 2), (90, 0.25, 3), (41, None, 4)]
)
def test_prumerge(tmp_path, n, ratio, plus, seed):
    draw = random(seed)
    query, keys, states = draw(16) * 2, draw(n + 1, 16), draw(n + 1, 16)
    attention, kept, output = plain.prumerge(query, keys, states, ratio, plus)
    tensors = {"query_cls": query, "keys": keys, "hidden_states": states, "cls_attention": attention,
               "picked": np.array(kept).astype(int), "output": output}  # fmt: skip
    params = {"plus": plus, "adaptive": ratio is None, "reduction_ratio": ratio, "neighbours": 32}
    case(tmp_path, "prumergeplus" if plus else "prumerge", "function", params, tensors,
         expected={"outliers": plain.outliers(attention)})  # fmt: skip


@pytest.mark.parametrize(("n", "rate"), [(63, 0.2), (40, 0.025), (30, 1.0)])
def test_hired(tmp_path, n, rate):
    attention = attention_of(random(n)(1, 4, n + 1))
    scores, count = attention.sum(1)[0], int(n * rate)
    tensors = {"cls_attention": attention, "scores": scores, "kept": plain.top(scores, count)}
    case(tmp_path, "hired", "function", {"token_budget_rate": rate}, tensors, expected={"count": count})


@pytest.mark.parametrize(
    ("size", "rate", "alpha"), [((640, 300), 0.2, 0.5), ((400, 600), 0.35, 0.25), ((200, 1000), 0.1, 0.75)]
)
def test_hired_on_several_tiles(tmp_path, size, rate, alpha):
    points = [[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]]
    down, across = {(640, 300): (2, 1), (400, 600): (2, 2), (200, 1000): (1, 3)}[size]
    draw, side, tiles = random(down), 6, 1 + down * across
    features = draw(tiles, side * side, 16)
    early, late = (attention_of(draw(tiles, 4, side * side + 1)) for _ in range(2))
    kept, shares = plain.hired(early[0].sum(0), late.sum(1), rate, alpha)
    mask = np.array([[p in own for p in range(side * side)] for own in kept])
    # Rows and columns of the grid are taken for each other; what falls on padding is lost.
    grid = plain.unpadded(plain.stitched(side, across, down), *size)
    source = [(0, p) for p in sorted(kept[0])] + [(t, p) for row in grid for t, p in row if p in kept[t]]
    tensors = {"tile_features": features, "layer0_cls_attention": early, "layer22_cls_attention": late,
               "kept_mask": mask, "packed_source": source,
               "packed_features": [features[t, p] for t, p in source]}  # fmt: skip
    case(tmp_path, "hired", "next", {"token_budget_rate": rate, "alpha": alpha}, tensors,
         shapes={"side": side}, input={"image_size_hw": size, "grid_pinpoints_hw": points},
         expected={"overview": len(kept[0]), "crops": shares})  # fmt: skip


@pytest.mark.parametrize(("height", "width", "size"), [(9, 7, (3, 5)), (12, 12, (12, 12)), (10, 6, (1, 1))])
def test_pool(tmp_path, height, width, size):
    tokens = random(height)(1, height * width, 8)
    grid = torch.tensor(tokens).transpose(1, 2).unflatten(2, (height, width))
    found = {"average": plain.pooled(tokens[0].reshape(height, width, 8), *size)[None]}
    for name, antialias in (("bilinear", False), ("bilinear_antialias", True)):
        small = functional.interpolate(grid, size, mode="bilinear", align_corners=False, antialias=antialias)
        found[name] = small.flatten(2).transpose(1, 2).numpy()
    shapes = {"height": height, "width": width}
    case(
        tmp_path,
        "pool",
        "function",
        {"output_height_width": size},
        {"tokens": tokens, **found},
        shapes=shapes,
    )


def test_uniform(tmp_path):
    asked = {50: list(range(49)), 25: list(range(0, 49, 2)), 7: list(range(0, 49, 7)), 1: [0]}
    tensors = {f"kept_{count}": ids for count, ids in asked.items()}
    expected = {name: len(ids) for name, ids in tensors.items()}
    case(tmp_path, "uniform", "function", {"patches": 50, "asked": [*asked]}, tensors, expected=expected)
