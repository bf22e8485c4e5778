"""The token bucket, on a clock of its own."""

from dashboard.access.rate_limit import Allowance


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_burst_and_then_a_steady_rate() -> None:
    clock = Clock()
    allowance = Allowance(burst=3, every_s=10, clock=clock)
    assert [allowance.take("a") for _ in range(3)] == [0, 0, 0]
    assert allowance.take("a") == 10
    clock.now += 9
    assert allowance.wait_s("a") == 1
    clock.now += 1
    assert allowance.take("a") == 0
    assert allowance.take("a") == 10


def test_asking_uses_nothing_up_and_waiting_long_gives_no_more_than_a_burst() -> None:
    clock = Clock()
    allowance = Allowance(burst=2, every_s=1, clock=clock)
    for _ in range(10):
        assert allowance.wait_s("a") == 0
    clock.now += 1000
    assert [allowance.take("a") == 0 for _ in range(3)] == [True, True, False]


def test_clients_do_not_share_and_are_not_remembered_for_ever() -> None:
    allowance = Allowance(burst=1, every_s=1000, max_clients=5, clock=Clock())
    assert allowance.take("a") == 0
    assert allowance.take("a") > 0
    assert all(allowance.take(f"other {number}") == 0 for number in range(5))
    assert allowance.take("a") == 0  # forgotten
