"""The small files of a miniature, to be changed."""

import json
import shutil
from pathlib import Path

from PIL import Image

from pdrop_eval.models import families
from pdrop_eval.models.loading.processors import load_processor
from pdrop_eval.utils.paths import MINI_CHECKPOINTS

MINI_TOKENS = 144  # 96 / 8 = 12 patches a side


def image(width=60, height=40):
    """A red picture."""
    return Image.new("RGB", (width, height), "red")


class Copy:
    """A checkpoint's small files, to be changed."""

    def __init__(self, folder: Path, name: str):
        self.folder = folder / name
        self.family = families.multimodal("llava" if name == "mini" else "llava_next")
        shutil.copytree(MINI_CHECKPOINTS / name, self.folder, ignore=shutil.ignore_patterns("*.safetensors"))

    def edit(self, name, drop=(), **changes):
        path = self.folder / name
        content = json.loads(path.read_text())
        content.update(changes)
        path.write_text(json.dumps({key: value for key, value in content.items() if key not in drop}))

    def template(self, text):
        (self.folder / "chat_template.jinja").write_text(text)

    def load(self, template="checkpoint", anyres=None):
        return load_processor(str(self.folder), self.family, None, False, anyres, template)

    def old_layout(self):
        """preprocessor_config.json and the tokenizer's files, as before there was a processor's own."""
        path = self.folder / "processor_config.json"
        images = json.loads(path.read_text())["image_processor"]
        (self.folder / "preprocessor_config.json").write_text(json.dumps(images))
        path.unlink()

        self.edit("tokenizer_config.json", drop=["processor_class"])
