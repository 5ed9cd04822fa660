"""``python -m lrplan.cli``: the command line where no script is installed."""

from lrplan.cli.main import run

if __name__ == "__main__":
    run()
