"""WordPiece, the way in which BERT reads: words, cut into the longest pieces that a vocabulary has.

(Devlin et al. 2019, https://arxiv.org/abs/1810.04805, section 4; the rules are those of Google's released tokenizer.)
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

START, END, UNKNOWN = "[CLS]", "[SEP]", "[UNK]"
LONGEST = 100
"""Letters of a word; a longer one is unknown."""


@dataclass(frozen=True)
class WordPiece:
    """Text to numbers of pieces, lower case and without accents.

    Args:
        vocabulary: the pieces in the order of their numbers; one that goes on a word begins with '##'.
    """

    vocabulary: Sequence[str]

    @cached_property
    def numbers(self) -> Mapping[str, int]:
        return {piece: number for number, piece in enumerate(self.vocabulary)}

    def __call__(self, text: str) -> list[int]:
        """The numbers of the pieces, between those of [CLS] and [SEP]."""
        pieces = [piece for word in words(text) for piece in self.pieces(word)]
        return [self.numbers[piece] for piece in (START, *pieces, END)]

    def pieces(self, word: str) -> list[str]:
        """The word as the longest piece that begins it, the longest that goes on, and so forth; or as [UNK]."""
        found, start = list[str](), 0
        while start < len(word) <= LONGEST:
            for end in range(len(word), start, -1):
                piece = ("##" if start else "") + word[start:end]
                if piece in self.numbers:
                    found.append(piece)
                    start = end
                    break
            else:
                return [UNKNOWN]
        return found or [UNKNOWN]


def words(text: str) -> list[str]:
    """Words and single punctuation marks, lower case, without accents and control characters."""
    clean = "".join(_spaced(text))
    bare = "".join(letter for letter in unicodedata.normalize("NFD", clean.lower()) if _kind(letter) != "Mn")
    return "".join(f" {letter} " if is_punctuation(letter) else letter for letter in bare).split()


def is_punctuation(letter: str) -> bool:
    """Unicode's punctuation, and every ASCII mark that is neither letter nor digit, such as $ or ^."""
    return _kind(letter).startswith("P") or ("!" <= letter <= "~" and not letter.isalnum())


def _kind(letter: str) -> str:
    return unicodedata.category(letter)


def _spaced(text: str) -> Iterator[str]:
    """Without control characters; any white space is a blank, and a Chinese character is a word."""
    for letter in text:
        if letter in "\t\n\r" or _kind(letter) == "Zs":
            yield " "
        elif _is_chinese(ord(letter)):
            yield f" {letter} "
        elif letter not in "\0\ufffd" and not _kind(letter).startswith("C"):
            yield letter


def _is_chinese(code: int) -> bool:
    unified = ((0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2CEAF))
    compatible = ((0xF900, 0xFAFF), (0x2F800, 0x2FA1F))
    return any(first <= code <= last for first, last in (*unified, *compatible))
