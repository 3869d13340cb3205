"""From a checkpoint's name to a model and its processor, refused where they can't be right."""
