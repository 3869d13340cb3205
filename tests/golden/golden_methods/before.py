"""Strategies before the decoder: function (tensors of the tower in), next (several tiles), e2e (a model)."""

import torch
from golden_case import MismatchError
from transformers import (
    CLIPTextConfig,
    CLIPTextModelWithProjection,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
)

from golden_methods.decoder import greedy
from pdrop_eval.engine.before_decoder.interface import ImageView
from pdrop_eval.models.towers.encoded import EncodedImage, Needs, Places, TokenShape
from pdrop_eval.models.towers.tower import class_row
from pdrop_eval.strategies import (
    cdpruner,
    divprune,
    fastervlm,
    hired,
    pool,
    prumerge,
    uniform,
    visionzip,
    vispruner,
)
from pdrop_eval.strategies.prumerge_plus import PruMergePlus

# --- end to end


def llava(case, image_id):
    """The case's LLaVA: its tower, projector and decoder."""
    vision = CLIPVisionConfig(**case.value("vision_config"))
    model = LlavaForConditionalGeneration(
        LlavaConfig(
            vision_config=vision,
            text_config=LlamaConfig(**case.value("llama_config")),
            image_token_id=image_id,
            projector_hidden_act="gelu",
            vision_feature_layer=-2,
        )
    ).eval()
    tower = {name.removeprefix("vision_model."): value for name, value in case.weights("vision").items()}
    tower.pop("visual_projection.weight", None)
    names = model.model.vision_tower.state_dict()
    # Earlier versions of transformers have one level more in CLIP's tower.
    level = "vision_model." if all(name.startswith("vision_model.") for name in names) else ""
    model.model.vision_tower.load_state_dict({level + name: value for name, value in tower.items()})
    model.model.multi_modal_projector.load_state_dict(case.weights("projector"))
    words = case.weights("weights")
    model.lm_head.load_state_dict({"weight": words.pop("lm_head.weight")})
    language = {name.removeprefix("model."): value for name, value in words.items()}
    model.model.language_model.load_state_dict(language)
    return model


