"""What tests of benchmarks look at: labels of a record's batch, and text without its line breaks."""


def one_line(text):
    return " ".join(text.split())


def labels(batch):
    return [one["label"] for one in batch["variants"]]
