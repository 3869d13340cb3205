"""The embedded miniature: a rendered benchmark suite and a small LLaVA trained to read it."""
