"""What every strategy is tested on: add a strategy with one line; every registered family is here by itself.

The names of all strategies in pdrop_eval/strategies are known here.
"""
# ruff: noqa: F821

import copy
import importlib
import pkgutil
from dataclasses import dataclass, field, replace
from functools import cache, partial
from itertools import product
from types import GenericAlias
from zlib import crc32

import pytest
import tiny_families
import torch
from text_tower import text_tower
from transformers import AutoConfig, LlamaConfig, MistralConfig

from pdrop_eval import strategies
from pdrop_eval.models import families
from pdrop_eval.strategies import cdpruner
from pdrop_eval.strategies.base import Strategy
from pdrop_eval.strategies.combine import Combine
from pdrop_eval.strategies.two_stage import TwoStage
from pdrop_eval.utils.errors import UserError

for module in pkgutil.iter_modules(strategies.__path__):
    found = vars(importlib.import_module(f"{strategies.__name__}.{module.name}"))
    globals().update(
        {
            name: cls
            for name, cls in found.items()
            if isinstance(cls, type) and not isinstance(cls, GenericAlias) and issubclass(cls, Strategy)
        }
    )

LAYERS, HIDDEN, IMAGE_ID, IMAGE_SIZE, PATCHES = 8, 32, 60, 20, 25
GRIDS = [[20, 40], [40, 20], [40, 40]]  # of families that cut an image into tiles
KV_HEADS = {"llava": 4, "llava_next": 4, "llama": 1}  # of 4 heads; 2 for all other families


def named_models(family):
    """A family's tiny models: their names and text models."""
    bare = "" if family.multimodal else "bare_"
    return [
        (f"{bare}{family.name}" + (f"_{text}" if i else ""), text) for i, text in enumerate(family.text_types)
    ]


def tiny_model(family, text, kv_heads=None):
    """A model of a registered family in the sizes of this file, with one of its text models."""
    heads = kv_heads or (KV_HEADS.get(family.name, 2) if text == family.text_types[0] else 2)
    words = AutoConfig.for_model(
        text, **text_settings(num_key_value_heads=heads, **tiny_families.TEXT.get(text, {}))
    )
    if not family.multimodal:
        return family.load_class()(words)
    usual = {
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": IMAGE_SIZE,
        "patch_size": 4,
        "projection_dim": 16,
    }
    vision = AutoConfig.for_model(family.vision_types[0], **tiny_families.VISION.get(family.name, usual))
    return family.load_class()(family.make_config(words, vision, IMAGE_ID, GRIDS))


cdpruner.TOWERS["tiny"] = text_tower(16)

# What the engine does with any strategy is tried on these in the fast run, and on all in `make test-slow`.
LEADS = [
    Vanilla(),
    FastV(k=2, r=0.5),
    PyramidDrop(ratio=0.5, stages=4),
    PyramidDrop(
        layers=(1, 5, 8),
        ratios=(0.7, 0.3, 0.1),
        rank_with="last_layer",
        score="logits",
        rounding="progressive",
        positions="keep",
    ),
]
STRATEGIES = [
    *LEADS,
    Random(tokens=9, k=2),
    VTW(k=5),
    SparseVLM(),
    SparseVLM(version="1.0", scale=2.0, bias=3.0, layers=(2, 3, 5, 7)),
    SparseVLM(version="plus", heads=3, layers=(2, 4, 6)),
    V2Drop(layers=(1, 4, 6), keep_ratios=(0.6, 0.5, 0)),
    DART(k=2, reduction_ratio=0.5, pivot_image_token=3, pivot_text_token=2),
    FitPrune(removed=(3, 0, 5, 0, 0, 0, 4, 0)),
    Feather(layers=(2, 5), r=0.6),
    FastV(k=(2, 5), r=0.4, rope=False, rounding="truncate"),
    MustDrop(global_thr=0.03, individual_thr=0.2),
]
UNSCORED = ("dart",)  # they give no scores
BESIDE_SCORES = ("feather", "mustdrop")  # tokens stay that aren't among the best
# Those that reduce images before the decoder run on every family that takes images.
BEFORE = [
    Uniform(tokens=7),
    Random(tokens=9),
    VisionZip(dominant=5, contextual=3),
    VisionZip(dominant=5, contextual=3, official=False, layout="packed"),
    FasterVLM(visual_token_num=6),
    FasterVLM(visual_token_num=6, layout="packed"),
    DivPrune(subset_ratio=0.3),
    Pool(grid=(3, 2)),
    VisPruner(visual_token_num=7),
    HiRED(token_budget_rate=0.3),
    HiRED(token_budget_rate=0.3, official=False),
    PruMerge(),
    PruMergePlus(),
    CDPruner(visual_token_num=6, text_tower="tiny"),
]
# Those that do both.
BOTH = [
    Combine(VisionZip(dominant=8, contextual=3), PyramidDrop(ratio=0.5, stages=4)),
    Combine(Uniform(tokens=12), FastV(k=2, r=0.5)),
    VScan(visual_token_num=9, image_token_num=4),
    MustDropFull(global_thr=0.03, individual_thr=0.2),
]


