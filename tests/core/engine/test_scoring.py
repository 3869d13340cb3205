"""What a strategy in the decoder may ask for, compared with attention computed by hand, in full."""

import math
from dataclasses import dataclass, field

import oracle
import pytest
import torch
from contract import IMAGE, IMAGE_ID, PATCHES, case_of
from merging import Merging
from test_oracle import decoder_inputs

from pdrop_eval import UserError
from pdrop_eval.engine.interface import Drop, Selection
from pdrop_eval.engine.stages import scoring
from pdrop_eval.strategies.base import Strategy

ROWS = ([4, IMAGE, 5], [2, IMAGE, 3, IMAGE, 4], [7], [3, IMAGE, 19])


@dataclass
class Asking(Strategy):
    """Keeps every image token, and hands each context to `ask`, which is called while it is valid."""

    ask: object
    layers: tuple = (3,)
    lag: int = 1
    answers: list = field(default_factory=list)
    name = "asking"
    needs_embeddings = True

    def drops(self, num_layers):
        return tuple(Drop(layer, scoring_layer=layer - self.lag) for layer in self.layers)

    def retained(self, num_layers, image_tokens):
        return (image_tokens,) * len(self.layers)

    def select(self, context):
        self.answers.append(self.ask(context))
        return Selection(keep=context.image)


def asked(case, ask, **settings):
    strategy = Asking(ask, **settings)
    with case.under(strategy):
        case.forward()
    return strategy.answers


def states(case, number):
    """The hidden states that enter a layer of the case's batch, without any strategy."""
    caught = []
    layer = case.model.get_decoder().layers[number]
    hook = layer.register_forward_pre_hook(
        lambda _, args, kwargs: caught.append(args[0] if args else kwargs["hidden_states"]), with_kwargs=True
    )
    case.forward()
    hook.remove()
    return caught[0]


