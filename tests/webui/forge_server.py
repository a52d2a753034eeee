"""Serves a real Forge with the small model: `python forge_server.py PORT`, in Forge's folder and interpreter."""

import os
import sys
from pathlib import Path


def main(port):
    here = Path(__file__).resolve().parent
    sys.argv = ["webui.py", "--skip-torch-cuda-test", "--always-cpu", "--skip-version-check", "--no-hashing"]
    sys.argv += ["--port", port]
    sys.path[:0] = [os.getcwd(), str(here)]
    import webui  # starts Forge

    import forge_model

    forge_model.install()
    from modules import shared
    from modules_forge import main_thread

    shared.opts.data["samples_save"] = False
    shared.opts.data["live_previews_enable"] = False
    webui.webui()
    main_thread.loop()


if __name__ == "__main__":
    main(sys.argv[1])
