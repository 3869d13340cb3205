"""The rules of strategies before the decoder, in plain loops on float64: what golden cases are held against.

Written from the papers and the facts of the official code, and from nothing of this package.
"""

import math

import numpy as np

CHUNK, NEIGHBOURS = 8, 32


def by_value(values):
    """Ids by falling value; of equal ones, the earlier first."""
    return sorted(range(len(values)), key=lambda i: (-values[i], i))


def cosine(a, b):
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


def top(values, count):
    return sorted(by_value(values)[:count])


def project(features, weights):
    """Two linear maps with the exact GELU between them."""
    hidden = features @ weights["linear_1.weight"].T + weights["linear_1.bias"]
    hidden = hidden * 0.5 * (1 + np.vectorize(math.erf)(hidden / math.sqrt(2)))
    return hidden @ weights["linear_2.weight"].T + weights["linear_2.bias"]


def visionzip(scores, states, keys, dominant, contextual):
    """(dominant patches, the output: class token, dominant, contextual) of one tile."""
    kept = top(scores, dominant - 1)
    rest = [i for i in range(len(scores)) if i not in kept]
    step = max(1, len(rest) // contextual)
    targets = [rest[i * step] for i in range(contextual)]
    own = {target: [] for target in targets}
    for i in rest:
        if i not in own:
            best = max(range(contextual), key=lambda t: (cosine(keys[1 + i], keys[1 + targets[t]]), -t))
            own[targets[best]].append(states[1 + i])
    merged = [states[1 + t] + (np.mean(own[t], axis=0) if own[t] else 0) for t in targets]
    return kept, np.array([states[0], *(states[1 + i] for i in kept), *merged])


def divprune(tokens, count):
    """Ids in the order of the picks."""
    n = len(tokens)
    distance = [[1 - cosine(tokens[i], tokens[j]) for j in range(n)] for i in range(n)]
    scores = [sorted(row)[1] for row in distance]
    picked = []
    for _ in range(count):
        picked.append(max(range(n), key=lambda i: (scores[i], -i)))
        scores = [min(distance[p][i] for p in picked) for i in range(n)]
    return picked


def vispruner(scores, features, count, ratio):
    """(important, all kept ones) of one tile, ascending."""
    order, important = by_value(scores), int(count * ratio)
    left, wanted = order[important:] if count > important else [], count - important
    while len(left) > wanted:
        remove = min(CHUNK, len(left) - wanted)
        even, odd = left[::2], left[1::2]
        likeness = [max(cosine(features[a], features[b]) for b in odd) for a in even]
        left = [even[i] for i in by_value(likeness)[remove:]] + odd
    return sorted(order[:important]), sorted(order[:important] + left)


def relevance(images, texts):
    """[P, N]: minus the mean cosine with the segments, scaled over all tiles."""
    unlike = np.array([[-np.mean([cosine(patch, text) for text in texts]) for patch in t] for t in images])
    return (unlike - unlike.min() + 1e-6) / (unlike.max() - unlike.min())


def cdpruner(projected, rel, count):
    """Ids of one tile in the order of the picks: each makes the kernel's determinant the largest."""
    n = len(projected)
    kernel = np.array(
        [[rel[i] * cosine(projected[i], projected[j]) * rel[j] for j in range(n)] for i in range(n)]
    )
    picked = []
    for _ in range(count):
        found = {}
        for j in range(n):
            if j not in picked:
                some = [*picked, j]
                found[j] = np.linalg.det(kernel[np.ix_(some, some)])
        picked.append(max(found, key=found.get))
    return picked


def outliers(attention):
    """How many values are above the upper fence."""
    q1, q3 = np.percentile(attention, [25, 75])
    return int((attention > q3 + 1.5 * (q3 - q1)).sum())


def prumerge(query, keys, states, ratio, plus):
    """(attention, kept patches in their order, output) of one tile; ratio None: outliers say it."""
    logits = keys @ query / math.sqrt(len(query))
    weights = np.exp(logits - logits.max())
    attention = (weights / weights.sum())[1:]
    n, share = len(attention), outliers(attention) / len(attention) if ratio is None else ratio
    kept = by_value(attention)[: int(n * share)]
    if plus:
        step = int(int(1 / share) / 3) if ratio is None else int(1 / share)
        spread = range(0, n - 1, step) if ratio is None else range(int(step / 2), n - 1, step)
        kept += [i for i in spread if ratio is not None or i not in kept]
    output = []
    for i in kept:
        others = [j for j in range(n) if j != i]
        near = sorted(others, key=lambda j: -cosine(keys[1 + i], keys[1 + j]))[:NEIGHBOURS]
        output.append(states[1 + i] + sum(attention[j] * states[1 + j] for j in near))
    rest = [j for j in range(n) if j not in kept]
    output.append(sum((attention[j] * states[1 + j] for j in rest), np.zeros_like(states[0])))
    return attention, kept, np.array(output)


def stitched(side, down, across):
    """Rows of (tile, patch) of the tiles behind the overview."""
    return [
        [(1 + r // side * across + c // side, r % side * side + c % side) for c in range(across * side)]
        for r in range(down * side)
    ]


def unpadded(grid, height, width):
    """The part of a grid of patches that an image of this size has."""
    rows, columns = len(grid), len(grid[0])
    if width / height > columns / rows:
        cut = (rows - int(round(height * (columns / width), 7))) // 2
        return grid[cut : rows - cut]
    cut = (columns - int(round(width * (rows / height), 7))) // 2
    return [row[cut : columns - cut] for row in grid]


def packed(kept, side, down, across):
    """(tile, patch) of what is kept of each tile: the overview's, then row by row over the grid."""
    order = [(0, i) for i in kept[0]]
    return order + [(t, p) for row in stitched(side, down, across) for t, p in row if p in kept[t]]


def hired(early, late, rate, alpha):
    """(kept patches of each tile, crops' shares): stripes of the overview share the crops' budget."""
    tiles, n = late.shape
    total = int(tiles * n * rate)
    overview = min(int(total * alpha), n)
    budget = min(total - overview, (tiles - 1) * n)
    marked, run = set(by_value(early)[: int(n * (1 - alpha))]), n // (tiles - 1)
    marks = [sum(i in marked for i in range(t * run, (t + 1) * run)) for t in range(tiles - 1)]
    shares = [min(int(mark / len(marked) * budget), n) for mark in marks]
    return [set(by_value(late[t])[:count]) for t, count in enumerate([overview, *shares])], shares


def pooled(grid, rows, columns):
    """Adaptive means of grid [height, width, d]: windows from floor(i·h/r) to ceil((i + 1)·h/r)."""
    height, width, _ = grid.shape
    return np.array([
        grid[
            i * height // rows : -(-(i + 1) * height // rows),
            j * width // columns : -(-(j + 1) * width // columns),
        ].mean((0, 1))
        for i in range(rows)
        for j in range(columns)
    ])  # fmt: skip
