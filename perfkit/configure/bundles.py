"""The bundle of each host: a folder under the run that mirrors the host's workdir.

`hosts/<host>/bundle/` holds::

    tests/<name>, tests/<name>.server    from resources/tests
    bin/…                                from resources/bin, and what the caller adds
    vpn/…                                of the run's VPN: its configuration, this host's own keys
                                         and nobody else's, `start`, `stop`
    vpn/packages                         what it needs: a line for each program, its package for
                                         apt and for dnf
    vpn/variants/<name>/                 where the run compares variants: the files in which they
                                         differ, as each has them, that of vpn/ included; all files
                                         of a variant that has another VPN
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from perfkit.configure.completion import digest
from perfkit.model import Host
from perfkit.runs.folder import Run
from perfkit.vpn import base
from perfkit.vpn.plan import TunnelPlan

_SHARED = ("tests", "bin")


class Bundles:
    """Makes the bundle of each host; shared files are copied once and linked into each.

    Args:
        vpn: The run's VPN with its plan; None = none.
        variants: The VPN of each variant, by the variant's name, where there are several.

    Attributes:
        digest: Of the shared files.

    Raises:
        ConfigError: a template of the VPN is wrong.
    """

    def __init__(
        self,
        run: Run,
        resources_dir: Path,
        vpn: tuple[base.Vpn, TunnelPlan] | None,
        extra_files: Mapping[str, bytes],
        variants: Mapping[str, base.Vpn] | None = None,
    ) -> None:
        self._run, self._variants = run, variants or {}
        self._shared = run.config_dir / "resources"
        self._vpn = vpn[0] if vpn else None
        every = [vpn[0], *self._variants.values()] if vpn else []
        self._of_vpns = {it.traits.name for it in every}
        folders = [*_SHARED, *sorted(self._of_vpns)]
        _copy_shared(resources_dir, self._shared, folders, extra_files)
        self.digest = digest([], [self._shared])  # the recipes' own file among them
        # By folder; strings, because each is made into a path for each host.
        self._links = {
            it.name: sorted(entry.name for entry in it.iterdir())
            for it in sorted(self._shared.iterdir())
            if it.is_dir() and it.name not in self._of_vpns
        }
        if vpn is None:
            return
        vpn[0].prepare(run, vpn[1])
        for name, it in self._variants.items():
            it.prepare(run, vpn[1].of_variant(name))

    def make(self, host: Host) -> Path:
        """Make, or bring up to date, the bundle of one host; returns its folder."""
        folder = self._run.host_dir(host.name) / "bundle"
        for name, files in self._links.items():
            (folder / name).mkdir(parents=True, exist_ok=True, mode=0o700)
            for file in files:
                _link(f"{self._shared}/{name}/{file}", f"{folder}/{name}/{file}")
        if self._vpn is not None and host.can_tunnel:
            _write_vpn(folder / base.FOLDER, host, self._vpn, self._variants)
        return folder


def _write_vpn(place: Path, host: Host, vpn: base.Vpn, variants: Mapping[str, base.Vpn]) -> None:
    """Write the files of the VPN, and those in which variants differ: who is who, they share.

    Variants of another VPN share what the first of them has.
    """
    programs = {
        it.name: it for one in (*variants.values(), vpn) for it in one.programs if not it.unless
    }
    packages = "".join(f"{it.name} {it.apt} {it.dnf}\n" for it in programs.values())
    shared = vpn.files(host, place)
    _write_all(place, {"packages": packages.encode(), **shared})
    earlier, of = {vpn.traits.name: place}, dict[str, Mapping[str, bytes]]()
    for name, variant in variants.items():
        folder = place / base.VARIANTS / name
        of[name] = variant.files(host, earlier.setdefault(variant.traits.name, folder))
        if earlier[variant.traits.name] == folder:  # the next of this VPN finds it there
            _write_all(folder, of[name])
    differ = {name for files in of.values() for name in files if files[name] != shared.get(name)}
    shutil.rmtree(place / base.VARIANTS, ignore_errors=True)  # one may have been left out since
    for name, files in of.items():
        folder = place / base.VARIANTS / name
        folder.mkdir(parents=True, mode=0o700)
        _write_all(folder, {it: data for it, data in files.items() if it in differ})


def _write_all(folder: Path, files: Mapping[str, bytes]) -> None:
    for name, data in files.items():
        _write(folder / name, data, 0o700 if name in base.SCRIPTS else 0o600)


def _copy_shared(
    resources_dir: Path,
    target: Path,
    folders: Sequence[str],
    extra_files: Mapping[str, bytes],
) -> None:
    """Copy what all hosts get to the run, which thereby records it; stale files are removed."""
    shutil.rmtree(target, ignore_errors=True)
    files = {
        f"{folder}/{path.name}": path.read_bytes()
        for folder in folders
        for path in sorted((resources_dir / folder).glob("*"))
        if path.is_file() and not path.name.startswith(".")
    }
    files["fabfile.py"] = (resources_dir / "fabfile.py").read_bytes()
    for name, data in {**files, **extra_files}.items():
        executable = name.startswith(("tests/", "bin/"))
        _write(target / name, data, 0o700 if executable else 0o600)


def _write(path: Path, data: bytes, mode: int) -> None:
    """Write a new file. Not flushed to the disk: a bundle can be made again."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(data)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except FileExistsError:
        Path(target).unlink()
        _link(source, target)
    except OSError:  # not every file system has links
        shutil.copy(source, target)
