"""Ask a run's JSON lines in SQL: `python -m examples.shop.ask "FROM requests LIMIT 5"`."""

import argparse
from pathlib import Path

import duckdb

from examples.shop._questions import opened
from examples.shop._runs import latest


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m examples.shop.ask", description="Ask a run's JSON lines in SQL.")
    parser.add_argument("sql", help="over the tables `lines` and `requests`; a field is fields->>'user.tier'")
    parser.add_argument("--run", type=Path, help="a folder under var/shop (the latest)")
    given = parser.parse_args()
    folder = given.run or latest()
    if folder is None or not any(folder.glob("*.jsonl")):
        print("There are no JSON lines to ask. Run `make demo` first, or name a folder with --run.")
        return 1
    try:
        opened(folder).sql(given.sql).show(max_width=160, max_rows=60)
    except duckdb.Error as error:
        print(error)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
