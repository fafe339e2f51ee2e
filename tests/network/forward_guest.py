"""What runs in the sandbox of test_forward.py: echo servers, and listeners that misbehave."""

import os
import socket
import struct
import sys
import threading
import time


def serve(address, port, handle):
    listener = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((address, port))
    listener.listen(100)
    threading.Thread(target=accept, args=(listener, handle), daemon=True).start()
    return listener


def accept(listener, handle):
    while True:
        try:
            sock, _ = listener.accept()
        except OSError:
            return
        threading.Thread(target=handle, args=(sock,), daemon=True).start()


def echo(sock):
    with sock:
        while data := sock.recv(65536):
            sock.sendall(data)
        sock.sendall(b"END")


def reset(sock):
    sock.recv(1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def deaf(sock):
    """Reads nothing until the peer has been stopped by full buffers; then counts."""
    time.sleep(2)
    total = 0
    with sock:
        while data := sock.recv(65536):
            total += len(data)
        sock.sendall(b"%d" % total)


def flood(sock):
    """Sends without end, and says on standard output how far it got when nobody reads."""
    sock.settimeout(1)
    total = 0
    try:
        while total < 1 << 28:
            total += sock.send(bytes(65536))
    except TimeoutError:
        pass
    print("sent", total, flush=True)


def last_words(sock):
    """The program ends right after it has sent: nothing of it may be lost."""
    sock.sendall(b"x" * 500000)
    os._exit(0)


def main():
    serve("127.0.0.1", 8001, echo)
    serve("::1", 8002, echo)
    serve("127.0.0.1", 8003, reset)
    serve("127.0.0.1", 8004, deaf)
    serve("0.0.0.0", 8005, flood)
    serve("127.0.0.1", 8006, last_words)
    print("ready", flush=True)
    late = None
    for line in sys.stdin:
        if line == "open\n":
            late = serve("127.0.0.1", 8010, echo)
        elif line == "close\n":
            late.shutdown(socket.SHUT_RDWR)
            late.close()
        print("done", flush=True)


main()
