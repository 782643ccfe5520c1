"""How hosts are reached, and what starts tests on them: config/ssh.conf and config/cron.conf."""

from __future__ import annotations

from pydantic import AliasChoices, Field

from perfkit.settings.ini import Section


class SshConf(Section):
    """config/ssh.conf, section [ssh]."""

    user: str = Field("root", validation_alias=AliasChoices("user", "username"), min_length=1)
    key_file: str = Field("", validation_alias=AliasChoices("key_file", "keyfile"))
    # No host answers in less than a tenth of a second at its worst.
    connect_timeout_s: float = Field(10, ge=0.1, le=600)
    command_timeout_s: float = Field(60, ge=0.1, le=86_400)
    host_deadline_s: float = Field(300, ge=0.1, le=86_400)
    threads: int = Field(32, ge=1, le=512)


class CronConf(Section):
    """config/cron.conf, section [cron]."""

    shell: str = Field("/bin/sh", pattern=r"^/[A-Za-z0-9/_.-]+$")
    path: str = Field(
        "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        pattern=r"^/[A-Za-z0-9/_.:-]+$",
    )
