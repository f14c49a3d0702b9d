"""GPEN Portrait: ComfyUI nodes that restore portraits and make them ready for the web and for print."""

from .nodes import comfy_entrypoint

WEB_DIRECTORY = "./nodes/web"

__all__ = ["WEB_DIRECTORY", "comfy_entrypoint"]
