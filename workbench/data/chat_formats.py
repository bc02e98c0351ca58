"""Choose the chat format of a base model: the template that marks answers, the token that ends a turn, tokens that have to be added.

A base's tokenizer brings a chat template, only the turn tokens of its family, only those of ChatML, or nothing. :func:`fit` takes the
first of these that there is, and where there is nothing it adds the tokens of ChatML.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import transformers

from workbench.data.chat_templates import CHAT_TOKENS, CHATML, FAMILIES, OWN, SYSTEM_FIRST, TOOL_TOKENS, read_template
from workbench.data.rendering import ANSWER, REFUSALS, SYSTEM, USER, require_rendering
from workbench.errors import InputError

# Tokens made for padding, by their usual names
PAD_TOKENS = ("<|pad|>", "<|finetune_right_pad_id|>", "<pad>", "[PAD]", "<|padding|>")


@dataclass(frozen=True)
class ChatFormat:
    """Hold the chat format that was chosen for a tokenizer."""

    name: str
    """A key of :data:`FAMILIES`, "own", or the name of a template file."""
    reason: str
    """Why this one."""
    template: str
    """Jinja text with the answers marked."""
    end: str
    """The token that ends an answer."""
    pad: str
    """The padding token, which is none that ends anything."""
    added: tuple[str, ...]
    """Tokens that the vocabulary lacked."""
    bos: str | None
    eos: str | None
    system_in_user: bool
    """System turns are written before the text of the first user turn, because the template has no role for them."""

    def key(self) -> str | dict:
        """Return what names the format in the key of a run: the text of ChatML alone, or all that another format sets."""
        if self.plain:
            return self.template
        fields = ("template", "end", "pad", "added", "bos", "eos")
        return {name: list(value) if isinstance(value := getattr(self, name), tuple) else value for name in fields}

    @property
    def plain(self) -> bool:
        """Whether this is the project's own format on a vocabulary that has all it needs."""
        return self.template == CHATML and not self.added

    def describe(self) -> str:
        """Return one line that says what was chosen and why."""
        parts = [f"{self.name}: {self.reason}", f"answers end with {self.end!r}"]
        if self.added:
            parts.append(f"added to the vocabulary: {', '.join(self.added)}")
        if self.system_in_user:
            parts.append("system turns go before the text of the first user turn")
        return "; ".join(parts)


def fit(tokenizer: transformers.PreTrainedTokenizerBase, template: str | None = None) -> ChatFormat:
    """Give a tokenizer its chat template, the tokens that the template needs and a pad token that ends nothing.

    Looked for in this order: a template of its own that marks answers, or of which TRL has a version that does; the turn tokens of a
    family; ChatML's tokens. Where there is nothing, ChatML's tokens are added.

    Args:
        tokenizer: is changed.
        template: a key of :data:`FAMILIES`, "own" or a Jinja file that marks answers, instead of the first that is found.

    Raises:
        InputError: the template is unknown, cannot be read or rendered, or does not mark answers.
    """
    name, reason, text = _named(tokenizer, template) if template else _found(tokenizer)
    needed = FAMILIES[name].tokens if name in FAMILIES else ()
    added = _add(tokenizer, needed)
    tokenizer.chat_template = text
    if name in FAMILIES and _adds_bos(tokenizer) and not _begins_with_bos(tokenizer):
        tokenizer.chat_template = "{{- bos_token -}}" + text
    where = tokenizer.name_or_path or "tokenizer"
    require_rendering(tokenizer, where)
    place = _place_of_system(tokenizer)
    if place == "none":
        bare, tokenizer.chat_template = tokenizer.chat_template, SYSTEM_FIRST + tokenizer.chat_template
        place = _place_of_system(tokenizer)
        if place == "none":  # it refuses the turns for another reason
            tokenizer.chat_template = bare
    end = end_token(tokenizer)
    added += _choose_pad(tokenizer, end)
    shown = "no special token" if end is None else tokenizer.convert_ids_to_tokens(end)
    return ChatFormat(
        name=name, reason=reason, template=tokenizer.chat_template, end=shown, pad=tokenizer.pad_token, added=added,
        bos=tokenizer.bos_token, eos=tokenizer.eos_token, system_in_user=place == "user",
    )  # fmt: skip


