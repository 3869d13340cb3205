"""A folder of the user's own questions and pictures as a benchmark: read, checked, stored and scored."""
