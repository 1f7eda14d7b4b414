"""Tokenizers: from text to whole numbers, and back.

Exported from source/10_tokenization/10_tokenization.ipynb by `proctor export`; edit the notebook.
"""

from itertools import pairwise

__all__ = ["BPETokenizer", "CharTokenizer"]


class CharTokenizer:
    """Text to ids and back, a character each. `vocab_size`: how many characters it knows."""

    def __init__(self):
        self.characters = []  # of which the place is the id

    vocab_size = property(lambda self: len(self.characters), doc="How many ids there are.")

    def train(self, text):
        """Learn the characters of a text, in place of those before; return the tokenizer."""
        self.characters = sorted(set(text))
        return self

    def encode(self, text):
        """The ids of a text, a list of ints. ValueError for a character that was never trained."""
        places = {character: place for place, character in enumerate(self.characters)}
        if unknown := sorted(set(text) - places.keys()):
            raise ValueError(f"never trained: {unknown}")
        return [places[character] for character in text]

    def decode(self, ids):
        """The text of these ids, a list or an array."""
        return "".join(self.characters[each] for each in ids)


def count_pairs(ids):
    """How often each pair of neighbours comes in a list of ids: a dict, in order of appearance."""
    counts = {}
    for pair in pairwise(ids):
        counts[pair] = counts.get(pair, 0) + 1
    return counts


def merge(ids, pair, new):
    """The ids with `new` in place of each pair of neighbours `pair`, from left to right."""
    merged, place = [], 0
    while place < len(ids):
        if tuple(ids[place : place + 2]) == pair:
            merged.append(new)
            place += 2
        else:
            merged.append(ids[place])
            place += 1
    return merged


class BPETokenizer:
    """Byte pair encoding (P. Gage, 1994; R. Sennrich and others, 2016), on UTF-8 bytes.

    Ids below 256 are bytes, the others stand for pairs. merges: pair → id, as they were learned.
    """

    def __init__(self):
        self.merges = {}

    vocab_size = property(lambda self: 256 + len(self.merges), doc="How many ids there are.")

    def train(self, text, vocab_size):
        """Learn the merges of a text, until there are `vocab_size` ids or no pair is left.

        Returns the tokenizer. Raises ValueError for a vocab_size below 256.
        """
        if vocab_size < 256:
            raise ValueError(f"bytes alone are 256 ids; vocab_size is {vocab_size}")
        self.merges, ids = {}, list(text.encode("utf-8"))
        while self.vocab_size < vocab_size and len(ids) > 1:
            counts = count_pairs(ids)
            pair = max(counts, key=counts.get)
            self.merges[pair] = new = self.vocab_size
            ids = merge(ids, pair, new)
        return self

    def encode(self, text):
        """The ids of a text, a list of ints: its bytes, merged in the order of training."""
        ids = list(text.encode("utf-8"))
        for pair, new in self.merges.items():
            ids = merge(ids, pair, new)
        return ids

    def decode(self, ids):
        """The text of these ids, a list or an array; what is no character becomes U+FFFD."""
        pieces = [bytes([byte]) for byte in range(256)]
        for left, right in self.merges:
            pieces.append(pieces[left] + pieces[right])
        return b"".join(pieces[each] for each in ids).decode("utf-8", errors="replace")
