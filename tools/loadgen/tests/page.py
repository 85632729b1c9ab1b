#!/usr/bin/env python3
"""Opens loadgen's pages in headless Chromium and looks at them: tools/loadgen/tests/page.py LOADGEN [--shots FOLDER]

LOADGEN is the program; it makes a page of each kind. The points of each curve, read back by the labels of its axis, must be those of the
JSON of the same load, and so must the counts. On a phone (390 px) and a desktop (1280 px), light and dark, a page must be no
wider than the screen, say nothing on the console, ask for nothing from elsewhere, and have its charts, whose texts are in them and
do not lie on each other; and it must print. The first fault ends the program with 1; so does a machine without Chromium.

--shots keeps what is seen, to be looked at. Python's own library and `chromium` (or `chromium-browser`, `google-chrome`) are all that
it needs; Chromium is spoken to in the DevTools protocol, over two pipes.
"""

import argparse
import base64
import json
import math
import os
import pathlib
import re
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import xml.etree.ElementTree

# Longest wait for an answer of Chromium, in seconds: it is a fault of the machine, not of the page.
PATIENCE_S = 120
SCREENS = {"phone": (390, 844), "desktop": (1280, 900)}
# Paper: A4 between its margins, of which a page has 12 mm.
PAPER = (703, 1032)
SHORT = "--duration 600ms --warmup 0s --settle 30s"
STREAM = "stream --subject in --observe out --rate 2000 --arrivals constant --duration 1s --warmup 0s"
# The kinds of pages: how many charts each has, the exit codes that its load may have, and the load. 13: an objective that is missed is
# shown too. A load that names a server has a service of ours in its place.
PAGES = {
    "open": (3, (13,), f"publish --sink --rate 20k {SHORT} --slo p50=1s,p99=1ns --header tenant:blue --size lognormal:512,1,64KiB"),
    "closed": (3, (0,), f"publish --sink {SHORT}"),
    "sweep": (4, (0, 13), f"publish --sink --sweep 1k..256k*4 {SHORT} --slo p99=1s --title {'a-title-without-a-space-' * 8}"),
    "search": (4, (0, 13), f"publish --sink --find-max --slo p99=1s --rate 50k --rate-max 400k --precision 0.3 {SHORT}"),
    "stored": (3, (0, 13), f"{STREAM} --settle 30s --slo p99=1s --server GOOD"),
    "lossy": (3, (6,), f"{STREAM} --settle 2s --server BAD"),
}
# The counts that a page shows first, and where they are in the JSON of a load.
COUNTS = {
    "lost": ("lost",),
    "duplicated": ("duplicated",),
    "reordered": ("reordered",),
    "corrupted": ("corrupted",),
    "refused": ("refused",),
    "not acknowledged": ("acks", "unacked"),
    "acknowledged again": ("acks", "duplicated"),
}
# What the labels of axes end with.
UNITS = {"ns": 1, "µs": 1e3, "ms": 1e6, "s": 1e9, "k": 1e3, "M": 1e6, "": 1}
# How much higher than its tick a label's baseline lies, in units of the drawing; and where the plot ends at the right.
BASELINE, RIGHT = 4.5, 462
# What is asked of a page, on a screen: widths, charts, and texts of charts that lie outside, or on another.
LOOK = """(() => {
  const near = 1, faults = [], root = document.documentElement;
  for (const part of document.querySelectorAll('.scroll'))
    if (innerWidth > 600 && part.scrollWidth > part.clientWidth) faults.push(`a table of ${part.scrollWidth} px is cut at ${part.clientWidth}`);
  const charts = [...document.querySelectorAll('svg')];
  for (const chart of charts) {
    const name = chart.getAttribute('aria-label') || chart.querySelector('title')?.textContent;
    const frame = chart.getBoundingClientRect();
    if (frame.width < 100 || frame.height < 100) faults.push(`${name}: it has no size`);
    if (!chart.querySelector('path, polyline')) faults.push(`${name}: it has no line`);
    const texts = [...chart.querySelectorAll('text')].map(text => [text.textContent, text.getBoundingClientRect()]);
    texts.forEach(([text, a], index) => {
      if (a.left < frame.left - near || a.right > frame.right + near || a.top < frame.top - near || a.bottom > frame.bottom + near)
        faults.push(`${name}: "${text}" is cut`);
      for (const [other, b] of texts.slice(index + 1))
        if (Math.min(a.right, b.right) - Math.max(a.left, b.left) > -2 * near && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 4 * near)
          faults.push(`${name}: "${text}" and "${other}" lie on each other`);
    });
  }
  return {inner: innerWidth, scroll: root.scrollWidth, height: root.scrollHeight, charts: charts.length, faults};
})()"""


