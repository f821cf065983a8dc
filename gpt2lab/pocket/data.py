"""From raw text to token ids: the data that pocket is trained and judged on.

A language model learns what it is shown, warts included, so the text is cleaned first:

1. *One way to write a thing.* Curly quotes become straight, runs of blanks one blank, HTML
   entities characters, so that the model need not learn each word beside each kind of quote.
2. *No holes.* The encyclopedia and the news lost their templates and links when they were made
   into plain text: "the of the People's Republic", "(, )". A paragraph with such a hole is
   dropped; in the news, where one hole seldom comes alone, the whole article.
3. *Prose only.* Headings, lists, tables and markup remnants are dropped, and so is a paragraph
   that was seen before.
4. *Words that a small model can learn.* An encyclopedia is full of names that come once. From
   them a small model learns only that names are strange, and it then makes up strange ones letter
   by letter. So a paragraph of the encyclopedia or the news stays only if every word of it comes
   in at least ten documents.

Then each source is cut into documents (an article, a story, about forty paragraphs of a book),
one document in a hundred is held out and never trained on, and the rest becomes one long row of
token ids, with ``<|endoftext|>`` before every document: from that token the model learns how a
text begins.

At the end of the file, ``Batches`` says which of these tokens a training step reads.
"""

import html
import lzma
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import ByteLevelBPETokenizer
from torch import Tensor

from gpt2lab.pocket import FOLDER

VOCABULARY = 50257
END_OF_TEXT = 50256
HELD_OUT_EVERY = 100
EXERCISE_WEIGHT = 2.0
COMMON = 10
"""Documents in which a word must come to count as common."""
COMMON_WORDS_ONLY = ("wikipedia", "wikinews")
SHORTEST_DOCUMENT = 200  # characters
BOOK_BLOCK = 40
"""Paragraphs of a book that make one document (a short chapter)."""

SOURCES: dict[str, tuple[str, ...]] = {
    "books": ("childrens-books.txt.xz",),
    "stories": ("storybook.txt.xz", "tinystories-1000.txt.xz"),
    "wikipedia": ("wikipedia.txt.xz",),
    "wikinews": ("wikinews.txt.xz",),
}

Ids = NDArray[np.uint16]

HOLE = re.compile(
    r"\(\s*[,;)]|[,;(]\s*\)|\s[,;.:!?)](?:\s|$)|,\s*,|\"\s*\"|^[,.;)]|\(\s"
    r"|\b(?:a|an|the|of|in|at|by|to|for|from|and|with|on|as|his|her|their|its)[,.;:)]"
    r"|\b(?:the|a|an|of) (?:of|in|to|and|is|was|were|are|has|had|have|by|for|from|with|on|at)\b"
    r"|\b(?:of|in|by|from|with|for|to) (?:of|and|is|was|by|from|or|has|had)\b"
)
MARKUP = re.compile(r"[{}|<>\[\]\\^~=#*•_]|https?:|www\.|&\w+;")
WORD = re.compile(r"[A-Za-z]+")
OPEN, CLOSE = "\u2018", "\u2019"  # curly single quotes; the second is also the apostrophe
STRAIGHT = str.maketrans(
    {OPEN: "'", CLOSE: "'", "\u201c": '"', "\u201d": '"', "\u2013": "-", "\u2014": "--"}
)
SPEECH_OPENS = re.compile(rf"(?<![^\s(\u2014-]){OPEN}")
SPEECH_CLOSES = re.compile(rf"(?<=[.,!?;:\u2014-]){CLOSE}(?=[\s)\u2014-]|$)")


def clean_paragraph(text: str) -> str:
    r"""Straight quotes, single blanks, no emphasis marks.

    >>> clean_paragraph("\u2018Oh  dear!\u2019 said _the_ Rabbit. \u2018It\u2019s late . . .\u2019")
    '"Oh dear!" said the Rabbit. "It\'s late ..."'
    """
    text = html.unescape(html.unescape(text))
    if OPEN in text and "\u201c" not in text and '"' not in text:  # speech as the British write it
        text = SPEECH_CLOSES.sub('"', SPEECH_OPENS.sub('"', text))
    text = text.translate(STRAIGHT).replace("_", "").replace("* ", "")
    text = text.replace("\u2026", "...").replace(". . .", "...")
    return re.sub(r"\s+", " ", text).strip()


def is_prose(paragraph: str, shortest: int) -> bool:
    """A whole sentence or more, without markup, in (nearly) Latin script."""
    return (
        len(paragraph) >= shortest
        and paragraph[-1] in ".!?\"')"
        and not MARKUP.search(paragraph)
        and sum(not c.isascii() for c in paragraph) <= 0.02 * len(paragraph)
        and sum(c.isdigit() for c in paragraph) <= 0.12 * len(paragraph)
    )


def raw_documents(path: Path) -> Iterator[list[str]]:
    """The documents of one corpus file, each a list of raw lines."""
    with lzma.open(path, "rt", encoding="utf-8") as file:
        text = file.read()
    for document in text.split("<|endoftext|>"):
        lines = [line.strip() for line in document.split("\n") if line.strip()]
        if lines:
            yield lines


def documents(source: str, corpus: Path) -> Iterator[str]:
    """The clean documents of one source, paragraphs separated by one newline."""
    seen: set[str] = set()
    for name in SOURCES[source]:
        for lines in raw_documents(corpus / name):
            paragraphs = [clean_paragraph(line) for line in lines]
            if source == "stories":
                yield "\n".join(paragraphs)
                continue
            if source == "wikinews" and any(HOLE.search(p) for p in paragraphs):
                continue
            kept = []
            for paragraph in paragraphs:
                fresh = paragraph not in seen
                shortest = 2 if source == "books" else 80
                hole = source != "books" and HOLE.search(paragraph)
                if is_prose(paragraph, shortest) and not hole and (fresh or len(paragraph) < 80):
                    kept.append(paragraph)
                seen.add(paragraph)
            size = BOOK_BLOCK if source == "books" else max(1, len(kept))
            for start in range(0, len(kept), size):
                document = "\n".join(kept[start : start + size])
                if len(document) >= SHORTEST_DOCUMENT:
                    yield document


