"""A link opens as what it was made of, and the model then writes the same tokens again."""

import random
from collections.abc import Callable
from dataclasses import replace
from urllib.parse import parse_qsl, quote

import pytest
from documents import SHORT, answered, documents, sent, settings_of
from test_document import check_sound

from gpt2lab import chat
from gpt2lab.decoding import Decoding
from gpt2lab.generation import generate
from gpt2lab.models import Gpt2
from gpt2lab.tokens import decode, encode
from gpt2lab.transcript import Passage, Transcript
from gpt2lab.ui.checked_settings import DEFAULTS, in_effect
from gpt2lab.ui.document import Document
from gpt2lab.ui.limits import model_named
from gpt2lab.ui.links import MAX_LINK, link_query, pending, read_query, written_anew

Named = Callable[[str], Gpt2]


@pytest.fixture
def named(random_gpt2: Gpt2) -> Named:
    return lambda name: model_named(name, random_gpt2)


def opened(document: Document, gpt2: Gpt2, named: Named) -> tuple[Document, bool]:
    query = link_query(document, gpt2)
    assert query is not None
    found, go, sentences = read_query(parse_qsl(query), named)
    assert sentences == ()
    return found, go


def parameters(document: Document, gpt2: Gpt2) -> dict[str, str]:
    query = link_query(document, gpt2)
    assert query is not None
    return dict(parse_qsl(query))


def written_by(document: Document, gpt2: Gpt2) -> list[tuple[int, ...]]:
    """Every sample that the model writes when the link is opened, forced tokens included."""
    transcript, place, writing = pending(document)
    before = transcript.added(Passage("model", place.forced, "", place.parent, place.at)).ids()
    steps = list(generate(gpt2, before[writing.dropped :], writing.decoding))
    return [
        (*place.forced, *(step.id for step in steps if step.sequence == sample))
        for sample in range(writing.decoding.num_return_sequences)
    ]


def test_every_link_opens_as_what_it_was_made_of(random_gpt2: Gpt2, named: Named):
    for name, document in documents(random_gpt2).items():
        found, go = opened(document, random_gpt2, named)
        transcript = document.transcript
        path = transcript.path()
        writing = path[-1].passage.writing if path else None
        assert go == bool(path and written_anew(path[-1].passage)), name
        kept = path[:-1] if go else path
        passages = found.transcript.passages[: len(kept)]
        assert [one.ids for one in passages] == [piece.ids for piece in kept], name
        assert [one.author for one in passages] == [piece.passage.author for piece in kept], name
        for one, piece in zip(passages, kept, strict=True):
            whole = piece.length == len(piece.passage.ids)
            assert one.text == (piece.passage.text if whole else decode(random_gpt2, piece.ids))
        settings = settings_of(writing.decoding) if writing else document.settings
        assert found.settings == settings, name
        same = ("model", "revision", "mode", "template", "prompt", "tab")
        assert all(getattr(found, part) == getattr(document, part) for part in same), name
        if document.focus is None:
            assert found.focus is None, name
        else:
            place, offset = found.focus
            assert (path[place].number, offset) == document.focus, name


def test_what_is_opened_writes_the_same_tokens(random_gpt2: Gpt2, named: Named):
    again = 0
    for name, document in documents(random_gpt2).items():
        found, go = opened(document, random_gpt2, named)
        transcript = document.transcript
        if not go:
            assert found.transcript.ids() == transcript.ids(), name
            continue
        written = written_by(found, random_gpt2)
        sample = pending(found)[2].sample
        assert written[sample] == transcript.passages[transcript.active].ids, name
        first = transcript.active - sample
        originals = transcript.passages[first : first + len(written)]
        assert written == [one.ids for one in originals], name
        again += 1
    assert again > 30


def test_only_what_cannot_be_written_again_travels_as_text(random_gpt2: Gpt2, named: Named):
    ways = {
        name: opened(one, random_gpt2, named)[1] for name, one in documents(random_gpt2).items()
    }
    still = {name for name, go in ways.items() if not go and not name.startswith("typed")}
    assert still == {"nothing", "stopped", "edited", "before the last answer"}


def test_a_simple_link_can_be_read(random_gpt2: Gpt2):
    transcript = sent(random_gpt2, Transcript(), "Once upon a time")
    settings = replace(SHORT, temperature=0.8, stop=("\n",))
    document = Document(
        random_gpt2.name,
        random_gpt2.revision,
        tab="attention",
        focus=(1, 2),
        transcript=answered(random_gpt2, transcript, settings),
    )
    assert link_query(document, random_gpt2) == (
        "model=random&text=Once+upon+a+time&max_new_tokens=5&temperature=0.8&seed=42&stop=%0A"
        "&tab=attention&focus=1.2&go=1"
    )


