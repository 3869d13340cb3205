"""The report as an HTML page that needs nothing else; each cell shows on a hover where its number is from."""

from pathlib import Path

from pdrop_eval.report.formats.grid import Section
from pdrop_eval.utils.text.escape import fill

TEMPLATE = Path(__file__).with_name("report.html.jinja")


def page(title: str, sections: list[Section]) -> str:
    """The whole document. All text is escaped; styles are inside, and nothing is fetched."""
    return fill(TEMPLATE, title=title, sections=sections)
