"""Serves a real Forge with the small model: `python forge_server.py PORT CHECKPOINT`, as `forge_driver.py` is run."""

import os
import sys

import forge_model


def main(port, checkpoint):
    sys.argv = ["webui.py", *forge_model.FLAGS, "--port", port, "--ckpt", checkpoint]
    sys.path.insert(0, os.getcwd())
    import webui  # starts Forge

    forge_model.install()
    from modules import shared
    from modules_forge import main_thread

    shared.opts.data["samples_save"] = False
    shared.opts.data["live_previews_enable"] = False
    webui.webui()
    main_thread.loop()


if __name__ == "__main__":
    main(*sys.argv[1:])
