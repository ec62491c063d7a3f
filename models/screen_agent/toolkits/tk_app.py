"""Draws what it is told in Tk and tells where its widgets are: `python3 tk_app.py`, a JSON object a line, both ways.

    {"draw": spec} ─► {}        {"look": true} ─► {"parts": [...], "menu": ..., "log": [...], "finished": ...}

Boxes are pixels of the screen. It needs only Python and Tk: it runs in the system's Python.
"""

from __future__ import annotations

import json
import os
import sys
import tkinter as tk
from tkinter import ttk
from typing import Any

Box = list[int]


def box_of(widget: Any) -> Box:
    return [widget.winfo_rootx(), widget.winfo_rooty(), widget.winfo_width(), widget.winfo_height()]


class App:
    """One hidden root, and a window of it at a time."""

    def __init__(self) -> None:
        self.tk = tk.Tk()
        self.tk.withdraw()
        self.root: Any = None
        self.buffer = b""
        os.set_blocking(0, False)
        self.tk.createfilehandler(0, tk.READABLE, lambda *_: self.readable())

    def draw(self, spec: dict[str, Any]) -> None:
        if self.root is not None:
            self.root.destroy()
        self.tk.option_add("*Font", (spec["font"], spec["size"]))
        self.root = root = tk.Toplevel(self.tk)
        self.spec = spec
        self.log: list[str] = []
        self.finished = False
        root.title(spec["title"])
        root.geometry(f"+{spec['x']}+{spec['y']}")
        self.font = (spec["font"], spec["size"])
        self.colours = spec["colours"]
        root.configure(bg=self.colours["back"])
        style = ttk.Style(self.tk)
        style.theme_use(spec["theme"] if spec["theme"] in style.theme_names() else "default")
        style.configure(".", font=self.font)
        self.heads: list[tuple[Any, Any]] = []
        if spec["menu"]:
            self.draw_menu(spec["menu"])
        self.frame = tk.Frame(root, bg=self.colours["back"], padx=spec["pad"] * 2, pady=spec["pad"] * 2)
        self.frame.pack(fill="both", expand=True)
        self.frame.columnconfigure(1, weight=1)
        self.parts = [getattr(self, "draw_" + part["kind"])(row, part) for row, part in enumerate(spec["parts"])]
        for chord in spec["chords"]:
            names = chord.split("+")
            event = "<" + "-".join({"ctrl": "Control", "enter": "Return"}.get(name, name) for name in names) + ">"
            root.bind_all(event, lambda _event, chord=chord: self.note("key " + chord))
        root.update_idletasks()

    def has_focus(self, widget: Any) -> bool:
        return str(self.tk.tk.call("focus")) == str(widget)

    def note(self, what: str) -> None:
        self.log.append(what)
        if what == self.spec["last"]:
            self.finish()

    def finish(self) -> None:
        self.finished = True
        after = self.spec["after"]
        if after == "replace":
            for child in self.frame.winfo_children():
                child.destroy()
            tk.Label(self.frame, text=self.spec["said"], bg=self.colours["back"], fg=self.colours["ink"]).grid(pady=30)
        elif after == "add":
            tk.Label(self.frame, text=self.spec["said"], bg=self.colours["back"], fg=self.colours["ink"]).grid(
                row=90, column=0, columnspan=2
            )
        elif after == "title":
            self.root.title(self.spec["said"])

    # What a window is made of. Each returns how its state is told.

    def label(self, row: int, text: str) -> None:
        tk.Label(self.frame, text=text, bg=self.colours["back"], fg=self.colours["ink"]).grid(
            row=row, column=0, sticky="w", padx=self.spec["pad"], pady=self.spec["pad"]
        )

    def place(self, widget: Any, row: int, sticky: str = "w") -> None:
        widget.grid(row=row, column=1, sticky=sticky, padx=self.spec["pad"], pady=self.spec["pad"])

    def draw_note(self, row: int, part: dict[str, Any]) -> Any:
        made = tk.Label(self.frame, text=part["text"], bg=self.colours["back"], fg=self.colours["ink"])
        made.grid(row=row, column=0, columnspan=2, sticky="w", padx=self.spec["pad"], pady=self.spec["pad"])
        return dict

    def draw_field(self, row: int, part: dict[str, Any]) -> Any:
        self.label(row, part["label"])
        look = {"bg": self.colours["field"], "fg": self.colours["text"], "insertbackground": self.colours["text"]}
        if part["variant"] == "ttk":
            made: Any = ttk.Entry(self.frame, width=part["width"], font=self.font)
        elif part["variant"] == "spin":
            made = tk.Spinbox(self.frame, width=part["width"], from_=0, to=999, **look)
            made.delete(0, "end")
        else:
            made = tk.Entry(self.frame, width=part["width"], bd=part["border"], relief=part["relief"], **look)
        made.insert(0, part["value"])
        self.place(made, row)

        def told() -> dict[str, Any]:
            text = made.get()
            chosen = made.selection_get() if made.selection_present() and text else ""
            box = box_of(made)
            return {
                "box": [*box[:2], box[2] - (18 if part["variant"] == "spin" else 0), box[3]],
                "value": text,
                "focus": self.has_focus(made),
                "whole": chosen == text,
            }

        return told

    def draw_area(self, row: int, part: dict[str, Any]) -> Any:
        made = tk.Text(
            self.frame,
            width=part["width"],
            height=part["height"],
            bg=self.colours["field"],
            fg=self.colours["text"],
            insertbackground=self.colours["text"],
            wrap="word",
        )
        made.insert("1.0", part["value"])
        made.mark_set("insert", "end-1c")
        made.grid(row=row, column=0, columnspan=2, sticky="nsew")
        if part["focus"]:
            made.focus_set()
        prompt = part["value"]
        if part["terminal"]:
            made.bind("<Return>", lambda _event: self.entered(made, prompt))

        def told() -> dict[str, Any]:
            text = made.get("1.0", "end-1c")
            return {
                "box": box_of(made),
                "value": text.rsplit(prompt, 1)[-1] if prompt else text,
                "focus": self.has_focus(made),
                "whole": False,
            }

        return told

    def entered(self, made: tk.Text, prompt: str) -> str:
        made.insert("end", "\n" + prompt)
        made.mark_set("insert", "end-1c")
        made.see("end")
        self.note("key enter")
        return "break"

    def draw_check(self, row: int, part: dict[str, Any]) -> Any:
        value = tk.BooleanVar(self.root, part["on"])
        if part["variant"] == "ttk":
            made: Any = ttk.Checkbutton(self.frame, text=part["name"], variable=value)
        else:
            made = tk.Checkbutton(
                self.frame,
                text=part["name"],
                variable=value,
                bg=self.colours["back"],
                fg=self.colours["ink"],
                selectcolor=self.colours["field"],
            )
        if part["right"]:
            self.place(made, row)
        else:
            made.grid(row=row, column=0, columnspan=2, sticky="w", padx=self.spec["pad"])
        return lambda: {"box": box_of(made), "on": value.get(), "kept": str(value)}

    def draw_radio(self, row: int, part: dict[str, Any]) -> Any:
        self.label(row, part["label"])
        value, holder = tk.StringVar(self.root, part["value"]), tk.Frame(self.frame, bg=self.colours["back"])
        made = {}
        for name in part["names"]:
            if part["variant"] == "ttk":
                made[name] = ttk.Radiobutton(holder, text=name, value=name, variable=value)
            else:
                made[name] = tk.Radiobutton(
                    holder,
                    text=name,
                    value=name,
                    variable=value,
                    bg=self.colours["back"],
                    fg=self.colours["ink"],
                    selectcolor=self.colours["field"],
                )
            made[name].pack(side=part["side"], anchor="w")
        self.place(holder, row)
        return lambda: {"items": {name: box_of(one) for name, one in made.items()}, "value": value.get()}

    def draw_combo(self, row: int, part: dict[str, Any]) -> Any:
        self.label(row, part["label"])
        made = ttk.Combobox(self.frame, values=part["names"], state="readonly", width=part["width"], font=self.font)
        made.set(part["value"])
        self.place(made, row)

        def told() -> dict[str, Any]:
            call = made.tk.call
            window = call("ttk::combobox::PopdownWindow", str(made))
            items = {}
            if int(call("winfo", "ismapped", window)):
                inner = f"{window}.f.l"
                left, top, width = (int(call("winfo", what, inner)) for what in ("rootx", "rooty", "width"))
                for place, name in enumerate(part["names"]):
                    seen = call(inner, "bbox", place)
                    if seen:
                        items[name] = [left + 2, top + int(seen[1]), width - 4, int(seen[3])]
            return {"box": box_of(made), "value": made.get(), "items": items}

        return told

    def draw_list(self, row: int, part: dict[str, Any]) -> Any:
        made = tk.Listbox(
            self.frame,
            height=part["height"],
            bg=self.colours["field"],
            fg=self.colours["text"],
            selectbackground=self.colours["accent"],
            exportselection=False,
            width=part["width"],
        )
        made.insert("end", *part["names"])
        made.grid(row=row, column=0, columnspan=2, sticky="w", padx=self.spec["pad"], pady=self.spec["pad"])

        def told() -> dict[str, Any]:
            x, y, w, h = box_of(made)
            items = {}
            for place, name in enumerate(part["names"]):
                seen = made.bbox(place)
                if seen and seen[1] + seen[3] <= h:
                    items[name] = [x + 2, y + seen[1], w - 4, seen[3]]
            chosen = [part["names"][place] for place in made.curselection()]
            return {"box": [x, y, w, h], "items": items, "value": chosen[0] if chosen else "", "names": part["names"]}

        return told

    def draw_keys(self, row: int, part: dict[str, Any]) -> Any:
        shown = tk.StringVar(self.root, "")
        tk.Label(
            self.frame,
            textvariable=shown,
            anchor="e",
            relief="sunken",
            bg=self.colours["field"],
            fg=self.colours["text"],
        ).grid(row=row, column=0, columnspan=2, sticky="ew")
        holder, made = tk.Frame(self.frame, bg=self.colours["back"]), {}
        for across, names in enumerate(part["rows"]):
            for down, name in enumerate(names):
                made[name] = self.button(holder, name, part["variant"])
                made[name].configure(
                    command=lambda name=name: (shown.set((shown.get() + name)[-14:]), self.note("press " + name))
                )
                made[name].grid(row=across, column=down, sticky="nsew", padx=part["gap"], pady=part["gap"])
        holder.grid(row=row + 50, column=0, columnspan=2)
        return lambda: {"items": {name: box_of(one) for name, one in made.items()}}

    def button(self, holder: Any, name: str, variant: str) -> Any:
        if variant == "ttk":
            return ttk.Button(holder, text=name)
        return tk.Button(
            holder, text=name, bg=self.colours["button"], fg=self.colours["label"], padx=self.spec["pad"] * 2
        )

    def draw_buttons(self, row: int, part: dict[str, Any]) -> Any:
        holder, made = tk.Frame(self.frame, bg=self.colours["back"]), {}
        for name in part["names"]:
            made[name] = self.button(holder, name, part["variant"])
            made[name].configure(command=lambda name=name: self.note("press " + name))
            made[name].pack(side="left", padx=self.spec["pad"])
        holder.grid(row=row, column=0, columnspan=2, sticky=part["side"], pady=self.spec["pad"])
        return lambda: {"items": {name: box_of(one) for name, one in made.items()}}

    def draw_menu(self, tops: list[tuple[str, list[str]]]) -> None:
        bar = tk.Frame(self.root, bg=self.colours["button"])
        bar.pack(fill="x")
        for title, items in tops:
            head = tk.Menubutton(bar, text=title, bg=self.colours["button"], fg=self.colours["label"])
            menu = tk.Menu(head, tearoff=0)
            for item in items:
                menu.add_command(label=item, command=lambda item=item: self.note("menu " + item))
            head["menu"] = menu
            head.pack(side="left")
            self.heads.append((head, menu))

    def menus(self) -> dict[str, Any]:
        told = {}
        for (title, names), (head, menu) in zip(self.spec["menu"], self.heads, strict=True):
            items = {}
            if menu.winfo_ismapped():
                x, y, w, h = box_of(menu)
                tops = [int(menu.yposition(place)) for place in range(len(names))] + [h - 2]
                items = {
                    name: [x, y + tops[place], w, tops[place + 1] - tops[place]] for place, name in enumerate(names)
                }
            told[title] = {"box": box_of(head), "items": items}
        return told

    def readable(self) -> None:
        data = os.read(0, 1 << 16)
        if not data:
            sys.exit(0)
        self.buffer += data
        while b"\n" in self.buffer:
            line, self.buffer = self.buffer.split(b"\n", 1)
            self.answer(json.loads(line))

    def answer(self, asked: dict[str, Any]) -> None:
        told: dict[str, Any] = {}
        if "draw" in asked:
            self.draw(asked["draw"])
        else:
            gone = self.finished and self.spec["after"] == "replace"
            told = {
                "parts": [] if gone else [part() for part in self.parts],
                "menu": self.menus(),
                "log": self.log,
                "finished": self.finished,
            }
        print(json.dumps(told), flush=True)


def main() -> None:
    App().tk.mainloop()


if __name__ == "__main__":
    main()
