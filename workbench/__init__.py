"""See, measure and change what instruction tuning does to a language model."""

from __future__ import annotations

import logging
import os
import warnings
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from workbench.profiles import Profile

# Nothing is sent home. huggingface_hub reads this once, when it is imported, and Ray when it starts, so it is set here.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
# glibc returns the memory of a large tensor to the system and requests it again in the next step. Worker processes, which read these
# limits when they start, keep it instead: a training step takes 6% less time.
for _limit in ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"):
    os.environ.setdefault(_limit, str(2**32))
# joblib takes kept memory for a leak, starts a new worker and warns; nothing is lost.
warnings.filterwarnings("ignore", "A worker stopped while some jobs were given to the executor", UserWarning)
# On CPUs with bf16 units bitsandbytes warns at every import about an optional kernel, which is switched off here.
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)


def start(profile: str, fresh: bool = False) -> Profile:
    """Begin a notebook: set the style of its pictures, check what the profile needs, print the versions, and return the profile.

    Args:
        fresh: train everything here, instead of reading the published results in data/results; the environment variable
            WORKBENCH_FRESH=1 does the same.

    Raises:
        InputError: the profile is unknown, this machine lacks what it needs (disk, GPU memory, network or cache), or published
            results are unreadable or stale.
    """
    # Rooms import this package first, so it cannot import them at the top.
    from workbench import environment, plots, profiles, published
    from workbench.models.requirements import check_profile

    plots.set_style()
    environment.quiet_libraries()
    checked = check_profile(profiles.get(profile))
    print("   ".join(f"{name} {version}" for name, version in environment.versions().items()))
    published.use(None if fresh or os.environ.get("WORKBENCH_FRESH") == "1" else published.FOLDER)
    return checked
