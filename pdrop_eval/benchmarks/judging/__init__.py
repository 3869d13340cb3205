"""Language models that score answers: how they are asked, and what of lmms-eval asks them."""
