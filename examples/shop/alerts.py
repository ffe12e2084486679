"""Where alerts end up in compose: a webhook of Alertmanager's, which prints each to its standard output.

    docker compose logs -f shop-alerts

In place of the chat, the pager and the mailbox that a team has.
"""

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


def sentence(alert: dict[str, Any]) -> str:
    """One alert as a line: what, since when, and where to read on."""
    labels, notes = alert.get("labels", {}), alert.get("annotations", {})
    links = [notes[name] for name in ("dashboard_url", "runbook_url") if name in notes]
    return " ".join(
        [
            alert.get("startsAt", "")[:19],
            alert.get("status", "").upper(),
            f"[{labels.get('severity', '-')}]",
            labels.get("alertname", "?") + ":",
            notes.get("summary", json.dumps(labels)),
            *links,
        ]
    )


class Handler(BaseHTTPRequestHandler):
    """POST prints; GET is for health checks."""

    timeout = 10  # of a client that says nothing

    def do_GET(self) -> None:
        self.answer(200)

    def do_POST(self) -> None:
        try:
            alerts = json.loads(self.rfile.read(int(self.headers.get("content-length", 0))))["alerts"]
            lines = [sentence(alert) for alert in alerts]
        except (ValueError, KeyError, TypeError, AttributeError):
            self.answer(400)
            return
        print(*lines, sep="\n", flush=True)
        self.answer(200)

    def answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """No line for a request: the alerts are what is printed."""


def main(port: int = 8000, host: str = "0.0.0.0") -> None:
    with ThreadingHTTPServer((host, port), Handler) as server:
        server.serve_forever()


if __name__ == "__main__":
    main()
