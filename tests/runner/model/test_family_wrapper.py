"""The model wrapper on further families: answers are those of transformers by the processor itself."""

import family_checkpoints
import pytest
import runner_tiny as tiny
import torch
from asking_model import make, requests, texts

from pdrop_eval.models import families
from pdrop_eval.models.loading.checkpoint import check_checkpoint
from pdrop_eval.models.loading.load import load, prepare
from pdrop_eval.models.loading.processors import process_image
from pdrop_eval.models.pictures.image_bounds import ImageBounds
from pdrop_eval.models.prompts import build_prompt, expand_images, token_ids
from pdrop_eval.utils.errors import UserError

pytestmark = pytest.mark.usefixtures("lmms_eval")


def works_here(name):
    try:
        families.get(name).check_version()
    except UserError:
        return False
    return True


NAMES = [name for name in family_checkpoints.FAMILIES if works_here(name)]
every = pytest.mark.parametrize("name", NAMES)
SIZES = {1: (40, 14), 2: (14, 33), 3: (20, 14), 4: (33, 33), 5: (61, 40)}
ASKED = [("What?", [1]), ("What is to be seen in this picture?", [2]), ("Say something.", [])]
ASKED += [("Are these two alike?", [3, 4]), ("What is written there?", [5])]


@pytest.fixture(scope="session")
def folder_of(tmp_path_factory):
    """A function that gives a family's tiny checkpoint, made once."""
    made = {}

    def folder(name):
        if not works_here(name):
            pytest.skip(f"this transformers is too old for {name}")
        if name not in made:
            made[name] = family_checkpoints.checkpoint(tmp_path_factory.mktemp(name) / "tiny", name)
        return made[name]

    return folder


@pytest.mark.slow
@every
@pytest.mark.parametrize("strategy", ["vanilla", "fastv", "pdrop"])
def test_answers_do_not_depend_on_the_batch_size(name, strategy, folder_of):
    answers = {}
    for batch_size in (1, 3):
        model = make(folder_of(name), strategy=strategy, batch_size=batch_size)
        answers[batch_size] = texts(model.generate_until(requests(model, ASKED, sizes=SIZES)))
        measured = [model.answers.measurements["quiz", i] for i in range(5)]
        assert measured[2].image_tokens == 0
        assert all(one.image_grids is not None for one in measured)
    assert answers[1] == answers[3]
    assert len(set(answers[1])) > 1


@every
def test_answers_are_those_of_transformers_with_the_processors_own_inputs(name, folder_of):
    """One by one, the wrapper's vanilla answers equal generate's of what the processor makes of the chat."""
    model = make(folder_of(name), strategy="vanilla", batch_size=5)
    answers = texts(model.generate_until(requests(model, ASKED, sizes=SIZES, until=[])))
    processor, plain = model.loaded.processor, model.loaded.model
    for (question, seeds), answer in zip(ASKED, answers, strict=True):
        content = [{"type": "image"}] * len(seeds) + [{"type": "text", "text": question}]
        prompt = processor.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True
        )
        pictures = [tiny.picture(seed, SIZES[seed]) for seed in seeds]
        inputs = processor(text=prompt, images=pictures or None, return_tensors="pt")
        inputs.pop("batch_num_images", None)  # LLaVA-OneVision: each picture counts as a single one
        output = plain.generate(**inputs, max_new_tokens=6, do_sample=False)
        new = output[0, inputs["input_ids"].shape[1] :]
        assert processor.tokenizer.decode(new, skip_special_tokens=True) == answer


CHAT = {
    "qwen2_vl": None, "qwen2_5_vl": None, "qwen3_vl": "You are a helpful assistant.", "llava_onevision": None,
    "internvl": None,
}  # fmt: skip
CONTEXTS = [
    "What is it?",
    "What is it?\nAnswer the question using a single word or phrase.",
    "Is there a dog?\nPlease answer yes or no.",
    "Which?\nA. red\nB. green\nAnswer with the option's letter from the given choices directly.",
]


