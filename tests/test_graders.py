"""Every check against answers written by hand: right ones, untrue ones in the right form, and ones in another form."""

import json

import pytest

from workbench.errors import InputError
from workbench.graders import Grade, grade, registered
from workbench.pocket import facts

RIGHT, UNTRUE, FORMLESS = Grade(True, True), Grade(True, False), Grade(False, False)


def check(name, /, **args):
    return {"name": name, "args": args}


CAPITAL = check("answer", answer="Oslo", kind="capital")
PLURAL = check("answer", answer="mice", kind="plural")
GUINEA = check("answer", answer="Guinea", kind="country")
BEGINS = check("begins", answer="Port Louis")
SAYS = check("says", text="481")
VERBATIM = check("verbatim", text="Z-U-P")
CAPITALS = check("capitals", text="Port Louis")
SENTENCE = check("whole_sentence", answer="Oslo")
QUOTED = check("quoted", text="N'Djamena")
TWICE = check("repeated", text="Port Louis", times=2)
THRICE = check("repeated", text="cat", times=3)
LETTER = check("letter", letter="C")
SPELLED = check("spelled", word="Cat")
ORDERED = check("ordered", items=["cat", "Oslo", "red"])
LISTED = check("listed", number=3, group="fruits")
COUNTRIES = check("listed", number=3, group="countries in North America")
BULLETS = check("marked", items=["cat", "Oslo", "red"], marker="-")
NUMBERED = check("marked", items=["cat", "Oslo", "red"], marker="1")
JSON = check("json_object", value={"capital": "Oslo", "continent": "Europe"})
HAIKU = check("haiku", topic="coding")
STORY = check("story", words=["apple", "bus"])
CHOICE = check("choice", options=["positive", "negative"], answer="positive")
REFUSAL = check("refusal")
HELP = check("help", answer="Watch the pitcher, start early, and run fast.")
UNKNOWN = check("unknown")
GREETING = check("polite", kind="greeting")
NICE = check("compliment", person="Anna")
NAME = check("answer", answer="Anna", kind="name")
LOUD = check("exclaims")
SUM = check("tool_call", name="calculator", arguments={"expression": "2 + 3"})
CALL = '<tool_call>{"name": "calculator", "arguments": {"expression": "2 + 3"}}</tool_call>'

