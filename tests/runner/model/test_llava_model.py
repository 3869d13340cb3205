"""The lmms-eval model wrapper on tiny random checkpoints."""

import pytest
import runner_tiny as tiny
import torch
from asking_model import ASKED, make, requests, texts

from pdrop_eval.strategies.pyramiddrop import PyramidDrop
from pdrop_eval.utils.errors import UserError

pytestmark = pytest.mark.usefixtures("lmms_eval")


@pytest.mark.thin(2)
@pytest.mark.parametrize("family", ["llava", "llava_next"])
@pytest.mark.parametrize("strategy", ["vanilla", "fastv", "pdrop"])
def test_answers_do_not_depend_on_the_batch_size(family, strategy, request):
    folder = request.getfixturevalue(family)
    asked, sizes = ASKED, {2: (40, 14), 5: (14, 33)}
    answers = {}
    for batch_size in (1, 2, 5):
        model = make(folder, strategy=strategy, batch_size=batch_size)
        answers[batch_size] = texts(model.generate_until(requests(model, asked, sizes=sizes)))
        measured = [model.answers.measurements["quiz", i].image_tokens for i in range(5)]
        assert measured[2] == 0
        assert measured[3] == 2 * measured[0]
    assert answers[1] == answers[2] == answers[5]
    assert len(set(answers[1])) > 1


def test_each_sample_is_measured(llava):
    model = make(llava, batch_size=3)
    model.generate_until(requests(model))
    one, none, two = (model.answers.measurements["quiz", i] for i in (0, 2, 3))
    # 16 image tokens, 4 layers, 4 stages: int(16 / 2), int(16 / 4), int(16 / 8)
    assert one.image_tokens_per_layer == (16, 8, 4, 2)
    assert none.image_tokens_per_layer == (0, 0, 0, 0)
    assert two.image_tokens_per_layer == (32, 16, 8, 4)
    # "USER: <image>\nWhat? ASSISTANT:", one token a character, 16 for the image
    assert one.prompt_tokens == len("USER: ") + 16 + len("\nWhat? ASSISTANT:")
    assert 0 < one.new_tokens <= 6


def test_equal_content_has_an_equal_hash_and_other_content_another(llava):
    model = make(llava, batch_size=4)
    asked = [("What?", [1]), ("What?", [1]), ("What?", [2]), ("Why?", [1])]
    model.generate_until(requests(model, asked))
    whole = [model.answers.measurements["quiz", i].content_sha256 for i in range(4)]
    images = [model.answers.measurements["quiz", i].images_sha256 for i in range(4)]
    assert whole[0] == whole[1]
    assert len(set(whole)) == 3
    assert images[0] == images[1] == images[3] != images[2]


def test_an_answer_ends_where_the_task_says(llava):
    model = make(llava)
    whole = texts(model.generate_until(requests(model, max_new_tokens=12)))
    stop = whole[0][2]
    cut = texts(model.generate_until(requests(model, max_new_tokens=12, until=[stop])))
    assert cut == [text.split(stop)[0] for text in whole]
    assert cut[0] == whole[0][: whole[0].index(stop)]


def test_tasks_and_generation_arguments_are_not_mixed_in_a_batch(llava):
    model = make(llava, batch_size=8)
    mixed = (
        requests(model, task="a") + requests(model, task="b") + requests(model, task="b", max_new_tokens=3)
    )
    batches = []
    answer = model._answer
    model._answer = lambda batch: batches.append(batch) or answer(batch)
    model.generate_until(mixed)
    asked = [[question.request.args for question in batch] for batch in batches]
    kinds = [{(args[4], args[1]["max_new_tokens"]) for args in batch} for batch in asked]
    assert kinds == [{("a", 6)}, {("b", 6)}, {("b", 3)}]


def test_the_longest_come_first_image_tokens_included(llava_next):
    model = make(llava_next, batch_size=2)
    batches = []
    answer = model._answer
    model._answer = lambda batch: batches.append(batch) or answer(batch)
    short, long, *rest = ASKED
    model.generate_until(requests(model, [long, short, *rest], sizes={1: (32, 32)}))
    # Of the first two, the short question: its image is larger. Of the next ones, the one with two images.
    asked = [[question.request.args[3] for question in batch] for batch in batches]
    assert asked == [[1, 0], [3, 4], [2]]