def end_token(tokenizer: transformers.PreTrainedTokenizerBase) -> int | None:
    """Return the id of the token that ends an answer: the first special token after the answer's text that the template marks.

    A template may write more behind it (Gemma's newline, Phi's end of document). None where it marks no special token there.
    """
    try:
        encoded = tokenizer.apply_chat_template(
            [USER, ANSWER], tokenize=True, return_dict=True, return_assistant_tokens_mask=True,
            tokenizer_kwargs={"verbose": False},
        )  # fmt: skip
    except REFUSALS:
        return None  # it wants turns of another kind: validation names the rows that it refuses
    marked = [token for token, on in zip(encoded["input_ids"], encoded["assistant_masks"], strict=True) if on]
    special = special_ids(tokenizer)
    text = [i for i, token in enumerate(marked) if token not in special and tokenizer.decode([token]).strip()]
    return next((token for token in marked[text[-1] + 1 if text else 0 :] if token in special), None)


def special_ids(tokenizer: transformers.PreTrainedTokenizerBase) -> set[int]:
    """Return the ids of the tokens that no text is split into."""
    return {*tokenizer.all_special_ids, *(i for i, token in tokenizer.added_tokens_decoder.items() if token.special)}


def turn_token_ids(tokenizer: transformers.PreTrainedTokenizerBase) -> list[int]:
    """Return the ids of the added tokens that the chat template writes: base models reserve them and often never trained them."""
    known = {tokenizer.bos_token_id, tokenizer.pad_token_id, tokenizer.unk_token_id}
    template = tokenizer.chat_template or ""
    written = (
        i for i, token in tokenizer.added_tokens_decoder.items() if token.content.strip() and token.content in template
    )
    return sorted({*written} - known)


def writes_tools(tokenizer: transformers.PreTrainedTokenizerBase) -> bool:
    """Return whether the chat template writes tools, calls and what tools return; many refuse them, and some drop them without a word."""
    names = ("t9", "k9", "v9", "r9")
    call = {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "t9", "arguments": {"k9": "v9"}}}]}
    tool = {"name": "t9", "description": "", "parameters": {"type": "object", "properties": {}}}
    turns = [USER, call, {"role": "tool", "name": "t9", "content": "r9"}, ANSWER]
    try:
        text = tokenizer.apply_chat_template(turns, tools=[{"type": "function", "function": tool}], tokenize=False)
        bare = tokenizer.apply_chat_template(turns, tokenize=False)
    except REFUSALS:
        return False
    return all(name in text for name in names) and text != bare


def _found(tokenizer: transformers.PreTrainedTokenizerBase) -> tuple[str, str, str]:
    """Return name, reason and template of the first format that fits."""
    why = "no chat template"
    if tokenizer.chat_template is not None:
        marked, why = _own(tokenizer)
        if marked is not None:
            return OWN, why, marked
    vocabulary = tokenizer.get_vocab()
    for name, family in FAMILIES.items():
        if all(token in vocabulary for token in family.tokens):
            return name, f"{why}, its turn tokens are in the vocabulary", read_template(name)
    return "chatml", f"{why} and no turn tokens", CHATML


def _own(tokenizer: transformers.PreTrainedTokenizerBase) -> tuple[str | None, str]:
    """Return the tokenizer's own template with marks, None where there is none, and a reason."""
    own = tokenizer.chat_template
    text = own["default"] if isinstance(own, dict) else own
    if re.search(r"\{%-?\s*generation\s*-?%\}", text):
        return text, "the tokenizer's template marks answers"
    from trl.chat_template_utils import get_training_chat_template  # takes seconds to import

    tokenizer.chat_template = text
    try:
        require_rendering(tokenizer, tokenizer.name_or_path or "tokenizer")
        return get_training_chat_template(tokenizer), "the tokenizer's template, in TRL's version that marks answers"
    except REFUSALS:
        return None, "the tokenizer's template does not mark answers"


