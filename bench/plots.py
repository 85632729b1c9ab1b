#!/usr/bin/env python3
"""Draws the plots of a record: python3 bench/plots.py bench/record/DATE-MACHINE [FOLDER]

Writes SVG files into FOLDER, or beside the record. The same record gives the same bytes, so a test can see that no plot has been
drawn from something else. Needs nothing but Python. What the record has no rows for is not drawn, and said.
"""

import json
import math
import sys
from pathlib import Path
from xml.sax.saxutils import escape

WIDTH = 760
INK, FAINT, PAPER = "#222222", "#dddddd", "#ffffff"
COLOURS = ["#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377"]


def spread(rounds):
    """Least, median and most, as the bench's tables have them."""
    values = sorted(rounds)
    return values[0], values[len(values) // 2], values[-1]


def said(value):
    """A number with three digits that count."""
    if abs(value) >= 100_000:
        return f"{value / 1000:.0f}k"
    if abs(value) >= 100 or value == 0:
        return f"{value:.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


class Drawing:
    """Shapes, and above them a title, what is drawn, and where it was measured."""

    def __init__(self, title, note, where, height):
        self.height = height
        self.parts = []
        self.text(16, 24, title, size=15, weight="bold")
        self.text(16, 42, note, size=11)
        self.text(16, 58, where, size=11)

    def text(self, x, y, text, size=12, anchor="start", weight="normal", colour=INK):
        self.parts.append(
            f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}"'
            f' font-weight="{weight}" fill="{colour}">{escape(text)}</text>'
        )

    def line(self, x1, y1, x2, y2, colour=INK, width=1.0, dash=""):
        dashes = f' stroke-dasharray="{dash}"' if dash else ""
        self.parts.append(
            f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
            f' stroke="{colour}" stroke-width="{width}"{dashes}/>'
        )

    def box(self, x, y, width, height, colour):
        self.parts.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{colour}"/>'
        )

    def dot(self, x, y, colour):
        self.parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"/>')

    def svg(self):
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {self.height}"'
            f' width="{WIDTH}" height="{self.height}" font-family="sans-serif">'
        )
        paper = f'<rect width="{WIDTH}" height="{self.height}" fill="{PAPER}"/>'
        return "\n".join([head, paper, *self.parts, "</svg>", ""])


def bars(title, note, where, rows):
    """Horizontal bars: (label, colour, rounds). The whisker reaches from the least to the most round."""
    left = max(270, 12 + 7 * max(len(label) for label, _, _ in rows))
    right, top, step = WIDTH - 90, 72, 22
    drawing = Drawing(title, note, where, top + step * len(rows) + 16)
    most = max(spread(rounds)[2] for _, _, rounds in rows)
    scale = (right - left) / most
    for place, (label, colour, rounds) in enumerate(rows):
        least, middle, high = (value * scale for value in spread(rounds))
        y = top + step * place
        drawing.text(left - 8, y + 13, label, anchor="end")
        drawing.box(left, y + 2, middle, step - 7, COLOURS[colour])
        drawing.line(left + least, y + 9.5, left + high, y + 9.5, width=1.5)
        drawing.text(left + max(middle, high) + 6, y + 13, said(spread(rounds)[1]))
    return drawing.svg()


def curves(title, note, where, ticks, series, ideal=None, log=False):
    """Lines over named ticks: (label, values), None where there is no value. From 0, or on a logarithmic scale."""
    left, right, top, bottom = 80, WIDTH - 190, 80, 346
    drawing = Drawing(title, note, where, bottom + 40)
    values = [v for _, row in series for v in row if v is not None] + (ideal or [])
    low, high = (math.log10(min(values)), math.log10(max(values))) if log else (0.0, max(values))
    low, high = (math.floor(low), math.ceil(high)) if log else (low, high * 1.08)

    def place_y(value):
        at = math.log10(value) if log else value
        return bottom - (at - low) / (high - low) * (bottom - top)

    def place_x(tick):
        return left + (right - left) * (tick + 0.5) / len(ticks)

    if log:
        grid = [factor * 10**power for power in range(low, high + 1) for factor in (1, 2, 5)]
        grid = [value for value in grid if math.log10(value) <= high]
    else:
        unit = 10 ** math.floor(math.log10(high / 4))
        unit = next(unit * f for f in (1, 2, 5, 10) if high / (unit * f) <= 6)
        grid = [unit * n for n in range(int(high / unit) + 1)]
    for value in grid:
        drawing.line(left, place_y(value), right, place_y(value), FAINT)
        drawing.text(left - 8, place_y(value) + 4, said(value), size=11, anchor="end")
    for place, tick in enumerate(ticks):
        drawing.text(place_x(place), bottom + 20, tick, anchor="middle")

    def path(points, colour, dash=""):
        for (x1, y1), (x2, y2) in zip(points, points[1:]):
            drawing.line(x1, y1, x2, y2, colour, 2, dash)

    if ideal:
        path([(place_x(n), place_y(v)) for n, v in enumerate(ideal)], INK, "4 4")
    for number, (label, row) in enumerate(series):
        colour = COLOURS[number % len(COLOURS)]
        dash = "" if number < len(COLOURS) else "6 3"
        points = [(place_x(n), place_y(v)) for n, v in enumerate(row) if v is not None]
        path(points, colour, dash)
        for x, y in points:
            drawing.dot(x, y, colour)
        y = top + 8 + 18 * number
        drawing.line(right + 14, y - 4, right + 34, y - 4, colour, 2, dash)
        drawing.text(right + 40, y, label, size=11)
    return drawing.svg()


