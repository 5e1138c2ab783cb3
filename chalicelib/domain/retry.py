"""Backoff: when a failed attempt is tried again."""

from datetime import timedelta

from chalicelib.domain.policies import Growth, RetryStrategy


def ceiling(strategy: RetryStrategy, attempt: int) -> timedelta:
    """Return the longest backoff after the given attempt (1 is the first), never above the cap."""
    if strategy.growth is Growth.LINEAR:
        return min(strategy.base * attempt, strategy.cap)
    # By then every cap has long been reached; the bound keeps the product a timedelta at any attempt number.
    growth: int = strategy.factor ** min(attempt - 1, 20)
    return min(strategy.base * growth, strategy.cap)


def backoff(strategy: RetryStrategy, attempt: int, jitter: float) -> timedelta:
    """Return the backoff after the given attempt: full jitter, `jitter` uniform in [0, 1)."""
    return ceiling(strategy, attempt) * jitter
