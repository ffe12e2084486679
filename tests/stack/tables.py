"""What a test has measured, as a table on its output."""


def show(title, header, rows):
    """Print `rows` under `header`, numbers to the right."""
    cells = [[f"{each:,.6g}" if isinstance(each, float) else str(each) for each in row] for row in (header, *rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    numbers = [all(isinstance(row[column], int | float) for row in rows) for column in range(len(header))]
    print(f"\n{title}")
    for row in cells:
        aligned = (
            cell.rjust(width) if number else cell.ljust(width)
            for cell, width, number in zip(row, widths, numbers, strict=True)
        )
        print("  " + "  ".join(aligned).rstrip())
