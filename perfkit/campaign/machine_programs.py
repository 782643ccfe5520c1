"""What machines are given that were launched to carry packed hosts: the programs that those run.

A packed host sees the programs of its machine and installs none. So the recipe of clients runs on the
machine first, without keys or addresses of the run, and installs what the machine's image lacks. An image
of `perfkit image bake` lacks nothing.
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

from perfkit.campaign.vpn_choice import all_vpns
from perfkit.fleet.local.tools import PACKAGES
from perfkit.fleet.packed.requirements import MAKERS
from perfkit.model import Role
from perfkit.settings import variants
from perfkit.settings.parameters import Settings
from perfkit.ssh.remote import Remote
from perfkit.vpn.base import FOLDER, Vpn


def installer(chosen: Settings, run_id: str) -> Callable[[Remote], None]:
    """What installs on a machine the programs that the hosts of a run need.

    It raises a ConfigError where the recipes cannot be loaded.
    """
    loading = threading.Lock()  # the same module for all machines

    def install(remote: Remote) -> None:
        from perfkit.configure import recipes  # noqa: PLC0415 -- loads fabric

        with tempfile.TemporaryDirectory(prefix="perfkit-machine-") as folder:
            place = Path(folder) / FOLDER / "packages"
            place.parent.mkdir()
            place.write_text(packages_of(chosen))
            with loading:
                name = recipes.RECIPES[Role.CLIENT]
                task = recipes.find_task(chosen.resources_dir / "fabfile.py", name)
            recipes.do_recipe(remote, task, run_id, Path(folder))

    return install


def packages_of(chosen: Settings) -> str:
    """A line for each program: its name, its package for apt, its package for dnf."""
    needs = [name for test in variants.all_tests(chosen) for name in test.needs]
    return package_lines(all_vpns(chosen), needs)


def package_lines(vpns: Iterable[Vpn], needs: Iterable[str] = ()) -> str:
    """The same for what makes packed hosts, what some VPNs run, and other programs, packaged by their name."""
    names = [*MAKERS, *needs]
    found = {name: (PACKAGES.get(name, name), name) for name in names}
    programs = {it.name: it for vpn in vpns for it in vpn.programs if not it.unless}
    found |= {it.name: (it.apt, it.dnf) for it in programs.values()}
    return "".join(f"{name} {apt} {dnf}\n" for name, (apt, dnf) in found.items())
