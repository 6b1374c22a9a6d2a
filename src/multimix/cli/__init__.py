"""The command line. Heavy libraries are imported inside commands, so that `--help` answers at once."""

import sys

import click

from multimix import __version__
from multimix.cli.audit import audit
from multimix.cli.benchmark import benchmark
from multimix.cli.compare import compare
from multimix.cli.data import data
from multimix.cli.demo import demo
from multimix.cli.evaluate import evaluate
from multimix.cli.explain import explain
from multimix.cli.export import export
from multimix.cli.pacs import pacs
from multimix.cli.predict import predict
from multimix.cli.report import report
from multimix.cli.seal import seal
from multimix.cli.serve import serve
from multimix.cli.train import train
from multimix.errors import MultimixError


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__)
def commands() -> None:
    """Classify disease and segment anatomy in radiographs, from a handful of labels.

    \b
    Examples:
      multimix predict --weights chest-xray chest.png
      multimix demo
      multimix data index my_xrays
      multimix train my_xrays --class-source wards --mask-source lungs --out RUN
      multimix evaluate RUN my_xrays --split test
      multimix predict RUN new_xrays --out answers
    """


for command in (
    audit,
    benchmark,
    compare,
    data,
    demo,
    evaluate,
    explain,
    export,
    pacs,
    predict,
    report,
    seal,
    serve,
    train,
):
    commands.add_command(command)


def main() -> None:
    """Entry point: an error meant for the user is one line and an exit status, never a traceback."""
    try:
        sys.exit(commands(prog_name="multimix", standalone_mode=False) or 0)
    except click.exceptions.Abort:
        click.echo("Stopped.", err=True)
        sys.exit(130)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(error.exit_code)
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        hint = f" See `{context.command_path} --help`." if context is not None else ""
        click.echo(f"Error: {' '.join(error.format_message().split())}{hint}", err=True)
        sys.exit(error.exit_code)
    except MultimixError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        click.echo("Stopped.", err=True)
        sys.exit(130)
