from __future__ import annotations

import os
import shutil
import stat
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from perfkit.fleet.local import rootfs

pytestmark = pytest.mark.root


@pytest.fixture
def project() -> Iterator[Path]:
    """A folder with a secret under a folder that hosts see."""
    folder = Path("/opt") / f"perfkit-unit-{uuid.uuid4().hex[:10]}"
    (folder / "runs").mkdir(parents=True)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def mask(tmp_path: Path, project: Path) -> Path:
    mask = tmp_path / "mask"
    mask.mkdir()
    old = os.umask(0o077)  # as strict as a user's may be; hosts must not feel it
    try:
        rootfs.build_mask(mask, [project / "runs", Path("/usr"), Path("/nowhere"), Path("/root")])
    finally:
        os.umask(old)
    return mask


def is_whiteout(path: Path) -> bool:
    status = path.lstat()
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def test_whatever_a_plain_user_cannot_read_is_hidden_or_replaced(mask: Path) -> None:
    for folder, _, files in os.walk("/etc"):
        for name in files:
            path = Path(folder, name)
            status = path.lstat()
            if stat.S_ISREG(status.st_mode) and not status.st_mode & 0o004:
                assert shown(mask, path) in (None, rootfs.__name__), path


def shown(mask: Path, path: Path) -> str | None:
    """Whose file a host sees at `path`: None for nobody's, this package's, or `the machine's`."""
    for parent in [*reversed(path.relative_to("/").parents), path.relative_to("/")]:
        masked = mask / parent
        if not os.path.lexists(masked):
            return "the machine's"
        if is_whiteout(masked):
            return None
        if masked.is_dir() and "trusted.overlay.opaque" in os.listxattr(masked):
            return rootfs.__name__ if os.path.lexists(mask / path.relative_to("/")) else None
    return rootfs.__name__


@pytest.mark.parametrize("secret", ["shadow", "gshadow", "sudoers", "ssh/sshd_config"])
def test_own_files_stand_in_for_the_machines(mask: Path, secret: str) -> None:
    assert shown(mask, Path("/etc", secret)) == rootfs.__name__


def test_passwords_of_the_machine_are_not_those_of_the_host(mask: Path) -> None:
    assert (mask / "etc/shadow").read_text() == "root:*:19000:0:99999:7:::\n"
    assert stat.S_IMODE((mask / "etc/shadow").stat().st_mode) == 0o600


def test_folders_keep_the_machines_modes_whatever_the_umask(mask: Path) -> None:
    for name in ("etc", "etc/pam.d"):
        assert (mask / name).stat().st_mode == Path("/", name).stat().st_mode


def test_cron_jobs_of_the_machine_never_run_in_hosts(mask: Path) -> None:
    for path in Path("/etc").glob("*cron*"):
        assert shown(mask, path / "anything") is None, path


def test_hidden_folders_are_hidden_only_inside_what_hosts_see(mask: Path, project: Path) -> None:
    assert shown(mask, project / "runs" / "key") is None
    assert shown(mask, project / "README") == "the machine's"
    assert not os.path.lexists(mask / "usr")
    assert not os.path.lexists(mask / "root")
