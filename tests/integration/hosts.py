"""Several hosts on one machine: network namespaces on a bridge, each with its own address.

They need root and the `ip` command.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager


class NoHosts(RuntimeError):
    """The error of a machine on which no host can be created. Its message says why."""


def inside(host: str, *command: str) -> list[str]:
    """Return the command that runs `command` on `host`."""
    return ["ip", "netns", "exec", host, *command]


@contextmanager
def hosts(count: int) -> Iterator[dict[str, str]]:
    """Create hosts, yield their addresses by name, and remove the hosts when the block ends.

    Raises:
        NoHosts: the machine does not allow it.
    """
    if shutil.which("ip") is None or os.geteuid() != 0:
        raise NoHosts("network namespaces need root and the `ip` command")
    tag = f"v{os.getpid() % 100_000}"
    bridge = f"{tag}b"
    names = [f"{tag}h{number}" for number in range(count)]
    addresses = {name: f"10.213.{os.getpid() % 250}.{number + 1}" for number, name in enumerate(names)}
    try:
        # The bridge is in a namespace too, which leaves the machine's own network unchanged.
        _ip("netns", "add", bridge)
        _ip("-n", bridge, "link", "add", "bridge", "type", "bridge")
        _ip("-n", bridge, "link", "set", "bridge", "up")
        for number, (name, address) in enumerate(addresses.items()):
            _ip("netns", "add", name)
            _ip(
                "-n",
                name,
                "link",
                "add",
                "eth0",
                "type",
                "veth",
                "peer",
                "name",
                f"port{number}",
                "netns",
                bridge,
            )
            _ip("-n", bridge, "link", "set", f"port{number}", "master", "bridge", "up")
            _ip("-n", name, "address", "add", f"{address}/24", "dev", "eth0")
            _ip("-n", name, "link", "set", "eth0", "up")
            _ip("-n", name, "link", "set", "lo", "up")
            # The route leads nowhere, but libraries use it to find the host's own address.
            _ip("-n", name, "route", "add", "default", "dev", "eth0")
        yield addresses
    finally:
        for name in [*names, bridge]:
            subprocess.run(["ip", "netns", "del", name], capture_output=True)


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True)
    if done.returncode != 0:
        raise NoHosts(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
