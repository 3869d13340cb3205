"""Model cards of the miniatures: written of what was trained and measured."""
