"""All patches of aiokafka 0.14, one module for each.

Each module begins with the same header: what aiokafka does, why that matters, a reference, and the test that fails when
the patch is no longer needed. Start an upgrade of aiokafka with this list and with `docs/decisions/aiokafka.md`.

Patches of functions and classes of the process, which `apply_patches` applies:

* `compression_level`: zstd at level 1
* `decompression_limit`: no batch over 64 MiB
* `error_codes`: every error code keeps its number
* `oauth_refusal`: a refused token is reported
* `offset_fetch_errors`: an error of a whole OffsetFetch response is raised

Patches of single clients and batches, which their owners apply:

* `admin_failover`: an admin client asks the next broker if one is unavailable
* `early_compression`: a batch is compressed in a thread, before its sequence number is known
* `unanswered_requests`: a producer notes requests that may still arrive
"""

from __future__ import annotations

import functools

from worker.broker.patches.compression_level import patch_compression_level
from worker.broker.patches.decompression_limit import patch_decompression_limit
from worker.broker.patches.error_codes import patch_error_codes
from worker.broker.patches.oauth_refusal import patch_oauth_refusal
from worker.broker.patches.offset_fetch_errors import patch_offset_fetch_errors


@functools.cache
def apply_patches() -> None:
    """Patch aiokafka in this process. Further calls have no effect."""
    patch_compression_level()
    patch_decompression_limit()
    patch_error_codes()
    patch_oauth_refusal()
    patch_offset_fetch_errors()
