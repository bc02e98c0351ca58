"""Specify a training in full: frozen specs whose hash names the run."""

import dataclasses
import math
from dataclasses import dataclass
from typing import get_args

from workbench.errors import InputError, known_names, shortened

DEFAULT_LEARNING_RATE = {"full": 1e-3, "lora": 2e-3, "qlora": 2e-3}

# Words that a field may be
SAMPLING = ("random", "group_by_length")
LOSS_ON = ("answers", "everything")
SCHEDULERS = ("cosine", "linear", "constant", "constant_with_warmup")
LOSSES = ("sigmoid", "sigmoid+sft", "ipo", "sigmoid_norm", "kto", "sft")
RL_LOSSES = ("dapo", "grpo", "dr_grpo", "bnpo", "rloo")
ADVANTAGES = ("group", "batch", "none")

# Ranges of the numbers; all others must be more than 0.
SHARES = ("warmup",)  # below 1; from 1 on a whole number
NOT_NEGATIVE = ("weight_decay", "seed")


@dataclass(frozen=True)
class SFTSpec:
    """Specify one supervised fine-tuning in full: equal specs on equal rows give the same run."""

    base: str
    """Base model: a folder or a Hub id."""
    revision: str | None = None
    """Branch, tag or commit on the Hub; None takes the default branch."""
    template: str | None = None
    """Chat template: a family's name (chatml, gemma3, llama3, …), "own" for the base's, or a Jinja file; None takes the first that fits."""
    method: str = "qlora"
    """"full" trains every weight, "lora" a low-rank update of the linear layers, "qlora" the same on a base kept in 4 bits."""
    rank: int = 16
    """Rank of the update; a higher one can learn more and costs memory. Not used by "full"."""
    alpha: int | None = None
    """The update is scaled by alpha / rank; None takes twice the rank."""
    learning_rate: float | None = None
    """Peak learning rate; None takes 2e-3 for adapters and 1e-3 for all weights, which suit the pocket base. Bigger models want 10 times less."""
    epochs: float = 3.0
    """Passes over the rows; not used when max_steps or max_tokens is given."""
    max_steps: int | None = None
    """Optimizer steps, whatever the number of rows."""
    max_tokens: int | None = None
    """Tokens to read, prompts included, to the nearest step of mean length: for comparisons at equal cost, however long the rows are."""
    batch_size: int = 16
    """Rows per optimizer step."""
    micro_batch_size: int | None = None
    """Rows at a time, if fewer than batch_size: the same gradient. None takes what is fast on a CPU, and what memory holds on a GPU."""
    max_length: int = 512
    """Tokens per row; what is longer is cut at the end and loses its end token (validation warns)."""
    warmup: float = 0.05
    """Share of the steps in which the learning rate rises from 0 (below 1; trainings of fewer than 20 steps have no such warm-up), or their
    number (1 and more)."""
    scheduler: str = "cosine"
    """"cosine" or "linear" down to 0, "constant", or "constant_with_warmup"."""
    weight_decay: float = 0.0
    """AdamW's decay; pulls trained weights towards 0."""
    sampling: str = "random"
    """"random", or "group_by_length": faster on rows of very different lengths, but short answers then weigh more."""
    loss_on: str = "answers"
    """"answers" learns what the assistant says and where it stops; "everything" learns the prompts as well."""
    checkpointing: bool = False
    """Compute activations twice instead of keeping them: about 30% slower, much less memory."""
    seed: int = 0
    """Of the adapter's start and the order of the rows."""

    def __post_init__(self):
        _among(self, method=tuple(DEFAULT_LEARNING_RATE), sampling=SAMPLING, loss_on=LOSS_ON, scheduler=SCHEDULERS)
        if self.learning_rate is None:
            object.__setattr__(self, "learning_rate", DEFAULT_LEARNING_RATE[self.method])
        _in_range(self)
        _fractions(self)
        if self.max_tokens is not None and self.max_steps is not None:
            raise InputError(
                f"max_steps {self.max_steps} and max_tokens {self.max_tokens} both end the training; give one"
            )

    @classmethod
    def of(cls, **fields) -> "SFTSpec":
        """Make a spec from fields that a person typed.

        Raises:
            InputError: a field that there is not, or a value that cannot be.
        """
        known = [field.name for field in dataclasses.fields(cls)]
        for field in fields:
            if field not in known:
                raise InputError(f"parameter {shortened(field)} is unknown{known_names(field, known)}")
        return cls(**fields)


