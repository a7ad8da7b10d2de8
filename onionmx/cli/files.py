"""`onionmx files`."""

import click

from onionmx.shipped import shipped, shipped_files


@click.command()
@click.argument("name", required=False)
def command(name: str | None) -> None:
    """List the files that come with onionmx: fragments for Exim, systemd units, examples, documents.

    With the NAME of a file or folder, print where it is: cp -r "$(onionmx files exim/conf.d)/." /etc/exim4/conf.d/

    Exit codes: 0 printed; 78 nothing has this name.
    """
    if name is not None:
        click.echo(shipped(name))
        return
    for each in shipped_files():
        click.echo(each)
