"""Hidden tests of 10_tokenization.

The text fixes which pair is merged next, so there is one right answer, worked out here. What is
trained on is drawn anew each time. `train` is tried with right helpers, and `encode` and `decode`
also with merges that are given to them: a wrong piece costs its own points.
"""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proctor.testing import (
    Misconception,
    any_passes,
    describe_input,
    run_in_worker,
    symptom,
)

ROMEO = (Path(__file__).parents[3] / "source/10_tokenization/romeo.txt").read_text("utf-8")

OVERWRITTEN = Misconception(
    "not trained anew", "After a second training the tokenizer still knows the first text."
)
ORDER_OF_A_SET = Misconception(
    "order of a set", "The ids are in no order that the text gives: a set's is another every time."
)
SKIPPED = Misconception(
    "left out", "A character that was never trained was left out, or given an id of another."
)
OTHER_ERROR = Misconception("another exception", "What is refused raises ValueError, not another.")
UNNAMED = Misconception("unnamed", "The ValueError doesn't name what it refuses.")
NO_OVERLAPS = Misconception(
    "overlaps uncounted", "Neighbours that overlap count, too: three equal ids are two pairs."
)
OTHER_ORDER = Misconception(
    "order of appearance lost", "The pairs aren't in the order in which they come first."
)
FROM_THE_RIGHT = Misconception(
    "merged from the right", "Of three equal ids the first two are merged, not the last two."
)
USED_TWICE = Misconception("used twice", "An id was merged that had been used up already.")
TURNED = Misconception("turned round", "A pair was merged in either order: (a, b) is not (b, a).")
IN_PLACE = Misconception("in place", "The list that was given has changed.")
LAST_OF_EQUALS = Misconception(
    "another of equals", "Of pairs that come equally often the one that comes first is merged."
)
CHARACTERS = Misconception(
    "characters for bytes", "The first ids are not the bytes of the text's UTF-8."
)
WITHOUT_OVERLAPS = Misconception(
    "counted by merging", "The pair that was chosen is not the one with most adjacent places."
)
COUNTED_ONCE = Misconception(
    "counted once", "Pairs were counted in the bytes alone: count anew after every merge."
)
STOPPED_EARLY = Misconception(
    "ended too early", "Pairs were left, and room for ids: also a pair that comes once is merged."
)
ONE_MORE = Misconception("one merge more", "There are more ids than vocab_size.")
TO_CHARACTERS_FIRST = Misconception(
    "pieces read alone", "A character's bytes may lie in several ids: join first, then read."
)
LONGEST = Misconception(
    "the longest piece", "Encoding took the longest piece: the merges have an order."
)
BACKWARDS = Misconception("merged backwards", "Encoding made the last merge first.")
RAISES = Misconception(
    "raises at half characters", "Ids that end in the middle of a character made decode raise."
)
DROPPED = Misconception(
    "half characters dropped", "What is no character is to be marked, not left out."
)
SHARED = Misconception("shared", "Training one tokenizer changed another.")


def drawn(rng, length=300):
    """A piece of the play."""
    start = int(rng.integers(0, len(ROMEO) - length))
    return ROMEO[start : start + length]


ALPHABET = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJ .,!?äöüéñжшдяλπ愛語\U0001f600\U0001f680\n"


def scribbled(rng, count, letters=ALPHABET):
    return "".join(rng.choice(list(letters), count))


def refused(function, *arguments):
    """What the ValueError says that the student's code raises; nothing if none comes."""
    try:
        function(*arguments)
    except ValueError as error:
        return str(error)
    except NotImplementedError:
        raise
    except Exception as error:
        raise symptomatic(OTHER_ERROR) from error
    return ""


def symptomatic(misconception):
    try:
        symptom(misconception, True)
    except AssertionError as error:
        return error


# Characters.