@every
def test_lmms_prompts_are_those_of_lmms_evals_chat_classes(name, folder_of):
    """The same ids: its own user turn and messages, the class's system message, the processor's template."""
    from lmms_eval.api.task import ConfigurableMessagesTask
    from lmms_eval.protocol import ChatMessages

    ready = prepare(str(folder_of(name)), None, False, None, "lmms")
    processor = ready.processor
    for images, context in enumerate([*CONTEXTS, "Say something."]):
        pictures = [tiny.picture(seed, SIZES[seed]) for seed in (1, 2, 3, 4)][: images % 3]
        turn = ConfigurableMessagesTask._build_user_turn(pictures, context)
        if CHAT[name] is not None:
            turn.insert(0, {"role": "system", "content": [{"type": "text", "text": CHAT[name]}]})
        chat = ChatMessages(messages=turn)
        qwen = name.startswith("qwen")
        messages = chat.to_hf_messages() if qwen else chat.model_dump()["messages"]
        text = processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        theirs = processor(text=text, images=pictures or None, return_tensors="pt")["input_ids"][0].tolist()
        ours = build_prompt("lmms", processor, context, len(pictures), ready.family.lmms_system)
        tokens = [process_image(ready.family, processor, picture).tokens for picture in pictures]
        expanded = expand_images(ready.family, processor, ours, tokens)
        assert token_ids(processor.tokenizer, expanded) == theirs


@every
def test_the_layout_says_where_the_processors_tokens_lie(name, folder_of):
    ready = prepare(str(folder_of(name)), None, False, None, "checkpoint")
    layout = ready.family.token_layout(ready.config, ready.processor.image_processor, False, None)
    for size in (*SIZES.values(), (300, 300), (21, 90)):
        found = ready.processor(
            text=ready.processor.image_token, images=[tiny.picture(1, size)], return_tensors="pt"
        )
        tokens = int((found["input_ids"] == ready.processor.image_token_id).sum())
        assert sum(grid.tokens for grid in layout.grids([size])) == tokens


def test_bounds_of_pictures_are_settings(folder_of):
    """A token covers 4x4 pixels: 8 to 16 tokens are 128 to 256 pixels."""
    bounds = ImageBounds(min_pixels=128, max_pixels=256)
    ready = prepare(str(folder_of("qwen2_5_vl")), None, False, None, "checkpoint", bounds)
    model = make(folder_of("qwen2_5_vl"), min_pixels=128, max_pixels=256)
    plain = make(folder_of("qwen2_5_vl"))
    assert repr(model) != repr(plain)
    assert "'max_pixels', 256" in repr(model)
    for size, tokens in (((300, 300), 16), ((4, 4), 9), ((12, 8), 8)):
        # 300x300: to 16x16; 4x4: enlarged by sqrt(8), 11.3 pixels a side, to 12x12; 12x8: 14x9.2 or more
        found = ready.processor(
            text=ready.processor.image_token, images=[tiny.picture(1, size)], return_tensors="pt"
        )
        assert int((found["input_ids"] == ready.processor.image_token_id).sum()) in (tokens, tokens + 4)
    tiles = prepare(str(folder_of("internvl")), None, False, None, "checkpoint", ImageBounds(max_patches=1))
    found = tiles.processor(text=tiles.processor.image_token, images=[tiny.picture(1, (300, 60))])
    assert sum(token == tiles.processor.image_token_id for token in found["input_ids"][0]) == 25


