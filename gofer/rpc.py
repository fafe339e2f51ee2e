"""Registration of the handlers: a message, its function."""

HANDLERS = {}  # message number -> (message class, function)


def rpc(message):
    """Register the decorated function as the handler of a message class."""

    def register(function):
        if message.number in HANDLERS:
            raise ValueError(f"two handlers for {message.__name__}")
        HANDLERS[message.number] = message, function
        return function

    return register