class TestChar:
    @pytest.mark.points(3)
    def test_there_and_back(self, student, rng):
        """decode gives back what encode was given, for every text of known characters."""
        for letters in ("ab", "xyz \n", ALPHABET):
            known = scribbled(rng, 200, letters)
            tokenizer = student.CharTokenizer().train(known)
            for text in (known, known[:1], "", "".join(rng.permutation(list(known)))):
                describe_input(f"{len(text)} characters of {len(set(letters))} that are known")
                ids = tokenizer.encode(text)
                assert isinstance(ids, list) and len(ids) == len(text)
                assert tokenizer.decode(ids) == text
                assert tokenizer.decode(np.array(ids, int)) == text

    @pytest.mark.points(2)
    def test_ids(self, student, rng):
        """The ids are whole numbers from 0 to vocab_size - 1, one for each character."""
        for letters in ("q", ALPHABET[:20], ALPHABET):
            known = scribbled(rng, 150, letters)
            describe_input(f"a text of {len(set(known))} different characters")
            tokenizer = student.CharTokenizer().train(known)
            assert tokenizer.vocab_size == len(set(known))
            ids = tokenizer.encode("".join(sorted(set(known))))
            assert all(type(each) is int for each in ids)
            assert sorted(ids) == list(range(len(set(known))))

    @pytest.mark.points(1)
    def test_order(self, student, rng):
        """Which character has which id depends on the text alone, not on the process."""
        letters = rng.permutation(list(ALPHABET[:26])).tolist()
        often = [letter for number, letter in enumerate(letters) for _ in range(number + 1)]
        text = "".join(rng.permutation(often))
        describe_input("a text in which each of 26 letters comes another number of times")
        tokenizer = student.CharTokenizer().train(text)
        found = tokenizer.decode(list(range(26)))
        assert sorted(found) == sorted(letters)
        orders = [
            sorted(letters),
            sorted(letters, key=text.index),
            sorted(letters, key=text.rindex),
            letters,
        ]
        known = ["".join(order) for order in orders]
        symptom(ORDER_OF_A_SET, found not in known and found[::-1] not in known)

    @pytest.mark.points(2.5)
    def test_never_trained(self, student, rng):
        """A character that was never trained raises ValueError, which names it."""
        known = scribbled(rng, 100, ALPHABET[:30])
        tokenizer = student.CharTokenizer().train(known)
        assert tokenizer.decode(tokenizer.encode(known)) == known
        symptom(SKIPPED, not refused(student.CharTokenizer().encode, "a"))
        for stranger in ("é", "愛", "ж", "7"):
            place = int(rng.integers(0, 100))
            describe_input("a text with one character that was never trained")
            said = refused(tokenizer.encode, known[:place] + stranger + known[place:])
            symptom(SKIPPED, not said)
            symptom(UNNAMED, stranger not in said and ascii(stranger)[1:-1] not in said)

    @pytest.mark.points(1.5)
    def test_trained_anew(self, student, rng):
        """train forgets an earlier text, leaves other tokenizers alone, returns the tokenizer."""
        first, second = scribbled(rng, 60, "abcdef"), scribbled(rng, 60, "fghi")
        tokenizer, other = student.CharTokenizer(), student.CharTokenizer().train(first)
        assert tokenizer.train(first) is tokenizer
        assert tokenizer.decode(tokenizer.encode(first)) == first
        tokenizer.train(second)
        symptom(SHARED, other.decode(other.encode(first)) != first)
        symptom(SHARED, other.vocab_size != len(set(first)) or other.decode([0]) not in first)
        symptom(OVERWRITTEN, tokenizer.vocab_size != len(set(second)))
        assert tokenizer.decode(tokenizer.encode(second)) == second
        symptom(OVERWRITTEN, not refused(tokenizer.encode, "a"))


# Pairs.


@run_in_worker
def counted(lists):
    """For each list what count_pairs says: pairs and counts, in its order."""
    told = []
    for ids in lists:
        counts = count_pairs(ids)
        told.append([(int(a), int(b), int(count)) for (a, b), count in counts.items()])
    return told


def neighbours(ids):
    """Pairs and counts, in the order in which they come first."""
    counts = {}
    for pair in pairwise(ids):
        counts[pair] = counts.get(pair, 0) + 1
    return counts


