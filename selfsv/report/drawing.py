"""The style of the report's figures, and their conversion to inline SVG, which scales with the page and keeps text as text."""

import io
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import matplotlib
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

# Colours of Okabe and Ito, told apart with any kind of colour vision.
BLUE, VERMILLION, GREEN, AMBER, SKY, PURPLE = "#0072b2", "#d55e00", "#009e73", "#e69f00", "#56b4e9", "#cc79a7"
INK, MUTED, FAINT, GRID = "#1f2933", "#6b7785", "#a3adb8", "#e4e8ec"
ROUND_LIGHT, ROUND_DARK = "#6db3e0", "#08306b"

# Inches. Text keeps its size in the page if a third of it gets NARROW figures and half of it WIDE ones.
NARROW, WIDE, SQUARE = (3.7, 2.5), (4.9, 2.6), (4.9, 4.6)
# Any: the stubs want each key as a literal of its own.
STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "report",
    "text.parse_math": False,
    "font.size": 9,
    "axes.labelsize": 9,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": FAINT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.unicode_minus": False,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "text.color": INK,
    "lines.linewidth": 1.8,
    "lines.solid_capstyle": "round",
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "legend.handlelength": 1.8,
}


class Panel(NamedTuple):
    """A figure with its heading and a sentence on how to read it."""

    heading: str
    figure: Markup
    caption: str = ""


def draw(name: str, description: str, plot: Callable[[Axes], None], size: tuple[float, float] = WIDE) -> Markup:
    """A figure of one panel as an SVG element.

    Args:
        name: makes the SVG's ids unique in the page.
        description: read out instead of the figure.
        plot: fills the axes it is given.
        size: width and height, inches; the page scales the figure to its column.
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=size, layout="constrained")
        figure.patch.set_alpha(0)
        plot(figure.subplots())
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None}, transparent=True)
    return inline(text.getvalue(), name, description)


def inline(svg: str, name: str, description: str) -> Markup:
    """A matplotlib SVG file as an element of a page."""
    # A name may hold anything, but ends up in attributes, and in the pattern of a replacement.
    name = re.sub(r"[^A-Za-z0-9_.-]", lambda letter: f"_{ord(letter[0]):x}_", name)
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<(metadata|style)\b.*?</\1>", "", svg, flags=re.DOTALL)  # a style element would apply to the whole page
    used = set(re.findall(r"#([\w.-]+)", svg))
    svg = re.sub(r' id="([^"]+)"', lambda match: match[0] if match[1] in used else "", svg)
    # Several figures share a page: without a prefix one's clip paths would be looked up in another.
    svg = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', svg)
    svg = re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", svg)
    svg = re.sub(r'href="#([^"]+)"', rf'href="#{name}-\1"', svg)
    # The page's own font; matplotlib's is wider, so what it laid out fits.
    svg = re.sub(r"font-family: [^;\"]*;?", "", svg)
    box = re.search(r'viewBox="[^"]+"', svg)
    head = f'<svg class="figure" role="img" aria-label="{escape(description)}" xmlns="http://www.w3.org/2000/svg" '
    head += f'xmlns:xlink="http://www.w3.org/1999/xlink" {box[0] if box else ""}>'
    return Markup(re.sub(r"<svg[^>]*>", lambda _: head, svg, count=1))


def round_colour(index: int, rounds: int) -> str:
    """The colour of round `index` (from 1) of `rounds`: the later, the darker."""
    position = 1.0 if rounds <= 1 else (index - 1) / (rounds - 1)
    light, dark = (matplotlib.colors.to_rgb(colour) for colour in (ROUND_LIGHT, ROUND_DARK))
    red, green, blue = (a + (b - a) * position for a, b in zip(light, dark, strict=True))
    return matplotlib.colors.to_hex((red, green, blue))


def whole_numbers(axes: Axes) -> None:
    """Ticks of the x axis at whole numbers only: epochs, rounds."""
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8, min_n_ticks=1))
