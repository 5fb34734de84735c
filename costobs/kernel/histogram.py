"""Fixed log buckets for latency: mergeable by adding counts, percentiles within five per cent."""

import math
from collections.abc import Iterable

# Bucket b holds durations from RATIO**b (inclusive) to RATIO**(b+1) milliseconds and is read at its geometric middle, so
# the error is at most sqrt(RATIO) - 1 = 4.9 %. The same expression is written in SQL as BUCKET_SQL.
RATIO = 1.1
BUCKET_SQL = "floor(ln(greatest({ms}, 1)) / ln(1.1) + 1e-9)::smallint"


def bucket(milliseconds: int) -> int:
    """The bucket of a duration; less than a millisecond counts as one."""
    return math.floor(math.log(max(milliseconds, 1)) / math.log(RATIO) + 1e-9)


def middle(index: int) -> int:
    """The duration in milliseconds that stands for bucket `index`."""
    duration: float = RATIO ** (index + 0.5)
    return round(duration)


def percentile(counts: Iterable[tuple[int, int]], *, permille: int) -> int | None:
    """The duration in ms below which `permille` of all counted durations lie; None where nothing was counted.

    `counts` are (bucket, count) pairs in any order; buckets may repeat.
    """
    ordered = sorted(counts)
    whole = sum(count for _, count in ordered)
    if whole == 0:
        return None
    wanted, seen = -(-whole * permille // 1000), 0
    for index, count in ordered:
        seen += count
        if seen >= wanted:
            return middle(index)
    return middle(ordered[-1][0])
