"""The miniature of 576 image tokens: its architecture, its start from that of 144, its CLIP and processor.

A picture has 192 x 192 pixels and 24 x 24 tokens, four for each cell that its labels speak of. The tower has
the three layers of the smaller miniature between a new first one, which gathers a cell's four patches, and a
new last one, which only the class token needs: the image tokens are those before it, as in LLaVA-1.5. The
decoder has the smaller one's eight layers after a new first one and before three new last ones.
"""

from pathlib import Path

from pdrop_eval.benchmarks.rendered.canvas import GRID, SIZE
from pdrop_eval.utils.paths import MINI_CHECKPOINT
from tools.mini.training import model
from tools.mini.training.vocabulary import CLIP_BEGIN, CLIP_END, CLIP_TOKENS, PAD

CELL = 2  # tokens in each direction to a cell of the labels
WIDE = SIZE * CELL  # pixels
SIDE_TOKENS = GRID * CELL
WIDE_TOKENS = SIDE_TOKENS**2
FEATURE_LAYER = -2
TOWER_FROM, DECODER_FROM = 1, 1  # where the smaller miniature's layers begin
# The image tokens that the smaller miniature's decoder knows are some 570 times as large as words; this
# factor makes them 70 times as large, which is nearer to LLaVA's.
SHRINK = 1 / 8
JOINT = 64  # width of the space of pictures and captions
CAPTION = 64  # tokens
WAVES = 7  # in each direction: 28 dimensions, and with four for the patches those of a head
QUIET = 0.3  # of a new layer's share in what passes through it
LOUD = 4.0  # how large the code of places is, beside what the positions were before
DEPTH = 16  # of the decoder, at last
# The layers, of twelve, that the sixteen begin with. What the first one and the seventh do, the others learn
# again: on 48 pictures, looked at once, a trained decoder of twelve lost 4 points without the one and 1
# without the other.
LAID = (1, 2, 3, 4, 5, 7, 8, 9, 10, 11)
SHARP = 2.5  # how sharply the first layer looks at its cell to begin with


def build_config(depth: int = 12):
    """The configuration: CLIP of 5 layers and Llama of `depth`, width 128, 576 image tokens."""
    return model.build_config(WIDE, tower=5, depth=depth, feature=FEATURE_LAYER, joint=JOINT, positions=2048)


def build_model(start: Path = MINI_CHECKPOINT):
    """The miniature before training; what `start` doesn't have follows from torch's seed.

    Args:
        start: folder of the miniature of 144 tokens.
    """
    import torch
    from transformers import LlavaForConditionalGeneration

    wide = LlavaForConditionalGeneration(build_config())
    small = LlavaForConditionalGeneration.from_pretrained(start, dtype=torch.float32, use_safetensors=True)
    known = {_renamed(name): weight for name, weight in small.state_dict().items()}
    with torch.no_grad():
        for name, weight in wide.named_parameters():
            if name in known and known[name].shape == weight.shape:
                weight.copy_(known[name])
            elif "position_embedding" in name:
                weight.copy_(_spread_positions(known[name]))
            else:
                _begin_new(name, weight)
        _look_around(wide.model.vision_tower)
    return wide


def laid_anew(wide):
    """The model of twelve decoder layers as one of `DEPTH`, which has those of `LAID` first.

    A decoder that learned to answer reads in its second to sixth layer, and hardly needs its first and its
    last three. Strategies drop at shares of the depth: layers that read come first here, and new ones last.
    """
    import torch
    from transformers import LlavaForConditionalGeneration

    deep = LlavaForConditionalGeneration(build_config(DEPTH)).to(wide.dtype)
    known = dict(wide.named_parameters())
    with torch.no_grad():
        for name, weight in deep.named_parameters():
            before, mark, after = name.partition("language_model.layers.")
            number, _, rest = after.partition(".")
            if mark and int(number) < len(LAID):
                name = f"{before}{mark}{LAID[int(number)]}.{rest}"
            if mark and int(number) >= len(LAID):
                _begin_new(name, weight)
            else:
                weight.copy_(known[name])
    return deep


