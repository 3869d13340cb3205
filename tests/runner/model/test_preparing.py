"""Questions are prepared in the background, and the vision tower runs once for an image."""

import queue
import threading

import pytest
import torch
from asking_model import ASKED, make, requests, texts

pytestmark = pytest.mark.usefixtures("lmms_eval")

SHARED = [("What?", [1]), ("Why?", [1]), ("Are these alike?", [1, 2]), ("Where is it?", [2]), ("Who?", [1])]


def count_runs(model):
    """A list that grows by the number of pictures (or tiles) whenever the vision tower runs."""
    runs = []
    tower = model.loaded.model.model.vision_tower
    tower.register_forward_pre_hook(
        lambda module, args, kwargs: runs.append(len(args[0] if args else kwargs["pixel_values"])),
        with_kwargs=True,
    )
    return runs


@pytest.mark.parametrize("family", ["llava", "llava_next"])
def test_prompts_and_pixels_are_those_of_the_processor(family, request):
    model = make(request.getfixturevalue(family))
    processor = model.loaded.processor
    for asked in requests(model, sizes={2: (40, 14), 4: (14, 33)}):
        found = model.preparer(asked)
        images = asked.args[2](model.task_dict["quiz"]["test"][asked.args[3]])
        prompt = "USER: " + "<image>\n" * len(images) + asked.args[0] + " ASSISTANT:"
        expected = processor(text=prompt, images=images or None, return_tensors="pt")
        assert torch.equal(found.ids, expected["input_ids"][0])
        for i, picture in enumerate(found.pictures):
            pixels, _ = picture.processed(model.preparer.process)
            # Beside a picture with more tiles, the processor fills up with tiles of zeros.
            tiles = pixels["pixel_values"]
            assert torch.equal(tiles[0], expected["pixel_values"][i][: len(tiles[0])])
            assert not expected["pixel_values"][i][len(tiles[0]) :].any()
        counted = sum(picture.processed(model.preparer.process)[1] for picture in found.pictures)
        assert counted == found.ids.tolist().count(processor.image_token_id)


@pytest.mark.parametrize("family", ["llava", "llava_next"])
def test_answers_are_those_of_transformers_itself(family, request):
    model = make(request.getfixturevalue(family), strategy="vanilla")
    asked = requests(model, sizes={2: (40, 14)})
    found = [result.token_counts.output_tokens for result in model.generate_until(asked)]
    answers = texts(model.generate_until(asked))
    processor, plain = model.loaded.processor, model.loaded.model
    for instance, text, count in zip(asked, answers, found, strict=True):
        images = instance.args[2](model.task_dict["quiz"]["test"][instance.args[3]])
        prompt = "USER: " + "<image>\n" * len(images) + instance.args[0] + " ASSISTANT:"
        inputs = processor(text=prompt, images=images or None, return_tensors="pt")
        with torch.inference_mode():
            new = plain.generate(**inputs, max_new_tokens=6, do_sample=False)[
                0, inputs["input_ids"].shape[1] :
            ]
        expected = processor.tokenizer.decode(new, skip_special_tokens=True).split("\n\n")[0]
        assert text == expected
        assert count == sum(token not in (2, 3) for token in new.tolist())


@pytest.mark.parametrize("family", ["llava", "llava_next"])
def test_the_vision_tower_runs_once_for_an_image(family, request):
    model = make(request.getfixturevalue(family), batch_size=2)
    runs = count_runs(model)
    model.generate_until(requests(model, SHARED))
    assert len(runs) == 2
    used = model.answers.usage["quiz"]
    assert (used.images, used.encoded) == (6, 2)
    assert used.hit_rate == pytest.approx(4 / 6)
    model.generate_until(requests(model, SHARED))
    assert len(runs) == 2


