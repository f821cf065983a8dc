"""The part of the benchmark that needs a browser: what a reader in front of the page waits for.

The browser runs on this machine too, so that its work is in the figures.
"""

import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import get_args
from urllib.parse import urlencode

from playwright.sync_api import Page, expect, sync_playwright
from served import served

from gpt2lab import Decoding, generate
from gpt2lab.inspection import Group
from gpt2lab.inspections import INSPECTIONS
from gpt2lab.models import Gpt2
from gpt2lab.ui.page import build_page

PATIENCE = 600_000  # milliseconds
CALM = 2000  # milliseconds, so that what follows one thing is not measured with the next
RUNS = 12


@contextmanager
def visitor(gpt2: Gpt2, query: dict[str, object]) -> Iterator[Page | None]:
    """A browser at the page of a model; None where there is no browser."""
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chrome")
    if not chromium:
        print("  (Chromium is not installed, so the page is not measured)")
        yield None
        return
    with served(build_page(gpt2)) as url, sync_playwright() as driver:
        flags = ["--no-sandbox", "--disable-gpu"]
        browser = driver.chromium.launch(executable_path=chromium, args=flags)
        page = browser.new_page()
        page.goto(f"{url}?{urlencode(query)}")
        yield page
        browser.close()


def through_the_page(
    gpt2: Gpt2, prompt: list[int], decoding: Decoding
) -> list[tuple[float, float]]:
    """Seconds of a generation that a browser draws, and of the same one without, in turn.

    In turn, because a machine's speed changes over minutes by more than what is measured. Empty
    without a browser.
    """
    settings = {"seed": decoding.seed, **decoding.generate_arguments()}
    settings.pop("do_sample")
    pairs = []
    with visitor(gpt2, {"text": gpt2.tokenizer.decode(prompt), **settings}) as page:
        if page is None:
            return []
        status = page.locator("#status")
        for button in ["#generate", *["#retry"] * RUNS]:
            page.wait_for_timeout(CALM)
            page.locator(button).click()
            expect(status).not_to_contain_text("ended because")
            expect(status).to_contain_text("ended because", timeout=PATIENCE)
            rate = float(re.findall(r"([\d.]+) per second", status.text_content() or "")[0])
            page.wait_for_timeout(CALM)
            began = time.perf_counter()
            count = len(list(generate(gpt2, prompt, decoding)))
            pairs.append((count / rate, time.perf_counter() - began))
    return pairs[1:]


# From a click, or from values that a picture asks for, to the map that is drawn.
UNTIL_DRAWN = """async ([click, values, heading]) => {
    const began = performance.now();
    if (click) document.querySelector(click).click();
    if (values) window.gpt2lab.choose(values);
    const shown = () => document.querySelector("#picture-attention .heading")?.textContent || "";
    while (!shown().startsWith(heading)) await new Promise(requestAnimationFrame);
    return (performance.now() - began) / 1000;
}"""


@dataclass(frozen=True)
class Maps:
    """Seconds until a map of attention is drawn, and the memory that the first layer took.

    first: of a text whose trace is there. head: another head of a layer that is there.
    layer: another layer. megabytes: the most that the server needed, beyond what it had.
    """

    first: float
    head: float
    layer: float
    megabytes: float


def maps_in_the_page(gpt2: Gpt2, ids: list[int]) -> Maps | None:
    """How long the attention of a text takes in a browser; None without one."""
    with visitor(gpt2, {"text": gpt2.tokenizer.decode(ids), "tab": "logit_lens"}) as page:
        if page is None:
            return None
        page.locator("#tab-logit_lens .picture img").wait_for(timeout=PATIENCE)
        page.wait_for_timeout(CALM)
        before = peak_memory(reset=True)
        first = page.evaluate(UNTIL_DRAWN, ["#group-heads-button", None, "layer 0, head 0"])
        loaded = page.locator("#picture-attention .loaded")
        expect(loaded).to_have_count(gpt2.n_head, timeout=PATIENCE)
        megabytes = peak_memory() - before
        heads, layers = [], []
        for head in (1, 2, 3):
            button = f"#picture-attention button.loaded[data-action='{head}']"
            heads.append(page.evaluate(UNTIL_DRAWN, [button, None, f"layer 0, head {head}"]))
            page.wait_for_timeout(CALM)
        for layer in (1, 2, 3):
            asked = {"tab": "attention", "layer": layer, "head": 0}
            layers.append(page.evaluate(UNTIL_DRAWN, [None, asked, f"layer {layer}, head 0"]))
            page.wait_for_timeout(2 * CALM)
    return Maps(first, median(heads), median(layers), megabytes)


# From a click on a tab to the picture in it that is drawn.
UNTIL_SHOWN = """async ([button, panel]) => {
    const began = performance.now();
    document.querySelector(button).click();
    const drawn = () => {
        const tab = document.querySelector(panel);
        if (!tab?.checkVisibility()) return false;
        const image = tab.querySelector(".picture img");
        const stage = tab.querySelector(".interactive .stage");
        return image ? image.complete && image.naturalWidth > 0 : stage?.childElementCount > 0;
    };
    const waits = () => !drawn() && performance.now() - began < 60000;
    while (waits()) await new Promise((go) => setTimeout(go, 20));
    return (performance.now() - began) / 1000;
}"""


def tabs_in_the_page(gpt2: Gpt2, ids: list[int]) -> dict[str, float]:
    """Seconds from the click on each tab to its picture, of a text whose trace is there.

    The first time that it is opened: so what the browser needs for a new tab is in it.
    """
    times: dict[str, float] = {}
    with visitor(gpt2, {"text": gpt2.tokenizer.decode(ids), "tab": "parameters"}) as page:
        if page is None:
            return {}
        page.locator("#tab-parameters .picture img").wait_for(timeout=PATIENCE)
        for group in get_args(Group):
            names = [one.name for one in INSPECTIONS if one.group == group]
            for name in names:
                page.wait_for_timeout(CALM)
                if name == "parameters":
                    page.locator("#group-weights-button").click()
                    continue
                # With its group comes the first tab of it.
                opens = f"group-{group.lower()}" if name == names[0] else f"tab-{name}"
                asked = [f"#{opens}-button", f"#tab-{name}"]
                times[name] = page.evaluate(UNTIL_SHOWN, asked)
    return times


def peak_memory(reset: bool = False) -> float:
    """The most memory that this process has had since the last reset, in MB; Linux knows it."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    status = Path("/proc/self/status").read_text()
    return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) / 1000
