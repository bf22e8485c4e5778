"""The rate limiter, on a clock that the test sets."""

from dashboard.access.rate_limit import RateLimiter


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_burst_is_allowed_and_then_a_steady_rate() -> None:
    clock = Clock()
    limiter = RateLimiter(burst=3, every_s=10, clock=clock)
    assert [limiter.take("a") for _ in range(3)] == [0, 0, 0]
    assert limiter.take("a") == 10
    clock.now += 9
    assert limiter.wait_s("a") == 1
    clock.now += 1
    assert limiter.take("a") == 0
    assert limiter.take("a") == 10


def test_wait_s_takes_nothing_and_a_long_wait_gives_one_burst_at_most() -> None:
    clock = Clock()
    limiter = RateLimiter(burst=2, every_s=1, clock=clock)
    for _ in range(10):
        assert limiter.wait_s("a") == 0
    clock.now += 1000
    assert [limiter.take("a") == 0 for _ in range(3)] == [True, True, False]


def test_clients_have_separate_buckets_and_old_ones_are_forgotten() -> None:
    limiter = RateLimiter(burst=1, every_s=1000, max_clients=5, clock=Clock())
    assert limiter.take("a") == 0
    assert limiter.take("a") > 0
    assert all(limiter.take(f"other {number}") == 0 for number in range(5))
    assert limiter.take("a") == 0  # forgotten
