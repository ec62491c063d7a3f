"""Pictures (PNG) by matplotlib, which is wanted only where one is drawn. On the lowest floor: every room may draw."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, ClassVar

from runtime.errors import RuntimeFault

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class NoPictures(RuntimeFault):
    """Matplotlib, which draws the pictures, is not installed."""

    next_step: ClassVar[str] = "pip install 'idlehands[plots]', or leave the picture out"


def figure(width_in: float, height_in: float) -> Figure:
    """Returns an empty figure that needs no display. Raises NoPictures."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise NoPictures("no picture can be drawn: the package 'matplotlib' is not installed") from error
    made = Figure(figsize=(width_in, height_in), layout="constrained")
    FigureCanvasAgg(made)
    return made


def png(made: Figure) -> bytes:
    """Returns the picture's bytes."""
    out = io.BytesIO()
    made.savefig(out, format="png", dpi=110)
    return out.getvalue()
