"""A systemd that notes what it is asked for: org.freedesktop.systemd1 at a socket of its own, or on a bus.

    fake_systemd.py listen|bus SOCKET CALLS       each call of the manager is a line of JSON in CALLS: [method, arguments]

Units named "refused…" cannot be made, "failing…" fail, "left…" exist until they are reset; others are done."""

import json
import os
import socket
import sys

import jeepney
from jeepney.low_level import HeaderFields, MessageType, Parser

NAME, PATH = "org.freedesktop.systemd1", "/org/freedesktop/systemd1"


class Peer:
    def __init__(self, sock, calls):
        self.sock, self.calls, self.parser, self.serial, self.reset = sock, calls, Parser(), 0, set()

    def send(self, message) -> int:
        self.serial += 1
        self.sock.sendall(message.serialise(self.serial))
        return self.serial

    def receive(self):
        while (message := self.parser.get_next_message()) is None:
            data = self.sock.recv(4096)
            if not data:
                return None
            self.parser.add_data(data)
        return message

    def serve(self):
        while (message := self.receive()) is not None:
            if message.header.message_type is MessageType.method_call:
                self.answer(message, message.header.fields[HeaderFields.member])

    def answer(self, message, method) -> None:
        if method == "Hello":
            self.send(jeepney.new_method_return(message, "s", (":1.1",)))
        elif method == "AddMatch":
            self.send(jeepney.new_method_return(message))
        elif method == "Get":
            self.send(jeepney.new_method_return(message, "v", (("s", "/user.slice/user-1.slice/user@1.service"),)))
        else:
            with open(self.calls, "a") as file:
                print(json.dumps([method, message.body]), file=file)
            if method in ("StartTransientUnit", "StopUnit"):
                self.job(message, method, message.body[0])
            else:
                self.reset.update(message.body if method == "ResetFailedUnit" else ())
                self.send(jeepney.new_method_return(message))

    def job(self, message, method, unit) -> None:
        kind = "NoSuchUnit" if method == "StopUnit" and "gone" in unit else ""
        if method == "StartTransientUnit":
            kind = "BadUnitSetting" if unit.startswith("refused") else "UnitExists" if unit.startswith("left") and unit not in self.reset else ""
        if kind:
            self.send(jeepney.new_error(message, f"{NAME}.{kind}", "s", (f"no {unit}",)))
            return
        job = f"{PATH}/job/{self.serial}"
        signal = jeepney.new_signal(jeepney.DBusAddress(PATH, NAME, NAME + ".Manager"), "JobRemoved", "uoss",
                                    (self.serial, job, unit, "failed" if unit.startswith("failing") else "done"))  # fmt: skip
        if len(unit) % 2:  # either may come first
            self.send(signal)
        self.send(jeepney.new_method_return(message, "o", (job,)))
        if not len(unit) % 2:
            self.send(signal)


def main(how, path, calls):
    sock = socket.socket(socket.AF_UNIX)
    if how == "bus":
        sock.connect(path)
        sock.sendall(b"\0AUTH EXTERNAL\r\nDATA\r\n")
        while b"OK " not in sock.recv(4096):
            pass
        sock.sendall(b"BEGIN\r\n")
        peer = Peer(sock, calls)
        peer.send(jeepney.message_bus.Hello())
        peer.send(jeepney.message_bus.RequestName(NAME))
        while peer.receive().header.fields.get(HeaderFields.reply_serial) != 2:
            pass
        print("ready", flush=True)
        peer.serve()
        return
    sock.bind(path)
    sock.listen()
    print("ready", flush=True)
    while True:
        connection, _ = sock.accept()
        if os.fork() == 0:
            file = b""
            while not file.endswith(b"BEGIN\r\n"):
                file += connection.recv(1)
            # what comes together with the last word is lost on a real one, so nothing may before this
            connection.sendall(b"DATA\r\nOK 0123456789abcdef\r\n")
            Peer(connection, calls).serve()
            os._exit(0)
        connection.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
