"""A transcript is a tree in which nothing is ever lost, and its path is what the model reads."""

import random
from dataclasses import replace

import pytest

from gpt2lab import transcript as module
from gpt2lab.decoding import Decoding
from gpt2lab.refusal import Refusal
from gpt2lab.step import Choice
from gpt2lab.transcript import Passage, Piece, Transcript, Writing

THREE = Decoding(num_return_sequences=3)


def passage(ids, author="you", **parts) -> Passage:
    return Passage(author, tuple(ids), " ".join(map(str, ids)), **parts)


def sample(number: int, parent: int, at: int, decoding: Decoding = THREE) -> Passage:
    writing = Writing("random", decoding, sample=number)
    return passage([number], "model", parent=parent, at=at, writing=writing)


@pytest.fixture
def story() -> Transcript:
    """The tree of the module's docstring, with tokens 1, 2, 3 … and the last branch active."""
    transcript = Transcript().continued(passage([1, 2, 3]))
    transcript = transcript.continued(passage([4, 5, 6, 7, 8], "model"))
    transcript = transcript.continued(passage([14, 15], "model"), behind=0)
    return transcript.added(passage([21, 22], "model", parent=1, at=4))


def test_the_path_leads_from_the_beginning_to_the_active_passage(story):
    assert [(piece.number, piece.length) for piece in story.path()] == [(0, 3), (1, 4), (3, 2)]
    assert [piece.ids for piece in story.path()] == [(1, 2, 3), (4, 5, 6, 7), (21, 22)]
    assert story.ids() == (1, 2, 3, 4, 5, 6, 7, 21, 22)
    assert story.path(1) == (Piece(0, story.passages[0], 3), Piece(1, story.passages[1], 5))
    assert story.ids(2) == (1, 2, 3, 14, 15)
    assert story.before(3) == (1, 2, 3, 4, 5, 6, 7)
    assert story.before(0) == ()


def test_before_the_first_passage_there_is_nothing(story):
    for nothing in (Transcript(), story.at(None)):
        assert nothing.path() == ()
        assert nothing.ids() == ()
    again = story.at(None).continued(passage([9]))
    assert (again.passages[4].parent, again.passages[4].at) == (None, 0)
    assert again.ids() == (9,)


def test_a_passage_continues_the_active_one_or_the_one_that_is_named(story):
    assert story.continued(passage([9])).passages[4] == passage([9], parent=3, at=2)
    behind = story.continued(passage([9], parent=77, at=5), behind=1)
    assert behind.passages[4] == passage([9], parent=1, at=5)
    assert behind.active == 4


def test_branches_begin_at_the_same_place(story):
    assert [story.branches(number) for number in range(4)] == [(0,), (1, 2), (1, 2), (3,)]
    more = story.added(passage([31], parent=1, at=4)).added(passage([32], parent=1, at=5))
    more = more.at(None).continued(passage([33]))
    assert [more.branches(number) for number in (3, 4, 5, 6, 0)] == [
        (3, 4), (3, 4), (5,), (0, 6), (0, 6),
    ]  # fmt: skip


def test_samples_were_written_in_one_run(story):
    for number in range(3):
        story = story.added(sample(number, 2, 2))
    assert [story.samples(number) for number in (4, 5, 6)] == [(4, 5, 6)] * 3
    assert story.samples(2) == (2,)
    # The same settings at the same place again are another run.
    for number in range(3):
        story = story.added(sample(number, 2, 2))
    assert story.samples(5) == (4, 5, 6)
    assert story.samples(8) == (7, 8, 9)
    # A run that was stopped early, before one with other settings.
    story = story.added(sample(0, 2, 2)).added(sample(0, 2, 2, replace(THREE, seed=1)))
    story = story.added(sample(1, 2, 2, replace(THREE, seed=1)))
    assert story.samples(10) == (10,)
    assert story.samples(11) == story.samples(12) == (11, 12)
    # At another place.
    story = story.added(sample(2, 2, 1, replace(THREE, seed=1)))
    assert story.samples(12) == (11, 12)


def test_a_sample_whose_siblings_are_not_there_stands_alone():
    transcript = Transcript().continued(passage([1]))
    for number in (2, 1):
        transcript = transcript.added(sample(number, 0, 1))
    assert transcript.samples(1) == (1,)
    assert transcript.samples(2) == (2,)


def test_a_passage_that_is_being_written_changes_in_its_place(story):
    grown = passage([21, 22, 23], "model", parent=1, at=4)
    changed = story.changed(3, grown)
    assert changed.passages == (*story.passages[:3], grown)
    assert changed.active == 3
    assert story.passages[3].ids == (21, 22)


