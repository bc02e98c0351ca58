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
CHUNK = 2_000  # prompts hashed at a time: six arrays of SAMPLES × words floats


def normalise_words(prompt: str) -> str:
    """Return the prompt's words, in lower case and without punctuation; other signs (+, %, #) count as words."""
    text = unicodedata.normalize("NFKC", prompt).casefold()
    return " ".join(re.findall(r"\w+|[^\w\s.,;:!?'\"’“”]", text)) or text.strip()


def near_duplicates(
    indexed: list[tuple[str, str]], asked: list[tuple[str, str]], threshold: float
) -> Iterator[tuple[int, int, float]]:
    """Yield (position in `indexed`, position in `asked`, similarity) of every two (prompt, answer) that ask the same.

    The similarity is 1.0 for the same prompt, whatever the answer, else the lower one of wording and content. Candidates come from an
    LSH of weighted MinHashes (Ioffe 2010) with a low threshold; their similarity is then computed exactly.
    """
    first, second = _positions(indexed), _positions(asked)
    prompts = list(dict.fromkeys([*first, *second]))
    words = {prompt: prompt.split() for prompt in prompts}
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
                    if jaccard(set(indexed[i][1].split()), set(asked[j][1].split())) >= threshold:
                        yield i, j, similarity


def jaccard(a: set, b: set) -> float:
    """Return shared elements over all elements; 1.0 for two empty sets."""
    return len(a & b) / len(a | b) if a | b else 1.0


def _positions(pairs: list[tuple[str, str]]) -> dict[str, list[int]]:
    places = defaultdict(list)
    for i, (prompt, _) in enumerate(pairs):
        places[normalise_words(prompt)].append(i)
    return dict(places)


def _hashes(words: list[list[str]], frequency: Counter) -> Iterator:
    """Yield one weighted MinHash per prompt."""
    generator = WeightedMinHashGenerator(DIMENSIONS, SAMPLES)
    for start in range(0, len(words), CHUNK):
        chunk = [sorted(set(prompt)) for prompt in words[start : start + CHUNK]]
        rows = np.repeat(np.arange(len(chunk)), [len(prompt) for prompt in chunk])
        columns = [crc32(word.encode()) % DIMENSIONS for prompt in chunk for word in prompt]
        weights = [1 / frequency[word] for prompt in chunk for word in prompt]
        yield from generator.minhash_many(csr_matrix((weights, (rows, columns)), shape=(len(chunk), DIMENSIONS)))


def _similarity(a: list[str], b: list[str], frequency: Counter) -> float:
    """Return the lower one of the similarities of wording and content."""

    def weight(words: set[str]) -> float:
        return sum(1 / frequency[word] for word in words)

    content = weight(set(a) & set(b)) / weight(set(a) | set(b))
    return min(content, jaccard(_shingles(a), _shingles(b)))


def _shingles(words: list[str]) -> set[tuple[str, ...]]:
    return {tuple(words[i : i + 3]) for i in range(max(1, len(words) - 2))}
