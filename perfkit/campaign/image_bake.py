"""An image of one's own for EC2, whose hosts have all programs: `perfkit image`.

One host is launched from the image of ec2.conf, both roles' recipes are run on it without keys or
addresses of any run, what is the host's own is taken off it again, and it is stopped, made an image
of, and ended. It has a run's tag until then: whatever happens, `perfkit reap` finds it.
"""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from perfkit.campaign import missing_hosts
from perfkit.campaign import session as sessions
from perfkit.campaign.machine_programs import package_lines
from perfkit.campaign.session import Session
from perfkit.configure.bundles import Bundles
from perfkit.configure.recipes import RECIPES, do_recipe, find_task
from perfkit.errors import ConfigError, LaunchError, ReleaseError, did_you_mean
from perfkit.fleet.ec2 import baked, describe, userdata
from perfkit.fleet.ec2.baked import BakedImage
from perfkit.fleet.ec2.provider import Ec2Provider
from perfkit.model import Host, Role
from perfkit.settings import parameters
from perfkit.settings.project import project_dir
from perfkit.ssh.commands import as_root
from perfkit.ssh.known_hosts import pin_hosts
from perfkit.vpn.base import FOLDER, NONE, get_vpn, vpn_names

NAME = "image-bake"
HOST = "server"
EXPIRES_MIN = 60  # the host's own end, should nobody end it
RECIPE_DEADLINE_S = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Baked:
    """What was made, and how a run uses it."""

    image: BakedImage

    def __str__(self) -> str:
        return (
            f"{self.image}\nIts hosts install nothing. In config/ec2.conf:\nimage = {self.image.id}\n"
            f"It costs what its snapshots take until `perfkit image remove {self.image.id}`."
        )


def bake(
    name: str = "", *, yes: bool = False, note: Callable[[str], None] = lambda _text: None
) -> Baked:
    """Make an image with the programs that recipes and VPNs need.

    Args:
        name: Of the image; empty: when and of which one it was made.
        yes: Also above the caps of ec2.conf.
        note: Told what is being done.

    Side effects: an instance for some minutes; an image and its snapshots, until they are removed.

    Raises:
        ConfigError, ProviderError: before anything is launched.
        LaunchError, HostError, ProviderError: the host was not made, its recipes failed, or EC2 made
            no image; the host was ended then too.
        ReleaseError: something is still there.
    """
    with tempfile.TemporaryDirectory(prefix="perfkit-image-") as folder:
        chosen = parameters.load(
            {
                "provider": "ec2",
                "clients": 1,
                "vpn": NONE,
                "name": NAME,
                "runs_dir": folder,
                "expires_min": EXPIRES_MIN,
                "yes": yes,
            }
        )
        provider = _provider(chosen.config_dir)
        # A spot host cannot be stopped, and one host is close to itself.
        provider.prefer(market="on-demand", pools="ladder", placement="any", server_types=())
        with sessions.open_new(chosen, provider=provider) as session:
            for text in session.notices:
                note(text)
            session.release_at_exit()
            try:
                image = _bake(session, provider, name, note)
                note(f"made {image.id}, ending the host")
            finally:
                session.pool.close()
                report = session.fleet.release()
                note(str(report))
            if report.leaked:
                what = f"image {image.id} was made, but its host was not ended"
                raise ReleaseError(what, report.leaked)
            return Baked(image=image)


def images() -> list[BakedImage]:
    """All images that perfkit made in the regions of ec2.conf.

    Raises:
        NotSetUpError, ProviderError: they could not be asked for.
    """
    return [image for region in _provider().regions for image in baked.images(region)]


def remove(image_id: str) -> BakedImage:
    """Remove an image that perfkit made, and its snapshots; hosts that were made of it go on.

    Raises:
        ConfigError: there is no such image, or perfkit did not make it.
        ProviderError: what is still there.
    """
    provider, known = _provider(), dict[str, BakedImage]()
    for region in provider.regions:
        for image in baked.images(region):
            known[image.id] = image
            if image.id == image_id:
                baked.remove(region, image, provider.retry)
                return image
    remedy = did_you_mean(image_id, known) if known else "there is none"
    raise ConfigError("image", "image", image_id, "perfkit made no such image", remedy)


def _provider(config_dir: Path | None = None) -> Ec2Provider:
    return Ec2Provider(config_dir or project_dir() / "config")


def _bake(
    session: Session, provider: Ec2Provider, name: str, note: Callable[[str], None]
) -> BakedImage:
    source = provider.survey().image
    note(f"launching one host of {source.id} ({source.name})")
    host = _launched(session)
    note("running the recipes of both roles")
    _run_recipes(session, host)
    instances = describe.instances(provider.home, session.run.id)
    (instance,) = [it for it in instances if it.name == HOST and not it.is_ending]
    note(f"stopping {instance.id}, and making the image: some minutes")
    made = datetime.now(UTC)
    labels = baked.image_tags(
        session.run.id,
        f"{source.name or source.id}",
        provider.conf.owner or session.fleet.plan.owner,
        provider.conf.tags,
    )
    called = name or f"perfkit-{made:%Y%m%dT%H%M%SZ}-{source.name or source.id}"
    return baked.bake(provider.home, instance.id, called, labels, provider.retry)


def _launched(session: Session) -> Host:
    """The one host, once it can be logged in to."""
    session.fleet.launch([missing_hosts.request_for(session, HOST, Role.SERVER)])
    session.fleet.wait()
    (record,) = session.inventory.records()
    if record.host is None or record.reason:
        raise LaunchError(record.reason or "the host was not made")
    pin_hosts(session.run.known_hosts_path, [record.host])
    return record.host


def _run_recipes(session: Session, host: Host) -> None:
    """Install what both roles, every VPN and packed hosts need, and take off the host what is its own alone."""
    resources = session.settings.resources_dir
    vpns = [get_vpn(name, resources) for name in vpn_names()]
    packages = package_lines(vpn for vpn in vpns if vpn)
    more = {f"{FOLDER}/packages": packages.encode()}
    bundle = Bundles(session.run, resources, None, more).make(host)
    remote = session.pool.get(host)
    for task in RECIPES.values():
        do_recipe(remote, find_task(resources / "fabfile.py", task), session.run.id, bundle)
    remote.run_script(as_root(forget_script(host.workdir)), timeout_s=RECIPE_DEADLINE_S)


def forget_script(workdir: str) -> str:
    """The shell script, run as root, that takes off a host what hosts of its image must not have.

    Above all the moment at which it ends itself, which would be theirs; then keys, what cloud-init
    remembers of the first boot, and the run's folder.
    """
    return "\n".join(
        [
            "set -e",
            "export DEBIAN_FRONTEND=noninteractive",
            f"rm -rf {shlex.quote(workdir)} {shlex.quote(str(Path(userdata.EXPIRES_PATH).parent))}",
            "! command -v apt-get >/dev/null || apt-get clean",
            "rm -f /etc/ssh/ssh_host_*_key /etc/ssh/ssh_host_*_key.pub",
            "rm -f /root/.ssh/authorized_keys /home/*/.ssh/authorized_keys",
            "[ ! -f /etc/machine-id ] || : >/etc/machine-id",
            "! command -v cloud-init >/dev/null || cloud-init clean --logs",
        ]
    )
