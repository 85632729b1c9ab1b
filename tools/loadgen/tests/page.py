#!/usr/bin/env python3
"""Opens loadgen's pages in headless Chromium and looks at them: tools/loadgen/tests/page.py LOADGEN [--shots FOLDER]

LOADGEN is the program; it makes a page of each kind. On a phone (390 px) and a desktop (1280 px), light and dark, a page must be no
wider than the screen, say nothing on the console, ask for nothing from elsewhere, and have its charts, whose texts are in them and
do not lie on each other; and it must print. The first fault ends the program with 1; so does a machine without Chromium.

--shots keeps what is seen, to be looked at. Python's own library and `chromium` (or `chromium-browser`, `google-chrome`) are all that
it needs; Chromium is spoken to in the DevTools protocol, over two pipes.
"""

import argparse
import base64
import json
import os
import pathlib
import select
import shutil
import subprocess
import sys
import tempfile

# Longest wait for an answer of Chromium, in seconds: it is a fault of the machine, not of the page.
PATIENCE_S = 120
SCREENS = {"phone": (390, 844), "desktop": (1280, 900)}
# Paper: A4 between its margins, of which a page has 12 mm.
PAPER = (703, 1032)
SHORT = "--duration 1s --warmup 0s --settle 30s"
# The kinds of pages: how many charts each has at least, and the load that makes it.
PAGES = {
    "open": (3, f"publish --sink --rate 20k {SHORT} --slo p50=1s,p99=1ns --header tenant:blue --size lognormal:512,1,64KiB"),
    "closed": (3, f"publish --sink {SHORT}"),
    "sweep": (4, f"publish --sink --sweep 1k..1M*4 {SHORT} --slo p99=1s --title {'a-title-without-a-space-' * 8}"),
    "search": (4, f"publish --sink --find-max --slo p99=1s --rate 1M --rate-max 8M {SHORT}"),
}
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


class Chromium:
    """One headless Chromium with one tab."""

    def __init__(self, profile):
        names = ("chromium", "chromium-browser", "google-chrome")
        program = next(filter(None, map(shutil.which, names)), None)
        if program is None:
            sys.exit(f"error: none of {', '.join(names)} is in PATH; install it, such as by `apt-get install chromium`")
        (its_in, our_out), (our_in, its_out) = os.pipe(), os.pipe()
        command = [program, "--headless", "--remote-debugging-pipe", "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={profile}"]
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
        check(what, seen["charts"] >= charts, f"it has {seen['charts']} charts of {charts}")
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
        try:
            for name, (charts, load) in PAGES.items():
                page = pathlib.Path(folder) / f"{name}.html"
                ran = subprocess.run([arguments.loadgen, *load.split(), "--html", page], capture_output=True, text=True)
                # 13: an objective that is missed is shown too.
                check(name, ran.returncode in (0, 13), ran.stderr)
                look(chromium, name, page, charts, arguments.shots)
        finally:
            chromium.end()


if __name__ == "__main__":
    main()