def random_ids(rng):
    """Lists of ids: of few different ones, of many, equal ones, short ones."""
    some = [rng.integers(0, high, n).tolist() for high, n in ((2, 30), (4, 40), (400, 30))]
    return [*some, [int(rng.integers(300))] * int(rng.integers(3, 9)), [5], [], [8, 8]]


class TestPairs:
    @pytest.mark.points(4)
    def test_counts(self, student, rng):
        """Each pair of neighbours is counted, also where they overlap."""
        lists = random_ids(rng)
        describe_input("lists of few and of many different ids, of equal ones, and short ones")
        for ids, told in zip(lists, counted(student, lists), strict=True):
            found = {(a, b): count for a, b, count in told if count}
            right = neighbours(ids)
            fewer = [
                pair for pair in right if pair[0] == pair[1] and found.get(pair) != right[pair]
            ]
            others = all(found.get(pair) == right[pair] for pair in right if pair not in fewer)
            symptom(NO_OVERLAPS, fewer and others)
            assert found == right

    @pytest.mark.points(2)
    def test_order(self, student, rng):
        """The pairs are in the order in which they come first."""
        lists = random_ids(rng)
        for ids, told in zip(lists, counted(student, lists), strict=True):
            found, right = [(a, b) for a, b, _ in told], list(neighbours(ids))
            assert sorted(found) == sorted(right)
            symptom(OTHER_ORDER, found != right)


# Merging.


@run_in_worker
def merged_lists(cases):
    """For each list, pair and new id: what merge makes of it, and the list afterwards."""
    told = []
    for ids, pair, new in cases:
        ids = list(ids)
        told.append(([int(each) for each in merge(ids, tuple(pair), new)], ids))
    return told


def merged(ids, pair, new):
    found = []
    for each in ids:
        if found and (found[-1], each) == tuple(pair):
            found[-1] = new
        else:
            found.append(each)
    return found


class TestMerge:
    @pytest.mark.points(4)
    def test_merged(self, student, rng):
        """The new id stands for each pair of neighbours, and nothing else changes."""
        cases = []
        for high, count in ((3, 40), (5, 60), (3, 1), (2, 2)):
            ids = rng.integers(0, high, count).tolist()
            cases += [(ids, pair, 300) for pair in ((0, 1), (1, 0), (2, 1))]
        describe_input("lists of up to five different ids, and pairs of two different ones")
        for (ids, pair, new), (found, _) in zip(cases, merged_lists(student, cases), strict=True):
            symptom(TURNED, found != merged(ids, pair, new) and either(ids, pair, new) == found)
            assert found == merged(ids, pair, new)

    @pytest.mark.points(2)
    def test_equal(self, student, rng):
        """Of equal ids in a row the first two are merged, then the next two; none is used twice."""
        cases = []
        for run in (2, 3, 4, 5, 7):
            ids = [7] * run + [1] + [7] * int(rng.integers(2, 6))
            cases.append((ids, (7, 7), 300))
            cases.append(([2, *ids, 2], (7, 7), 9))
        for (ids, pair, new), (found, _) in zip(cases, merged_lists(student, cases), strict=True):
            describe_input(f"rows of equal ids, {len(ids)} in all")
            right = merged(ids, pair, new)
            backwards = merged(ids[::-1], pair, new)[::-1]
            symptom(FROM_THE_RIGHT, found == backwards != right)
            symptom(USED_TWICE, new in found and len(found) == len(ids))
            assert found == right

    @pytest.mark.points(1.5)
    def test_ends(self, student):
        """A pair at the start or at the end is merged, and lists of one or none stay."""
        cases = [
            ([1, 2], (1, 2), 9),
            ([1, 2, 3], (1, 2), 9),
            ([3, 1, 2], (1, 2), 9),
            ([3, 1], (1, 2), 9),
            ([1], (1, 2), 9),
            ([], (1, 2), 9),
        ]
        describe_input("lists of three ids at most")
        for (ids, pair, new), (found, _) in zip(cases, merged_lists(student, cases), strict=True):
            assert found == merged(ids, pair, new)

    @pytest.mark.points(1.5)
    def test_a_new_list(self, student, rng):
        """merge makes a new list; that which was given is as it was."""
        ids = [1, 2, *rng.integers(0, 3, 20).tolist(), 1, 2]
        [(found, after)] = merged_lists(student, [(ids, (1, 2), 300)])
        assert found.count(300) >= 2
        symptom(IN_PLACE, after != ids)