@dataclass(frozen=True)
class DPOSpec:
    """Specify one training on preference pairs in full: equal specs on equal pairs and the same SFT run give the same run.

    The model, its method (full, LoRA, QLoRA) and the rank are those of the SFT run.
    """

    loss: str = "sigmoid"
    """"sigmoid" is DPO (Rafailov et al. 2023, arXiv 2305.18290); "sigmoid+sft" adds the loss of SFT on the chosen answers, which keeps them
    likely (Pang et al. 2024, arXiv 2404.19733); "ipo" aims at a margin instead of ever more of it (Azar et al. 2023,
    arXiv 2310.12036); "sigmoid_norm" is DPO on log-probabilities per token, so that length does not count (Meng et al. 2024, arXiv
    2405.14734); "kto" judges each answer alone, desirable or not (Ethayarajh et al. 2024, arXiv 2402.01306); "sft" is the control: the chosen answers alone, on the same rows in the same order."""
    beta: float = 0.1
    """Strength of the KL penalty to the reference model: higher stays closer to the SFT model. For "ipo" the margin aimed at is 1 / (2 beta) per token, for
    "sigmoid_norm" log-probabilities per token are smaller, so beta wants to be 10 to 20 times higher; not used by "sft"."""
    learning_rate: float = 5e-5
    """Peak learning rate; 10 to 40 times below that of the SFT, or answers fall apart. Bigger models want 10 times less."""
    epochs: float = 1.0
    """Passes over the pairs; not used when max_steps is given."""
    max_steps: int | None = None
    """Optimizer steps, whatever the number of pairs."""
    batch_size: int = 16
    """Pairs per optimizer step."""
    micro_batch_size: int | None = None
    """Pairs at a time, if fewer than batch_size: the same gradient with less memory and more time."""
    max_length: int = 512
    """Tokens of prompt and answer; what is longer is cut at the end (validation warns)."""
    warmup: float = 0.1
    """Share of the steps in which the learning rate rises from 0 (below 1; trainings of fewer than 20 steps have no such warm-up), or their
    number (1 and more)."""
    scheduler: str = "cosine"
    """"cosine" or "linear" down to 0, "constant", or "constant_with_warmup"."""
    weight_decay: float = 0.0
    """AdamW's decay; pulls trained weights towards 0."""
    checkpointing: bool = False
    """Compute activations twice instead of keeping them: about 30% slower, much less memory."""
    seed: int = 0
    """Of the order of the pairs."""

    def __post_init__(self):
        _among(self, loss=LOSSES, scheduler=SCHEDULERS)
        _in_range(self)
        _fractions(self)


@dataclass(frozen=True)
class RewardSpec:
    """Specify one training of a reward model in full: equal specs on equal pairs and the same SFT run give the same run.

    The model, its method (full, LoRA, QLoRA) and the rank are those of the SFT run; the output layer is replaced by one that gives a number.
    """

    learning_rate: float = 3e-4
    """Peak learning rate. Bigger models want 10 times less."""
    epochs: float = 1.0
    """Passes over the pairs; not used when max_steps is given. More than two or three memorise them."""
    max_steps: int | None = None
    """Optimizer steps, whatever the number of pairs."""
    batch_size: int = 16
    """Pairs per optimizer step."""
    micro_batch_size: int | None = None
    """Pairs at a time, if fewer than batch_size: the same gradient with less memory and more time."""
    max_length: int = 512
    """Tokens of prompt and answer; a pair with a longer one is left out, since the reward is read at the end."""
    warmup: float = 0.1
    """Share of the steps in which the learning rate rises from 0 (below 1; trainings of fewer than 20 steps have no such warm-up), or their
    number (1 and more)."""
    scheduler: str = "cosine"
    """"cosine" or "linear" down to 0, "constant", or "constant_with_warmup"."""
    weight_decay: float = 0.0
    """AdamW's decay; pulls trained weights towards 0."""
    checkpointing: bool = False
    """Compute activations twice instead of keeping them: about 30% slower, much less memory."""
    seed: int = 0
    """Of the order of the pairs."""

    def __post_init__(self):
        _among(self, scheduler=SCHEDULERS)
        _in_range(self)
        _fractions(self)


