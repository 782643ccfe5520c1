"""Images for EC2 that have all programs: make one, list them, remove one."""

from __future__ import annotations

import click


@click.group()
def image() -> None:
    """Images for EC2 whose hosts have all programs, so that a launch of many installs nothing."""


@image.command()
@click.option(
    "--name", default="", metavar="NAME", help="of the image; empty: when and of which one"
)
@click.option("--yes", is_flag=True, help="also above the caps of ec2.conf")
def bake(*, name: str, yes: bool) -> None:
    """Make an image: one host is launched, set up, stopped, made an image of, and ended."""
    from perfkit.campaign import image_bake

    click.echo(image_bake.bake(name, yes=yes, note=lambda text: click.echo(text, err=True)))


@image.command(name="list")
def list_images() -> None:
    """The images that perfkit made in the regions of ec2.conf, the newest first."""
    from perfkit.campaign import image_bake

    found = image_bake.images()
    click.echo("\n".join(map(str, found)) or "no image: `perfkit image bake` makes one")


@image.command()
@click.argument("image_id", metavar="AMI")
def remove(image_id: str) -> None:
    """Remove an image that perfkit made, with its snapshots; hosts made of it go on."""
    from perfkit.campaign import image_bake

    click.echo(f"removed: {image_bake.remove(image_id)}")
