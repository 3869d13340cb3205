"""A comparison in the terminal, as Markdown, JSON, JUnit XML and HTML."""
