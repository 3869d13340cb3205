"""Text: numbers and words as people read them, and what must not be shown."""
