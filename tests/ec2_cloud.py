"""An EC2 of the test's own: moto behind the shim, an image, ec2.conf, and, if asked for, real hosts.

    with ec2_cloud(tmp_path) as cloud:
        provider = cloud.provider()
        cloud.aws.fail("RunInstances", error("RequestLimitExceeded", 503))

With `real_hosts=True` every instance that is launched is a host in namespaces on this machine, with
an sshd that has the key of its user data, and has booted by it; the API gives the host's address.
perfkit knows nothing of that. What powers itself off is an instance that has ended.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shlex
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from aws_shim import REGION, AwsShim

from perfkit.fleet.ec2.provider import Ec2Provider
from perfkit.fleet.local.provider import LocalProvider
from perfkit.fleet.provider import HostRequest, LaunchRequest
from perfkit.model import Role
from perfkit.retry import RetryPolicy

CONTROLLER = "192.0.2.7/32"
ACCOUNT_ENV = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": "/dev/null",
    "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
}
BOOT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Both are put into each host: this machine has no cloud-init, and its shutdown must not be used.
# The first process of a host ends with its only child, and the host with it.
CLOUD_INIT = "#!/bin/sh\necho 'status: done'\n"
SHUTDOWN = '#!/bin/sh\necho "$(date +%s) $*" >>/var/log/shutdown\nkill -TERM 1\n'


class UnhurriedRetry(RetryPolicy):
    """Only its pauses use up a deadline, not what a starved machine takes between them."""

    def attempts(
        self, deadline_s: float, *, first_s: float = 0.5, longest_s: float = 15.0
    ) -> Iterator[int]:
        pauses_s: list[float] = []

        def sleep(pause_s: float) -> None:
            self.sleep(pause_s)
            pauses_s.append(pause_s)

        loop = RetryPolicy(
            clock=lambda: sum(pauses_s), sleep=sleep, chance=self.chance, scale=self.scale
        )
        return loop.attempts(deadline_s, first_s=first_s, longest_s=longest_s)


@dataclass
class Cloud:
    """The shim, and where ec2.conf is."""

    aws: AwsShim
    config_dir: Path
    image: str
    hosts: RealHosts | None = None

    def provider(self, *, scale: float = 0.02, settle_s: float = 0.0, **more: Any) -> Ec2Provider:
        """A provider as a fresh process would make it; its pauses and deadlines are short."""
        return Ec2Provider(self.config_dir, UnhurriedRetry(scale=scale, **more), settle_s)

    def write_conf(self, **keys: object) -> None:
        """ec2.conf with these keys on top of what a test needs."""
        chosen = {
            "region": REGION,
            "image": self.image,
            "types": "t3.micro",
            "zones": f"{REGION}a",
            "controller": CONTROLLER,
            "endpoint_url": self.aws.url,
            **keys,
        }
        text = "".join(f"{key} = {value}\n" for key, value in chosen.items())
        (self.config_dir / "ec2.conf").write_text(f"[ec2]\n{text}")


@contextlib.contextmanager
def account() -> Iterator[None]:
    """Credentials for moto, and none of this machine's."""
    before = {name: os.environ.get(name) for name in (*ACCOUNT_ENV, "AWS_PROFILE")}
    os.environ.update(ACCOUNT_ENV)
    os.environ.pop("AWS_PROFILE", None)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextlib.contextmanager
def ec2_cloud(
    folder: Path, *, aws: AwsShim | None = None, real_hosts: bool = False, **keys: object
) -> Iterator[Cloud]:
    """An empty EC2; `keys` go into ec2.conf. `aws` is a shim that runs already, and goes on."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(account())
        shim = aws or stack.enter_context(AwsShim())
        shim.reset()
        cloud = Cloud(shim, folder, shim.add_image())
        cloud.write_conf(**keys)
        if real_hosts:
            cloud.hosts = stack.enter_context(RealHosts(shim))
        yield cloud


@dataclass
class RealHosts:
    """Real local hosts behind the instances; names are the instances' ids."""

    aws: AwsShim
    run_id: str = field(default_factory=lambda: f"aws-{uuid.uuid4().hex[:10]}")

    def __enter__(self) -> RealHosts:
        self._local = LocalProvider("namespaces")
        self._stop = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._known: set[str] = set()
        self.aws.on_launch, self.aws.on_end = self._launch, self._end
        self._watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._watcher.join()
        self.aws.on_launch = self.aws.on_end = lambda _it: None
        assert self._local.release(self.run_id).leaked == ()

    def inside(self, instance_id: str, script: str) -> str:
        """Run a script in a host, as root, without SSH."""
        (pid,) = [
            host.identity.removeprefix("pid ")
            for host in self._local.hosts(self.run_id)
            if host.name == instance_id
        ]
        command = ["nsenter", "-t", pid, "-m", "-u", "-i", "-n", "-p", "sh", "-c", script]
        done = subprocess.run(
            command,
            env={"PATH": BOOT_PATH},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
        return done.stdout

    def _launch(self, instances: list[Any]) -> None:
        config = cloud_config(instances[0].user_data)
        key = config["ssh_keys"]
        made = self._local.launch(
            LaunchRequest(
                token=instances[0].id,
                run_id=self.run_id,
                owner="aws",
                expires_utc=datetime.now(UTC) + timedelta(minutes=20),
                authorized_key=config["ssh_authorized_keys"][0],
                hosts=tuple(
                    HostRequest(
                        name=instance.id,
                        role=Role.CLIENT,
                        host_key=key["ed25519_public"],
                        host_key_private=key["ed25519_private"],
                    )
                    for instance in instances
                ),
            )
        )
        address = {host.name: host.address for host in made}
        for instance in instances:
            nic = instance.nics[0]
            nic.public_ip = address[instance.id]
            nic.private_ip_address = nic.private_ip_addresses[0]["PrivateIpAddress"] = address[
                instance.id
            ]
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda instance: self._boot(instance.id, config), instances))
        self._known |= set(address)

    def _boot(self, instance_id: str, config: dict[str, Any]) -> None:
        """What cloud-init does with bootcmd."""
        steps = [
            f"cat >/usr/local/{path} <<'end'\n{text}end\nchmod 755 /usr/local/{path}"
            for path, text in (("sbin/shutdown", SHUTDOWN), ("bin/cloud-init", CLOUD_INIT))
        ]
        steps += [shlex.join(command) for command in config["bootcmd"]]
        self.inside(instance_id, "\n".join(steps))

    def _end(self, ids: list[str]) -> None:
        self._known -= set(ids)
        self._local.terminate(self.run_id, ids)

    def _watch(self) -> None:
        """A host that is gone has powered itself off: its instance has ended."""
        while not self._stop.wait(0.25):
            known = self._known.copy()  # first: one that is made while we look is not gone
            there = {host.name for host in self._local.hosts(self.run_id)}
            for instance in self.aws.instances(REGION):
                if instance.id in known & self._known - there and instance.state == "running":
                    time.sleep(0.1)
                    instance.terminate()


def cloud_config(user_data: Any) -> dict[str, Any]:
    """What user data tells cloud-init, as moto keeps it."""
    text = user_data if isinstance(user_data, str) else user_data.decode()
    if not text.startswith("#"):
        text = base64.b64decode(text).decode()
    loaded: dict[str, Any] = json.loads(text.partition("\n")[2])
    return loaded
