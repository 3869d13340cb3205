"""Rules of strategies in the decoder in plain loops: which image tokens stay, by what score.

Each is a function of what `plain_decoder.prefill` tells: (scores or None, places that stay, made or None).
Written from the facts of the official codes, and from nothing of this package.
"""

import torch


def best(scores, count):
    """Places of the largest, ascending."""
    return sorted(sorted(range(len(scores)), key=lambda i: (-float(scores[i]), i))[:count])


def given(kept):
    """Ids that a case names, at each drop."""

    def rule(now):
        alive = now.ids[now.image].tolist()
        return None, [i for i, one in enumerate(alive) if one in kept[now.stage]], None

    return rule


def pyramid(ratios, rank_with):
    def rule(now):
        weights = now.weights
        if rank_with == "next_layer":
            weights = now.model.attention(now.layer, now.x, now.place)
        scores = weights.mean(0)[-1, now.image]
        total = now.memory.setdefault("total", len(now.image))
        return scores, best(scores, int(total * ratios[now.stage])), None

    return rule


def without_rope(ratio, stride, grids=()):
    """FEATHER with a stride, FastV without: grids are the sides of the images' squares."""

    def rule(now):
        layer, model = now.layer - 1, now.model
        query, key = model.query(layer, now.entered)[:, -1], model.wide(model.key(layer, now.entered))
        logits = (key[:, now.image] @ query[:, :, None])[..., 0] / model.e**0.5
        scores = logits.softmax(-1).mean(0)
        keep = 1 - ratio
        if stride is not None and now.stage == 1:
            keep = keep**2
        kept = set(best(scores, int(len(now.image) * keep)))
        if stride is not None and now.stage == 0:
            start = 0
            for side in grids:
                kept |= {start + r * side + c for r in range(0, side, stride) for c in range(0, side, stride)}
                start += side * side
        return scores, sorted(kept), None

    return rule


def changed(ratios):
    """V2Drop."""

    def rule(now):
        scores = (now.x - now.entered)[now.image].norm(dim=-1)
        return scores, best(scores, max(1, int(len(now.image) * ratios[now.stage]))), None

    return rule


def fitted(removed):
    """FitPrune."""

    def rule(now):
        largest = now.weights.amax(0)
        cross = sum(largest[row, now.image] for row in now.after)
        own = sum(largest[row, now.image] for row in now.image) / len(now.image)
        scores = cross * own
        return scores, best(scores, max(0, len(now.image) - removed[now.layer - 1])), None

    return rule


def must(global_thr, individual_thr, key_set):
    """MustDrop; notes sums and maxima."""

    def rule(now):
        rows = now.weights.mean(0)[now.after][:, now.image]
        total, most = rows.sum(0), rows.amax(0)
        kept = [
            i
            for i, number in enumerate(now.ids[now.image].tolist())
            if total[i] >= global_thr * total.sum() or most[i] >= individual_thr or number in key_set
        ]
        now.memory.setdefault("looked", []).append((total, most))
        rule.looked = now.memory["looked"]
        return None, kept, None

    return rule


def least_like(each, image_pivots, text_pivots):
    """DART; notes its pivots."""

    def rule(now):
        norms = now.model.key(now.layer - 1, now.entered, now.place).abs().sum((0, 2))
        pictures = sorted(now.image, key=lambda i: -float(norms[i]))[:image_pivots]
        words = sorted(now.after, key=lambda i: -float(norms[i]))[:text_pivots]
        order = list(set(pictures + words))
        states = now.model.norm(now.x, "norm")
        taken, parts = set(pictures), []
        for pivot in order:
            free = [i for i in now.image if i not in taken]
            likeness = {i: float(torch.cosine_similarity(states[i], states[pivot], dim=0)) for i in free}
            parts.append(sorted(free, key=lambda i: likeness[i])[:each])
            taken |= set(parts[-1])
        rule.found = {"norms": norms * now.model.heads / now.model.groups, "image": pictures, "text": words,
                      "order": order, "parts": parts, "columns": now.image, "after": now.after}  # fmt: skip
        return None, [i for i, column in enumerate(now.image) if column in taken], None

    return rule


def raters(now):
    """Places among the text behind the image: those above the mean of what image tokens are like."""
    if "raters" not in now.memory:
        inputs, behind = now.memory["inputs"], now.after
        shares = (inputs[now.image] @ inputs[behind].T).softmax(-1).mean(0)
        now.memory["raters"] = [i for i, share in enumerate(shares.tolist()) if share > float(shares.mean())]
    return now.memory["raters"]


def sparse(version, counts=None, scale=None, bias=None, recycle=0.3, cluster=10, heads=14):
    """SparseVLM; notes what it found at each drop."""
    notes = []

    def rule(now):
        rated = [now.after[i] for i in raters(now)]
        weights, v, note = now.weights, len(now.image), {"raters": raters(now)}
        notes.append(note)
        if version == "plus":
            weights, note["heads"], note["sums"] = corrected(now, rated, heads)
        rows = weights.mean(0)[rated][:, now.image]
        scores = rows.mean(0)
        count = min(counts[now.stage], v - 1) if counts else 0
        if version == "1.0":
            note["rank"] = int(torch.linalg.matrix_rank(rows.float()))
            count = v if note["rank"] == v else min(int(note["rank"] * scale + bias), v - 1)
        kept = best(scores, count)
        gone = sorted(set(range(v)) - set(kept), key=lambda i: -float(scores[i]))
        if version == "plus" or not gone:
            return scores, kept, None
        candidates = gone[: int(recycle * len(gone)) + 1]
        points = now.x[[now.image[i] for i in candidates]]
        made = clustered(points, int(len(candidates) / cluster) + 1, note)
        note["recycling"]["candidates"], note["merged"] = candidates, made
        return scores, kept, made

    rule.notes = notes
    return rule


def corrected(now, rated, number):
    """SparseVLM+: weights over what vectors of ones would have under RoPE, of the best heads."""
    ones = now.model.rotated(torch.ones(1, len(now.place), now.model.e).double(), now.place)[0]
    weights = now.weights / (ones @ ones.T / now.model.e**0.5)
    sums = weights[:, rated][:, :, now.image].sum((1, 2))
    chosen = best(sums, number)
    return weights[chosen], chosen, sums


def clustered(points, number, note):
    """Tokens that candidates [m, d] become, by density peaks."""
    m, d = points.shape
    distance = [[float((points[i] - points[j]).norm()) / d**0.5 for j in range(m)] for i in range(m)]
    near = [sorted(row)[:number] for row in distance]
    density = [float(torch.tensor([-sum(x * x for x in row) / number]).double().exp()) for row in near]
    largest = max(max(row) for row in distance)
    apart = [
        min([distance[i][j] for j in range(m) if density[j] > density[i]], default=largest) for i in range(m)
    ]
    peak = [a * b for a, b in zip(apart, density, strict=True)]
    # Of equal ones, those that topk names: officially nothing but noise decides between them.
    centres = torch.tensor(peak).topk(number).indices.tolist()
    own = [min(range(number), key=lambda c: distance[i][centres[c]]) for i in range(m)]
    for c, i in enumerate(centres):
        own[i] = c
    note["recycling"] = {"cluster_num": number, "centers": centres, "assignment": own}
    members = [[i for i in range(m) if own[i] == c] for c in range(number)]
    return torch.stack([points[some].sum(0) / (len(some) + 1e-6) for some in members])
