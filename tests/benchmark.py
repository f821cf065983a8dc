"""How long things take, as ratios to plain transformers.

    PYTHONPATH=. python tests/benchmark.py [--quick]

Times depend on the machine, ratios hardly do. Everything runs on two models: pocket, and a random
one of the shape of OpenAI's GPT-2 small (124 M parameters), which --quick leaves out.
"""

import argparse
import io
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from statistics import median as median_of

import torch
from app_process import free_port
from benchmark_page import maps_in_the_page, tabs_in_the_page, through_the_page
from torch.utils.benchmark import Timer
from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel, set_seed

from gpt2lab import Decoding, attention, generate, load_model, next_token, trace_ids
from gpt2lab.attention_figure import draw_attention
from gpt2lab.inspections.attention import INSPECTION as ATTENTION
from gpt2lab.models import Gpt2
from gpt2lab.ui.interactive import drawing_value
from gpt2lab.ui.traces import Traces

ROOT = Path(__file__).parent.parent
POCKET = ROOT / "gpt2lab" / "pocket"
SECONDS = 4.0  # at least so long is each thing repeated


def median(work: Callable[[], object]) -> float:
    """Median seconds of a call, after a first one that does not count."""
    work()
    return Timer("work()", globals={"work": work}).blocked_autorange(min_run_time=SECONDS).median


def report(what: str, seconds: float, plain: float | None = None) -> None:
    ratio = f"{seconds / plain:6.2f} x plain" if plain else ""
    print(f"  {what:<58}{1000 * seconds:10.1f} ms {ratio}", flush=True)


def start_to_first_answer() -> float:
    """Seconds from `python app.py --model pocket` to the first HTTP answer."""
    port = str(free_port())
    began = time.perf_counter()
    command = [sys.executable, "app.py", "--model", "pocket", "--port", port]
    app = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    try:
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=1).read()
                return time.perf_counter() - began
            except OSError:
                time.sleep(0.05)
    finally:
        app.kill()
        app.wait()


def small_shape(folder: str) -> Gpt2:
    """A random model of GPT-2 small's shape."""
    GPT2LMHeadModel(GPT2Config()).save_pretrained(folder)
    AutoTokenizer.from_pretrained(POCKET).save_pretrained(folder)
    return load_model(folder, device="cpu")


def measure(gpt2: Gpt2) -> None:
    model = gpt2.model
    print(f"{gpt2.name}: {gpt2.parameters / 1e6:.0f} M parameters, {gpt2.n_positions} positions")
    prompt = gpt2.tokenizer("Once upon a time there was a little girl").input_ids
    ids = torch.tensor([prompt])
    decoding = Decoding(max_new_tokens=100, min_new_tokens=100, temperature=0.9, top_p=0.95)

    def plain_generate() -> None:
        set_seed(decoding.seed)
        mask = torch.ones_like(ids)
        model.generate(ids, attention_mask=mask, **decoding.generate_arguments())

    plain = median(plain_generate)
    ours = median(lambda: list(generate(gpt2, prompt, decoding)))
    report("100 tokens, with every number of every step", ours, plain)
    print(f"  {'tokens per second':<58}{100 / ours:10.0f}")
    simple = Decoding(max_new_tokens=100)
    count = len(list(generate(gpt2, prompt, simple)))
    rate = count / median(lambda: list(generate(gpt2, prompt, simple)))
    print(f"  {'tokens per second, with the default settings':<58}{rate:10.0f}")

    pairs = through_the_page(gpt2, prompt, decoding)
    if pairs:
        report("  streamed through the page", median_of(page for page, _ in pairs), plain)
        cost = median_of(page / direct - 1 for page, direct in pairs)
        print(f"  {'  more than iterating the generator, run by run':<58}{100 * cost:10.1f} %")

    full = (prompt * gpt2.n_positions)[: gpt2.n_positions]
    full_ids = torch.tensor([full])
    with torch.no_grad():
        forward = median(lambda: model(full_ids, logits_to_keep=1))
    report(f"trace of {len(full):,} tokens", median(lambda: trace_ids(gpt2, full)), forward)
    trace = trace_ids(gpt2, full)
    report("  then the attention of one layer and head", median(lambda: attention(trace, 1, 0)))
    drawn = attention(trace, 1, 0)
    saved = median(lambda: draw_attention(drawn).savefig(io.BytesIO(), format="webp"))
    report("  then its figure", saved)
    report("  then all stages of the next token", median(lambda: next_token(trace, -1)))
    print(f"  {'  memory of the trace':<58}{trace.bytes / 1e6:10.1f} MB")
    sent = median(lambda: drawing_value(ATTENTION, attention(trace, 2, 0)))
    report("  the server's part of another layer's map", sent)
    maps = maps_in_the_page(gpt2, full)
    if maps:
        report("  in the page: from the click to the first map", maps.first)
        report("  in the page: another head of the layer", maps.head)
        report("  in the page: another layer", maps.layer)
        print(f"  {'  memory beyond what was there':<58}{maps.megabytes:10.1f} MB")

    # Some leave room for what they write or append.
    for name, seconds in tabs_in_the_page(gpt2, full[:-24]).items():
        report(f"  in the page: from the click to {name}", seconds)

    traces = Traces()
    traces.trace(gpt2, full[:-1])
    report("  then one token more", median(lambda: trace.prefix(len(full) - 1).extended(full[-1:])))
    report("  then the same text again", median(lambda: traces.trace(gpt2, full[:-1])))


def main() -> None:
    """Print one line a figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="pocket only")
    quick = parser.parse_args().quick
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}")
    report("from the command to the first HTTP answer", start_to_first_answer())
    report("loading pocket", median(lambda: load_pocket()))
    measure(load_model("pocket", device="cpu"))
    if not quick:
        with tempfile.TemporaryDirectory() as folder:
            measure(small_shape(folder))


def load_pocket() -> None:
    """What `load_model` does the first time, without its memory of it."""
    from gpt2lab.models import _load

    _load("pocket", "cpu", "float32")


if __name__ == "__main__":
    main()