@dataclass(frozen=True)
class RLSpec:
    """Specify one reinforcement learning in full: equal specs on equal prompts, with the same start and reward, give the same run."""

    base: str | None = None
    """Base model to start from, a folder or a Hub id; None where the training starts from an SFT run, with its base, method and rank."""
    revision: str | None = None
    """Of the base on the Hub: branch, tag or commit; None takes the default branch."""
    method: str = "qlora"
    """Of a start from a base: "full", "lora" or "qlora", see SFTSpec."""
    rank: int = 16
    """Of the adapter of a start from a base."""
    loss: str = "dapo"
    """"grpo" is the original (Shao et al. 2024, arXiv 2402.03300), whose mean over each reply favours short right and long wrong replies;
    "dapo" (Yu et al. 2025, arXiv 2503.14476) and "bnpo" average over the tokens of the step or of a forward pass; "dr_grpo" (Liu et al. 2025, arXiv
    2503.20783) divides by max_new_tokens; "rloo" is REINFORCE against the mean reward of the other replies (Ahmadian et al. 2024, arXiv
    2402.14740), with the KL penalty in the reward."""
    advantages: str = "group"
    """What a reply's distance from the mean reward of its group is divided by: the standard deviation of the "group" (GRPO) or of the
    "batch", or "none" (Dr. GRPO). Not used by "rloo"."""
    beta: float = 0.02
    """Strength of the KL penalty to the start: higher stays closer to it. At 0 there is no reference, and the log has no KL; 1e-6 logs it
    without a pull."""
    learning_rate: float = 1e-4
    """Peak learning rate. Too high a rate ends in replies that are all alike. Bigger models want 10 times less."""
    max_steps: int = 150
    """Optimizer steps."""
    prompts: int = 16
    """Prompts per step; with 8 the reward curve is mostly noise."""
    completions: int = 4
    """Replies to each prompt, which are compared with each other: 2 or more. A group whose rewards are all equal teaches nothing."""
    updates: int = 1
    """Optimizer steps on the same replies. From the second on the ratio to the model that wrote them is clipped (at 0.8 and 1.2)."""
    temperature: float = 1.0
    """Of sampling; lower ones make groups without spread more likely."""
    max_new_tokens: int = 32
    """Tokens of a reply; what is longer is cut and has no end token."""
    micro_batch_size: int | None = None
    """Replies at a time, if fewer than prompts × completions: the same gradient. None takes what is fast on a CPU, and what memory holds on a GPU."""
    warmup: float = 0.0
    """Share of the steps in which the learning rate rises from 0 (below 1; trainings of fewer than 20 steps have no such warm-up), or their
    number (1 and more)."""
    scheduler: str = "constant"
    """"cosine" or "linear" down to 0, "constant", or "constant_with_warmup"."""
    weight_decay: float = 0.0
    """AdamW's decay; pulls trained weights towards 0."""
    checkpointing: bool = False
    """Compute activations twice instead of keeping them: about 30% slower, much less memory."""
    seed: int = 0
    """Of the order of the prompts, of the sampled replies, and of the adapter of a start from a base."""

    def __post_init__(self):
        _among(self, method=tuple(DEFAULT_LEARNING_RATE), loss=RL_LOSSES, advantages=ADVANTAGES, scheduler=SCHEDULERS)
        _in_range(self, zero_too=("beta",))
        _fractions(self)
        if self.completions < 2:
            raise InputError(
                "completions is 1; it must be 2 or more, since the replies to a prompt are compared with each other"
            )

    @property
    def batch_size(self) -> int:
        """Replies per optimizer step."""
        return self.prompts * self.completions

    @property
    def epochs(self) -> float:
        """Passes over the prompts that :mod:`workbench.train.reinforcement` draws for all steps."""
        return 1.0


def named_fields(spec: SFTSpec | DPOSpec | RLSpec) -> dict:
    """Return the fields of a spec by name, without a template that is left to the base: what was found names the run."""
    return {name: value for name, value in dataclasses.asdict(spec).items() if (name, value) != ("template", None)}


def _among(spec, **known: tuple[str, ...]) -> None:
    """Each named field is one of the words it may be. Raises InputError."""
    for field, words in known.items():
        if getattr(spec, field) not in words:
            raise InputError(
                f"{field} {shortened(getattr(spec, field))} is unknown{known_names(getattr(spec, field), words)}"
            )


def _in_range(spec, zero_too: tuple[str, ...] = ()) -> None:
    """Check that every number is finite, of its type and in its range, and that a step has whole micro batches. Raises InputError.

    Args:
        zero_too: fields of this spec that may be 0, beside :data:`NOT_NEGATIVE`.
    """
    not_negative = NOT_NEGATIVE + zero_too
    for field in dataclasses.fields(spec):
        name, value = field.name, getattr(spec, field.name)
        kinds = {kind for kind in (get_args(field.type) or (field.type,)) if kind in (int, float)}
        if not kinds or value is None:
            continue
        whole = kinds == {int}
        if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
            raise InputError(f"{name} is {shortened(value, 40)}; it must be a {'whole number' if whole else 'number'}")
        if not math.isfinite(value):
            raise InputError(f"{name} is {value}; it must be a finite number")
        if name in SHARES and (value < 0 or value > 1 and value != int(value)):
            raise InputError(
                f"{name} is {shortened(value, 40)}; it must be a share of the steps, from 0 to below 1, or a whole number of steps"
            )
        if name in not_negative and value < 0:
            raise InputError(f"{name} is {shortened(value, 40)}; it must be 0 or more")
        if name == "seed" and value >= 2**32:  # NumPy takes no larger ones
            raise InputError(f"seed is {shortened(value, 40)}; it must be below 2**32 (4,294,967,296)")
        if name not in SHARES + not_negative and value <= 0:
            raise InputError(f"{name} is {shortened(value, 40)}; it must be more than 0")
    if spec.batch_size % (spec.micro_batch_size or spec.batch_size):
        size = "prompts × completions" if isinstance(spec, RLSpec) else "batch_size"
        raise InputError(f"{size} {spec.batch_size} is not a multiple of micro_batch_size {spec.micro_batch_size}")


def _fractions(spec) -> None:
    """One pass is 1.0 passes: whole numbers in fields for floats become floats, so that equal specs have one name."""
    for field in dataclasses.fields(spec):
        value = getattr(spec, field.name)
        if isinstance(value, int) and field.type in (float, float | None):
            object.__setattr__(spec, field.name, float(value))
