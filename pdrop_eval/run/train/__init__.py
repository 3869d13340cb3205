"""Training with a strategy: LLaVA's two phases on the Trainer of transformers."""