def test_an_edited_copy_stands_beside_the_old_text_and_what_follows_is_copied(story):
    edited = story.replaced(0, [91, 92], "other")
    assert edited.passages[:4] == story.passages
    assert edited.passages[4] == Passage("you", (91, 92), "other")
    assert edited.branches(0) == (0, 4)
    assert edited.ids() == (91, 92, 4, 5, 6, 7, 21, 22)
    assert [piece.number for piece in edited.path()] == [4, 5, 6]


def test_of_what_is_copied_the_text_is_what_the_ids_say(story):
    """Passage 1 is left behind its fourth token."""
    edited = story.replaced(0, [91], "other")
    for piece in edited.path()[1:]:
        assert piece.passage.text == " ".join(map(str, piece.passage.ids))


def test_a_copy_has_no_numbers_and_nobody_wrote_it_there():
    choice = Choice(5, -1.0, 0.5, 1, 2.0, ())
    written = passage([5], "model", writing=Writing("random", Decoding()), choices=(choice,))
    transcript = Transcript().continued(passage([1, 2])).continued(written)
    transcript = transcript.continued(replace(written, author="you"))
    edited = transcript.replaced(1, [6, 7], "6 7")
    assert edited.ids() == (1, 2, 6, 7, 5)
    assert edited.passages[3] == Passage("you", (6, 7), "6 7", parent=0, at=2)
    assert edited.passages[4] == Passage("you", (5,), "5", parent=3, at=2)
    copied = transcript.replaced(0, [8], "8").passages[4]
    assert copied == Passage("model", (5,), "5", parent=3, at=1)


def test_a_passage_beside_the_path_is_not_edited(story):
    with pytest.raises(ValueError, match="2 is not in list"):
        story.replaced(2, [1], "1")


def test_the_number_of_passages_is_bounded(monkeypatch):
    monkeypatch.setattr(module, "MAX_PASSAGES", 3)
    transcript = Transcript()
    for number in range(3):
        transcript = transcript.continued(passage([number]))
    with pytest.raises(Refusal) as caught:
        transcript.continued(passage([4]))
    assert str(caught.value) == (
        "The transcript has 3 passages, the most that it can keep; save it as a file and clear it."
    )
    with pytest.raises(Refusal, match="3 passages"):
        transcript.replaced(2, [4], "4")


def test_the_number_of_tokens_is_bounded_over_all_branches(monkeypatch):
    monkeypatch.setattr(module, "MAX_TOKENS", 2000)
    transcript = Transcript().continued(passage(range(1500))).at(None)
    full = transcript.continued(passage(range(500)))
    assert len(full.passages) == 2
    with pytest.raises(Refusal, match=r"more than 2,000 tokens; save it as a file and clear it\."):
        transcript.continued(passage(range(501)))
    with pytest.raises(Refusal, match="more than 2,000 tokens"):
        full.continued(passage([1]))


def test_the_bounds_are_generous():
    assert module.MAX_PASSAGES >= 100
    assert module.MAX_TOKENS >= 50 * 1024


@pytest.mark.parametrize("seed", range(8))
def test_nothing_is_ever_lost(seed):
    """Whatever is done in whatever order, every passage stays as it was and can be gone to."""
    choose = random.Random(seed)
    transcript = Transcript()
    texts: list[tuple[int, ...]] = []
    for move in range(120):
        before = transcript
        path = transcript.path()
        ids = [1000 * move + place for place in range(choose.randint(1, 5))]
        doing = choose.choice(["continue", "branch", "edit", "go", "begin"])
        if doing == "continue" or not path:
            expected = (*transcript.ids(), *ids)
            transcript = transcript.continued(passage(ids))
        elif doing == "branch":
            piece = choose.choice(path)
            at = choose.randint(0, piece.length)
            kept = [*transcript.before(piece.number), *piece.passage.ids[:at]]
            expected = (*kept, *ids)
            transcript = transcript.added(passage(ids, "model", parent=piece.number, at=at))
        elif doing == "edit":
            place = choose.randrange(len(path))
            pieces = [list(piece.ids) for piece in path]
            pieces[place] = ids
            expected = tuple(id for piece in pieces for id in piece)
            try:
                transcript = transcript.replaced(path[place].number, ids, " ".join(map(str, ids)))
            except Refusal:
                assert len(transcript.passages) + len(path) - place > module.MAX_PASSAGES
                break
        elif doing == "go":
            number = choose.randrange(len(transcript.passages))
            expected = texts[number]
            transcript = transcript.at(number)
        else:
            expected = ()
            transcript = transcript.at(None)
        assert transcript.ids() == expected
        assert transcript.passages[: len(before.passages)] == before.passages
        texts += [transcript.ids(one) for one in range(len(texts), len(transcript.passages))]
        assert [transcript.ids(one) for one in range(len(texts))] == texts
        for number, one in enumerate(transcript.passages):
            assert transcript.at(number).ids() == (*transcript.before(number), *one.ids)
            assert one.text == " ".join(map(str, one.ids))
            assert one.parent is None or 0 <= one.parent < number
    assert len(transcript.passages) > 40
