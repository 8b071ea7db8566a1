"""A report read as a browser and a reader see it: elements, tables, texts."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Final

VOID: Final = {"meta", "wbr"}


@dataclass
class Element:
    """An element and what is in it."""

    tag: str
    attributes: dict[str, str | None]
    children: list[Element | str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """All text in it."""
        return "".join(child if isinstance(child, str) else child.text for child in self.children)

    def all(self, tag: str, **attributes: str) -> list[Element]:
        """The elements below it with this tag and these attributes, in order; `class_` is one of its classes."""
        found = []
        for child in self.children:
            if isinstance(child, Element):
                found += [child] if child.tag == tag and child._has(attributes) else []
                found += child.all(tag, **attributes)
        return found

    def everything(self) -> list[Element]:
        """Every element below it."""
        below = [child for child in self.children if isinstance(child, Element)]
        return below + [element for child in below for element in child.everything()]

    def _has(self, attributes: dict[str, str]) -> bool:
        wanted = dict(attributes)
        name = wanted.pop("class_", None)
        classes = (self.attributes.get("class") or "").split()
        return (name is None or name in classes) and wanted.items() <= self.attributes.items()


class _Parser(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open = [Element("document", {})]

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        assert len(dict(attributes)) == len(attributes), f"an attribute twice in {tag}"
        element = Element(tag, dict(attributes))
        self.open[-1].children.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.open[-1].children.append(Element(tag, dict(attributes)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop().tag == tag, f"</{tag}> closes something else"

    def handle_data(self, data: str) -> None:
        self.open[-1].children.append(data)


def read(page: str) -> Element:
    """The page; every element that is not void is closed, and in the right order."""
    parser = _Parser()
    parser.feed(page)
    parser.close()
    assert len(parser.open) == 1, "an element is not closed"
    return parser.open[0]


def tables(page: Element) -> dict[str, dict[tuple[str, str, str], str]]:
    """Caption -> (block, line, column) -> cell, of all tables."""
    return {table.all("caption")[0].text: _cells(table) for table in page.all("table")}


def _cells(table: Element) -> dict[tuple[str, str, str], str]:
    columns = [head.text for head in table.all("thead")[0].all("th")][1:]
    cells, block = {}, ""
    for line in (line for body in table.all("tbody") for line in body.all("tr")):
        if line.attributes.get("class") == "block":
            block = line.text
            continue
        (head,) = line.all("th")
        for column, cell in zip(columns, line.all("td"), strict=True):
            cells[block, head.text, column] = " ".join(cell.text.split())
    return cells
