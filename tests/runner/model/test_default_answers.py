"""What the machine chooses changes no answer: batches of any size, images encoded together, threads."""

import pytest
import runner_tiny as tiny
import torch
from asking_model import make, requests, texts
from contract import BEFORE, BOTH, STRATEGIES, strategy_id

pytestmark = pytest.mark.usefixtures("lmms_eval")
EVERY = [*STRATEGIES, *BEFORE, *BOTH]
# Several questions of an image among others, none in order; one without an image, one with two.
ASKED = [
    ("What?", [1]), ("What is to be seen in this picture?", [2]), ("Say something.", []), ("Who?", [1]),
    ("Are these two alike?", [3, 2]), ("What is written there, if anything?", [1]), ("And here?", [2]),
    ("Where is it?", [4]), ("How many are there in all?", [5]),
]  # fmt: skip


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model of eight layers, with weights large enough to attend unevenly."""
    folder = tiny.checkpoint(tmp_path_factory.mktemp("sharp") / "tiny", layers=8)
    made = make(folder, strategy="vanilla", batch_size="auto")
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in made.loaded.model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, 0.3)
    return made


def answered(model, **settings):
    for name, value in settings.items():
        setattr(model, name, value)
    model.features.clear()
    results = texts(model.generate_until(requests(model, ASKED)))
    return results, [model.answers.measurements["quiz", number] for number in range(len(ASKED))]


@pytest.mark.thin(4)
@pytest.mark.parametrize("strategy", EVERY, ids=strategy_id)
def test_the_default_answers_as_one_question_at_a_time(strategy, model):
    model.use(strategy)
    assert model.batch_size == 32
    whole, measured = answered(model)
    one, alone = answered(model, batch_size=1, workers=0)
    model.workers = 2
    assert whole == one
    assert measured == alone  # which tokens each layer retained among it
    assert len(set(whole)) > 1


def test_sampled_answers_are_those_of_batches_of_eight(model):
    """What a batch draws goes by the questions in it, and a run that was begun with 8 counts as the same."""
    model.use(STRATEGIES[0])
    sampled = {"do_sample": True, "temperature": 1.0}

    def drawn():
        torch.manual_seed(0)
        return texts(model.generate_until(requests(model, [*ASKED, *ASKED], **sampled)))

    usual = drawn()
    model.auto_batch, model.batch_size = False, 8
    eight = drawn()
    model.batch_size = 32
    assert eight == usual != drawn()
    model.auto_batch = True
