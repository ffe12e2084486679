"""What a part of the benchmarks hands back: rows to print, figures to compare, and what became of all it produced."""

from __future__ import annotations

from dataclasses import dataclass, field, fields


@dataclass(frozen=True, slots=True)
class Account:
    """What became of one subject's spans or lines.

    Attributes:
        subject: whose.
        item: "spans" or "lines".
        produced, exported, dropped: as the subject itself counts them, after its last flush.
        received: as the other side counts them: the loopback receiver, or the lines in the file.
    """

    subject: str
    item: str
    produced: int
    exported: int
    dropped: int
    received: int

    @property
    def holds(self) -> bool:
        """Whether nothing is unaccounted for."""
        return self.produced == self.exported + self.dropped and self.exported == self.received

    @property
    def verdict(self) -> str:
        """Either "ok", or why the subject's figures do not count."""
        if not self.holds:
            return "NOT A RESULT: does not add up"
        return f"NOT A RESULT: {self.dropped} dropped" if self.dropped else "ok"

    def __str__(self) -> str:
        return (
            f"{self.subject}: {self.item} produced {self.produced} = exported {self.exported} + dropped {self.dropped}"
            f" (received {self.received}): {self.verdict}"
        )


@dataclass(slots=True)
class Result:
    """One part's outcome.

    Attributes:
        title: what was measured, and how, in a line.
        columns, rows: the table; the first column names the subject.
        figures: numbers by the names that `benchmarks.budgets` compares.
        accounts: what became of everything that was produced.
        notes: sentences to print below the table.
        tables: further ones, each a title, its columns and its rows.
    """

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]] = field(default_factory=list)
    figures: dict[str, float] = field(default_factory=dict)
    accounts: list[Account] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    tables: list[tuple[str, tuple[str, ...], list[tuple[str, ...]]]] = field(default_factory=list)

    def as_dict(self) -> dict[str, object]:
        """The result as JSON takes it."""
        plain: dict[str, object] = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "accounts"}
        plain["accounts"] = [
            {f.name: getattr(account, f.name) for f in fields(account)} | {"verdict": account.verdict}
            for account in self.accounts
        ]
        return plain