def _named(tokenizer: transformers.PreTrainedTokenizerBase, template: str) -> tuple[str, str, str]:
    """Return name, reason and template of the format that the user named. Raises InputError."""
    if template == OWN:
        text, why = (
            _own(tokenizer) if tokenizer.chat_template is not None else (None, "the tokenizer has no chat template")
        )
        if text is None:
            raise InputError(
                f"template own: {why}; put {{% generation %}} and {{% endgeneration %}} around the answer and its end token in a copy, and name that file"
            )
        return OWN, why, text
    return (template if template in FAMILIES else Path(template).name), "as asked", read_template(template)


def _add(tokenizer: transformers.PreTrainedTokenizerBase, tokens: tuple[str, ...]) -> tuple[str, ...]:
    """Make these tokens special ones, adding those that the vocabulary lacks, and return the latter.

    Some vocabularies, those out of GGUF files among them, hold turn tokens as plain ones, which texts are not cut at.
    """
    vocabulary, special = tokenizer.get_vocab(), special_ids(tokenizer)
    plain = [token for token in tokens if token not in vocabulary or vocabulary[token] not in special]
    tokenizer.add_tokens([transformers.AddedToken(each, special=True, normalized=False) for each in plain], True)
    return tuple(token for token in plain if token not in vocabulary)


def _choose_pad(tokenizer: transformers.PreTrainedTokenizerBase, end: int | None) -> tuple[str, ...]:
    """Make sure that the pad token ends nothing, and return the tokens that were added for it.

    A pad token equal to an end token is masked with the padding, and the model never learns to stop. Padding is never looked at, so
    any special token without a task will do; a token of the text would be cut from replies with the special ones.
    """
    if tokenizer.pad_token_id not in (None, tokenizer.eos_token_id, end):
        return ()
    vocabulary = tokenizer.get_vocab()
    special = [token for _, token in sorted(tokenizer.added_tokens_decoder.items(), reverse=True) if token.special]
    taken = {tokenizer.bos_token, tokenizer.eos_token, tokenizer.unk_token, *CHAT_TOKENS, *TOOL_TOKENS}
    spare = [token for token in PAD_TOKENS if token in vocabulary]
    spare += [
        each.content for each in special if each.content not in taken and each.content not in tokenizer.chat_template
    ]
    added = () if spare else _add(tokenizer, PAD_TOKENS[:1])
    tokenizer.pad_token = (*spare, *added)[0]
    return added


def _adds_bos(tokenizer: transformers.PreTrainedTokenizerBase) -> bool:
    """Return whether the tokenizer begins a text with BOS."""
    return tokenizer.bos_token_id is not None and tokenizer("a")["input_ids"][:1] == [tokenizer.bos_token_id]


def _begins_with_bos(tokenizer: transformers.PreTrainedTokenizerBase) -> bool:
    """Return whether the chat template begins a conversation with BOS."""
    return tokenizer.apply_chat_template([USER, ANSWER], tokenize=False).startswith(tokenizer.bos_token)


def _place_of_system(tokenizer: transformers.PreTrainedTokenizerBase) -> str:
    """Return where the chat template writes a system turn: in a turn of its "own", in the "user" turn, or "none" where it refuses or drops it."""
    merged = {"role": "user", "content": f"{SYSTEM['content']}\n\n{USER['content']}"}
    try:
        text, same = (tokenizer.apply_chat_template(turns, tokenize=False) for turns in ([SYSTEM, USER], [merged]))
    except REFUSALS:
        return "none"
    if SYSTEM["content"] not in text:
        return "none"
    return "user" if text == same else "own"