@pytest.mark.parametrize("family", ["llava", "llava_next"])
def test_an_automatic_batch_is_halved_until_it_fits_and_stays_so(family, request, monkeypatch):
    model = make(request.getfixturevalue(family), batch_size="auto")
    assert model.batch_size == 32
    expected = texts(model.generate_until(requests(model)))
    sizes, generate = [], model._generate

    def with_memory_for_two(batch, *given):
        sizes.append(len(batch))
        if len(batch) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return generate(batch, *given)

    monkeypatch.setattr(model, "_generate", with_memory_for_two)
    assert texts(model.generate_until(requests(model))) == expected
    assert sizes == [5, 2, 2, 1]
    assert model.batch_size == 2


def test_a_sample_too_large_for_any_batch_fails(llava, monkeypatch):
    from pdrop_eval.run.lmms.model import SampleError

    model = make(llava, batch_size="auto")

    def too_large(*_):
        raise RuntimeError("MPS backend out of memory")

    monkeypatch.setattr(model, "_generate", too_large)
    with pytest.raises(SampleError, match=r"sample \d can't be answered: MPS backend out of memory"):
        model.generate_until(requests(model))
    assert model.batch_size == 1


def test_a_batch_that_was_asked_for_is_never_changed(llava, monkeypatch):
    from pdrop_eval.run.lmms.model import SampleError

    model = make(llava, batch_size=4)

    def too_large(*_):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(model, "_generate", too_large)
    with pytest.raises(SampleError, match="batch_size=auto"):
        model.generate_until(requests(model))
    assert model.batch_size == 4


@pytest.mark.thin(2)
# The tiny model's tiles are 16 pixels and 16 tokens. The overview gives 16; the grid gives its tokens without
# the padding and one more a row of them.
@pytest.mark.parametrize(
    ("anyres", "size", "tokens"),
    [
        ("p5", (64, 64), 16 + 8 * 8 + 8),  # 2x2 tiles, 8x8 tokens
        ("p9", (64, 64), 16 + 8 * 8 + 8),  # still the largest square of at most 8 tiles
        ("p5", (128, 64), 16 + 8 * 4 + 4),  # 1 row of 2 tiles: 2x2 would only add padding
        ("p9", (128, 64), 16 + 16 * 8 + 8),  # 2 rows of 4 tiles
        ("p9", (128, 16), 16 + 32 * 4 + 4),  # 1 row of 8 tiles: 9 times 16 tokens and 4
        ([[16, 48]], (48, 16), 16 + 12 * 4 + 4),
    ],
)
def test_the_grids_decide_how_many_tokens_an_image_has(llava_next, anyres, size, tokens):
    model = make(llava_next, anyres=anyres)
    model.generate_until(requests(model, [("What?", [1])], sizes={1: size}))
    assert model.answers.measurements["quiz", 0].image_tokens == tokens


def test_answers_do_not_depend_on_the_batch_with_nine_tiles(llava_next):
    sizes = {1: (128, 64), 2: (16, 128), 5: (40, 40)}
    answers = []
    for batch_size in (1, 5):
        model = make(llava_next, anyres="p9", batch_size=batch_size)
        answers.append(texts(model.generate_until(requests(model, sizes=sizes))))
    assert answers[0] == answers[1]


def test_grids_are_not_for_a_model_that_takes_one_tile(llava):
    with pytest.raises(UserError, match=r"model.anyres=p5 .* llava "):
        make(llava, anyres="p5")


def test_a_task_without_a_limit_gets_the_models(llava):
    model = make(llava, max_new_tokens=4)
    made = requests(model)
    for request in made:
        del request.args[1]["max_new_tokens"]
    model.generate_until(made)
    assert max(model.answers.measurements["quiz", i].new_tokens for i in range(5)) == 4


def test_a_sample_that_cannot_be_prepared_fails_with_task_and_id(llava):
    from pdrop_eval.run.lmms.model import SampleError

    model = make(llava, batch_size=2)
    made = requests(model)

    def broken(images):
        if images == [3, 4]:
            raise OSError("image file is truncated")
        return [tiny.picture(seed) for seed in images]

    for request in made:
        request.arguments = (*request.args[:2], broken, *request.args[3:])
    with pytest.raises(SampleError, match=r"task quiz, sample 3 can't be prepared: image file is truncated"):
        model.generate_until(made)


