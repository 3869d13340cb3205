"""The rules by which authors choose a method's settings for a model: pure functions, one file a method."""

RULES = ("vtw", "fitprune")  # the strategies that have one, by the names of the files here