def works_here(family):
    """Whether the installed transformers is one that the family works with."""
    try:
        family.check_version()
    except UserError:
        return False
    return True


FAMILIES = {
    name: partial(tiny_model, family, text)
    for family in map(families.get, families.names())
    if works_here(family)
    for name, text in named_models(family)
}
FAMILIES["llava_gqa"] = partial(tiny_model, families.get("llava"), "llama", kv_heads=2)

# The fast run makes each check of each strategy on one of these two, in turn; PyramidDrop's on all families.
FEW = ("llava_gqa", "llava_next")
# Families whose image is one square tile, which some strategies need.
SQUARE = [
    "llava",
    "llava_gqa",
    "llava_mistral",
]  # fmt: skip

# Those that choose by more than counts, so that no setting retains every token.
DROPS_SOMETHING = ("sparsevlm", "mustdrop")

IMAGE = "image"
# One image; two of them; none; one with a longer text: ragged lengths, ragged image counts.
ROWS = ([4, IMAGE, 5], [2, IMAGE, 3, IMAGE, 4], [7], [3, IMAGE, 19])
NEW = 4  # tokens of an answer
SIZES = ((20, 40), (40, 25), (40, 40), (30, 40))  # of the images in turn, for LLaVA-NeXT


def strategy_id(strategy):
    """The strategy's name, numbered where it comes more than once."""
    same = [other for other in (*STRATEGIES, *BEFORE, *BOTH) if other.name == strategy.name]
    return strategy.name + (f"{same.index(strategy) + 1}" if len(same) > 1 else "")


def reduces(family, strategy):
    """Whether a strategy before the decoder runs on a family: bare decoders take no images."""
    if family.startswith("bare_"):
        return False
    name = max((one for one in families.names() if family.startswith(one)), key=len)
    known = families.multimodal(name)
    port = getattr(strategy.reducer, "port", strategy.reducer.name)
    return not known.unreduced and (known.reduced_by is None or port in known.reduced_by)


