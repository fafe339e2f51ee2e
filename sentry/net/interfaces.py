"""The interfaces of a namespace that was taken over, as the command describes them (sandbox/netlinks.py)."""

from sentry.net.inet_addr import ANY4, ANY6, parse_text
from sentry.net.stack import Interface, Route


def take_over(lwip, kernel, network: dict, links: "list[int]") -> None:
    """Give them to the packet stack: module sentry.net.lwip. links: a packet descriptor for each."""
    interfaces = [
        Interface(row["index"], row["name"], row["flags"], row["mtu"], bytes.fromhex(row["hwaddr"].replace(":", "")),
                  [(parse_text(address), bits) for address, bits in row["addresses"]], fd)
        for row, fd in zip(network["links"], links, strict=True)
    ]  # fmt: skip
    by_index = {interface.index: interface for interface in interfaces}
    routes = [
        Route(
            parse_text(row["network"]) if row["network"] else (ANY4 if row["family"] == 2 else ANY6), row["bits"], by_index[row["index"]],
            parse_text(row["gateway"]) if row["gateway"] else None, row["metric"], parse_text(row["source"]) if row["source"] else None,
        )
        for row in network["routes"]
    ]  # fmt: skip
    neighbours = [(index, parse_text(address), bytes.fromhex(hardware.replace(":", ""))) for index, address, hardware in network["neighbours"]]
    lwip.start(kernel, interfaces, routes, neighbours)