def test_only_a_hub_models_link_says_the_revision(random_gpt2: Gpt2):
    document = documents(random_gpt2)["more tokens"]
    assert "revision" not in parameters(document, random_gpt2)
    published = replace(random_gpt2, source="hub")
    assert parameters(document, published)["revision"] == random_gpt2.revision


def test_the_seed_is_there_when_it_matters(random_gpt2: Gpt2):
    once = sent(random_gpt2, Transcript(), "Once")
    sampled = Document("random", transcript=answered(random_gpt2, once))
    greedy = Document("random", transcript=answered(random_gpt2, once, Decoding("greedy")))
    assert parameters(sampled, random_gpt2)["seed"] == "42"
    assert "seed" not in parameters(greedy, random_gpt2)


def test_forced_tokens_and_the_sample_are_in_the_link(random_gpt2: Gpt2):
    found = documents(random_gpt2)
    assert parameters(found["branch"], random_gpt2)["forced"] == "257"
    samples = parameters(found["second of three samples"], random_gpt2)
    assert (samples["sample"], samples["num_return_sequences"]) == ("1", "3")
    # It is the third passage of the transcript, but the second on the path.
    assert samples["focus"] == "1.1"
    assert parameters(found["the oldest tokens dropped"], random_gpt2)["dropped"] == "7"


def test_other_branches_stay_at_home(random_gpt2: Gpt2, named: Named):
    document = documents(random_gpt2)["several turns"]
    found, _ = opened(document, random_gpt2, named)
    path = document.transcript.path()
    assert len(document.transcript.passages) == 5
    assert [one.ids for one in found.transcript.passages[:-1]] == [one.ids for one in path[:-1]]
    assert path[1].length == 3


def test_a_focus_beside_the_path_stays_at_home(random_gpt2: Gpt2):
    document = replace(documents(random_gpt2)["branch"], focus=(1, 4))
    assert "focus" not in parameters(document, random_gpt2)


def test_a_null_character_of_the_models_travels_as_ids(random_gpt2: Gpt2, named: Named):
    null = random_gpt2.tokenizer.convert_tokens_to_ids("Ā")
    assert decode(random_gpt2, [null]) == "\0"
    transcript = sent(random_gpt2, Transcript(), "a").continued(Passage("model", (null,), "\0"))
    found, go = opened(Document("random", transcript=transcript), random_gpt2, named)
    assert not go
    assert found.transcript.ids() == transcript.ids()


def test_what_is_too_long_for_a_link_has_none(random_gpt2: Gpt2):
    def query(characters: int) -> str | None:
        return link_query(Document("random", prompt="x" * characters), random_gpt2)

    rest = len(query(0) or "") + len("&text=")
    assert len(query(MAX_LINK - rest) or "") == MAX_LINK
    assert query(MAX_LINK - rest + 1) is None
    long = sent(random_gpt2, Transcript(), "word " * 7000)
    assert link_query(Document("random", transcript=long), random_gpt2) is None


def test_a_link_written_by_hand(random_gpt2: Gpt2, named: Named):
    found, go, sentences = read_query(parse_qsl("text=Hello&strategy=greedy&tab=attention"), named)
    expected = Document(
        random_gpt2.name,
        random_gpt2.revision,
        settings={**DEFAULTS, "strategy": "greedy"},
        prompt="Hello",
        tab="attention",
    )
    assert (found, go, sentences) == (expected, False, ())


def test_a_link_written_by_hand_that_writes_at_once(random_gpt2: Gpt2, named: Named):
    found, go, sentences = read_query(parse_qsl("text=Hello&max_new_tokens=3&go=1"), named)
    assert (go, sentences) == (True, ())
    ids = encode(random_gpt2, "Hello")
    steps = generate(random_gpt2, ids, Decoding(max_new_tokens=3))
    assert written_by(found, random_gpt2) == [tuple(step.id for step in steps)]


def test_a_chat_link_written_by_hand(random_gpt2: Gpt2, named: Named):
    pairs = [("text", "Hello"), ("mode", "chat"), ("go", "1"), ("template", "A: {text}\nB:")]
    found, _, sentences = read_query(pairs, named)
    assert sentences == ()
    asked = found.transcript.passages[0]
    assert asked.text == "Hello"
    assert decode(random_gpt2, asked.ids) == chat.line("A: {text}\nB:", "Hello", "")


def test_the_frameworks_own_parameters_are_passed_over(named: Named):
    own = [("__theme", "dark"), ("__sign", "x" * 1000), ("view", "api"), ("logs", "build")]
    pairs = [*own, ("deep_link", "1"), ("text", "Hi"), ("utm_source", "mail"), ("b", "1")]
    found, _, sentences = read_query(pairs, named)
    assert found.prompt == "Hi"
    assert sentences == ("Not known here and ignored: 'utm_source', 'b'.",)