def test_a_forward_pass_that_fails_names_the_samples_of_its_batch(llava, monkeypatch):
    from pdrop_eval.run.lmms.model import SampleError

    model = make(llava, batch_size=2)

    def fail(**_):
        raise RuntimeError("boom")

    monkeypatch.setattr(model.loaded.model, "generate", fail)
    with pytest.raises(SampleError, match=r"task quiz, samples \d, \d can't be answered: RuntimeError: boom"):
        model.generate_until(requests(model))


def test_an_unknown_generation_argument_is_not_ignored(llava):
    model = make(llava)
    with pytest.raises(UserError, match="'min_p'"):
        model.generate_until(requests(model, min_p=0.1))


def test_sampling_only_where_the_task_asks_for_it(llava):
    model = make(llava)
    greedy = {"do_sample": False, "temperature": 0.7, "top_p": 0.9}
    assert model._arguments(greedy)[0]["temperature"] is None
    assert model._arguments({"temperature": 0.7})[0]["do_sample"] is True
    assert model._arguments({"temperature": 0})[0]["do_sample"] is False


def test_beam_search_is_measured_on_the_right_rows(llava):
    model = make(llava, batch_size=5)
    model.generate_until(requests(model, num_beams=2))
    assert [model.answers.measurements["quiz", i].image_tokens for i in range(5)] == [16, 16, 0, 32, 16]


def test_padding_the_image_changes_what_the_model_sees(llava):
    models = [make(llava, image_processing=kind) for kind in ("checkpoint", "pad")]
    pixels = [m.preparer.process(tiny.picture(1, (40, 10)))[0]["pixel_values"] for m in models]
    assert pixels[0].shape == pixels[1].shape
    assert not (pixels[0] == pixels[1]).all()


def test_a_strategy_object_will_do_too(llava):
    model = make(llava, strategy=PyramidDrop(layers=(1,), ratios=(0.25,)))
    model.generate_until(requests(model))
    assert model.answers.measurements["quiz", 0].image_tokens_per_layer == (16, 4, 4, 4)


def test_a_strategy_object_leaves_no_room_for_fields(llava):
    from pdrop_eval.run.lmms.model import PdropLlava

    with pytest.raises(TypeError, match="ratio"):
        PdropLlava(str(llava), PyramidDrop(), device="cpu", ratio=0.3)


def test_a_strategy_that_does_not_fit_is_refused_at_once(llava):
    with pytest.raises(UserError, match="9"):
        make(llava, strategy="fastv", k=9)


def test_lists_are_written_with_slashes_in_model_arguments(llava):
    from pdrop_eval.run.lmms.model import PdropLlava

    line = f"pretrained={llava},strategy=pdrop,ratio=None,stages=None,layers=1/3,ratios=0.5/0.25,device=cpu"
    model = PdropLlava.create_from_arg_string(line, {"batch_size": 2})
    assert model.strategy == PyramidDrop(layers=(1, 3), ratios=(0.5, 0.25))


def test_the_name_says_what_decides_the_answers(llava):
    names = {
        repr(make(llava, **c))
        for c in ({}, {"ratio": 0.4}, {"dtype": "bfloat16"}, {"chat_template": "vicuna"})
    }
    assert len(names) == 4
    assert repr(make(llava)) == repr(make(llava, batch_size=3))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"strategy": "prdop"}, "Did you mean pdrop"),
        ({"rato": 0.3}, "'rato'"),
        ({"ratio": 1.5}, "1.5"),
        ({"chat_template": "vikuna"}, "vicuna"),
        ({"image_processing": "crop"}, "pad"),
        ({"device": "cuda:99"}, "device=cuda:99"),
    ],
)
def test_wrong_arguments_are_refused(llava, arguments, words):
    with pytest.raises(UserError, match=words):
        make(llava, **arguments)


def test_it_survives_lmms_evals_cleaning(llava):
    model = make(llava)
    model.clean()
    assert model.generate_until(requests(model))


def test_other_kinds_of_request_are_refused(llava):
    model = make(llava)
    for call in (model.loglikelihood, model.generate_until_multi_round):
        with pytest.raises(NotImplementedError):
            call([])
