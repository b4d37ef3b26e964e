"""What can go wrong here, said so that a person can act on it."""


class DevclusterError(Exception):
    """The command cannot go on; the message says what failed and what to do about it."""


class CommandFailed(DevclusterError):
    """A program this one started ended with a non-zero status; `output` is what it printed last."""

    def __init__(self, command: str, status: int, output: str) -> None:
        super().__init__(f"`{command}` ended with status {status}:\n{output.strip()[-4000:]}")
        self.status = status
        self.output = output
