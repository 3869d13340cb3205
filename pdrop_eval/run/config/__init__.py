"""Settings: composing and checking them."""
