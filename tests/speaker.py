"""A model that says what a test wants: a tiny Llama whose next token goes on with one of the replies to its prompt."""

import torch
from transformers import LlamaConfig, LlamaForCausalLM

OPENS = "<|im_start|>assistant\n"


class Speaker(LlamaForCausalLM):
    """After a prompt it says one of ``replies(prompt)``, all alike likely, and ends; it takes part in generate as any model does."""

    def __init__(self, tokenizer, replies, room=512):
        super().__init__(
            LlamaConfig(
                vocab_size=len(tokenizer), hidden_size=8, intermediate_size=8, num_hidden_layers=1,
                num_attention_heads=1, max_position_embeddings=room,
            )
        )  # fmt: skip
        self.tokenizer, self.replies = tokenizer, replies
        self.end = tokenizer.convert_tokens_to_ids("<|im_end|>")

    def forward(self, input_ids, **kwargs):
        output = super().forward(input_ids=input_ids, **kwargs)
        if input_ids.shape[1] > 1:  # the prompts, padded on the left, and what it said in an earlier round of decoding
            self.open = []
            for ids in input_ids:
                text = self.tokenizer.decode(ids[ids != self.tokenizer.pad_token_id])
                # Plain text does not show where the prompt ends: there a reply has to fit into the first round.
                prompt, opened, said = text.rpartition(OPENS) if OPENS in text else (text, "", "")
                said = self.tokenizer(said)["input_ids"]
                replies = ([*self.tokenizer(text)["input_ids"], self.end] for text in self.replies(prompt + opened))
                self.open.append([reply[len(said) :] for reply in replies if reply[: len(said)] == said])
        else:
            for i, token in enumerate(input_ids[:, 0].tolist()):
                self.open[i] = [reply[1:] for reply in self.open[i] if reply[:1] == [token]]
        logits = torch.full_like(output.logits[:, -1:], -1e9)
        for i, replies in enumerate(self.open):
            for token in {reply[0] for reply in replies if reply} or {self.end}:
                logits[i, 0, token] = 0.0
        output.logits = logits
        return output
