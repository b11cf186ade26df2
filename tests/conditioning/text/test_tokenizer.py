"""Reading: the rules of BERT's tokenizer on a vocabulary of a few pieces."""

import pytest

from undiffuse.conditioning.text.tokenizer import WordPiece, words

PIECES = (
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "a",
    "seven",
    "##s",
    "##teen",
    "on",
    "the",
    "left",
    ",",
    "cafe",
    "中",
    "!",
)
READ = WordPiece(PIECES)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("A  seven,\ton the LEFT!", ["a", "seven", ",", "on", "the", "left", "!"]),
        ("Café", ["cafe"]),
        ("a中a", ["a", "中", "a"]),
        ("don't $5", ["don", "'", "t", "$", "5"]),
        ("a\u200bb\x00", ["ab"]),
        ("", []),
    ],
)
def test_words_are_lower_case_without_accents_and_marks_stand_alone(text, found):
    assert words(text) == found


def test_a_word_is_cut_into_the_longest_pieces():
    assert READ.pieces("seven") == ["seven"]
    assert READ.pieces("sevenseven") == ["[UNK]"]
    assert READ.pieces("sevenss") == ["seven", "##s", "##s"]
    assert READ.pieces("seventeen") == ["seven", "##teen"]


def test_a_sentence_stands_between_its_marks():
    assert [PIECES[number] for number in READ("A seventeen")] == ["[CLS]", "a", "seven", "##teen", "[SEP]"]
    assert READ("") == [2, 3]


def test_a_word_of_more_than_a_hundred_letters_is_unknown():
    assert READ.pieces("a" + 100 * "s") == ["[UNK]"]