def test_of_several_values_the_first_is_used(named: Named):
    pairs = [("text", "one"), ("top_k", "5"), ("text", "two"), ("top_k", "6"), ("top_k", "7")]
    found, _, sentences = read_query([*pairs, ("stop", "a"), ("stop", "b")], named)
    assert (found.prompt, found.settings["top_k"], found.settings["stop"]) == ("one", 5, ("a", "b"))
    assert sentences == (
        "text is given more than once; the first one is used.",
        "top_k is given more than once; the first one is used.",
    )


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("model=gpt5", "There is no model called 'gpt5'"),
        ("model=../../etc", "There is no model called"),
        ("revision=abc", "the same tokens are not promised"),
        ("temperature=hot", "temperature is 'hot'"),
        ("temperature=nan", "temperature is nan"),
        ("temperature=inf", "temperature is inf"),
        ("temperature=1e999", "temperature is inf"),
        ("seed=" + "9" * 5000, "seed is inf"),
        ("seed=-1", "seed is -1,"),
        ("top_k=5.5", "top_k is 5.5"),
        ("num_return_sequences=9", "at most 8 are written at once"),
        ("strategy=1", "strategy is '1'"),
        ("stop=" + "a" * 101, "The stop strings have 101 characters"),
        ("text=a%00b", "prompt has a null character"),
        ("text=a%00b&go=1", "text has a null character"),
        ("draft=a%00b", "prompt has a null character"),
        ("mode=loud", "mode is 'loud'"),
        ("mode=chat&template=nothing", "must contain {text} once"),
        ("tab=<script>", "tab is '<script>'"),
        ("focus=0.0", "focus' passage is 0, but there is none to name yet"),
        ("focus=a.b", "focus' passage is 'a'"),
        ("text=Hi&go=1&focus=0.7", "focus' token is 7, but must be a whole number from 0 to 0"),
        ("text=Hi&go=1&focus=1.128", "focus' token is 128"),
        ("go=maybe", "go is 'maybe', but must be 1 or 0"),
        ("turns=[", "turns is not a JSON list"),
        ("turns=" + "[" * 100_000, "turns is not a JSON list"),
        ("turns={}", "turns is not a JSON list"),
        ("turns=[1]", "passages[0] is not an object"),
        ('turns=[["you"]]', "passages[0] is not an object"),
        ('turns=[["you","Hi","Bye"]]', "passages[0].text is not what its ids say"),
        ('turns=[["model","Hi","Bye"]]', "passages[0].text is not what its ids say"),
        ('turns=[["you",[50257]]]', "passages[0].ids[0] is 50257"),
        ('turns=[["you",[9999999999999999999]]]', "passages[0].ids[0] is 9999999999999999999"),
        ('turns=[["me","Hi"]]', "author is 'me'"),
        ("turns=[&go=1", "but not behind what; nothing is written yet"),
        ("turns=[]&go=1", "but not behind what; nothing is written yet"),
        ('turns=[["you","Hi"],["me","Ho"]]&go=1', "Something is missing before"),
        ("text=Hi&go=1&forced=1,x", "a token in forced is 'x'"),
        ("text=Hi&go=1&forced=50257", "a token in forced is 50257"),
        ("text=Hi&go=1&sample=1", "sample is 1, but must be a whole number from 0 to 0"),
        ("text=Hi&go=1&dropped=1", "dropped is 1, but must be a whole number from 0 to 0"),
    ],
)
def test_a_bad_piece_is_refused_in_one_sentence_and_the_rest_is_used(
    random_gpt2: Gpt2, named: Named, query: str, sentence: str
):
    pairs = parse_qsl(f"{quote(query, safe='=&%')}&top_p=0.5")
    found, go, sentences = read_query(pairs, named)
    assert any(sentence in one for one in sentences), sentences
    assert found.settings["top_p"] == 0.5
    check_sound(random_gpt2, replace(found, focus=None))
    if go:
        pending(found)


def test_no_query_at_all_is_too_much(random_gpt2: Gpt2, named: Named):
    chance = random.Random(6)
    queries = [link_query(one, random_gpt2) or "" for one in documents(random_gpt2).values()]
    ran = 0
    for _ in range(500):
        query = list(chance.choice(queries))
        for _ in range(chance.choice([1, 2, 5, 30])):
            place = chance.randrange(len(query) + 1)
            query[place : place + chance.choice([0, 1, 1, 4])] = chance.choice(
                ["", "&", "=", "%00", "[", "9", "-", "%F0", ",", ".", "e", "%22", "\ud800", "&go=1"]
            )
        found, go, _ = read_query(parse_qsl("".join(query)), named)
        check_sound(random_gpt2, replace(found, focus=None))
        assert in_effect(found.settings)
        if go:
            before, place, writing = pending(found)
            assert before.ids(place.parent)
            assert writing.decoding == in_effect(found.settings)
            ran += 1
        link_query(found, random_gpt2)
    assert ran > 50
