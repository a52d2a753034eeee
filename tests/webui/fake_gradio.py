"""As much of gradio as building the accordion takes: components that remember what they were made with."""

import types

__version__ = "4.40.0"


class Component:
    def __init__(self, *args, **kwargs):
        self.args, self.kwargs, self.clicks = args, kwargs, []
        self.value = kwargs.get("value", args[0] if args else None)
        self.label = kwargs.get("label")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def click(self, **kwargs):
        self.clicks.append(kwargs)


Accordion = Row = Radio = Dropdown = Slider = Button = Textbox = Number = Component
Request = types.SimpleNamespace
