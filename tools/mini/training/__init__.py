"""How the start of all miniatures is trained."""
