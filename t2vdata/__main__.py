"""Run the command line as ``python -m t2vdata``."""

from t2vdata.cli import main

if __name__ == "__main__":
    main(prog_name="t2vdata")
