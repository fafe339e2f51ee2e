"""Sockets: what every family implements (socket.py) and the families."""