def either(ids, pair, new):
    """What becomes of the ids if the pair is also merged when it is turned round."""
    found = []
    for each in ids:
        if found and {found[-1], each} == set(pair):
            found[-1] = new
        else:
            found.append(each)
    return found


# Training. Helpers are lent: what is tried here is the choice, the order and the end.

LENT = """
def count_pairs(ids):
    counts = {}
    for pair in zip(ids, ids[1:]):
        counts[pair] = counts.get(pair, 0) + 1
    return counts


def merge(ids, pair, new):
    found = []
    for each in ids:
        if found and (found[-1], each) == tuple(pair):
            found[-1] = new
        else:
            found.append(each)
    return found
"""


@run_in_worker
def trained(lent, jobs):
    """The merges and vocab_size after training on each text, with right helpers.

    Where a tokenizer keeps its merges elsewhere, they are None. Returns also what of each id above
    255 decodes to, and the ids of the text, as far as these methods work.
    """
    names = globals()
    own = {name: names[name] for name in ("count_pairs", "merge") if name in names}
    exec(lent, names)
    told = []
    try:
        for text, size in jobs:
            tokenizer = BPETokenizer()
            same = tokenizer.train(text, size) is tokenizer
            try:
                found = [
                    (int(a), int(b), int(new)) for (a, b), new in dict(tokenizer.merges).items()
                ]
            except Exception:
                found = None
            try:
                ids = [int(each) for each in tokenizer.encode(text)]
            except Exception:
                ids = None
            told.append((found, tokenizer.vocab_size, same, ids))
    finally:
        for name in ("count_pairs", "merge"):
            names.pop(name, None)
        names.update(own)
    return told


def learned(text, size, slip=""):
    """The merges of a text, and its ids after them; `slip` is what goes wrong."""
    ids = list(map(ord, text)) if slip == "characters" else list(text.encode("utf-8"))
    merges, first = {}, neighbours(ids)
    while 256 + len(merges) < size and len(ids) > 1:
        counts = neighbours(ids)
        if slip == "without overlaps":
            for pair in counts:
                counts[pair] = merged(ids, pair, -1).count(-1)
        if slip == "counted once":
            counts = {pair: count for pair, count in first.items() if pair not in merges}
            if not counts:
                break
        if slip == "ends early" and max(counts.values()) < 2:
            break
        pair = max(counts, key=counts.get)
        if slip == "last of equals":
            pair = max(reversed(counts), key=counts.get)
        if slip == "smallest of equals":
            pair = min(counts, key=lambda each: (-counts[each], each))
        if slip == "largest of equals":
            pair = max(counts, key=lambda each: (counts[each], each))
        merges[pair] = 256 + len(merges)
        ids = merged(ids, pair, merges[pair])
    return [(*pair, new) for pair, new in merges.items()], ids


SLIPS = {
    "characters": CHARACTERS,
    "without overlaps": WITHOUT_OVERLAPS,
    "counted once": COUNTED_ONCE,
    "ends early": STOPPED_EARLY,
    "last of equals": LAST_OF_EQUALS,
    "smallest of equals": LAST_OF_EQUALS,
    "largest of equals": LAST_OF_EQUALS,
}


def right_merges(student, *jobs):
    """Assert that each training finds the merges that it should; name what is wrong."""
    for (text, size), (found, vocab, _, ids) in zip(
        jobs, trained(student, LENT, list(jobs)), strict=True
    ):
        merges, last = learned(text, size)
        symptom(ONE_MORE, vocab > size)
        same = (found, ids)[found is None] == (merges, last)[found is None]
        if same and vocab == 256 + len(merges):
            continue
        for slip, misconception in SLIPS.items():
            other = learned(text, size, slip)
            symptom(misconception, (found, ids)[found is None] == other[found is None])
        raise AssertionError("other merges")