@pytest.mark.parametrize("family", ["llava", "llava_next"])
def test_features_that_are_kept_are_those_that_would_be_computed(family, request):
    folder = request.getfixturevalue(family)
    seen = []
    for gib in (2, 0):
        model = make(folder, batch_size=3, feature_cache=gib, prefix_cache="off")
        embeddings = []
        generate = model.loaded.model.generate

        def noted(generate=generate, embeddings=embeddings, **inputs):
            embeddings.append(inputs["inputs_embeds"])
            return generate(**inputs)

        model.loaded.model.generate = noted
        answers = texts(model.generate_until(requests(model, SHARED, sizes={1: (40, 14)})))
        seen.append((answers, embeddings))
        # Each of the two batches asks about both images; without a cache the second encodes them again.
        assert model.answers.usage["quiz"].encoded == (2 if gib else 4)
    assert seen[0][0] == seen[1][0]
    for kept, computed in zip(seen[0][1], seen[1][1], strict=True):
        torch.testing.assert_close(kept, computed, atol=1e-6, rtol=1e-6)


@pytest.mark.thin(1)
@pytest.mark.parametrize("workers", [1, 3])
def test_background_threads_change_no_answer(llava_next, workers):
    alone = make(llava_next, batch_size=2, workers=0)
    model = make(llava_next, batch_size=2, workers=workers)
    expected = texts(alone.generate_until(requests(alone, ASKED * 9)))
    assert texts(model.generate_until(requests(model, ASKED * 9))) == expected
    assert model.answers.measurements == alone.answers.measurements


def test_what_comes_next_is_prepared_meanwhile_and_not_too_much_of_it():
    from pdrop_eval.run.lmms.inputs.prefetch import prepared

    begun, threads = queue.Queue(), set()

    def prepare(item):
        threads.add(threading.current_thread().name)
        begun.put(item)
        return -item

    ready = prepared(range(9), prepare, threads=2, ahead=3)
    assert begun.empty()  # nothing is begun before the first is asked for
    assert next(ready) == 0
    # Three more are begun though nobody has asked for them, and no other one.
    assert sorted(begun.get(timeout=60) for _ in range(4)) == [0, 1, 2, 3]
    with pytest.raises(queue.Empty):
        begun.get(timeout=0.05)
    assert list(ready) == [-item for item in range(1, 9)]
    assert all(name.startswith("prepare") for name in threads)


def test_a_failure_is_raised_when_its_turn_comes():
    from pdrop_eval.run.lmms.inputs.prefetch import prepared

    def prepare(item):
        if item == 2:
            raise ValueError("two")
        return item

    for threads in (0, 2):
        ready = prepared(range(9), prepare, threads, ahead=4)
        assert [next(ready), next(ready)] == [0, 1]
        with pytest.raises(ValueError, match="two"):
            next(ready)


def test_an_answer_that_fails_leaves_nothing_queued(llava, monkeypatch):
    model = make(llava, batch_size=1, workers=1)
    held, begun = threading.Event(), []
    images = model.preparer._images

    def slow(request):
        begun.append(request)
        if len(begun) > 1:
            held.wait(60)
        return images(request)

    def fail(**_):
        held.set()
        raise RuntimeError("boom")

    monkeypatch.setattr(model.preparer, "_images", slow)
    monkeypatch.setattr(model.loaded.model, "generate", fail)
    with pytest.raises(RuntimeError, match="boom") as kept:
        model.generate_until(requests(model, ASKED * 6))
    for thread in threading.enumerate():
        if thread.name.startswith("prepare"):
            thread.join(10)
    assert len(begun) < 6  # of 30; the traceback, which holds on to the frames, is still there
    assert kept.tb is not None


def test_a_batch_that_is_tried_again_counts_its_images_once(llava, monkeypatch):
    model = make(llava, batch_size="auto", prefix_cache="off")
    generate, sizes = model.loaded.model.generate, []

    def with_memory_for_two(**inputs):
        sizes.append(len(inputs["input_ids"]))
        if sizes[-1] > 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return generate(**inputs)

    monkeypatch.setattr(model.loaded.model, "generate", with_memory_for_two)
    model.generate_until(requests(model, SHARED))
    assert sizes == [5, 2, 2, 1]
    used = model.answers.usage["quiz"]
    assert (used.images, used.encoded) == (6, 2)


def test_several_processes_take_the_longest_time_and_all_images():
    from pdrop_eval.run.lmms.measurement import Usage

    one, two = Usage(3.0, 0.5, 10, 4), Usage(2.0, 1.0, 20, 5)
    assert Usage.of_processes([one, two]) == Usage(3.0, 1.0, 30, 9)
    assert Usage.of_processes([one, two]).hit_rate == pytest.approx(0.7)
    assert Usage().hit_rate is None


