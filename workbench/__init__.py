"""See, measure and change what instruction tuning does to a language model."""

import logging
import os

# Nothing here calls home. Read once, when huggingface_hub is imported and when Ray is started, so it has to stand here.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
# On CPUs with bf16 units bitsandbytes says at every import that an optional kernel, which we switch off, is not installed.
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
