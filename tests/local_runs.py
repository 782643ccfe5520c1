"""What tests of providers need; it ships with perfkit, for the providers of others."""

from perfkit.ssh.keys import make_ssh_key
from perfkit.testing.provider_runs import ProviderRun as LocalRun
from perfkit.testing.provider_runs import answers, in_fresh_process, wait_until

__all__ = ["LocalRun", "answers", "in_fresh_process", "new_key", "wait_until"]


def new_key() -> tuple[str, str]:
    """A fresh ed25519 key as OpenSSH writes it: private, public."""
    key = make_ssh_key()
    return key.private_openssh, key.public_openssh