def by_hand(case, row, rope=True, over="causal", number=2):
    """[h, n, n] weights of one row's layer 2, unpadded, and its image mask."""
    length = case.lengths[row]
    hidden = states(case, number)[row, -length:]
    layer = case.model.get_decoder().layers[number]
    attention = layer.self_attn
    place = torch.arange(length).float() if rope else torch.zeros(length)
    normed, size = layer.input_layernorm(hidden), attention.head_dim
    q, k = (
        oracle.turn(project(normed).view(length, -1, size).transpose(0, 1), place)
        for project in (attention.q_proj, attention.k_proj)
    )
    products = q @ k.repeat_interleave(len(q) // len(k), 0).transpose(1, 2) / math.sqrt(size)
    image = case.inputs["input_ids"][row, -length:] == IMAGE_ID
    seen = torch.ones(length, length, dtype=torch.bool).tril()
    if over == "image":
        seen = seen & image
    return products.masked_fill(~seen, -torch.inf).softmax(-1).nan_to_num(0.0).detach(), image


@pytest.mark.parametrize("over", ["causal", "image"])
@pytest.mark.parametrize("rope", [True, False])
@pytest.mark.parametrize("chunk", [64, 3])
def test_attention_of_rows_is_that_computed_in_full(monkeypatch, rope, over, chunk):
    monkeypatch.setattr(scoring, "CHUNK", chunk)
    case = case_of("llava_gqa", rows=ROWS)
    heads = (None, "mean", "max")
    found = asked(case, lambda c: [c.attention_rows(c.text, rope=rope, over=over, heads=h) for h in heads])
    for row, length in enumerate(case.lengths):
        weights, image = by_hand(case, row, rope, over)
        wanted = weights[:, ~image]
        for (ours, real), how in zip(found[0], (wanted, wanted.mean(0), wanted.amax(0)), strict=True):
            q = int(real[row].sum())
            assert q == int((~image).sum())
            assert torch.allclose(ours[row][..., :q, -length:], how, atol=1e-5)
            assert (ours[row][..., q:, :] == 0).all()
            assert (ours[row][..., : ours.shape[-1] - length] == 0).all()


def test_sums_over_rows_are_those_of_all_rows_in_chunks(monkeypatch):
    monkeypatch.setattr(scoring, "CHUNK", 7)
    case = case_of("llava_gqa", rows=ROWS)
    sizes = []
    whole = scoring.ops.softmax_rows

    def noted(*arguments):
        sizes.append(whole(*arguments).shape[2])
        return whole(*arguments)

    monkeypatch.setattr(scoring.ops, "softmax_rows", noted)
    found = asked(case, lambda c: c.attention_sums(c.text_after, c.image, heads="max"))[0]
    assert max(sizes) == 7
    for row in (0, 1, 3):
        weights, image = by_hand(case, row)
        length, last = case.lengths[row], int(image.nonzero().max())
        assert torch.allclose(found[0][row, -length:], weights.amax(0)[last + 1 :].sum(0), atol=1e-5)
        assert torch.allclose(found[1][row, -length:], weights.amax(0)[image].sum(0), atol=1e-5)
    assert (found[0][2] == 0).all()  # a row without images has no text behind them


def test_keys_and_raw_queries_are_the_layers():
    case = case_of("llava_gqa", rows=ROWS).alone(0)
    (turned, plain), raw = asked(
        case, lambda c: ((c.keys(), c.keys(rope=False)), c.query_key(c.text_after, rope=False))
    )[0]
    hidden = states(case, 2)
    layer = case.model.get_decoder().layers[2]
    wanted = layer.self_attn.k_proj(layer.input_layernorm(hidden)).unflatten(-1, (2, -1))
    assert turned.shape == (1, 34, 2, 8)
    assert torch.allclose(plain, wanted, atol=1e-6)
    assert torch.allclose(turned.norm(dim=-1), wanted.norm(dim=-1), atol=1e-5)
    assert not torch.allclose(turned, wanted)
    assert raw.rows.tolist() == [[29, 30, 31, 32, 33]]
    queries = layer.self_attn.q_proj(layer.input_layernorm(hidden))[0, -5:].unflatten(-1, (4, -1))
    assert torch.allclose(raw.query[0].transpose(0, 1), queries, atol=1e-6)
    assert raw.scaling == pytest.approx(8**-0.5)


def test_columns_ids_embeddings_norm_and_positions():
    case = case_of("llava_gqa", rows=ROWS)
    context = asked(case, lambda c: c)[0]
    ids = context.image_ids
    assert ids[1][context.image[1]].tolist() == list(range(50))
    assert (ids[~context.image] == -1).all()
    assert context.columns[0].tolist() == list(range(59))
    assert torch.equal(context.embeddings, decoder_inputs(case)["inputs_embeds"])
    assert context.valid.sum(1).tolist() == case.lengths
    assert context.text_after.sum(1).tolist() == [5, 4, 0, 19]
    assert torch.equal(context.final_norm(context.hidden), case.model.get_decoder().norm(context.hidden))
    assert context.positions.shape[-1] == 59
    assert not context.merged.any()


def test_after_a_drop_and_with_made_tokens():
    """The context of the second drop: what is left, and -1 for what the first one made."""

    class Second(Merging):
        needs_embeddings = True

        def select(self, context):
            seen.append(context)
            return super().select(context)

    seen = []
    case = case_of("llava_gqa", rows=ROWS)
    with case.under(Second()) as report:
        case.forward()
    context = seen[1]
    for row in (0, 1, 3):
        assert context.image_ids[row][context.image[row]].tolist() == report.retained[0][row].tolist()
        assert context.merged[row].sum() == 2
        assert (context.embeddings[row][context.merged[row]] == 0).all()
        assert context.text_after[row].sum() == [5, 4, 0, 19][row]
    kept = context.image[0] & ~context.merged[0]
    assert torch.equal(
        context.embeddings[0][kept], decoder_inputs(case)["inputs_embeds"][0][context.columns[0][kept]]
    )


def test_memory_lasts_for_one_prefill():
    def ask(context):
        context.memory.setdefault("drops", []).append(context.drop)
        return list(context.memory["drops"])

    case = case_of("bare_llama", rows=ROWS)
    strategy = Asking(ask, layers=(2, 5))
    with case.under(strategy):
        case.forward()
        case.forward()
    assert strategy.answers == [[0], [0, 1], [0], [0, 1]]


def test_generators_are_the_runs_the_samples_and_the_drops():
    case = case_of("bare_llama", rows=ROWS[:2])

    def draws(seeds, seed=0):
        strategy = Asking(
            lambda c: [torch.rand(1, generator=c.generator(row, seed)).item() for row in (0, 1)],
            layers=(2, 5),
        )
        with strategy(case.model, **case.options, seeds=seeds):
            case.forward()
        return strategy.answers

    first = draws([1, 2])
    assert first == draws([1, 2])
    assert len({value for drop in first for value in drop}) == 4
    assert draws([2, 1]) == [drop[::-1] for drop in first]
    assert draws([1, 2], seed=5) != first


def test_places_of_images_are_told_by_row():
    case = case_of("llava_gqa", rows=ROWS)
    places = asked(case, lambda c: c.places())[0]
    assert [None if row is None else [one.side for one in row] for row in places] == [
        [(5, 5)], [(5, 5), (5, 5)], [], [(5, 5)]
    ]  # fmt: skip
    assert places[0][0].sources[:, 1].tolist() == list(range(PATCHES))
    tiles = asked(case_of("llava_next", rows=ROWS[:1]), lambda c: c.places())[0]
    assert [(one.tiles, len(one.sources)) for one in tiles[0]] == [(3, 80)]
    assert asked(case_of("bare_llama", rows=ROWS[:1]), lambda c: c.places()) == [[None]]


@dataclass
class Changed(Strategy):
    """Retains the tokens that the layer before the drop has changed most."""

    name = "changed"

    def drops(self, num_layers):
        return (Drop(4, scoring_layer=3),)

    def retained(self, num_layers, image_tokens):
        return (image_tokens // 5,)

    def select(self, context):
        counts = [n // 5 for n in context.image_tokens]
        before = context.hidden
        return Selection(then=lambda after: Selection(scores=(after - before).norm(dim=-1), counts=counts))


def test_a_choice_may_wait_for_the_states_that_enter_the_drop():
    case = case_of("llava_gqa", rows=ROWS)
    with case.under(Changed()) as report:
        case.forward()
        tokens = case.generate()
    change = (states(case, 4) - states(case, 3)).norm(dim=-1)
    for row in (0, 1, 3):
        image = case.inputs["input_ids"][row] == IMAGE_ID
        wanted = change[row][image]
        best = wanted.topk(case.image_tokens[row] // 5).indices.sort().values
        assert report.retained[0][row].tolist() == best.tolist()
        assert torch.allclose(report.scores[0][row], wanted, atol=1e-5)
        alone = case.alone(row)
        with alone.under(Changed()):
            assert torch.equal(alone.generate()[0], tokens[row])


def test_a_strategy_that_asks_for_nothing_pays_for_nothing(monkeypatch):
    case = case_of("llava_gqa", rows=ROWS)

    class Plain(Asking):
        needs_embeddings = False

    def forbidden(*_, **__):
        raise AssertionError("asked")

    monkeypatch.setattr(scoring.ScoringLayer, "query_key", forbidden)
    strategy = Plain(lambda c: c.embeddings)
    with case.under(strategy):
        case.forward()
    assert strategy.answers == [None]


def test_unknown_ways_to_ask_are_refused():
    case = case_of("bare_llama", rows=ROWS[:1])
    for wrong in ({"over": "text"}, {"heads": "sum"}):
        with pytest.raises(UserError, match="Allowed: "):
            asked(case, lambda c, wrong=wrong: c.attention_rows(c.text, **wrong))
