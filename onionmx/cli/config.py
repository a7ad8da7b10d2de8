"""`onionmx config`."""

import click

from onionmx.cli.options import configuration_option
from onionmx.config import Configuration


@click.command()
@click.option("--commented", is_flag=True, help="Print the defaults instead, each commented out: a file to begin with.")
@configuration_option
def command(configuration: Configuration, *, commented: bool) -> None:
    """Print the configuration in effect, every field with its meaning.

    The output is a valid configuration file.

    Drop-ins, FILE.d/*.toml, are read after the file, in the order of their names: a key in one replaces the key before.
    `onionmx setup` keeps its settings in /etc/onionmx/onionmx.toml.d/50-setup.toml.
    """
    printed = Configuration().to_toml(is_commented=True) if commented else configuration.to_toml()
    click.echo(printed, nl=False)
