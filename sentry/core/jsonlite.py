"""JSON by the interpreter's C scanner and encoder.

The json package imports re and enum (12 ms, a third of a container start); its C half does all the work.
"""

from _json import encode_basestring, make_encoder, make_scanner


class JsonError(ValueError):
    """Not JSON, or bytes that are not UTF-8."""


class _Context:
    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    memo: dict = {}

    @staticmethod
    def parse_constant(name):
        raise JsonError(f"{name} is no JSON value")


_scan = make_scanner(_Context)
_SPACE = " \t\n\r"


def loads(data):
    """The value of a JSON text (str or bytes). Raises JsonError, with line and column where they are known."""
    if not isinstance(data, str):
        try:
            data = str(data, "utf-8")
        except UnicodeDecodeError as error:
            raise JsonError(f"byte {error.start} is not UTF-8") from None
    if data.startswith("\ufeff"):
        data = data[1:]
    start = _skip(data, 0)
    try:
        value, end = _scan(data, start)
    except StopIteration as stop:
        raise JsonError(_where(data, stop.value, "a value was expected")) from None
    except RecursionError:
        raise JsonError("nested too deeply") from None
    except JsonError:
        raise
    except SystemError:  # the C scanner takes its exception from json.decoder, which is not loaded
        raise JsonError("syntax error") from None
    except ValueError as error:  # json.decoder is loaded after all (tests)
        raise JsonError(str(error)) from None
    end = _skip(data, end)
    if end != len(data):
        raise JsonError(_where(data, end, "text after the value"))
    return value


def _skip(data, at):
    while at < len(data) and data[at] in _SPACE:
        at += 1
    return at


def _where(data, at, what):
    if at is None:
        return what
    line = data.count("\n", 0, at) + 1
    column = at - data.rfind("\n", 0, at)
    return f"line {line} column {column}: {what}"


def _unknown(value):
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


_compact = make_encoder({}, _unknown, encode_basestring, None, ":", ",", False, False, False)


def dumps(value) -> str:
    """Compact JSON text."""
    return "".join(_compact(value, 0))


def pretty(value, indent="") -> str:
    """JSON indented by tabs, for people (the C encoder has no indentation)."""
    inner = indent + "\t"
    if isinstance(value, dict) and value:
        rows = [f"{inner}{dumps(str(key))}: {pretty(item, inner)}" for key, item in value.items()]
        return "{\n" + ",\n".join(rows) + f"\n{indent}}}"
    if isinstance(value, list) and value:
        return "[\n" + ",\n".join(inner + pretty(item, inner) for item in value) + f"\n{indent}]"
    return dumps(value)
