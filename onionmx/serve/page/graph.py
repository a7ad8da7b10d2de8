"""The graph of deliveries per day, as the geometry of an SVG picture; the template writes it. No I/O."""

from collections.abc import Sequence
from dataclasses import dataclass

from onionmx.status.model import DayCount

WIDTH, HEIGHT = 600, 120
"""Of the bars together, in units of the picture."""
_GAP = 0.2  # of the width of a day


@dataclass(frozen=True, slots=True)
class Bar:
    """What was decided on one day: delivered below, refused on top of it.

    Attributes:
        day: as YYYY-MM-DD.
        x: left edge.
        width: of the bar.
        delivered: top and height of the lower part.
        refused: top and height of the upper part.
        count: what it stands for.
    """

    day: str
    x: float
    width: float
    delivered: tuple[float, float]
    refused: tuple[float, float]
    count: DayCount


@dataclass(frozen=True, slots=True)
class Graph:
    """The picture.

    Attributes:
        bars: a bar for each day, the oldest first.
        most: what the full height stands for; at least 1.
    """

    bars: tuple[Bar, ...]
    most: int


def graph_of(days: Sequence[DayCount]) -> Graph:
    """The picture of some days, the oldest first."""
    most = max([day.delivered + day.refused for day in days], default=0) or 1
    step = WIDTH / max(1, len(days))
    bars = []
    for number, day in enumerate(days):
        lower, upper = (HEIGHT * each / most for each in (day.delivered, day.refused))
        top = HEIGHT - lower
        bars.append(
            Bar(
                day.day,
                round(number * step + step * _GAP / 2, 2),
                round(step * (1 - _GAP), 2),
                (round(top, 2), round(lower, 2)),
                (round(top - upper, 2), round(upper, 2)),
                day,
            )
        )
    return Graph(tuple(bars), most)