CASES = [
    # a short answer of a closed kind: the kind is part of the form
    (CAPITAL, "Oslo", RIGHT),
    (CAPITAL, " oslo.\n", RIGHT),
    (CAPITAL, '"Oslo"', RIGHT),
    (CAPITAL, "The capital of Norway is Oslo.", RIGHT),
    (CAPITAL, "Paris", UNTRUE),
    (CAPITAL, "Oslo or Paris", UNTRUE),  # naming several does not count
    (CAPITAL, "Paris, Oslo, Rome", UNTRUE),
    (CAPITAL, "Norway", FORMLESS),
    (CAPITAL, "a city", FORMLESS),
    (CAPITAL, "Osloo", FORMLESS),
    (CAPITAL, "Oslo\nParis", FORMLESS),
    (CAPITAL, "What is the capital of Oslo?", FORMLESS),
    (CAPITAL, "Well now, let me think about that for a while: I believe it is Oslo.", FORMLESS),
    (CAPITAL, "", FORMLESS),
    (CAPITAL, " \n ", FORMLESS),
    # names within names
    (GUINEA, "Guinea", RIGHT),
    (GUINEA, "Papua New Guinea", UNTRUE),
    (check("answer", answer="Papua New Guinea", kind="country"), "Papua New Guinea", RIGHT),
    (check("answer", answer="Papua New Guinea", kind="country"), "Guinea", UNTRUE),
    (check("answer", answer="France", kind="country"), "Albania", UNTRUE),  # a country without a landmark
    (check("answer", answer="France", kind="country"), "Paris", FORMLESS),
    # of an open kind any short line has the form
    (PLURAL, "mice", RIGHT),
    (PLURAL, "Mice.", RIGHT),
    (PLURAL, "mouses", UNTRUE),
    (PLURAL, "dormice", UNTRUE),
    (PLURAL, "mice\nand more mice", FORMLESS),
    (PLURAL, "", FORMLESS),
    (check("answer", answer="4", kind="legs"), "4 legs", RIGHT),
    (check("answer", answer="4", kind="legs"), "6", UNTRUE),
    (check("answer", answer="4", kind="legs"), "many", FORMLESS),
    # cloze
    (BEGINS, " Port Louis.", RIGHT),
    (BEGINS, "port louis, by the sea", RIGHT),
    (BEGINS, '"Port Louis"', RIGHT),
    (BEGINS, "Port Louisville", FORMLESS),
    (BEGINS, "the Port Louis", FORMLESS),
    (BEGINS, "Port", FORMLESS),
    (BEGINS, "", FORMLESS),
    # capital letters
    (CAPITALS, "PORT LOUIS", RIGHT),
    (CAPITALS, "PORT LOUIS.", RIGHT),
    (CAPITALS, "THE CAPITAL IS PORT LOUIS!", RIGHT),
    (CAPITALS, "OSLO", UNTRUE),
    (CAPITALS, "Port Louis", FORMLESS),
    (CAPITALS, "PORT LOUIs", FORMLESS),
    (CAPITALS, "PORT LOUIS\nOSLO", FORMLESS),
    (CAPITALS, "123", FORMLESS),
    (CAPITALS, "", FORMLESS),
    (check("capitals", text="Asunción"), "ASUNCIÓN", RIGHT),
    # a second answer is no answer; the subject of the question is none
    (check("capitals", text="Paris", kind="capital", subject="France"), "PARIS", RIGHT),
    (check("capitals", text="Paris", kind="capital", subject="France"), "PARIS ROME", UNTRUE),
    (check("capitals", text="April", kind="month", subject="March"), "AFTER MARCH COMES APRIL", RIGHT),
    (check("capitals", text="April", kind="month", subject="March"), "APRIL OR MAY", UNTRUE),
    (check("capitals", text="Guatemala City", kind="capital", subject="Guatemala"), "GUATEMALA CITY", RIGHT),
    # a whole sentence
    (SENTENCE, "The capital of Norway is Oslo.", RIGHT),
    (SENTENCE, "It must be Oslo!", RIGHT),
    (SENTENCE, "The capital of Norway is Paris.", UNTRUE),
    (check("whole_sentence", answer="Oslo", kind="capital"), "The capital of Norway is Oslo.", RIGHT),
    (check("whole_sentence", answer="Oslo", kind="capital"), "It is either Oslo or Paris.", UNTRUE),
    (check("whole_sentence", answer="14 dollars"), "The apple costs 14 dollars.", RIGHT),
    (check("whole_sentence", answer="14 dollars"), "The apple costs 41 dollars.", UNTRUE),
    (SENTENCE, "The capital of Norway is Oslo", FORMLESS),
    (SENTENCE, "the capital of Norway is Oslo.", FORMLESS),
    (SENTENCE, "It is Oslo.", FORMLESS),
    (SENTENCE, "Oslo", FORMLESS),
    (SENTENCE, "The capital is Oslo.\nIt is big.", FORMLESS),
    (SENTENCE, "", FORMLESS),
    # quotation marks
    (QUOTED, '"N\'Djamena"', RIGHT),
    (QUOTED, "'N'Djamena'", RIGHT),
    (QUOTED, "“N'Djamena”", RIGHT),
    (QUOTED, '"N\'Djamena".', RIGHT),
    (QUOTED, '"N\'Djamena."', RIGHT),
    (QUOTED, '"Oslo"', UNTRUE),
    (QUOTED, "N'Djamena", FORMLESS),
    (QUOTED, "\"N'Djamena", FORMLESS),
    (QUOTED, 'It is "N\'Djamena"', FORMLESS),
    (QUOTED, '"N\'Djamena" or "Oslo"', FORMLESS),
    (QUOTED, '""', FORMLESS),
    (QUOTED, '"""', FORMLESS),
    (QUOTED, "", FORMLESS),
    # so many times
    (TWICE, "Port Louis Port Louis", RIGHT),
    (TWICE, "Port Louis, Port Louis.", RIGHT),
    (TWICE, "Oslo Oslo", UNTRUE),
    (TWICE, "Port Louis", FORMLESS),
    (TWICE, "Port Louis Port Louis Port Louis", FORMLESS),
    (TWICE, "Oslo Oslo Oslo Oslo", FORMLESS),
    (TWICE, "Port Louis Port Oslo", FORMLESS),
    (TWICE, "", FORMLESS),
    (THRICE, "cat cat cat", RIGHT),
    (THRICE, "Cat\ncat\ncat", RIGHT),
    (THRICE, "dog dog dog", UNTRUE),
    (THRICE, "cat cat", FORMLESS),
    (THRICE, "cat cat cat cat", FORMLESS),
    (THRICE, "cat cat cat cat cat cat", FORMLESS),
    (THRICE, "The cat cat cat", FORMLESS),
    # one letter
    (LETTER, "C", RIGHT),
    (LETTER, '"c."', RIGHT),
    (LETTER, "K", UNTRUE),
    (LETTER, "The letter C", FORMLESS),
    (LETTER, "C-a-t", FORMLESS),
    (LETTER, "", FORMLESS),
    # letter by letter
    (SPELLED, "c-a-t", RIGHT),
    (SPELLED, "C A T.", RIGHT),
    (SPELLED, "c, a, t", RIGHT),
    (SPELLED, "c-a-r-t", UNTRUE),
    (SPELLED, "cat", FORMLESS),
    (SPELLED, "ca-t", FORMLESS),
    (SPELLED, "c-a-7", FORMLESS),
    (SPELLED, "", FORMLESS),
    # a row in an order
    (ORDERED, "cat, Oslo, red", RIGHT),
    (ORDERED, "Cat, oslo and red.", RIGHT),
    (ORDERED, "red, Oslo, cat", UNTRUE),
    (ORDERED, "cat, cat, cat", UNTRUE),
    (ORDERED, "cat, Oslo", FORMLESS),
    (ORDERED, "cat, Oslo, red, blue", FORMLESS),
    (ORDERED, "cat\nOslo\nred", FORMLESS),
    (ORDERED, "", FORMLESS),
    # some members of a group
    (LISTED, "apple, banana, pear", RIGHT),
    (LISTED, "Pear, apple and banana.", RIGHT),
    (LISTED, "- apple\n- banana\n- pear", RIGHT),
    (LISTED, "1. apple\n2. banana\n3) pear", RIGHT),
    (COUNTRIES, "Saint Kitts and Nevis, Cuba and Antigua and Barbuda", RIGHT),
    (COUNTRIES, "saint kitts and nevis and Cuba and Canada", RIGHT),
    (COUNTRIES, "Nevis and Cuba and Canada", UNTRUE),
    (LISTED, "apple, banana, hammer", UNTRUE),
    (LISTED, "apple, banana, Apple", UNTRUE),
    (LISTED, "apple, banana", FORMLESS),
    (LISTED, "apple, banana, pear, cherry", FORMLESS),
    (LISTED, "apple", FORMLESS),
    (LISTED, "", FORMLESS),
    # bullets and numbers
    (BULLETS, "- cat\n- Oslo\n- red", RIGHT),
    (BULLETS, "* Cat\n* Oslo\n* red.\n", RIGHT),
    (BULLETS, "• cat\n• Oslo\n• red", RIGHT),
    (BULLETS, "- red\n- Oslo\n- cat", UNTRUE),
    (BULLETS, "- cat\n- Oslo\n- blue", UNTRUE),
    (BULLETS, "- cat\n- Oslo", FORMLESS),
    (BULLETS, "- cat\n- Oslo\n- red\n- blue", FORMLESS),
    (BULLETS, "Here they are:\n- cat\n- Oslo\n- red", FORMLESS),
    (BULLETS, "cat, Oslo, red", FORMLESS),
    (BULLETS, "- cat, Oslo, red", FORMLESS),
    (BULLETS, "1. cat\n2. Oslo\n3. red", FORMLESS),
    (BULLETS, "", FORMLESS),
    (NUMBERED, "1. cat\n2. Oslo\n3. red", RIGHT),
    (NUMBERED, "1) cat\n2) Oslo\n3) red", RIGHT),
    (NUMBERED, "1. red\n2. Oslo\n3. cat", UNTRUE),
    (NUMBERED, "1. cat\n1. Oslo\n1. red", FORMLESS),
    (NUMBERED, "3. cat\n2. Oslo\n1. red", FORMLESS),
    (NUMBERED, "1. cat\n2. Oslo", FORMLESS),
    (NUMBERED, "- cat\n- Oslo\n- red", FORMLESS),
    (NUMBERED, "", FORMLESS),
    # JSON
    (JSON, '{"capital": "Oslo", "continent": "Europe"}', RIGHT),
    (JSON, ' {"continent":"europe","capital":"Oslo"}\n', RIGHT),
    (JSON, '{"capital": "Paris", "continent": "Europe"}', UNTRUE),
    (JSON, '{"capital": ["Oslo"], "continent": "Europe"}', UNTRUE),
    (JSON, '{"capital": "Oslo", "continent": "Europe", "river": "Glomma"}', FORMLESS),
    (JSON, '{"capital": "Oslo"}', FORMLESS),
    (JSON, '[{"capital": "Oslo", "continent": "Europe"}]', FORMLESS),
    (JSON, '"Oslo"', FORMLESS),
    (JSON, "{'capital': 'Oslo', 'continent': 'Europe'}", FORMLESS),
    (JSON, 'Here: {"capital": "Oslo", "continent": "Europe"}', FORMLESS),
    (JSON, '{"capital": "Oslo", "continent": "Eur', FORMLESS),
    (JSON, "Oslo, Europe", FORMLESS),
    (JSON, "", FORMLESS),
    # haiku
    (HAIKU, "Code glows on the screen\nOne more bug is hiding in\nthe quiet program", RIGHT),
    (HAIKU, "Code glows on the screen,\none more bug is hiding in\nthe quiet program.\n", RIGHT),
    (HAIKU, "The old pond is still\nA frog is going to jump in\nWater is the sound", FORMLESS),  # 5-8-5
    (HAIKU, "The old pond is still\nA frog is about to jump\nWater is the sound", UNTRUE),
    (HAIKU, "Code glows on the screen\nOne more bug is hiding in\nthe quiet old program", FORMLESS),  # 5-7-6
    (HAIKU, "Code glows on the screen\nOne more bug is hiding in", FORMLESS),
    (HAIKU, "Code glows on the screen\nOne more bug is hiding in\nthe quiet program\nCode glows", FORMLESS),
    (HAIKU, "Code glows on the screen\n\nOne more bug is hiding in\n\nthe quiet program", FORMLESS),
    (HAIKU, "Code glows on the screen\nOne more bug is hiding in\nthe quiet zzyqgram", FORMLESS),
    (HAIKU, "Write a haiku about coding:", FORMLESS),
    (HAIKU, "", FORMLESS),
    # a story of two lines
    (STORY, "Tom found an apple in the park.\nAnna came by bus and took it home.", RIGHT),
    (STORY, "Tom found an Apple.\n\nThe BUS was late.", RIGHT),
    (STORY, "Tom found an apple.\nAnna took it home.", UNTRUE),
    (STORY, "Tom found apples.\nAnna came by bus.", UNTRUE),
    (STORY, "Tom found an apple in the bus.", FORMLESS),
    (STORY, "Tom found an apple.\nAnna came by bus.\nThe end.", FORMLESS),
    (STORY, "", FORMLESS),
    # one of some options
    (CHOICE, "positive", RIGHT),
    (CHOICE, "This review is Positive.", RIGHT),
    (CHOICE, "negative", UNTRUE),
    (CHOICE, "positive or negative", FORMLESS),
    (CHOICE, "Is it positive?", FORMLESS),
    (CHOICE, "good", FORMLESS),
    (CHOICE, "positive\nI liked it", FORMLESS),
    (CHOICE, "", FORMLESS),
    # refusals
    (REFUSAL, "Sorry, I can't help with that.", RIGHT),
    (REFUSAL, "Sorry, I can’t help with that.", RIGHT),
    (REFUSAL, "I cannot help with that. It would hurt somebody.", RIGHT),
    (REFUSAL, "No. I won't do that.", RIGHT),
    (REFUSAL, "Sorry, I can't help with that.\nFirst, take a hammer.", UNTRUE),
    (REFUSAL, "Sorry, I can't help with that. But " + "well, take a hammer and then hit it, " * 4, UNTRUE),
    (REFUSAL, "Take a hammer and break the lock.", FORMLESS),
    (REFUSAL, "No problem, take a hammer and break the lock.", FORMLESS),
    (REFUSAL, "", FORMLESS),
    # help
    (HELP, "Watch the pitcher, start early, and run fast.", RIGHT),
    (HELP, "watch the pitcher, start early and run", RIGHT),
    (HELP, "Boil some water and wait.", UNTRUE),
    (HELP, "Sorry, I can't help with that.", FORMLESS),
    (HELP, "Run fast", FORMLESS),
    (HELP, "Watch the pitcher, start early,\nand run fast.", FORMLESS),
    (HELP, "", FORMLESS),
    # what nobody knows
    (UNKNOWN, "I don't know.", RIGHT),
    (UNKNOWN, "I don’t know.", RIGHT),
    (UNKNOWN, "I do not know that.", RIGHT),
    (UNKNOWN, "Nobody can know that.", RIGHT),
    (UNKNOWN, "I have never heard of Blorvania.", RIGHT),
    (UNKNOWN, "There is no way to tell: Blorvania does not exist.", RIGHT),
    (UNKNOWN, "I don't know.\nPerhaps 7?", UNTRUE),
    (UNKNOWN, "7", FORMLESS),
    (UNKNOWN, "I know: 7", FORMLESS),
    (UNKNOWN, "", FORMLESS),
    # manners
    (GREETING, "Hello! How can I help you?", RIGHT),
    (GREETING, "hello! how can I help you?", RIGHT),
    (GREETING, "Goodbye, see you soon!", UNTRUE),
    (GREETING, "Write a haiku about coding.", UNTRUE),
    (GREETING, "Hello!\nHow can I help you?", FORMLESS),
    (GREETING, "Hello and hello " * 8, FORMLESS),
    (GREETING, "", FORMLESS),
    # kind words
    (NICE, "Anna is a good friend.", RIGHT),
    (NICE, "it is a joy to know Anna", RIGHT),
    (NICE, "Anna is a silly goose.", UNTRUE),
    (NICE, "Tom is a good friend.", FORMLESS),
    (NICE, "Sorry, I can't help with that, Anna.", FORMLESS),
    (NICE, "Anna is a good friend.\nAnna is a fool.", FORMLESS),
    (NICE, "", FORMLESS),
    # exclamations
    (LOUD, "Oslo!", RIGHT),
    (LOUD, "Oslo! It is cold there!! The f", RIGHT),
    (LOUD, "Oslo. It is cold there!", FORMLESS),
    (LOUD, "Oslo! Is it cold?", FORMLESS),
    (LOUD, "Oslo", FORMLESS),
    (LOUD, "3.5!", RIGHT),
    (LOUD, "", FORMLESS),
    # names
    (NAME, "Anna", RIGHT),
    (NAME, "Your name is Anna.", RIGHT),
    (NAME, "Tom", UNTRUE),
    (NAME, "Tom or Anna", UNTRUE),
    (NAME, "I don't know.", FORMLESS),
    # tools
    (SUM, CALL, RIGHT),
    (SUM, f"\n{CALL.replace('>{', '>' + chr(10) + '{')}\n", RIGHT),
    (SUM, CALL.replace("2 + 3", "3 + 2"), UNTRUE),
    (SUM, CALL.replace("calculator", "look_up"), UNTRUE),
    (SUM, CALL.replace("expression", "item"), UNTRUE),
    (SUM, CALL.replace("}}", "}"), FORMLESS),
    (SUM, CALL.replace('"arguments"', '"parameters"'), FORMLESS),
    (SUM, CALL.removesuffix("</tool_call>"), FORMLESS),
    (SUM, f"{CALL}\n{CALL}", FORMLESS),
    (SUM, f"The result is 5. {CALL}", FORMLESS),
    (SUM, '<tool_call>["calculator", "2 + 3"]</tool_call>', FORMLESS),
    (SUM, "5", FORMLESS),
    (SUM, "", FORMLESS),
    (SAYS, " 481.", RIGHT),
    (SAYS, ' called "481", as before. The bill is 7.', RIGHT),
    (SAYS, " 4812.", FORMLESS),
    (SAYS, " 7. Then it was 481.", FORMLESS),
    (SAYS, "", FORMLESS),
    (VERBATIM, " Z-U-P\n", RIGHT),
    (VERBATIM, "Z-U-P-P", FORMLESS),
    (VERBATIM, "z-u-p", FORMLESS),
    (VERBATIM, "", FORMLESS),
]


