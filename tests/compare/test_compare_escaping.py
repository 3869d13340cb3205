"""What a model or a data set says stays text wherever it is shown."""

import html
import re
from xml.etree import ElementTree

import pytest
from jinja2 import UndefinedError
from markdown_it import MarkdownIt

from pdrop_eval.utils.text.escape import fill, in_markdown, plain_markdown, visible

HOSTILE = [
    "@everyone please look",
    "see #1 and owner/repo#2",
    "[link](http://evil.example) ![image](http://evil.example/x.png)",
    "http://evil.example www.evil.example me@evil.example",
    "a | b || c",
    "``` code ` `` $x$ *bold* __bold__ ~~gone~~",
    "<script>alert(1)</script><img src=x onerror=alert(1)> &amp; &lt;",
    "</code></td></table></details><h1>x</h1>",
    "\n# heading\n\n- list\n| a | b |\n|---|---|\n",
    "\\| \\` \\<b>",
]


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("show", [in_markdown, plain_markdown])
def test_a_text_in_a_table_of_markdown_is_one_cell_without_markup(text, show):
    table = f"| a | b |\n|:--|:--|\n| {show(text)} | last |\n"
    page = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render(table)
    (cells,) = re.findall(r"<tbody>\n<tr>\n(.*?)</tr>\n</tbody>", page, re.S)
    cell, last = re.findall(r"<td[^>]*>(.*?)</td>", cells, re.S)
    assert last == "last"
    inside = re.sub(r"^<code>|</code>$", "", cell)
    assert not re.search(r"<[a-zA-Z/]", inside)
    assert html.unescape(inside).replace("\u2060", "") == visible(text).strip() or text.startswith("\n")


@pytest.mark.parametrize("text", ["@everyone", "#12", "www.x.example", "http://x.example", "a|b"])
def test_nothing_that_github_looks_for_stands_in_the_source(text):
    for shown in (in_markdown(text), plain_markdown(text)):
        assert not re.search(r"@\w|#\d|www\.|://|\|", shown.replace("&#", ""))


def test_outside_of_code_a_mention_is_broken_for_what_reads_the_page():
    assert html.unescape(plain_markdown("@team #7")) == "@\u2060team #\u20607"


def test_what_can_not_be_seen_is_written_out():
    assert visible("a\x1b[31mred\x07\x00") == "a\\x1b[31mred\\x07\\x00"
    assert visible("one\ntwo\r\nthree\tfour\r") == "one ⏎ two ⏎ three four\\x0d"
    assert visible("left\u202eright\u200b\ufeff") == "left\\u202eright\\u200b\\ufeff"
    assert visible("\ud800 \uffff \U000e0041") == "\\ud800 \\uffff \\U000e0041"
    assert visible("grün, 颜色, 🙂") == "grün, 颜色, 🙂"
    assert visible("abcdef", most=4) == "abc…"


def test_any_text_fits_into_xml():
    every = "".join(map(chr, [*range(0x300), *range(0xD7F0, 0xE010), 0xFFFE, 0xFFFF, 0x10FFFF]))
    element = ElementTree.Element("a", {"b": visible(every)})
    element.text = visible(every)
    assert ElementTree.fromstring(ElementTree.tostring(element)).get("b") == visible(every)


def test_html_keeps_lines_and_nothing_else(tmp_path):
    template = tmp_path / "page.jinja"
    template.write_text('<p title="{{ text }}">{{ text | visible }}</p>{{ "a" if text else text }}\n')
    escaped = "&lt;b title=&quot;x&quot;&gt;\n{}{{{{ 7 * 7 }}}}&amp;&#x27;"
    assert fill(template, text='<b title="x">\n\x00{{ 7 * 7 }}&\'') == (
        f'<p title="{escaped.format(chr(0))}">{escaped.format(chr(92) + "x00")}</p>a\n'
    )
    with pytest.raises(UndefinedError):  # a template that names what isn't there is a bug
        fill(template)


def test_an_empty_answer_is_said_to_be_one():
    assert in_markdown("") == "*(empty)*"
