"""How a command says that it cannot go on."""


class Failure(Exception):  # noqa: N818  (it is told to a person, it is no defect)
    """A sentence for the person at the terminal; no stack trace goes with it.

    Args:
        text: what is wrong, and what to do.
        code: the exit code: 1 when something could not be done, 2 when what was given is wrong.
    """

    def __init__(self, text: str, code: int = 1) -> None:
        super().__init__(text)
        self.code = code
