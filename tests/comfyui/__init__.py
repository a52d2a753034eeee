"""ComfyUI itself, driven: run by .ci/comfyui in an environment that has it, skipped elsewhere."""
