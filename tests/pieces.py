"""The bytes of tokens, by transformers' own table, and what is written in a figure about them."""

import re

from transformers.convert_slow_tokenizer import bytes_to_unicode

BYTES = {character: byte for byte, character in bytes_to_unicode().items()}


def raw(token: str) -> bytes:
    """Bytes of one of the vocabulary's strings."""
    return token.encode() if token == "<|endoftext|>" else bytes(BYTES[one] for one in token)


def in_hex(piece: str) -> str:
    """What is written of bytes that are no character, all in hex: "␣ f0 9f" is "20 f0 9f"."""
    characters = re.sub(r"‹U\+(\w+)›", lambda found: chr(int(found[1], 16)), piece)
    parts = characters.replace("␣", "20").split(" ")
    return " ".join(
        part if re.fullmatch("[0-9a-f]{2}", part) else part.encode().hex(" ") for part in parts
    )


def is_whole(token: str) -> bool:
    """Whether its bytes are whole characters."""
    return raw(token).decode("utf-8", "ignore").encode() == raw(token)
