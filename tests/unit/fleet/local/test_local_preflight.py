"""What a run needs of this machine is looked for before anything is made."""

import socket

import pytest

from perfkit.errors import ConfigError, ProviderError
from perfkit.fleet.local.provider import LocalProvider


def test_a_port_that_something_listens_on_is_refused_for_loopback_hosts() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        provider = LocalProvider(isolation="loopback", ports=[port])
        with pytest.raises(ConfigError, match=f"port = {port}.*set another port"):
            provider.preflight(2)
    provider.preflight(2)


def test_a_program_that_is_not_there_is_named_with_the_command_that_installs_it() -> None:
    provider = LocalProvider(isolation="loopback", programs=["no-such-program"])
    with pytest.raises(ProviderError, match=r"no-such-program.*run: .*install"):
        provider.preflight(2)
