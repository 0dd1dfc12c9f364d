# A terminal for tests: runs a program in one, and does what it is told on its own standard input, a line of JSON each:
# {"keys": "q"}, {"size": [columns, rows]}, {"signal": 15}. What the program writes goes to standard output, and its exit code is ours.
import fcntl, json, os, pty, select, signal, struct, sys, termios

columns, rows, *argv = sys.argv[1:]


def resize(columns, rows):
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", int(rows), int(columns), 0, 0))


pid, master = pty.fork()
if pid == 0:
    # The size has to be there before the program looks.
    fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", int(rows), int(columns), 0, 0))
    os.execvp(argv[0], argv)

pending = b""
inputs = [master, 0]
while True:
    ready, _, _ = select.select(inputs, [], [])
    if master in ready:
        try:
            written = os.read(master, 65536)
        except OSError:
            written = b""
        if written == b"":
            break
        os.write(1, written)
    if 0 in ready:
        read = os.read(0, 65536)
        if read == b"":
            # Whoever runs the test is gone: the terminal goes, too.
            os.kill(pid, signal.SIGHUP)
            inputs.remove(0)
        pending += read
        *lines, pending = pending.split(b"\n")
        for line in lines:
            order = json.loads(line)
            if "keys" in order:
                os.write(master, order["keys"].encode())
            if "size" in order:
                resize(*order["size"])
                os.kill(pid, signal.SIGWINCH)
            if "signal" in order:
                os.kill(pid, order["signal"])

_, status = os.waitpid(pid, 0)
sys.exit(os.waitstatus_to_exitcode(status) % 256)
