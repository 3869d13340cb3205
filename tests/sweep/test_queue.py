"""Which cell comes next: a worker keeps its model and its task."""

from pdrop_eval.run.sweep.state.queue import Cell, Queue


def cells(*ids):
    """`a/s1/gqa` is of the model a."""
    return [Cell(one, one.split("/")[0], one.split("/")[2]) for one in ids]


def taken(queue, worker):
    cell = queue.take(worker)
    return cell.id if cell else None


def test_strategies_of_one_task_come_one_after_the_other():
    queue = Queue(cells("a/s1/gqa", "a/s1/pope", "a/s2/gqa", "a/s2/pope"))
    order = []
    while (cell := taken(queue, "w")) is not None:
        order.append(cell)
        queue.settle("w")
    assert order == ["a/s1/gqa", "a/s2/gqa", "a/s1/pope", "a/s2/pope"]


def test_two_workers_take_two_tasks_and_stay_with_their_model():
    queue = Queue(cells("a/s1/gqa", "a/s2/gqa", "a/s1/pope", "a/s2/pope", "b/s1/gqa"))
    assert taken(queue, "v") == "a/s1/gqa"
    assert taken(queue, "w") == "a/s1/pope"
    queue.settle("v")
    queue.settle("w")
    assert taken(queue, "w") == "a/s2/pope"
    assert taken(queue, "v") == "a/s2/gqa"
    queue.settle("v")
    assert taken(queue, "v") == "b/s1/gqa"
    queue.settle("v")
    assert taken(queue, "v") is None


def test_a_second_worker_takes_the_other_model_when_as_much_waits_there():
    queue = Queue(cells("a/s1/gqa", "a/s2/gqa", "b/s1/gqa", "b/s2/gqa"))
    assert taken(queue, "v") == "a/s1/gqa"
    assert taken(queue, "w") == "b/s1/gqa"


def test_what_a_dead_worker_was_at_waits_again():
    queue = Queue(cells("a/s1/gqa", "a/s2/gqa"))
    queue.take("w")
    assert queue.running == 1
    lost = queue.settle("w", gone=True)
    assert lost.id == "a/s1/gqa"
    queue.put(lost)
    assert len(queue) == 2
    assert queue.running == 0