class Service:
    """A server with a stream: it passes on what it stores, and acknowledges it; of a hundred messages, a bad one does seven badly."""

    def __init__(self, is_bad):
        self.is_bad = is_bad
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"nats://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        """Serves one client after another."""
        while True:
            client, _ = self.listener.accept()
            with client, client.makefile("rwb") as stream:
                try:
                    self.talk(stream)
                except OSError:
                    # It has gone.
                    pass

    def talk(self, stream):
        """Serves one client until it goes."""
        stream.write(b'INFO {"server_id":"S","version":"2.15.1","proto":1,"max_payload":1048576,"headers":true}\r\n')
        stream.flush()
        heard, number, behind = {}, 0, b""
        for line in stream:
            words = line.split()
            if words[0] == b"SUB":
                heard[words[1].split(b".")[0]] = words[2]
            elif words[0] == b"PING":
                stream.write(b"PONG\r\n")
            elif words[0] == b"PUB":
                reply, payload = words[2], stream.read(int(words[3]) + 2)
                does = number % 100 if self.is_bad else 0
                number += 1
                damaged = payload[:-3] + b"~" + payload[-2:] if does == 40 else payload
                passed = b"MSG out %s %d\r\n%s" % (heard[b"out"], len(payload) - 2, damaged)
                said = b'{"error":{"code":503,"description":"full"}}' if does == 50 else b'{"stream":"IN","seq":%d}' % number
                ack = b"MSG %s %s %d\r\n%s\r\n" % (reply, heard[b"_INBOX"], len(said), said)
                # Lost, passed twice, held back behind the next one, refused; and not acknowledged, or twice.
                if does == 30:
                    behind = passed
                elif does not in (10, 50):
                    stream.write(passed * (2 if does == 20 else 1) + behind)
                    behind = b""
                if does not in (10, 60):
                    stream.write(ack * (2 if does == 70 else 1))
            stream.flush()


class Chromium:
    """One headless Chromium with one tab."""

    def __init__(self, profile):
        names = ("chromium", "chromium-browser", "google-chrome")
        program = next(filter(None, map(shutil.which, names)), None)
        if program is None:
            sys.exit(f"error: none of {', '.join(names)} is in PATH; install it, such as by `apt-get install chromium`")
        (its_in, our_out), (our_in, its_out) = os.pipe(), os.pipe()
        command = [program, "--headless", "--remote-debugging-pipe", "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={profile}"]
        # It is to ask nobody for anything by itself.
        quiet = ("disable-quic", "no-first-run", "disable-background-networking", "disable-component-update", "disable-sync")
        command += [f"--{flag}" for flag in quiet]
        if os.geteuid() == 0:
            # Its sandbox refuses to run for root.
            command.append("--no-sandbox")
        # It reads from 3 and writes to 4.
        shell = ["sh", "-c", f'exec "$@" 3<&{its_in} 4>&{its_out}', "sh", *command]
        self.process = subprocess.Popen(shell, pass_fds=(its_in, its_out), stderr=subprocess.DEVNULL)
        os.close(its_in)
        os.close(its_out)
        self.out, self.into = os.fdopen(our_in, "rb", buffering=0), os.fdopen(our_out, "wb", buffering=0)
        self.rest, self.last, self.session, self.events = b"", 0, None, []
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")

    def message(self):
        """The next message: an answer or an event."""
        while b"\0" not in self.rest:
            if not select.select([self.out], [], [], PATIENCE_S)[0]:
                sys.exit(f"error: Chromium says nothing for {PATIENCE_S} s")
            part = self.out.read(1 << 16)
            if not part:
                sys.exit("error: Chromium has ended")
            self.rest += part
        one, self.rest = self.rest.split(b"\0", 1)
        return json.loads(one)

    def ask(self, method, **params):
        """Asks for one thing; its answer. Events that come before it are kept."""
        self.last += 1
        message = {"id": self.last, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        self.into.write(json.dumps(message).encode() + b"\0")
        while (answer := self.message()).get("id") != self.last:
            self.events.append(answer)
        if "error" in answer:
            sys.exit(f"error: {method}: {answer['error']}")
        return answer["result"]

    def open(self, url):
        """Opens a page, and waits until it is loaded; what it said and what it asked for meanwhile."""
        self.events.clear()
        self.ask("Page.navigate", url=url)
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self.message())
        asked = [event["params"]["request"]["url"] for event in self.events if event.get("method") == "Network.requestWillBeSent"]
        said = [event for event in self.events if event.get("method") in ("Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown")]
        return asked, said

    def end(self):
        """Ends it."""
        self.process.terminate()
        self.process.wait(PATIENCE_S)


def check(what, good, told):
    """Ends the program unless this is so."""
    if not good:
        sys.exit(f"error: {what}: {told}")


def number(label):
    """The number that a label of an axis is, in nanoseconds or messages a second."""
    digits, unit = re.fullmatch(r"([0-9.]+) ?(\D*)", label).groups()
    return float(digits) * UNITS[unit]


def drawn(page):
    """The charts of a page by name: by colour, the points of its lines, each with its place at the right and its value on the axis at the left."""
    charts = {}
    for text in re.findall(r"<svg .*?</svg>", page, re.DOTALL):
        chart = xml.etree.ElementTree.fromstring(text)
        name, ticks, lines = chart.get("aria-label"), [], {}
        for label in chart.findall("text"):
            if label.get("text-anchor") == "end" and float(label.get("x")) < 100:
                ticks.append((float(label.get("y")) - BASELINE, number(label.text)))
        is_log = name.startswith("Latency")
        to, back = (math.log, math.exp) if is_log else (lambda value: value, lambda value: value)
        (y_0, first), (y_1, last) = ticks[0], ticks[-1]
        slope = (to(last) - to(first)) / (y_1 - y_0)
        for line in chart:
            kind, *colour = (line.get("class") or "none").split()
            if kind == "line":
                points = [point.split(",") for point in line.get("points").split()]
            elif kind == "dot":
                points = [(line.get("cx"), line.get("cy"))]
            else:
                continue
            points = [(float(x), back(to(first) + (float(y) - y_0) * slope)) for x, y in points]
            lines.setdefault(colour[0], []).extend(points)
        charts[name] = lines
    return charts


def compare(what, points, values):
    """Checks that a curve has these values, as far as a drawing can tell."""
    check(what, len(points) == len(values), f"it has {len(points)} points of {len(values)}")
    most = max(values, default=1)
    for (_, found), value in zip(points, values):
        # A tenth of a unit of the drawing is 1 % where it has many powers of ten.
        check(what, math.isclose(found, value, rel_tol=0.02, abs_tol=most / 500), f"{found:,.0f} is drawn where {value:,.0f} was found")
    places = [x for x, _ in points]
    check(what, places == sorted(places), "it goes back")


def read(name, page, report):
    """Compares the curves and counts of a page with the JSON of the same load."""
    charts, loads = drawn(page), report["loads"]
    best = [load for load in loads if load["offered_rate"] == report["best_rate"] and load["met"]]
    load = best[0] if report["best_rate"] else loads[-1]
    curve = charts["Latency by percentile"]
    for colour, latency in (("c1", load["latency"]), ("c4", load["ack_latency"])):
        values = [max(ns, latency["min_ns"]) for _, ns in latency["curve_ns"]] if latency else []
        compare(f"{name}, percentiles {colour}", curve.get(colour, []), values)
        if values:
            # The last percentile is of one message of all, at the very end.
            check(name, abs(curve[colour][-1][0] - RIGHT) < 1 or latency["count"] != load["latency"]["count"], "its last percentile is not at the end")
            compare(f"{name}, the last percentile", curve[colour][-1:], [dict(latency["quantiles_ns"])["max"]])
    over, rates, series = charts["Latency over time"], charts["Throughput over time"], load["series"]
    for colour, key in (("c1", "p50_ns"), ("c2", "p99_ns"), ("c3", "max_ns")):
        compare(f"{name}, {key} over time", over[colour], [point[key] for point in series if point[key]])
    for colour, key in (("c4", "sent_rate"), ("c1", "received_rate")):
        compare(f"{name}, {key} over time", rates[colour], [point[key] for point in series])
    if len(loads) > 1:
        # Of a rate that was tried twice, the second try is shown.
        tried = sorted({load["offered_rate"]: load for load in loads}.items())
        for colour, quantile in (("c1", "p50"), ("c2", "p99"), ("c3", "p99.9")):
            values = [dict(load["latency"]["quantiles_ns"])[quantile] for _, load in tried]
            compare(f"{name}, {quantile} by rate", charts["Latency by offered rate"][colour], values)
    facts = {what: (count, bool(bad)) for bad, count, what in re.findall(r'class="fact( bad)?"><b>(.*?)</b><span>(.*?)</span>', page)}
    for what, (key, *inner) in COUNTS.items():
        count = (load[key] or {}).get(inner[0], 0) if inner else load[key]
        shown = facts.get(what, ("0", False))
        check(f"{name}, {what}", shown == (f"{count:,}", count > 0), f"{shown} is shown of {count}")
        # Of a service that does everything badly, everything is told.
        check(f"{name}, {what}", name != "lossy" or count >= 20, f"it is {count}")


def look(chromium, name, page, charts, shots):
    """Looks at one page on each screen, and prints it."""
    looks = [(screen, size, scheme) for screen, size in SCREENS.items() for scheme in ("light", "dark")]
    for screen, (width, height), scheme in [*looks, ("paper", PAPER, "light")]:
        what = f"{name}, {screen}, {scheme}"
        chromium.ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 500)
        media = "print" if screen == "paper" else "screen"
        chromium.ask("Emulation.setEmulatedMedia", media=media, features=[{"name": "prefers-color-scheme", "value": scheme}])
        asked, said = chromium.open(page.as_uri())
        check(what, asked == [page.as_uri()], f"it asks for {asked}")
        check(what, not said, f"it says {said}")
        seen = chromium.ask("Runtime.evaluate", expression=LOOK, returnByValue=True)["result"]["value"]
        check(what, seen["inner"] == width, f"it is laid out for {seen['inner']} px")
        check(what, seen["scroll"] <= seen["inner"], f"it is {seen['scroll']} px wide on {seen['inner']}")
        check(what, seen["charts"] == charts, f"it has {seen['charts']} charts of {charts}")
        check(what, not seen["faults"], "; ".join(seen["faults"]))
        if shots:
            clip = {"x": 0, "y": 0, "width": width, "height": seen["height"], "scale": 1}
            shot = chromium.ask("Page.captureScreenshot", clip=clip, captureBeyondViewport=True)["data"]
            (shots / f"{name}-{screen}-{scheme}.png").write_bytes(base64.b64decode(shot))
        print(f"{what}: {seen['charts']} charts, {seen['scroll']} of {width} px")
    chromium.ask("Emulation.setEmulatedMedia", media="", features=[])
    chromium.ask("Emulation.clearDeviceMetricsOverride")
    pdf = base64.b64decode(chromium.ask("Page.printToPDF", printBackground=False, preferCSSPageSize=True)["data"])
    check(f"{name}, print", pdf.startswith(b"%PDF-") and len(pdf) > 10_000, f"{len(pdf)} bytes")
    if shots:
        (shots / f"{name}.pdf").write_bytes(pdf)
    print(f"{name}, print: {len(pdf):,} bytes of PDF")


def main():
    """Makes the pages and looks at each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("loadgen", type=pathlib.Path)
    parser.add_argument("--shots", type=pathlib.Path, metavar="FOLDER")
    arguments = parser.parse_args()
    if arguments.shots:
        arguments.shots.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        chromium = Chromium(f"{folder}/profile")
        services = {"GOOD": Service(False).url, "BAD": Service(True).url}
        try:
            for name, (charts, codes, load) in PAGES.items():
                page = pathlib.Path(folder) / f"{name}.html"
                load = [services.get(word, word) for word in load.split()]
                ran = subprocess.run([arguments.loadgen, *load, "--json", "--html", page], capture_output=True, text=True)
                check(name, ran.returncode in codes, f"it ends with {ran.returncode}: {ran.stderr}")
                read(name, page.read_text(), json.loads(ran.stdout))
                look(chromium, name, page, charts, arguments.shots)
        finally:
            chromium.end()


if __name__ == "__main__":
    main()
