"""Find prompts that ask the same, in the same words or nearly.

Two prompts are the same if their words are, whatever the case, spacing and punctuation. They are near duplicates if three
similarities reach the threshold:

* wording: the Jaccard similarity of their sets of three-word shingles,
* content: that of their sets of words, where a word that occurs in k prompts has the weight 1/k,
* answers: that of the sets of words of their answers, case kept.

Wording alone would count "What is the capital of France?" and the same question about Spain as copies as soon as the common part is
long. Instruction data is full of such siblings, and a check that stops on them is useless; the words that differ are the rare ones,
so content separates the two. Content alone would count a question in new words as a copy, but that is what a held-out phrasing is. The
answers show whether a few added words ("in capitals") ask for something else.

Some scripts put no spaces between words. There, overlapping groups of characters take the place of words: of two characters in Chinese and
Japanese, where a character is a syllable or a word, of four in the alphabets of Thai, Lao, Khmer and Burmese.
"""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator
from zlib import crc32

import numpy as np
from datasketch import MinHashLSH, WeightedMinHashGenerator
from scipy.sparse import csr_matrix

DIMENSIONS = 2**14  # words are hashed into this many columns; a collision only makes one more candidate
SAMPLES = 64  # numbers per MinHash
WORDS_AT_A_TIME = 100_000  # words hashed at a time: six arrays of SAMPLES × words floats

# Characters of scripts without spaces between words, as the inside of a regular expression's [ ]
SYLLABLES = (
    "\u3005-\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # Chinese
    "\u3040-\u30fa\u30fc-\u30ff\u31f0-\u31ff\u3100-\u312f"  # Hiragana, Katakana, Bopomofo
)
LETTERS = (
    "\u0e01-\u0e2e\u0e30-\u0e3a\u0e40-\u0e4e\u0e81-\u0ece\u0edc-\u0edf"  # Thai, Lao
    "\u1000-\u103f\u1050-\u109f\ua9e0-\ua9ef\ua9fa-\ua9fe\uaa60-\uaa7f\u1780-\u17d3"  # Burmese, Khmer
)
GROUP = {"syllables": 2, "letters": 4}  # characters that take the place of a word
SPACELESS = SYLLABLES + LETTERS
# The usual marks; then those of Chinese and Japanese, Thai, Burmese, Khmer, and the space without a width
PUNCTUATION = (
    ".,;:!?'\"’“”\u3001\u3002\u3008-\u3011\u3014-\u301b\u30fb\u0e2f\u0e5a\u0e5b\u104a\u104b\u17d4-\u17da\u200b"
)
TOKEN = re.compile(rf"[{SPACELESS}]|[^\W{SPACELESS}]+|[^\w\s{PUNCTUATION}]")
SPACELESS_CHARACTER = re.compile(f"[{SPACELESS}]")
GAP = re.compile(rf"(?<=[{SPACELESS}])[\s\u200b]+(?=[{SPACELESS}])")
RUN = re.compile(rf"(?P<syllables>[{SYLLABLES}]+)|(?P<letters>[{LETTERS}]+)|[^{SPACELESS}]+")


def normalise_words(prompt: str) -> str:
    """Return the prompt's words, in lower case and without punctuation; other signs (+, %, #) count as words.

    In scripts without spaces every character counts as a word.
    """
    text = unicodedata.normalize("NFKC", prompt).casefold()
    return " ".join(TOKEN.findall(text)) or text.strip()


def near_duplicates(
    indexed: list[tuple[str, str]], asked: list[tuple[str, str]], threshold: float
) -> Iterator[tuple[int, int, float]]:
    """Yield (position in `indexed`, position in `asked`, similarity) of every two (prompt, answer) that ask the same.

    The similarity is 1.0 for the same prompt, whatever the answer, else the lower one of wording and content. Candidates come from an
    LSH of weighted MinHashes (Ioffe 2010) with a low threshold; their similarity is then computed exactly.
    """
    first, second = _positions(indexed), _positions(asked)
    prompts = list(dict.fromkeys([*first, *second]))
    words = {prompt: split_words(prompt) for prompt in prompts}
    frequency = Counter(word for prompt in prompts for word in set(words[prompt]))
    hashes = dict(zip(prompts, _hashes(list(words.values()), frequency), strict=True))
    lsh = MinHashLSH(threshold=0.6 * threshold, num_perm=SAMPLES)  # misses 1 in 1,000 pairs at the threshold
    for prompt in first:
        lsh.insert(prompt, hashes[prompt], check_duplication=False)
    for prompt, places in second.items():
        yield from ((i, j, 1.0) for i in first.get(prompt, ()) for j in places)
        for other in sorted(set(lsh.query(hashes[prompt])) - {prompt}):
            similarity = _similarity(words[prompt], words[other], frequency)
            if similarity >= threshold:
                for i, j in ((i, j) for i in first[other] for j in places):
                    if jaccard(set(split_words(indexed[i][1])), set(split_words(asked[j][1]))) >= threshold:
                        yield i, j, similarity


def jaccard(a: set, b: set) -> float:
    """Return shared elements over all elements; 1.0 for two empty sets."""
    return len(a & b) / len(a | b) if a | b else 1.0


def _positions(pairs: list[tuple[str, str]]) -> dict[str, list[int]]:
    places = defaultdict(list)
    for i, (prompt, _) in enumerate(pairs):
        places[normalise_words(prompt)].append(i)
    return dict(places)


def split_words(text: str) -> list[str]:
    """Split at spaces; split what is written in a script without spaces into overlapping groups of characters."""
    if not SPACELESS_CHARACTER.search(text):
        return text.split()
    words = []
    for run in RUN.finditer(GAP.sub("", text)):  # normalise_words puts a space after each character
        if run.lastgroup is None:
            words += run[0].split()
        else:
            size, length = GROUP[run.lastgroup], len(run[0])
            words += [run[0][i : i + size] for i in range(max(1, length - size + 1))]
    return words


def _hashes(words: list[list[str]], frequency: Counter) -> Iterator:
    """Yield one weighted MinHash per prompt."""
    generator = WeightedMinHashGenerator(DIMENSIONS, SAMPLES)
    chunk, size = [], 0
    for prompt in words:
        chunk.append(sorted(set(prompt)))
        size += len(chunk[-1])
        if size >= WORDS_AT_A_TIME:
            yield from _hash_chunk(generator, chunk, frequency)
            chunk, size = [], 0
    if chunk:
        yield from _hash_chunk(generator, chunk, frequency)


def _hash_chunk(generator: WeightedMinHashGenerator, chunk: list[list[str]], frequency: Counter) -> list:
    rows = np.repeat(np.arange(len(chunk)), [len(prompt) for prompt in chunk])
    columns = [crc32(word.encode()) % DIMENSIONS for prompt in chunk for word in prompt]
    weights = [1 / frequency[word] for prompt in chunk for word in prompt]
    return generator.minhash_many(csr_matrix((weights, (rows, columns)), shape=(len(chunk), DIMENSIONS)))


def _similarity(a: list[str], b: list[str], frequency: Counter) -> float:
    """Return the lower one of the similarities of wording and content."""

    def weight(words: set[str]) -> float:
        return sum(1 / frequency[word] for word in words)

    content = weight(set(a) & set(b)) / weight(set(a) | set(b))
    return min(content, jaccard(_shingles(a), _shingles(b)))


def _shingles(words: list[str]) -> set[tuple[str, ...]]:
    return {tuple(words[i : i + 3]) for i in range(max(1, len(words) - 2))}