def pairs(check, strategies):
    """Every strategy with every family that it runs on; those that the fast run leaves out are marked.

    Args:
        check: the name of the test; by it and the strategy's one of the families in `FEW` is taken, so that
            one more strategy costs the fast run each check once, and each check meets both families.
        strategies: to be tested.
    """
    first = next(strategy for strategy in STRATEGIES if strategy.name == "pdrop")
    found = []
    for family, strategy in product(FAMILIES, strategies):
        if not runs_on(family, strategy):
            continue
        name = strategy_id(strategy)
        chance = crc32(f"{check} {name}".encode())
        few = [one for one in FEW if runs_on(one, strategy)]
        own = few[chance % len(few)]
        others = [one for one in FAMILIES if one != own and runs_on(one, strategy)]
        marks = [] if strategy is first or family == own else [pytest.mark.slow]
        # Of every sixteenth check `make test-slow` has one more family, `make test-all` has them all.
        if marks and (chance % 16 or family != others[chance // len(few) % len(others)]):
            marks.append(pytest.mark.whole)
        found.append(pytest.param(strategy, family, id=f"{name}-{family}", marks=marks))
    return found


def runs_on(family, strategy):
    """Whether a family can have a strategy."""
    if strategy.reducer is not None and not reduces(family, strategy):
        return False
    square = family.startswith("bare_") or family in SQUARE
    return square or not isinstance(strategy, Feather)  # which refuses other grids


def with_every(strategies):
    """Return a decorator that gives a check every strategy of a list with every family."""
    return lambda check: pytest.mark.parametrize(
        ("strategy", "family"), pairs(check.__name__, strategies)
    )(check)  # fmt: skip


every_pair = with_every([*STRATEGIES, *BEFORE, *BOTH])
every_decoder_pair = with_every(STRATEGIES)
every_before_pair = with_every(BEFORE)
every_combined_pair = with_every(BOTH)


def alone(strategies):
    """Return a decorator that gives a test every strategy of a list; the fast run has those in `LEADS`."""
    leads = [id(strategy) for strategy in LEADS]
    return pytest.mark.parametrize(
        "strategy",
        [
            pytest.param(one, id=strategy_id(one), marks=[] if id(one) in leads else [pytest.mark.slow])
            for one in strategies
        ],
    )


def keep_all(strategy):
    """The same strategy, told to retain every image token, before the decoder and in it."""
    if isinstance(strategy, TwoStage):
        return Combine(keep_all(strategy.first), keep_all(strategy.second))
    kept = copy.copy(strategy)
    if strategy.reducer is not None:
        kept.reduce = lambda view: view.take(torch.arange(len(view.tokens)))
    if isinstance(strategy, Feather):  # the sample decides, so the setting has to
        kept.r = 0.0
    kept.retained = lambda num_layers, n: (n,) * len(strategy.drops(num_layers))
    if strategy.name in DROPS_SOMETHING:
        kept.select = lambda context: replace(strategy.select(context), keep=context.image, merge=None)
    return kept


def text_settings(**changes):
    settings = {
        "vocab_size": 64,
        "hidden_size": HIDDEN,
        "intermediate_size": 48,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 4,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "attn_implementation": "sdpa",
    }
    return {**settings, **changes}


def llama(kv_heads, **changes):
    return LlamaConfig(**text_settings(num_key_value_heads=kv_heads, **changes))


def mistral(**changes):
    return MistralConfig(**text_settings(**{"num_key_value_heads": 2, "sliding_window": None, **changes}))


@cache
def model_of(family, attention="sdpa", dtype=torch.float32):
    """A tiny model with weights large enough to attend unevenly; shared, so don't change it."""
    if family in families.names() and family not in FAMILIES:
        pytest.skip(f"{family} needs a newer transformers")
    torch.manual_seed(0)
    model = FAMILIES[family]()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, 0.3)
    model.set_attn_implementation(attention)
    model.generation_config.eos_token_id = (
        None  # not all versions of transformers take it from the text's config
    )
    return model.to(dtype).eval()


@dataclass
class Case:
    """A model with a batch: `inputs` go to forward or generate, `options` to the strategy."""

    model: torch.nn.Module
    rows: list
    inputs: dict
    options: dict = field(default_factory=dict)
    image_tokens: list = field(default_factory=list)
    lengths: list = field(default_factory=list)

    def alone(self, number):
        """The same model with one row, unpadded."""
        return build(self.model, self.rows, only=number)

    def under(self, strategy):
        """The strategy's context on this case."""
        if isinstance(strategy, Feather) and is_next(self.model):
            pytest.skip("it refuses grids that aren't square")
        needs = getattr(strategy, "needs", None)
        asked = {} if needs is None or not needs.question else {"questions": self.questions}
        return strategy(self.model, **self.options, **asked)

    @property
    def questions(self):
        """One for each row, for strategies that choose by the question."""
        return ["what is here"] * len(self.inputs["input_ids"])

    def forward(self, **changes):
        with torch.no_grad():
            return self.model(**{**self.inputs, **changes})

    def generate(self, new=NEW, **changes):
        """Generated tokens [b, new]; ids of the prompt, where there are any, are cut off."""
        settings = {"max_new_tokens": new, "min_new_tokens": new, "do_sample": False, **changes}
        return self.model.generate(**self.inputs, **settings)[:, -new:]

    def answer(self, new=NEW, **changes):
        """Generated tokens [b, new], and the logits [b, new, vocabulary] that they are chosen by."""
        settings = {"max_new_tokens": new, "min_new_tokens": new, "do_sample": False, **changes}
        asked = {"output_logits": True, "return_dict_in_generate": True}
        output = self.model.generate(**self.inputs, **settings, **asked)
        return output.sequences[:, -new:], torch.stack(output.logits, 1)

    def with_inputs(self, **changes):
        return replace(self, inputs={**self.inputs, **changes})


def case_of(family, attention="sdpa", dtype=torch.float32, rows=ROWS):
    return build(model_of(family, attention, dtype), list(rows))


@cache
def plain_of(family):
    """Logits and generated tokens of a family's case without any strategy; shared, so don't change them."""
    case = case_of(family)
    return case.forward().logits, case.generate()


def build(model, rows, only=None):
    """A left-padded batch of `rows`, or only one of them, which has the same contents then."""
    bare = not hasattr(model.config, "vision_config")
    images = tiny_families.IMAGES.get(model.config.model_type)
    if images is not None:
        return build_further(model, images, rows, only)
    pixels, sizes, built, number = [], [], [], 0
    for i, row in enumerate(rows):
        random = torch.Generator().manual_seed(100 + i)
        parts = []
        for part in row:
            if part != IMAGE:
                parts.append(torch.randint(3, IMAGE_ID, (part,), generator=random))
                continue
            size = SIZES[number % len(SIZES)]
            number += 1
            crops = torch.randn(image_crops(model, size), 3, IMAGE_SIZE, IMAGE_SIZE, generator=random)
            if only in (None, i):
                pixels.append(crops)
                sizes.append(size)
            parts.append(torch.full((image_length(model, size),), IMAGE_ID))
        if only in (None, i):
            built.append(torch.cat(parts))
    case = padded_case(model, rows, built)
    if bare:
        ids, mask = case.inputs["input_ids"], case.inputs["attention_mask"]
        image = ids == IMAGE_ID
        case.inputs = {"inputs_embeds": embed(model, ids), "attention_mask": mask}
        case.options = {"image_mask": image}
    elif pixels:
        case.inputs.update(pixel_inputs(model, pixels, sizes))
    return case


def padded_case(model, rows, built):
    """The case of prompts, padded on the left, without pixels."""
    longest = max(map(len, built))
    ids = torch.stack([torch.nn.functional.pad(row, (longest - len(row), 0)) for row in built])
    mask = torch.stack(
        [torch.nn.functional.pad(torch.ones_like(row), (longest - len(row), 0)) for row in built]
    )
    case = Case(model, rows, {"input_ids": ids, "attention_mask": mask})
    case.image_tokens, case.lengths = (ids == IMAGE_ID).sum(1).tolist(), mask.sum(1).tolist()
    return case


def build_further(model, images, rows, only):
    """The same for a family of `tiny_families`."""
    built, pixels, number = [], [], 0
    for i, row in enumerate(rows):
        random, parts, own = torch.Generator().manual_seed(100 + i), [], []
        for part in row:
            if part != IMAGE:
                parts.append(torch.randint(6, IMAGE_ID, (part,), generator=random))
                continue
            size = SIZES[number % len(SIZES)]
            number += 1
            own.append(images.pixels(size, random))
            parts.append(images.ids(size))
        if only in (None, i):
            built.append(torch.cat(parts))
            pixels.append(own)
    case = padded_case(model, rows, built)
    ids = case.inputs["input_ids"]
    if hasattr(images, "always"):
        case.inputs.update(images.always(ids))
    if any(pixels):
        found = images.inputs(pixels, ids)
        case.inputs.update({k: v.to(model.dtype) if v.is_floating_point() else v for k, v in found.items()})
    return case


def embed(model, ids):
    """Embeddings in which no two image tokens are alike."""
    table = model.get_input_embeddings()(ids).detach()
    place = torch.randn(512, table.shape[-1], generator=torch.Generator().manual_seed(7)).to(table.dtype)
    image = ids == IMAGE_ID
    return torch.where(image[..., None], place[image.cumsum(1)], table)


def is_next(model):
    return hasattr(model.config, "image_grid_pinpoints")


def image_crops(model, size):
    """Crops of an image: the base and those of its grid."""
    return 1 + (4 if size in ((40, 40), (40, 25), (30, 40)) else 2) if is_next(model) else 1


def image_length(model, size):
    """Image tokens: 25, and for LLaVA-NeXT those of the unpadded grid, with a newline after each row."""
    if not is_next(model):
        return PATCHES
    # A crop is 5x5 patches. 20x40 fills its 5x10 grid; 40x25 and 30x40 leave borders of the 10x10 grid.
    rows, columns = {(20, 40): (5, 10), (40, 25): (10, 6), (40, 40): (10, 10), (30, 40): (8, 10)}[size]
    return PATCHES + rows * (columns + 1)


def pixel_inputs(model, pixels, sizes):
    dtype = model.dtype
    if not is_next(model):
        return {"pixel_values": torch.cat(pixels).to(dtype)}
    most = max(map(len, pixels))
    padded = [torch.nn.functional.pad(crops, (0, 0, 0, 0, 0, 0, 0, most - len(crops))) for crops in pixels]
    return {"pixel_values": torch.stack(padded).to(dtype), "image_sizes": torch.tensor(sizes)}