@pytest.mark.parametrize(
    ("name", "bounds", "words"),
    [
        ("qwen2_5_vl", {"min_pixels": 512, "max_pixels": 256}, r"min_pixels=512 is more than .*=256"),
        ("qwen2_5_vl", {"max_pixels": 15}, r"min_pixels=64 is more than model\.max_pixels=15"),
        ("qwen2_5_vl", {"min_pixels": 1, "max_pixels": 15}, r"max_pixels=15 is less .* at least 16 \(4x4"),
        ("qwen2_5_vl", {"max_pixels": 0}, r"max_pixels=0 is not allowed: use a whole number"),
        ("qwen2_5_vl", {"max_patches": 2}, r"max_patches=2 is no setting of Qwen2\.5-VL.*min_pixels"),
        ("internvl", {"max_pixels": 256}, r"max_pixels=256 is no setting of InternVL3.*max_patches"),
        ("llava_onevision", {"max_pixels": 256}, r"no setting of LLaVA-OneVision's processor\. Use"),
    ],
)
def test_bounds_that_cannot_be_are_refused_before_weights_are_read(name, bounds, words, folder_of):
    with pytest.raises(UserError, match=words):
        prepare(str(folder_of(name)), None, False, None, "checkpoint", ImageBounds(**bounds))


def test_a_picture_that_the_processor_refuses_is_named(folder_of):
    from pdrop_eval.benchmarks.sample_errors import SampleError

    model = make(folder_of("qwen2_5_vl"), strategy="vanilla")
    asked = requests(model, [("What?", [1])], sizes={1: (900, 4)})
    with pytest.raises(SampleError, match=r"quiz, sample 0 .*900x4 pixels is more than 200 times"):
        model.generate_until(asked)


@pytest.mark.parametrize("video", ["clip.mp4", "VideoReader"])
def test_a_video_is_refused_by_name(video, folder_of):
    from pdrop_eval.benchmarks.sample_errors import SampleError

    model = make(folder_of("qwen2_5_vl"), strategy="vanilla")
    (request,) = requests(model, [("What?", [1])])
    visual = video if "." in video else type(video, (), {})()
    context, generation, _, *rest = request.args
    request.arguments = (context, generation, lambda doc: [visual], *rest)
    with pytest.raises(SampleError, match=rf"a video \({video}\), and videos aren't supported"):
        model.generate_until([request])


def test_renumbered_positions_are_refused_by_name(folder_of):
    with pytest.raises(UserError, match=r"positions='renumber' is not possible with Qwen2_5_VL.*'keep'"):
        make(folder_of("qwen2_5_vl"), positions="renumber")
    assert make(folder_of("qwen2_5_vl")).strategy.positions == "renumber"  # as the file says; not asked for


def test_a_flat_config_says_what_its_text_model_is(folder_of, tmp_path):
    """As the published Qwen2.5-VL checkpoints have it: the text's settings stand beside vision_config."""
    import json
    import shutil

    folder = shutil.copytree(folder_of("qwen2_5_vl"), tmp_path / "flat")
    config = json.loads((folder / "config.json").read_text())
    text = config.pop("text_config")
    flat = {**{k: v for k, v in text.items() if k != "model_type"}, **config}
    (folder / "config.json").write_text(json.dumps(flat))
    assert check_checkpoint(str(folder), None, drops=True).family == "qwen2_5_vl"
    model = load(str(folder), None, "cpu", "float32", "sdpa", False, None, "checkpoint").model
    assert torch.equal(
        model.lm_head.weight,
        load(
            str(folder_of("qwen2_5_vl")), None, "cpu", "float32", "sdpa", False, None, "checkpoint"
        ).model.lm_head.weight,
    )
    flat |= {"use_sliding_window": True, "sliding_window": 64, "max_window_layers": 0}
    flat.pop("layer_types", None)
    (folder / "config.json").write_text(json.dumps(flat))
    with pytest.raises(UserError, match="sliding-window attention"):
        check_checkpoint(str(folder), None, drops=True)


def test_families_that_are_used_as_models_only_say_so(tmp_path, folder_of):
    import json
    import shutil

    folder = shutil.copytree(folder_of("internvl"), tmp_path / "smol")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "smolvlm"}))
    with pytest.raises(UserError, match=r"SmolVLM.*can't be evaluated here: the text between its tiles"):
        check_checkpoint(str(folder), None)