class TestTrain:
    @pytest.mark.points(5)
    def test_most_frequent(self, student, rng):
        """The pair that comes most often is merged, again and again, counted anew each time."""
        describe_input("300 characters of a play, 25 merges; words of three letters, 8 merges")
        words = " ".join(rng.choice(["aba", "abc", "cab", "bac", "bbb"], 40))
        right_merges(student, (drawn(rng), 281), (words, 264), (drawn(rng, 120), 257))

    @pytest.mark.points(3)
    def test_first_of_equals(self, student, rng):
        """Of pairs that come equally often, the one that comes first in the ids is merged."""
        for _ in range(4):
            letters = "".join(rng.permutation(list("abcdefghijkl")))
            describe_input("texts in which several pairs come equally often")
            twice = letters + "-" + letters[6:] + "." + letters[:6]
            right_merges(student, (letters, 262), (twice, 260), (letters[::-1] * 2, 259))

    @pytest.mark.points(2)
    def test_overlaps(self, student, rng):
        """A pair's count is that of its adjacent places: three equal letters are two."""
        for _ in range(3):
            a, b, c = rng.choice(list("mnopqrst"), 3, replace=False)
            k = int(rng.choice([3, 5]))
            # (a, a) has 2 (k - 1) places, of which half can be merged; (b, c) is between the two
            text = a * k + "." + a * k + "," + ";".join([b + c] * (3 * (k - 1) // 2))
            describe_input("rows of equal letters, and another pair that comes nearly as often")
            right_merges(student, (text, 257), (text, 259))

    @pytest.mark.points(2)
    def test_bytes(self, student, rng):
        """Training begins at the bytes of the text, of whatever script it is."""
        text = scribbled(rng, 120, "äöüжшд愛語\U0001f600 ")
        describe_input("120 characters of several scripts")
        right_merges(student, (text, 276))

    @pytest.mark.points(2)
    def test_ends(self, student, rng):
        """It ends at vocab_size, or when no pair is left, and not before."""
        text = drawn(rng, 12)
        describe_input("texts of 0, 1, 2 and 12 characters, and more ids wanted than there are")
        right_merges(student, (text, 400), ("", 300), ("x", 300), ("xy", 300), (text, 256))

    @pytest.mark.points(1)
    def test_refused(self, student, rng):
        """A vocab_size below 256 raises ValueError, which names it; 256 does not."""
        right_merges(student, (drawn(rng, 50), 256), (drawn(rng, 50), 258))
        for size in (255, int(rng.integers(2, 200)), 0):
            describe_input("a vocab_size below 256")
            said = refused(student.BPETokenizer().train, "a text about nothing", size)
            assert said
            symptom(UNNAMED, str(size) not in said)


# There and back: with the student's own training, or with merges that are given.


@run_in_worker
def tokenized(merges, train_on, size, texts, lists, lent):
    """The ids of texts, and the texts of ids (None where bytes are no text).

    With `lent`, merges and helpers are given.
    """
    import numpy as np

    def read(tokenizer, ids):
        try:
            return tokenizer.decode(ids)
        except UnicodeDecodeError:
            return None

    names = globals()
    own = {name: names[name] for name in ("count_pairs", "merge") if name in names}
    tokenizer = BPETokenizer()
    try:
        if lent:
            exec(lent, names)
            tokenizer.merges = {(a, b): new for a, b, new in merges}
        else:
            tokenizer.train(train_on, size)
        ids = [tokenizer.encode(text) for text in texts]
        found = [read(tokenizer, each) for each in lists]
        again = [read(tokenizer, np.array(each, int)) for each in lists]
    finally:
        if lent:
            for name in ("count_pairs", "merge"):
                names.pop(name, None)
            names.update(own)
    return ids, found, again


def either_way(student, check, train_on, size, texts=(), lists=()):
    """Pass if `check` passes on what the student trained, or on merges that are given."""
    merges, _ = learned(train_on, size)

    def one(lent):
        data = merges, train_on, size, list(texts), list(lists), lent
        return lambda: check(merges, *tokenized(student, *data))

    any_passes(one(LENT), one(""))


def encoded(text, merges, slip=""):
    ids = list(text.encode("utf-8"))
    if slip == "longest":
        known = pieces(merges)
        raw, ids = text.encode("utf-8"), []
        while raw:
            ids.append(
                max(
                    (i for i, p in enumerate(known) if raw.startswith(p)),
                    key=lambda i: len(known[i]),
                )
            )
            raw = raw[len(known[ids[-1]]) :]
        return ids
    for a, b, new in reversed(merges) if slip == "backwards" else merges:
        ids = merged(ids, (a, b), new)
    return ids


def pieces(merges):
    found = [bytes([byte]) for byte in range(256)]
    for a, b, _ in merges:
        found.append(found[a] + found[b])
    return found


class TestEncode:
    @pytest.mark.points(4)
    def test_order_of_merges(self, student, rng):
        """encode makes the merges in the order in which they were learned, wherever they fit."""
        a, b, c, d = rng.choice(list("ADEGHKMNUVXYZ"), 4, replace=False)
        # (b, c) is merged before (a, b), and that before (c, d); the longest piece of abc is ab
        text = drawn(rng) + f"{b}{c}".join("23456789" * 4)
        text += f"{a}{b}".join("23456789" * 3) + f"{c}{d}".join("23456789" * 2)
        others = [a + b + c, (a + b) * 2 + c, b + c + d, "", "q", drawn(rng, 80) + "é愛"]
        describe_input("texts that were not trained on, with 40 merges")

        def check(merges, found, _, __):
            right = [encoded(other, merges) for other in others]
            for slip, misconception in (("longest", LONGEST), ("backwards", BACKWARDS)):
                symptom(misconception, found == [encoded(o, merges, slip) for o in others] != right)
            assert found == right
            assert all(type(each) is int for ids in found for each in ids)

        either_way(student, check, text, 296, others)

    @pytest.mark.points(1.5)
    def test_bytes(self, student, rng):
        """Without merges the ids of a text are its bytes."""
        texts = [scribbled(rng, 40) for _ in range(3)]
        describe_input("texts of several scripts, and a vocab_size of 256")

        def check(_, found, __, ___):
            assert found == [list(text.encode("utf-8")) for text in texts]

        either_way(student, check, "abc", 256, texts)

    @pytest.mark.points(3.5)
    def test_decode(self, student, rng):
        """decode joins the bytes of all ids, a list or an array, and reads them as UTF-8."""
        text = scribbled(rng, 150, "äöж愛語\U0001f600 a")
        merges, _ = learned(text, 290)
        others = [scribbled(rng, 30, "äöж愛語\U0001f600 aéñя") for _ in range(4)] + ["", "a"]
        lists = [encoded(other, merges) for other in others]
        describe_input("ids of which several make one character")

        def check(_, __, found, again):
            known = pieces(merges)
            for ids, told, other in zip(lists, found, others, strict=True):
                alone = "".join(known[each].decode(errors="replace") for each in ids)
                symptom(TO_CHARACTERS_FIRST, told == alone != other)
                assert told == other
            assert again == found

        either_way(student, check, text, 290, (), lists)

    @pytest.mark.points(3)
    def test_half_characters(self, student, rng):
        """What is no character is marked by U+FFFD, and the rest is read."""
        describe_input("ids that begin, end or break off in the middle of a character")
        raw = scribbled(rng, 6, "ж愛語\U0001f600").encode()
        lists = [list(raw[:-1]), list(raw[1:]), [*raw[:-1], 97, *raw], [255, 98], [0xC3]]

        def check(_, __, found, ___):
            for ids, told in zip(lists, found, strict=True):
                symptom(RAISES, told is None)
                symptom(DROPPED, told == bytes(ids).decode(errors="ignore"))
                assert told == bytes(ids).decode(errors="replace")

        either_way(student, check, "ab", 256, (), lists)


# Puzzles.


class TestOneToken:
    @pytest.mark.points(2)
    def test_one_token(self, student):
        """At least 700 characters, three of them different, no equal neighbours, become one id."""
        text = student.one_token()
        assert isinstance(text, str) and 700 <= len(text) <= 10_000 and len(set(text)) == 3
        assert all(one != other for one, other in pairwise(text))
        assert len(learned(text, 266)[1]) == 1


class TestBug:
    @pytest.mark.points(3)
    def test_breaks_it(self, student):
        """A text of which the longest pieces are others than the merges in their order."""
        train_on, size, text = student.breaks_it()
        assert isinstance(train_on, str) and len(train_on) <= 100 and train_on.isascii()
        assert isinstance(text, str) and 0 < len(text) <= 1000 and text.isascii()
        assert type(size) is int and 256 <= size <= 400
        merges, _ = learned(train_on, size)
        assert encoded(text, merges, "longest") != encoded(text, merges)


# The whole.


@run_in_worker
def side_by_side(jobs, texts):
    """Train several tokenizers, each twice; then each text by each of them, there and back."""
    tokenizers = []
    for first, second, size in jobs:
        tokenizer = BPETokenizer() if size else CharTokenizer()
        options = (size,) if size else ()
        tokenizer.train(first, *options)
        tokenizer.decode(tokenizer.encode(first))  # what it keeps of this is to be forgotten
        tokenizers.append(tokenizer.train(second, *options))
    told = []
    for tokenizer in tokenizers:
        ids = [tokenizer.encode(text) for text in texts]
        told.append((tokenizer.vocab_size, ids, [tokenizer.decode(each) for each in ids]))
    return told


class TestWhole:
    @pytest.mark.points(9)
    def test_a_play(self, student, reference, rng):
        """Trained on a scene, the ids of another scene are those that they should be."""
        read, other = drawn(rng, 2000), drawn(rng, 600)
        describe_input("2,000 characters of a play, 60 merges; 600 characters from elsewhere")
        known = reference.BPETokenizer().train(read, 316)
        [(size, ids, back)] = side_by_side(student, [("forget me", read, 316)], [read, other])
        assert size == known.vocab_size == 316
        assert ids == [known.encode(read), known.encode(other)]
        assert len(ids[0]) < 0.75 * len(read)
        assert back == [read, other]

    @pytest.mark.points(6)
    @given(text=st.text(max_size=40))
    def test_any_unicode(self, student, text):
        """Any text of any script comes back as it was, whatever was trained on."""
        describe_input("a text of any Unicode characters")
        read = "the theme, the thesis: ж愛語 äöü \U0001f600 \x00\n" + text
        [(size, [ids, all_ids], back)] = side_by_side(student, [("", read, 272)], [text, read])
        assert back == [text, read]
        assert size == 272 and len(all_ids) < len(read.encode()) and len(ids) <= len(text.encode())

    @pytest.mark.points(6)
    def test_side_by_side(self, student, reference, rng):
        """Tokenizers know nothing of each other, nor of what they were trained on before."""
        texts = [drawn(rng, 200) for _ in range(2)]
        everything = "".join(texts)
        jobs = [
            (texts[0], texts[1], 270),
            (everything, texts[0], 280),
            ("äöü", everything, 0),
            (everything, "xyz", 262),
        ]
        describe_input("four tokenizers, each trained twice, and all used afterwards")
        told = side_by_side(student, jobs, texts)
        for (first, second, size), (count, ids, back) in zip(jobs, told, strict=True):
            assert back == texts
            if size:
                known = reference.BPETokenizer().train(second, size)
                before = reference.BPETokenizer().train(first, size)
                symptom(OVERWRITTEN, ids == [before.encode(text) for text in texts])
                assert count == known.vocab_size
                assert ids == [known.encode(text) for text in texts]
            else:
                assert count == len(set(second))
                assert [len(each) for each in ids] == [200, 200]
                assert len({*ids[0], *ids[1]}) == count
