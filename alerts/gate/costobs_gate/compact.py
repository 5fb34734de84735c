"""JSON text without spaces, by an encoder that is made once: `json.dumps` makes a new one for each text.

And JSON of bytes without asking each time which encoding they are in: nearly all of it is UTF-8 without a mark.
"""

import json
from collections.abc import Callable
from json import encoder


def _made() -> Callable[[object], str]:
    make = getattr(encoder, "c_make_encoder", None)
    if make is None:  # an interpreter without the C part
        return json.JSONEncoder(separators=(",", ":")).encode
    plain = json.JSONEncoder(separators=(",", ":"))
    iterate = make(None, plain.default, encoder.encode_basestring_ascii, None, ":", ",", False, False, True)
    return lambda document: "".join(iterate(document, 0))


encode = _made()


def decode(raw: bytes) -> object:
    """What JSON says, exactly as `json.loads` reads it. Raises ValueError and RecursionError."""
    return json.loads(raw if b"\x00" in raw[:4] or raw[:1] > b"\x7f" else raw.decode("utf-8", "surrogatepass"))
