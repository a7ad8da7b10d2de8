"""`onionmx config`."""

import click

from onionmx.cli.options import configuration_option
from onionmx.config import Configuration


@click.command()
@configuration_option
def command(configuration: Configuration) -> None:
    """Print the configuration in effect, every field with its meaning.

    The output is a valid configuration file.
    """
    click.echo(configuration.to_toml(), nl=False)
