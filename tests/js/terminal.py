"""terminal.py: run a program in a terminal of 80 columns, as a person would use it.

    python3 terminal.py SCRIPT PROGRAM [ARGUMENT...]

SCRIPT is a JSON list of [wait for this text, then type that]; null for that closes the terminal. Everything the program
wrote is printed as one JSON object {"output", "status"}; status is the exit code, or minus the signal, or -1 when a text
did not come, or the end, within 60 seconds."""

import json
import os
import pty
import select
import struct
import sys
import termios
import fcntl
import time


LIMIT = 60


def talk(terminal, steps):
    """What the program wrote until it ended, or until the terminal is to be closed, or a text did not come in time."""
    output, seen, deadline = b"", 0, time.monotonic() + LIMIT
    while time.monotonic() < deadline:
        while steps and steps[0][0].encode() in output[seen:]:
            text, typed = steps.pop(0)
            if typed is None:
                return output
            seen = output.index(text.encode(), seen) + len(text.encode())
            os.write(terminal, typed.encode())
            deadline = time.monotonic() + LIMIT
        ready, _, _ = select.select([terminal], [], [], 0.2)
        try:
            piece = os.read(terminal, 65536) if ready else None
        except OSError:
            return output
        if piece == b"":
            return output
        output += piece or b""
    return None


def status_of(child, limit):
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.05)
    os.kill(child, 9)
    os.waitpid(child, 0)
    return -1


def main():
    child, terminal = pty.fork()
    if child == 0:
        os.environ.pop("NO_COLOR", None)
        os.environ["TERM"] = "xterm-256color"
        os.execvp(sys.argv[2], sys.argv[2:])
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    output = talk(terminal, json.loads(sys.argv[1]))
    os.close(terminal)
    status = status_of(child, 0 if output is None else LIMIT)
    print(json.dumps({"output": (output or b"").decode("utf-8", "replace"), "status": status}))


main()