class Record:
    """The rows of a run."""

    def __init__(self, folder):
        self.record = json.loads((folder / "record.json").read_text(encoding="utf-8"))
        facts = self.record["facts"]
        self.where = (
            f"{facts['processor']}, {facts['cores']} cores, Linux {facts['kernel']}, {facts['date']}, {facts['commit']}"
        )

    def rows(self, group):
        """The rows of a group, by their cases."""
        return {row["case"]: row["rounds"] for row in self.record["rows"] if row["group"] == group}


def instantiate(record):
    """Fresh instances a second, by allocator and threads."""
    rows = [
        (case, 0 if case.endswith("1 thread") else 1, rounds)
        for case, rounds in record.rows("instantiate").items()
    ]
    note = "a second; 64 KiB image, 8 pages touched a call; bars: medians, whiskers: least and most"
    return bars("Fresh instances, called once each", note, record.where, rows) if rows else None


def layers(record, alone):
    """What a message costs, layer by layer: alone in its call, or among others."""
    rows = []
    for case, rounds in record.rows("engine÷raw").items():
        layer = case.rsplit(": ", 1)[1]
        if layer in ("raw", "engine") and (", 1 a call" in case) == alone:
            rows.append((case, 0 if layer == "raw" else 1, rounds))
    for case, rounds in record.rows("nats echo").items():
        if case.endswith(": CPU") and not alone and not case.startswith("raw loop"):
            rows.append(("NATS: " + case.removesuffix(": CPU"), 2 if case.startswith("ours") else 3, rounds))
    title = "A message alone in its call, layer by layer" if alone else "A message among others, layer by layer"
    note = "nanoseconds of a core a message; bars: medians, whiskers: least and most"
    return bars(title, note, record.where, rows) if rows else None


def scaling(record):
    """Rate by shards, beside what as many times one shard would be."""
    rows = record.rows("scaling")
    if not rows:
        return None
    middles = [spread(rounds)[1] for rounds in rows.values()]
    counts = [int(case.split(" ")[0]) for case in rows]
    ideal = [middles[0] * count / counts[0] for count in counts]
    note = "messages a second, a fresh instance each, in process; dashed: as many times one shard"
    return curves("Shards", note, record.where, list(rows), [("measured", middles)], ideal)


def latency(record):
    """Latency by load: in process, and on NATS beside a native service."""
    inside, outside = record.rows("latency"), record.rows("nats latency")
    ticks = ["idle", "at 10 %", "at 50 %", "at 80 %"]
    series = []
    for label, rows, begin in [
        ("in process", inside, "in process"),
        ("NATS, ours", outside, "ours"),
        ("NATS, native", outside, "native"),
    ]:
        for quantile in ["p50", "p99.9"]:
            found = [rows.get(f"{begin} {tick}: {quantile}") for tick in ticks]
            if any(found):
                values = [spread(rounds)[1] if rounds else None for rounds in found]
                series.append((f"{label}, {quantile}", values))
    note = "µs, open loop, from the intended time; loads are parts of the capacity, on NATS of the slower side's"
    return curves("Latency", note, record.where, ticks, series, log=True) if series else None


PLOTS = {
    "instantiate": instantiate,
    "layers-alone": lambda record: layers(record, alone=True),
    "layers-batch": lambda record: layers(record, alone=False),
    "scaling": scaling,
    "latency": latency,
}


def main(arguments):
    if not 1 <= len(arguments) <= 2:
        sys.exit(__doc__)
    folder = Path(arguments[0])
    out = Path(arguments[1]) if len(arguments) == 2 else folder
    if not (folder / "record.json").is_file():
        sys.exit(f"{folder} has no record.json: make one with `cargo bench -p millpond-bench -- --record`")
    record = Record(folder)
    for name, plot in PLOTS.items():
        svg = plot(record)
        if svg is None:
            print(f"{name}: the record has no rows for it")
            continue
        (out / f"{name}.svg").write_text(svg, encoding="utf-8")
        print(f"{out / name}.svg")


if __name__ == "__main__":
    main(sys.argv[1:])
