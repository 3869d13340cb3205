"""What a model sees of single samples: retained patches by stage, and attention by layer, as drawings."""
