"""Serves a real Forge or A1111 with the small model: `python program_server.py PORT CHECKPOINT`, in its folder."""

import os
import sys

import program_session


def main(port, checkpoint):
    sys.path.insert(0, os.getcwd())
    (serve_forge if program_session.name() == "forge" else serve_a1111)(port, checkpoint)


def serve_forge(port, checkpoint):
    import forge_model

    sys.argv = ["webui.py", *forge_model.FLAGS, "--port", port, "--ckpt", checkpoint]
    import webui  # starts Forge

    forge_model.install()
    from modules_forge import main_thread

    program_session.quiet()
    webui.webui()
    main_thread.loop()


def serve_a1111(port, checkpoint):
    import a1111_model

    sys.argv = ["webui.py", *a1111_model.FLAGS, "--port", port, "--ckpt", checkpoint]
    import webui  # its imports, nothing is loaded yet

    a1111_model.write(checkpoint)
    program_session.quiet()
    webui.webui()


if __name__ == "__main__":
    main(*sys.argv[1:])
