"""Training data in LLaVA's JSON format."""