def words(text: str) -> set[str]:
    """The different words of a text, in small letters."""
    return {word.lower() for word in WORD.findall(text)}


def with_common_words(texts: list[str], common: set[str]) -> list[str]:
    """The paragraphs of each document that use no other words than ``common`` ones."""
    kept = ("\n".join(p for p in text.split("\n") if words(p) <= common) for text in texts)
    return [text for text in kept if len(text) >= SHORTEST_DOCUMENT]


def prepare(corpus: Path, work: Path) -> None:
    """Tokenise every source once: ``work/<source>.train.npy`` and ``work/<source>.held.npy``."""
    work.mkdir(parents=True, exist_ok=True)
    if all((work / f"{source}.held.npy").exists() for source in SOURCES):
        return
    tokenizer = ByteLevelBPETokenizer(str(FOLDER / "vocab.json"), str(FOLDER / "merges.txt"))
    everything = {source: list(documents(source, corpus)) for source in SOURCES}
    counts = Counter(
        word for texts in everything.values() for text in texts for word in words(text)
    )
    common = {word for word, count in counts.items() if count >= COMMON}
    for source, texts in everything.items():
        if source in COMMON_WORDS_ONLY:
            texts = with_common_words(texts, common)
        parts: dict[str, list[Ids]] = {"train": [], "held": []}
        for start in range(0, len(texts), 1000):
            for offset, encoding in enumerate(tokenizer.encode_batch(texts[start : start + 1000])):
                held = (start + offset) % HELD_OUT_EVERY == HELD_OUT_EVERY // 2
                ids = np.array([END_OF_TEXT, *encoding.ids], dtype=np.uint16)
                parts["held" if held else "train"].append(ids)
        for part in ("train", "held"):
            np.save(work / f"{source}.{part}.npy", np.concatenate(parts[part]))
        sizes = {part: sum(map(len, rows)) for part, rows in parts.items()}
        print(f"{source}: {len(texts)} documents, tokens {sizes}", flush=True)


def load(work: Path, part: str) -> dict[str, Ids]:
    """The token ids of every source; ``part`` is "train" or "held"."""
    return {source: np.load(work / f"{source}.{part}.npy") for source in SOURCES}


def frequencies(sources: dict[str, Ids], mix: dict[str, int]) -> NDArray[np.float64]:
    """How often each id comes in the mix (VOCABULARY,); the sum is 1."""
    counts = [
        share * np.bincount(sources[name], minlength=VOCABULARY) / len(sources[name])
        for name, share in mix.items()
    ]
    return np.asarray(np.sum(counts, axis=0) / sum(mix.values()))


class Batches:
    """Which tokens step number n trains on: a function of n and the seed, so nothing to save.

    Inside training a token's number is its *rank* by frequency: the frequent ones are then simply
    the first rows of the embedding. ``order[rank]`` is GPT-2's own id.
    """

    def __init__(
        self, sources: dict[str, Ids], mix: dict[str, int], length: int, frequent: int, seed: int
    ) -> None:
        self.mix, self.length, self.frequent, self.seed = mix, length, frequent, seed
        share = frequencies(sources, mix)
        self.order = np.argsort(-share, kind="stable")
        rank = np.empty(VOCABULARY, dtype=np.uint16)
        rank[self.order] = np.arange(VOCABULARY)
        self.sources = {name: rank[ids] for name, ids in sources.items()}
        smoothed = share[self.order] * 1e7 + 0.3  # as if seen 0.3 times more in 10 M tokens
        self.log_frequency = np.log(smoothed / smoothed.sum())

    def batch(self, step: int, halves: int) -> tuple[Tensor, Tensor]:
        """Tokens (rows, length + 1) and the weight of each target (rows, length).

        With ``halves`` = 2 the rows are half as long and twice as many.
        """
        length = self.length // halves + 1
        windows = []
        for source, share in self.mix.items():
            ids = self.sources[source]
            for number in range(step * share * 2, step * share * 2 + share * halves):
                # Multiples of the golden ratio fall evenly everywhere: nothing is read twice
                # before nearly everything was read once.
                start = int(number * 0.6180339887498949 % 1.0 * (len(ids) - length))
                windows.append(ids[start : start + length].astype(np.int64))
        weights = np.ones((len(windows), length - 1), dtype=np.float32)
        for number in range(step * halves, (step + 1) * halves):  # one row in 16
            row = number % len(windows)
            windows[row], weights[row] = self.exercise(number, length)
        return torch.from_numpy(np.stack(windows)), torch.from_numpy(weights)

    def exercise(self, number: int, length: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Random spans, each twice in a row; only what can be foretold counts.

        Never three times: the model shall look back, not learn to go round in circles.
        """
        rng = np.random.default_rng([self.seed, number])
        pool = VOCABULARY if rng.random() < 0.5 else self.frequent
        tokens: list[int] = []
        foretold: list[float] = []
        while len(tokens) < length:
            span = rng.integers(0, pool, size=rng.integers(8, 40)).tolist()
            tokens += span * 2
            foretold += [0.0] * (len(span) + 1) + [EXERCISE_WEIGHT] * (len(span) - 1)
        return np.array(tokens[:length]), np.array(foretold[1:length], dtype=np.float32)
