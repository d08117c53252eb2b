"""terminal.py: run a program in a terminal of 80 columns, as a person would use it.

    python3 terminal.py SCRIPT PROGRAM [ARGUMENT...]

SCRIPT is a JSON list of [wait for this text, then type that]. Everything the program wrote is printed as one JSON
object {"output", "status"}; status is the exit code, or -1 when a text did not come within 60 seconds."""

import json
import os
import pty
import select
import struct
import sys
import termios
import fcntl
import time


def main():
    steps = json.loads(sys.argv[1])
    child, terminal = pty.fork()
    if child == 0:
        os.environ.pop("NO_COLOR", None)
        os.environ["TERM"] = "xterm-256color"
        os.execvp(sys.argv[2], sys.argv[2:])
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    output, seen, deadline = b"", 0, time.monotonic() + 60
    while True:
        while steps and steps[0][0].encode() in output[seen:]:
            seen = output.index(steps[0][0].encode(), seen) + len(steps[0][0].encode())
            os.write(terminal, steps.pop(0)[1].encode())
            deadline = time.monotonic() + 60
        ready, _, _ = select.select([terminal], [], [], 0.2)
        try:
            piece = os.read(terminal, 65536) if ready else None
        except OSError:
            break
        if piece == b"":
            break
        output += piece or b""
        if time.monotonic() > deadline:
            os.kill(child, 9)
            break
    _, status = os.waitpid(child, 0)
    late = time.monotonic() > deadline
    code = -1 if late else os.waitstatus_to_exitcode(status)
    print(json.dumps({"output": output.decode("utf-8", "replace"), "status": code}))


main()
