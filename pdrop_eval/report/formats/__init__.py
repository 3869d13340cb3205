"""Formats of tables: terminal, Markdown, LaTeX, HTML."""
