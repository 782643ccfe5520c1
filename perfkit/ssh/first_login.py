"""The first login to a host that does not have its own host key yet, and the host's change to it.

A provider that starts many hosts with one text gives all of them the same host key, and that text
can be read on each of them. So the key is good for one login: the host is given its own, which was
derived from the run's key and is known beforehand, and from then on only that one is accepted. At no
moment is a key trusted because it was the first one seen. A controller that was killed in the middle
finds the host with one of the two, and knows both.
"""

from __future__ import annotations

import contextlib
import shlex
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from time import monotonic

from perfkit.errors import HostError, LostError, PerfkitError, UnreachableError
from perfkit.model import Host
from perfkit.retry import RetryPolicy
from perfkit.ssh.keys import SshKey
from perfkit.ssh.remote import Access, Remote

PATIENCE_S = 20.0  # for a login that should work at once
NEW_KEY = "perfkit-host-key"  # in the home folder, until it is moved

# Exit status 2: cloud-init is done and was not content with all of it.
_AWAIT_BOOT = """\
command -v cloud-init >/dev/null || { echo 'the image has no cloud-init' >&2; exit 1; }
cloud-init status --wait >/dev/null; status=$?
[ $status -eq 0 ] || [ $status -eq 2 ] || { cloud-init status --long >&2; exit 1; }
"""
# Removed: keys of other kinds, which the image or cloud-init may have made and nobody has pinned.
TAKE_KEY = f"""\
set -e
umask 077
chown root: {NEW_KEY} {NEW_KEY}.pub
mv -f {NEW_KEY} /etc/ssh/ssh_host_ed25519_key
mv -f {NEW_KEY}.pub /etc/ssh/ssh_host_ed25519_key.pub
rm -f /etc/ssh/ssh_host_rsa_key /etc/ssh/ssh_host_ecdsa_key /etc/ssh/ssh_host_dsa_key
if [ -d /run/systemd/system ]; then
    systemctl reload ssh || systemctl reload sshd || systemctl restart ssh.socket
else
    kill -HUP "$(cat /run/sshd.pid)"
fi
"""


class FirstLogin:
    """Waits for new hosts and gives each its own key. Thread-safe; `stop` ends all waiting.

    Args:
        access: How hosts are logged in to; its pins are not used.
        host_key: The key that a host is to have, by its name.
        log_path: Where a host's log is.
    """

    def __init__(
        self,
        access: Access,
        *,
        host_key: Callable[[str], SshKey],
        log_path: Callable[[Host], Path | None],
    ) -> None:
        self._access = replace(access, known_hosts_path=None)
        self._host_key, self._log_path = host_key, log_path
        self._lock = threading.Lock()
        self._open: set[Remote] = set()
        self._stopped = False

    def stop(self) -> None:
        """Give up all hosts that are being waited for."""
        with self._lock:
            self._stopped = True
            remotes = list(self._open)
        for remote in remotes:
            remote.connection.abort("the launch was given up")

    def take_over(self, host: Host, timeout_s: float) -> Host:
        """Wait until a host lets the run in and has booted; give it its own key.

        Args:
            host: With the key it shows at first.
            timeout_s: For all of it.

        Returns:
            The host with its own key, which it has been seen to show.

        Raises:
            UnreachableError: it never let us in, or shows neither of the two keys.
            HostError: it did not boot as it should.
        """
        deadline_s = monotonic() + timeout_s
        key = self._host_key(host.name)
        own = replace(host, host_key=key.public_openssh)
        try:
            with self._connected(host, timeout_s) as remote:
                left_s = max(1.0, deadline_s - monotonic())
                remote.run_script(_AWAIT_BOOT, timeout_s=left_s)
                self._give(remote, key)
        except UnreachableError as exc:
            # After a crash it may have its own key already.
            with contextlib.suppress(PerfkitError), self._connected(own, PATIENCE_S):
                return own
            raise exc from exc.__cause__
        return self._await_own(own)

    def _await_own(self, own: Host) -> Host:
        """Wait until a host shows its own key: sshd takes a moment to load it, and shows the first till then."""
        for _ in RetryPolicy().attempts(PATIENCE_S, first_s=0.1, longest_s=1.0):
            try:
                with self._connected(own, PATIENCE_S):
                    return own
            except UnreachableError as exc:  # a wrong key is final for a connection, not here
                error = exc
        raise error

    def _give(self, remote: Remote, key: SshKey) -> None:
        remote.put(key.private_openssh.encode(), NEW_KEY, mode=0o600)
        remote.put(f"{key.public_openssh}\n".encode(), f"{NEW_KEY}.pub", mode=0o644)
        sudo = "" if remote.host.user == "root" else "sudo -n "
        with contextlib.suppress(LostError):  # sshd may end this connection with the old key
            remote.run_script(f"{sudo}sh -c {shlex.quote(TAKE_KEY)}")

    @contextlib.contextmanager
    def _connected(self, host: Host, patience_s: float) -> Iterator[Remote]:
        access = replace(self._access, patience_s=patience_s)
        remote = Remote(host, access, self._log_path(host))
        with self._lock:
            if self._stopped:
                raise HostError(host.name, "the launch was given up")
            self._open.add(remote)
        try:
            with remote:
                yield remote
        finally:
            with self._lock:
                self._open.discard(remote)
