"""Pictures of matplotlib as SVG that stands inside a page: its colours are the page's, its texts are texts."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from io import StringIO
from typing import ClassVar, Final
from xml.etree import ElementTree

from markupsafe import Markup
from matplotlib import style
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from ...core.visible import visible

# Colours that stand for those of the page, which knows whether it is light or dark.
INK: Final = "#010001"
QUIET: Final = "#010002"
LINE: Final = "#010003"
SERIES: Final = tuple(f"#0100{place:02x}" for place in range(0x10, 0x16))
_VARIABLES: Final = {
    INK: "var(--ink)",
    QUIET: "var(--quiet)",
    LINE: "var(--line)",
    **{colour: f"var(--series-{place})" for place, colour in enumerate(SERIES)},
}

_UNDATED: Final = dict.fromkeys(("Creator", "Date", "Format", "Type"))
_STYLE: Final = {
    "axes.edgecolor": LINE,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.labelcolor": QUIET,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.facecolor": "none",
    "font.family": "DejaVu Sans",  # comes with matplotlib, so that every machine lays a picture out alike
    "font.size": 11.0,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "hatch.linewidth": 0.8,
    "legend.fontsize": 10.0,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "savefig.facecolor": "none",
    "svg.fonttype": "none",
    "text.color": INK,
    "text.parse_math": False,  # the name of a guard is no formula
    "xtick.color": LINE,
    "xtick.labelcolor": QUIET,
    "ytick.color": LINE,
    "ytick.labelcolor": QUIET,
}


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture, and what it shows in words.

    Attributes:
        caption: What it is of.
        description: What those hear who do not see it.
        svg: The picture.
    """

    kind: ClassVar = "picture"

    caption: str
    description: str
    svg: Markup


def picture(name: str, caption: str, description: str, draw: Callable[[Figure], None], height: float = 3.4) -> Picture:
    """What `draw` draws on an empty figure, the same bytes each time.

    Args:
        name: Unique in the page; its ids begin with it.
        caption: Stands under it.
        description: For those who do not see it.
        draw: Draws it, with the colours of this module.
        height: In inches; every picture is as wide as half a page, and a phone.
    """
    settings = {**_STYLE, "svg.hashsalt": name}
    with style.context(["default", settings]):  # the user's own settings would change the picture
        figure = Figure(figsize=(4.6, height), layout="constrained")
        draw(figure)
        written = StringIO()
        with warnings.catch_warnings():  # letters that its font lacks are drawn in a font of the reader's
            warnings.filterwarnings("ignore", "Glyph .* missing from font")
            FigureCanvasSVG(figure).print_svg(written, metadata=_UNDATED)  # type: ignore[no-untyped-call]
    svg = _inlined(written.getvalue(), name, visible(description))
    return Picture(caption, description, Markup(svg))  # noqa: S704  # ElementTree has escaped it


def _inlined(document: str, name: str, description: str) -> str:
    """The document as an element of a page: nothing in it names a file, and no id of it is there twice."""
    root = ElementTree.fromstring(document)  # noqa: S314  # matplotlib's own
    _remove(root, {"metadata", "style"})
    wanted = set(re.findall(r"#([\w-]+)", document))
    for element in root.iter():
        element.tag = _local(element.tag)
        attributes = {_local(key): value for key, value in element.attrib.items()}
        identifier = attributes.pop("id", None)
        element.attrib = {key: _of_page(value, name) for key, value in attributes.items()}
        if identifier in wanted:
            element.attrib["id"] = f"{name}-{identifier}"
    root.attrib = {"viewBox": root.attrib["viewBox"], "role": "img", "aria-label": description}
    root.tail = None
    return re.sub(r">\s+<", "><", ElementTree.tostring(root, encoding="unicode"))


def _remove(root: ElementTree.Element, names: set[str]) -> None:
    for parent in list(root.iter()):
        for child in [child for child in parent if _local(child.tag) in names]:
            parent.remove(child)


def _local(name: str) -> str:
    return name.rpartition("}")[2]


def _of_page(value: str, name: str) -> str:
    """An attribute with the page's colours and font, and with references to the picture's own ids."""
    value = re.sub(r"#[0-9a-f]{6}\b", lambda found: _VARIABLES.get(found[0], found[0]), value)
    value = re.sub(r"font-family: [^;]+; ?", "", value)
    return re.sub(r"^#|(?<=url\()#", f"#{name}-", value)
