"""Start gpt2lab: `python app.py --help` lists the options; a Space runs this file as it is."""

import argparse
import os
import socket
import sys

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
# Threads that wait for one another shall sleep: beside other work, or with several visitors, torch
# is many times faster so. It reads this when it is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from gpt2lab.hub import start_download
from gpt2lab.models import is_cached, load_model
from gpt2lab.refusal import Refusal
from gpt2lab.ui.memory import keep_freed_memory
from gpt2lab.ui.page import build_page
from gpt2lab.ui.serving import launch_arguments


def options(arguments: list[str]) -> argparse.Namespace:
    """Command-line options; the environment sets their defaults."""
    parser = argparse.ArgumentParser(description="A playground that opens GPT-2 up.")
    environment = os.environ.get
    parser.add_argument(
        "--model",
        default=environment("GPT2LAB_MODEL", "auto"),
        help="auto, pocket, gpt2, distilgpt2, gpt2-medium, gpt2-large, gpt2-xl or a folder",
    )
    parser.add_argument("--device", default=environment("GPT2LAB_DEVICE", "auto"))
    parser.add_argument("--dtype", default=environment("GPT2LAB_DTYPE", "float32"))
    parser.add_argument("--host", help="address to listen on (also GRADIO_SERVER_NAME)")
    parser.add_argument("--port", type=int, help="port (also GRADIO_SERVER_PORT)")
    parser.add_argument("--share", action="store_true", default=None, help="make a public link")
    return parser.parse_args(arguments)


# Tools that import this file for its `demo` have command lines of their own.
chosen = options(sys.argv[1:] if __name__ == "__main__" else [])
keep_freed_memory()
try:
    gpt2 = load_model(chosen.model, chosen.device, chosen.dtype)
except Refusal as refusal:
    sys.exit(str(refusal))
download = None
if chosen.model == "auto" and not is_cached("gpt2"):
    download = start_download("gpt2")
demo = build_page(gpt2, download)

if __name__ == "__main__":
    try:
        if chosen.host:
            socket.getaddrinfo(chosen.host, None)
        demo.launch(
            server_name=chosen.host,
            server_port=chosen.port or None,
            share=chosen.share,
            **launch_arguments(),
        )
    except KeyboardInterrupt:  # Ctrl-C while the server is still starting.
        demo.close()
    except (OSError, OverflowError) as error:
        sys.exit(f"The page cannot be served ({error}) Choose another --port or --host.")
