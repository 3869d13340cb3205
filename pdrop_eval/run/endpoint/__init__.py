"""`model=endpoint`: a model behind an OpenAI-compatible server, asked what one that runs here is asked."""