def cache_of_three():
    """A cache for three images of ten numbers, what asks it, and the places and needs that it has made."""
    from pdrop_eval.models.towers.encoded import EncodedImage
    from pdrop_eval.run.lmms.inputs.feature_cache import FeatureCache

    cache, made = FeatureCache(limit_bytes=3 * 4 * 10), []

    def get(keys, size=10):
        def make(places, needs):
            made.append([keys[place] for place in places])
            whole = torch.stack([torch.full((size, 1), float(ord(keys[place]))) for place in places])
            return [EncodedImage(tokens) for tokens in whole]

        return [one.tokens for one in cache.get_all(keys, make)]

    return cache, get, made


def test_what_was_used_longest_ago_goes_first():
    cache, get, made = cache_of_three()
    for key in "abcad":  # a is used again before d comes: b has to go
        assert get(key)[0][0, 0] == ord(key)
    assert made == [["a"], ["b"], ["c"], ["d"]]
    assert (cache.hits, cache.misses, cache.bytes) == (1, 4, 120)
    assert [cache.tokens(key) for key in "abcd"] == [10, None, 10, 10]
    get("e", size=31)  # larger than the limit: not kept, and nothing goes for it
    assert [cache.tokens(key) for key in "acde"] == [10, 10, 10, None]


def test_images_that_are_missing_are_made_together_each_once():
    cache, get, made = cache_of_three()
    get("a")
    found = get("bcabc")
    assert [int(tokens[0, 0]) for tokens in found] == [ord(key) for key in "bcabc"]
    assert made == [["a"], ["b", "c"]]
    assert (cache.hits, cache.misses, cache.bytes) == (3, 3, 120)
    # What is kept doesn't hold on to the memory of what was made with it.
    assert all(kept.image.tokens.untyped_storage().nbytes() == 40 for kept in cache._kept.values())


def test_questions_of_one_image_follow_one_another_the_longest_first():
    from types import SimpleNamespace

    from pdrop_eval.run.lmms.inputs.batching import in_order

    asked = [("x", 5), ("y", 9), ("x", 7), ("z", 8), ("y", 2)]
    questions = [SimpleNamespace(images_sha256=image, ids=torch.zeros(n)) for image, n in asked]
    assert in_order(questions) == [1, 4, 3, 2, 0]


def test_batches_begin_by_the_device_and_the_length_of_an_image():
    from pdrop_eval.models import families
    from pdrop_eval.run.lmms.inputs.batching import first_batch_size

    small, large = (families.multimodal(name).published_config("7b") for name in ("llava", "llava_next"))
    assert [first_batch_size(device, small) for device in ("cuda", "mps", "cpu")] == [32, 8, 8]
    assert [first_batch_size(device, large) for device in ("cuda", "mps", "cpu")] == [8, 8, 8]
    half = families.multimodal("llava_onevision").published_config("0.5b")  # 3,000 tokens and more an image
    assert first_batch_size("cuda", half) == 8


def test_a_picture_whose_features_are_there_is_not_processed_again(llava):
    model = make(llava, batch_size=1)
    model.generate_until(requests(model, [("What?", [1])]))
    processed = []
    process = model.preparer.process
    model.preparer.process = lambda image: processed.append(image) or process(image)
    model.generate_until(requests(model, [("Why?", [1]), ("Who?", [7])]))
    assert len(processed) == 1


def test_a_checkpoint_that_lacks_weights_is_refused(llava, tmp_path):
    import shutil

    from safetensors.torch import load_file, save_file

    from pdrop_eval.utils.errors import UserError

    folder = tmp_path / "damaged"
    shutil.copytree(llava, folder)
    (weights,) = folder.glob("*.safetensors")
    tensors = load_file(weights)
    gone = next(name for name in tensors if "layers.1.mlp.up_proj" in name)
    save_file({name: tensor for name, tensor in tensors.items() if name != gone}, weights, {"format": "pt"})
    with pytest.raises(UserError, match=r"lacks 1 weights .*layers\.1\.mlp\.up_proj"):
        make(folder)
