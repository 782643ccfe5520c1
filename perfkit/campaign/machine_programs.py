"""What machines are given that were launched to carry packed hosts: the programs that those run.

A packed host sees the programs of its machine and installs none. So the recipe of clients runs on the
machine first, without keys or addresses of the run, and installs what the machine's image lacks. An image
of `perfkit image bake` lacks nothing.
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

from perfkit.campaign.vpn_choice import all_vpns
from perfkit.fleet.packed.requirements import PACKAGES
from perfkit.model import Role
from perfkit.settings import variants
from perfkit.settings.parameters import Settings
from perfkit.ssh.remote import Remote
from perfkit.vpn.base import FOLDER


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
    found = {name: (package, name) for name, package in PACKAGES.items()}
    found |= {name: (name, name) for test in variants.all_tests(chosen) for name in test.needs}
    programs = {it.name: it for vpn in all_vpns(chosen) for it in vpn.programs if not it.unless}
    found |= {it.name: (it.apt, it.dnf) for it in programs.values()}
    return "".join(f"{name} {apt} {dnf}\n" for name, (apt, dnf) in found.items())
