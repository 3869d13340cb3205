"""The data of the results page, built from records."""