def _begin_new(name: str, weight) -> None:
    """How a matrix that nothing is known of begins; a decoder layer of such ones is the identity."""
    from torch import nn

    if weight.ndim > 1:
        nn.init.normal_(weight, std=weight[0].numel() ** -0.5)
        if any(part in name for part in ("o_proj", "down_proj", "out_proj", "fc2")):
            weight.mul_(0.0 if "language_model" in name else QUIET)


def _look_around(tower) -> None:
    """Begin the tower's first layer as one in which each head fetches one of the four patches of a cell.

    From a random start it stays uniform for hundreds of steps, and no token learns what its neighbours show.
    The first dimensions of the position embeddings say the cell, by sines of `WAVES` frequencies in each
    direction, and which of its four patches it is; queries and keys read nothing else.
    """
    import torch

    tower = getattr(tower, "vision_model", tower)
    places = tower.embeddings.position_embedding.weight
    row, column = torch.arange(SIDE_TOKENS).repeat_interleave(SIDE_TOKENS), torch.arange(SIDE_TOKENS)
    column = column.repeat(SIDE_TOKENS)
    angles = [2 * torch.pi / 16 * k * (at // CELL) for k in range(1, WAVES + 1) for at in (row, column)]
    patch = torch.nn.functional.one_hot(row % CELL * CELL + column % CELL, CELL**2)
    code = torch.stack([wave(a) for a in angles for wave in (torch.sin, torch.cos)] + [*patch.T.float()], 1)
    width = code.shape[1]
    loud = LOUD * float(places[1:, width:].std())
    places[:, :width] = 0.0
    places[1:, :width] = loud * code
    tower.embeddings.patch_embedding.weight[:width] = 0.0
    tower.embeddings.class_embedding[:width] = 0.0
    tower.pre_layrnorm.weight[:width] = 1.0
    tower.pre_layrnorm.bias[:width] = 0.0
    attention = tower.encoder.layers[0].self_attn
    attention.out_proj.weight.div_(QUIET)  # what it fetches is all that there is to read
    for projection in (attention.q_proj, attention.k_proj):
        projection.weight.zero_()
        projection.bias.zero_()
    waves = width - CELL**2
    for head in range(CELL**2):
        first = head * width
        for i in range(waves):
            attention.q_proj.weight[first + i, i] = attention.k_proj.weight[first + i, i] = SHARP
        attention.q_proj.bias[first + waves] = SHARP * 4.0
        attention.k_proj.weight[first + waves, waves + head] = SHARP


def _renamed(name: str) -> str:
    """What a weight of the smaller miniature is called in this one."""
    for stem, first in (("vision_tower", TOWER_FROM), ("language_model", DECODER_FROM)):
        before, mark, after = name.partition(".layers.")
        if stem in before and mark:
            number, _, rest = after.partition(".")
            return f"{before}{mark}{int(number) + first}.{rest}"
    return name


def _spread_positions(small):
    """Position embeddings [1 + 144, d] for four times as many patches, with noise to tell a cell's apart."""
    import torch

    grid = small[1:].unflatten(0, (GRID, GRID)).repeat_interleave(CELL, 0).repeat_interleave(CELL, 1)
    grid = grid + 0.3 * small.std() * torch.randn(CELL, CELL, small.shape[1]).repeat(GRID, GRID, 1)
    return torch.cat([small[:1], grid.flatten(0, 1)])


def build_text_config():
    """The text tower's: 2 layers of width 64; the end of a caption is its highest token, as in CLIP."""
    from transformers import CLIPTextConfig

    return CLIPTextConfig(
        vocab_size=len(CLIP_TOKENS),
        hidden_size=64,
        intermediate_size=192,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=CAPTION,
        projection_dim=JOINT,
        bos_token_id=CLIP_BEGIN,
        eos_token_id=CLIP_END,
        pad_token_id=PAD,
        hidden_act="gelu_pytorch_tanh",
    )


def build_processor():
    """The processor: as that of the smaller miniature, with larger pictures."""
    return model.build_processor(WIDE)