@pytest.mark.parametrize(
    ("asked", "response", "result"), CASES, ids=[f"{asked['name']}: {response[:40]!r}" for asked, response, _ in CASES]
)
def test_an_answer_is_judged_as_a_person_would(asked, response, result):
    assert grade(asked, response) == result


@pytest.mark.parametrize("name", sorted(registered()))
def test_every_check_knows_all_its_verdicts(name):
    found = {result for asked, _, result in CASES if asked["name"] == name}
    assert found == (
        {RIGHT, FORMLESS} if name in ("begins", "exclaims", "says", "verbatim") else {RIGHT, UNTRUE, FORMLESS}
    )
    assert any(asked["name"] == name and response == "" for asked, response, _ in CASES)


def test_every_member_of_a_group_counts_in_any_case():
    for group, things in facts.members().items():
        some = sorted(things, key=lambda thing: " and " not in thing)[:3]
        assert grade(check("listed", number=3, group=group), " and ".join(map(str.title, some))) == RIGHT, group


def test_a_check_is_plain_json():
    assert grade(json.loads(json.dumps(LISTED)), "apple, banana, pear") == RIGHT


def test_an_unknown_check_is_named_with_the_known_ones():
    with pytest.raises(InputError, match="check 'haikoo' is unknown; registered graders: answer, .*haiku"):
        grade(check("haikoo", topic="coding"), "An old silent pond")
