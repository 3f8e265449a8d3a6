"""Draw the ratios of a run: ``python -m benchmarks.plot RESULTS.json PLOT.svg``; needs ``txregistry[bench]``."""

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib

matplotlib.use("svg")
from matplotlib import pyplot

_BETTER, _WORSE, _WANTED = "#2a7f62", "#b4452c", "#333333"


def gain(ratio: float, more: bool) -> float:
    """Return how many times better a figure is, from its ratio to the other's."""
    return ratio if more else 1 / ratio


def draw(document: Mapping[str, Any], path: str) -> None:
    """
    Draw a bar for each row that has a goal: to the right of 1 txregistry is better, to the left it is worse.

    :param document: what ``--json`` wrote.
    :param path: of the SVG.
    """
    rows = [row for row in document["rows"] if row["goal"] and row["ratio"] and not row["goal"]["absolute"]]
    gains = [gain(row["ratio"], row["goal"]["more"]) for row in rows]
    wanted = [gain(row["goal"]["bound"], row["goal"]["more"]) for row in rows]
    # The same file for the same figures, and text that stays text.
    with matplotlib.rc_context({"svg.hashsalt": "txregistry", "svg.fonttype": "none", "font.size": 9}):
        figure, axes = pyplot.subplots(figsize=(8, 0.42 * len(rows) + 1))
        places = range(len(rows))
        axes.barh(
            places,
            [one - 1 for one in gains],
            left=1,
            height=0.6,
            color=[_BETTER if one >= 1 else _WORSE for one in gains],
        )
        axes.scatter(wanted, places, marker="|", s=220, color=_WANTED, label="wanted", zorder=3)
        for place, one in zip(places, gains, strict=True):
            axes.text(max(one, 1) * 1.06, place, f"{one:.2g}", va="center")
        axes.axvline(1, color=_WANTED, linewidth=0.8)
        axes.set_xscale("log")
        ticks = [0.5, 1, 2, 4, 8]
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.minorticks_off()
        axes.set_xlim(min(0.4, *gains) * 0.9, max(8, *gains, *wanted) * 1.25)
        axes.set_yticks(places, [row["title"].strip() for row in rows])
        axes.invert_yaxis()
        axes.set_xlabel("times as good as docker-registry")
        axes.legend(loc="lower right", frameon=False)
        for side in ("top", "right", "left"):
            axes.spines[side].set_visible(False)
        figure.savefig(path, bbox_inches="tight", metadata={"Date": None})
        pyplot.close(figure)


def main(arguments: Sequence[str]) -> None:
    """Read the results, write the plot."""
    if len(arguments) != 2:
        raise SystemExit(__doc__)
    source, target = arguments
    with open(source) as file:
        draw(json.load(file), target)


if __name__ == "__main__":
    main(sys.argv[1:])