def run_e2e(case, strategy, ids=None, **options):
    """Prefill and eight tokens under a strategy; ids: the tensor of retained patches. Returns the view."""
    pixels = case.tensor("pixel_values")
    patches = (pixels.shape[-1] // case.value("vision_config", "patch_size")) ** 2
    before, after = (case.value("input", f"input_ids_{part}") for part in ("before", "after"))
    words = {*before, *after, *case.tensor("decode_tokens").tolist()}
    image_id = next(i for i in reversed(range(case.value("llama_config", "vocab_size"))) if i not in words)
    model = llava(case, image_id)
    prompt = {"input_ids": torch.tensor([[*before, *[image_id] * patches, *after]]), "pixel_values": pixels}
    with torch.no_grad(), strategy(model, **options) as report:
        made, views = [], []
        taking = strategy.reduce
        strategy.reduce = lambda view: views.append(view) or made.append(taking(view)) or made[-1]
        prefill = model(**prompt)
        del strategy.reduce
        tokens, logits = greedy(model, **prompt)
    case.equal("number of image tokens", len(made[0].tokens), case.value("expected", "image_tokens"))
    case.equal("length", report.kv_lengths[0][0], case.value("expected", "seq_len"))
    if ids is not None:
        source = made[0].source
        case.equal(ids, source[source >= 0], case.tensor(ids).flatten())
    case.close("image_tokens", made[0].tokens)
    case.close("prefill_logits_last", prefill.logits[0, -1])
    case.equal("decode_tokens", tokens)
    case.close("decode_logits", logits)
    return views[0]


# --- several tiles


def project(case):
    """The case's own projector: two linear maps with a GELU between them."""
    parts = case.weights("projector")

    def of(features):
        hidden = torch.nn.functional.linear(features, parts["linear_1.weight"], parts["linear_1.bias"])
        hidden = torch.nn.functional.gelu(hidden)
        return torch.nn.functional.linear(hidden, parts["linear_2.weight"], parts["linear_2.bias"])

    return of


def places_of(tiles, side, grid, size, newlines=False):
    """Where the packed tokens come from: no padding, or what transformers makes of an image of `size`."""
    numbers = torch.arange(tiles * side * side).view(tiles, side * side, 1)
    down, across = grid
    whole = numbers[1:].view(down, across, side, side).permute(0, 2, 1, 3).reshape(down * side, across * side)
    if size is not None:
        from transformers.models.llava_next.modeling_llava_next import unpad_image

        whole = unpad_image(whole[None], torch.tensor(size))[0]
    if newlines:
        whole = torch.cat((whole, whole.new_full((len(whole), 1), -1)), dim=1)
    order = torch.cat((numbers[0, :, 0], whole.flatten()))
    tile = torch.where(order < 0, -1, order // side**2)
    sources = torch.stack((tile, torch.where(order < 0, -1, order % side**2)), dim=1)
    return Places(sources, (side, side), tiles, grid, size)


def grid_of(case):
    """Rows and columns of the tiles behind the overview."""
    shapes = case.value("shapes")
    return tuple(shapes["grid" if "grid" in shapes else "grid_height_width"])


def view_of(case, places, projected, needs, of=None, newline=None, question=None, **held):
    """The image of a case as a strategy sees it."""
    tile, patch = places.sources.unbind(1)
    tokens = projected[tile, patch]
    if newline is not None:
        tokens = torch.where((patch < 0)[:, None], newline, tokens)
    encoded = EncodedImage(tokens, places, needs, projected=projected, **held)
    return ImageView(encoded, of or (lambda features: features), newline=newline, question=question)


def packed_source(case, view, features):
    """Compares what came out: the tile and patch of each token, by the features of all patches."""
    source, packed = case.tensor("packed_source"), case.tensor("packed_features")
    case.close("packed_features", view.tokens, packed)
    case.close("packed_source", view.tokens, features[source[:, 0], source[:, 1]], atol=1e-6)


# --- each method


def fastervlm_function(case):
    count = case.params("visual_token_num")["visual_token_num"]
    scores = fastervlm.class_attention(case.tensor("cls_attention"))
    case.close("scores", scores, atol=1e-5)
    kept = kept_ids(fastervlm.best(scores, torch.ones_like(scores, dtype=torch.bool), count))
    case.equal("kept", kept)
    case.close("features", gathered(project(case)(case.tensor("hidden_states")[:, 1:]), kept))


def kept_ids(chosen):
    """[P, T]: the ids of the marked patches of each tile."""
    return torch.stack([row.nonzero().flatten() for row in chosen])


def gathered(values, ids):
    return torch.stack([one[own] for one, own in zip(values, ids, strict=True)])


def tower_next(case, strategy, needs):
    """Strategies that mark patches of each tile by the class token's attention and the features."""
    side, grid = case.value("shapes", "side"), grid_of(case)
    width, height = case.value("input", "image_size_wh")
    places = places_of(case.value("shapes", "tiles"), side, grid, (height, width))
    features = case.tensor("hidden_states")[:, 1:]
    projected = project(case)(features)
    held = {"attention": {"features": case.tensor("cls_attention")}, "features": features}
    found = strategy.reduce(view_of(case, places, projected, needs, heads=4, **held))
    mask = torch.zeros(projected.shape[:2], dtype=torch.bool)
    source = case.tensor("packed_source")
    mask[source[:, 0], source[:, 1]] = True
    case.equal("kept_mask", strategy.choose(view_of(case, places, projected, needs, **held), mask | True)[0])
    packed_source(case, found, projected)


def fastervlm_next(case):
    params = case.params("visual_token_num", "per")
    strategy = fastervlm.FasterVLM(visual_token_num=params["visual_token_num"])
    tower_next(case, strategy, strategy.needs)


def fastervlm_e2e(case):
    run_e2e(case, fastervlm.FasterVLM(**case.params("visual_token_num")), "kept")


def visionzip_function(case):
    params = case.params("dominant", "contextual")
    dominant, contextual = params["dominant"], params["contextual"]
    scores = case.tensor("cls_attention").sum(1)
    case.close("scores", scores, atol=1e-5)
    _visionzip_tiles(case, scores, dominant, contextual)


def _visionzip_tiles(case, scores, dominant, contextual):
    chosen = visionzip.dominant_patches(scores, torch.ones_like(scores, dtype=torch.bool), dominant - 1)
    case.equal("kept", kept_ids(chosen))
    states, keys = case.tensor("hidden_states"), case.tensor("keys")
    output = [
        torch.cat((
            state[:1],
            state[1:][own],
            visionzip.merged(state[1:][~own], key[1:][~own], contextual),
        ))
        for state, key, own in zip(states, keys, chosen, strict=True)
    ]  # fmt: skip
    case.close("output", torch.stack(output))


def visionzip_next(case):
    params = case.params("dominant", "contextual", "per")
    dominant, contextual = params["dominant"], params["contextual"]
    attention, states = case.tensor("cls_attention"), case.tensor("hidden_states")
    _visionzip_tiles(case, attention.sum(1), dominant, contextual)
    side, grid = case.value("shapes", "side"), grid_of(case)
    places = places_of(len(states), side, grid, None)
    strategy = visionzip.VisionZip(dominant=dominant, contextual=contextual)
    held = {"attention": {"features": attention}, "keys": {"features": case.tensor("keys")}}
    features = states[:, 1:]
    # The keys of the case are the mean over heads already, so there is one head.
    held |= {"features": features, "class_token": states[:, 0], "heads": 1}
    found = strategy.reduce(view_of(case, places, features, strategy.needs, **held))
    case.close("packed", found.tokens)
    source, kept = case.tensor("packed_source"), case.tensor("kept")
    rows = case.tensor("output")[source[:, 0], source[:, 1]]
    case.close("packed_source", found.tokens, rows)
    own = (source[:, 1] >= 1) & (source[:, 1] < dominant)  # the dominant patches, behind the class token
    tile, patch = source[own, 0], kept[source[own, 0], source[own, 1] - 1]
    view = view_of(case, places, features, Needs())
    case.equal("packed_source patches", found.source[own], view.where(tile, patch))


def visionzip_e2e(case):
    run_e2e(case, visionzip.VisionZip(**case.params("dominant", "contextual")), "kept")


def uniform_function(case):
    params = case.params("patches", "asked")
    for asked in params["asked"]:
        kept = uniform.evenly(params["patches"], asked, "hired")
        case.equal(f"kept_{asked}", kept)
        case.equal(f"number for {asked}", len(kept), case.value("expected", f"kept_{asked}"))


def divprune_params(case):
    params = case.params("subset_ratio", "count")
    return divprune.DivPrune(subset_ratio=params["subset_ratio"]), params["count"]


def divprune_function(case):
    strategy, count = divprune_params(case)
    tokens = case.tensor("tokens")
    case.equal("count", strategy.retained_count(TokenShape(len(tokens))), count)
    case.close("distance", divprune.distances(tokens), atol=1e-5)
    picked = divprune.most_diverse(tokens, count)
    case.equal("picked", picked)
    case.equal("kept", picked.sort().values)
    case.equal("distinct", len(set(picked.tolist())), case.value("expected", "distinct"))
    case.close("features", tokens[picked.sort().values])


def divprune_next(case):
    strategy, count = divprune_params(case)
    width, height = case.value("input", "image_size_wh")
    side, grid = case.value("shapes", "side"), grid_of(case)
    places = places_of(case.value("shapes", "tiles"), side, grid, (height, width), newlines=True)
    newline = case.tensor("image_newline")
    view = view_of(case, places, case.tensor("tile_features"), strategy.needs, newline=newline)
    case.close("tokens", view.tokens)
    case.equal("is_newline", places.sources[:, 1] < 0)
    found = strategy.reduce(view)
    case.equal("count", len(found.tokens), count)
    # Newlines are copies of each other, so only their number can be compared.
    lines, kept = case.tensor("is_newline"), case.tensor("kept")
    case.equal("kept patches", found.source[~lines[found.source]], kept[~lines[kept]])
    case.equal("kept newlines", int(lines[found.source].sum()), case.value("expected", "newlines_kept"))
    case.close("features", found.tokens)


def divprune_e2e(case):
    run_e2e(case, divprune_params(case)[0], "kept")


def vispruner_strategy(case):
    params = case.params("visual_token_num", "important_ratio", "per")
    return vispruner.VisPruner(**{key: value for key, value in params.items() if key != "per"})


def vispruner_function(case):
    strategy = vispruner_strategy(case)
    scores = fastervlm.class_attention(case.tensor("cls_attention"))
    features = case.tensor("hidden_states")[:, 1:]
    case.close("scores", scores, atol=1e-5)
    important = int(strategy.count * strategy.important_ratio)
    seen = torch.ones_like(scores, dtype=torch.bool)
    case.equal("kept_important", kept_ids(fastervlm.best(scores, seen, important)))
    chosen = [
        vispruner.important_and_diverse(*one, strategy.count, strategy.important_ratio)
        for one in zip(scores, features, seen, strict=True)
    ]
    kept = kept_ids(torch.stack(chosen))
    case.equal("kept", kept)
    case.close("features", gathered(project(case)(features), kept))


def vispruner_next(case):
    strategy = vispruner_strategy(case)
    tower_next(case, strategy, strategy.needs)


def vispruner_e2e(case):
    run_e2e(case, vispruner_strategy(case), "kept")


def hired_function(case):
    attention = case.tensor("cls_attention")
    strategy = hired.HiRED(**case.params("token_budget_rate", "alpha"))
    case.close("scores", attention.sum(1)[0], atol=1e-5)
    count = strategy.retained_count(TokenShape(attention.shape[-1]))
    case.equal("count", count, case.value("expected", "count"))
    case.equal("kept", kept_ids(hired.top(attention.sum(1), [count]))[0])


def hired_next(case):
    from transformers.models.llava_next.modeling_llava_next import get_anyres_image_grid_shape

    strategy = hired.HiRED(**case.params("token_budget_rate", "alpha"))
    size = tuple(case.value("input", "image_size_hw"))
    points = case.value("input", "grid_pinpoints_hw")
    grid = get_anyres_image_grid_shape(size, points, min(min(point) for point in points))
    features = case.tensor("tile_features")
    places = places_of(len(features), case.value("shapes", "side"), tuple(grid), size)
    held = {"first": case.tensor("layer0_cls_attention"), "features": case.tensor("layer22_cls_attention")}
    view = view_of(case, places, features, strategy.needs, attention=held)
    scores = held["features"].sum(1)
    early = held["first"][0].sum(0)
    rate = strategy.token_budget_rate
    chosen = hired.choose_in_tiles(early, scores, view, rate, strategy.alpha, None)
    case.equal("kept_mask", chosen)
    case.equal("overview", int(chosen[0].sum()), case.value("expected", "overview"))
    case.equal("crops", chosen[1:].sum(1), case.value("expected", "crops"))
    order = hired.officially_packed(chosen, view.side, view.grid, view.image_size)
    case.equal("packed_source", order)
    case.close("packed_features", strategy.reduce(view).tokens)


def hired_e2e(case):
    run_e2e(case, hired.HiRED(**case.params("token_budget_rate", "alpha")), "kept")


def pool_function(case):
    size = tuple(case.params("output_height_width")["output_height_width"])
    side = case.value("shapes", "height"), case.value("shapes", "width")
    for mode in pool.MODES:
        case.close(mode, pool.pooled(case.tensor("tokens"), side, size, mode), atol=1e-5)


def prumerge_params(case):
    params = case.params("plus", "adaptive", "reduction_ratio", "neighbours")
    case.equal("neighbours", prumerge.NEIGHBOURS, params["neighbours"])
    if params["adaptive"] != (params["reduction_ratio"] is None):
        raise MismatchError("adaptive and a reduction_ratio exclude each other")
    cls = PruMergePlus if params["plus"] else prumerge.PruMerge
    return cls(reduction_ratio=params["reduction_ratio"])


def prumerge_function(case):
    strategy, keys = prumerge_params(case), case.tensor("keys")
    attention = class_row(case.tensor("query_cls")[None], keys[None], heads=1)[0, 0]
    case.close("cls_attention", attention, atol=1e-5)
    outliers = prumerge.outlier_ratio(attention[None])
    case.equal("outliers", round(outliers * len(attention)), case.value("expected", "outliers"))
    ratio = outliers if strategy.reduction_ratio is None else strategy.reduction_ratio
    ids = prumerge.picked(attention, ratio, strategy.plus, strategy.reduction_ratio is None)
    case.equal("picked", ids)
    case.close("output", prumerge.merged(case.tensor("hidden_states")[1:], keys[1:], attention, ids))


def prumerge_e2e(case):
    strategy = prumerge_params(case)
    view = run_e2e(case, strategy)
    attention = class_row(view.query("last"), view.keys("last"), heads=1)[:, 0]
    case.close("cls_attention", attention[0], atol=1e-5)
    ratio = strategy.reduction_ratio
    ratio = prumerge.outlier_ratio(attention) if ratio is None else ratio
    case.equal(
        "picked", prumerge.picked(attention[0], ratio, strategy.plus, strategy.reduction_ratio is None)
    )


def cdpruner_count(case):
    return case.params("visual_token_num", "per")["visual_token_num"]


def cdpruner_function(case):
    projected, relevance = case.tensor("projected"), _relevance(case)
    order = cdpruner.picked(projected, relevance, relevance > -1, cdpruner_count(case))
    case.equal("picked", order)
    case.equal("kept", order.sort(1).values)
    return order.sort(1).values


def _relevance(case):
    relevance = cdpruner.relevance_of(case.tensor("image_embeds"), case.tensor("text_embeds"))
    case.close("relevance", relevance, atol=1e-5)
    return relevance


def cdpruner_features(case):
    case.close("features", gathered(case.tensor("projected"), cdpruner_function(case)))


def cdpruner_next(case):
    kept, projected = cdpruner_function(case), case.tensor("projected")
    side, grid = case.value("shapes", "side"), grid_of(case)
    width, height = case.value("input", "image_size_wh")
    view = view_of(case, places_of(len(projected), side, grid, (height, width)), projected, Needs())
    chosen = torch.zeros(projected.shape[:2], dtype=torch.bool).scatter(1, kept, True)
    packed_source(case, view.take_patches(chosen, "official"), projected)


def cdpruner_e2e(case):
    words = CLIPTextConfig(**case.value("text_config"))
    vision = case.value("vision_config")
    text, weights = CLIPTextModelWithProjection(words).eval(), case.weights("text")
    text.load_state_dict(weights)
    norm = torch.nn.LayerNorm(vision["hidden_size"], eps=vision["layer_norm_eps"])
    tower = {name.removeprefix("vision_model."): value for name, value in case.weights("vision").items()}
    norm.load_state_dict({name: tower[f"post_layernorm.{name}"] for name in ("weight", "bias")})
    joint = torch.nn.Linear(vision["hidden_size"], vision["projection_dim"], bias=False)
    joint.load_state_dict({"weight": tower["visual_projection.weight"]})
    ids = case.tensor("question_ids").tolist()
    parts = cdpruner.TextTower(text.text_model, text.text_projection, norm, joint, lambda text: ids)
    with torch.no_grad():
        embeds = cdpruner.embedded(parts, "")
        case.close("text_embeds", embeds, atol=1e-5)
        case.equal("segments", len(embeds), case.value("expected", "segments"))
        cdpruner.TOWERS[case.name] = parts
        try:
            strategy = cdpruner.CDPruner(visual_token_num=cdpruner_count(case), text_tower=case.name)
            view = run_e2e(case, strategy, "kept", questions=["what?"])
        finally:
            del cdpruner.TOWERS[case.name]
        images = joint(norm(view.features))
        case.close("image_embeds", images, atol=1e-5)
        relevance = cdpruner.relevance_of(images, embeds)
        case.close("relevance", relevance, atol=1e-4)
        order = cdpruner.picked(view.projected, relevance, relevance > -1, strategy.count)
        case.equal("picked", order.flatten())


METHODS = {
    "pre-fastervlm": {"function": fastervlm_function, "next": fastervlm_next, "e2e": fastervlm_e2e},
    "pre-visionzip": {"function": visionzip_function, "next": visionzip_next, "e2e": visionzip_e2e},
    "pre-uniform": {"function": uniform_function},
    "pre-divprune": {"function": divprune_function, "next": divprune_next, "e2e": divprune_e2e},
    "pre-vispruner": {"function": vispruner_function, "next": vispruner_next, "e2e": vispruner_e2e},
    "pre-hired": {"function": hired_function, "next": hired_next, "e2e": hired_e2e},
    "pre-cdpruner": {"function": cdpruner_features, "next": cdpruner_next, "e2e": cdpruner_e2e},
    "pre-pool": {"function": pool_function},
    "pre-prumerge": {"function": prumerge_function, "e2e": prumerge_e2e},
    "pre-prumergeplus": {"function": prumerge_function, "e2e": prumerge_e2e},
}
