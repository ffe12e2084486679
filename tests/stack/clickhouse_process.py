"""ClickHouse's own engine in a process of its own: a list of statements as JSON on standard input, their results on output.

It is never imported elsewhere: it takes 270 MB, and a process that forks after it hangs.
"""

import json
import sys
from tempfile import TemporaryDirectory

import chdb.session


def main():
    with TemporaryDirectory() as folder:
        session = chdb.session.Session(folder)
        results = []
        for statement in json.load(sys.stdin):
            answer = str(session.query(statement["sql"], "JSON", params=statement.get("parameters") or {}))
            results.append(json.loads(answer)["data"] if answer else [])
        session.close()
    json.dump(results, sys.stdout)


if __name__ == "__main__":
    main()
