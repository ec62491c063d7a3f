"""Draws what it is told in GTK 3 and tells where its widgets are: `python3 gtk_app.py`, JSON lines both ways.

    {"draw": spec} ─► {}        {"look": true} ─► {"parts": [...], "menu": ..., "log": [...], "finished": ...}

Boxes are pixels of the screen. Needs python3-gi and gir1.2-gtk-3.0 of the system.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import gi

gi.require_version("Gdk", "3.0")
gi.require_version("Gtk", "3.0")
from gi.repository import Gdk, GLib, Gtk  # noqa: E402

Box = list[int]


def box_of(widget: Any) -> Box:
    """Returns a widget's place on the screen; nothing of one that is not drawn."""
    window, at = Gtk.Widget.get_window(widget), widget.get_allocation()
    if window is None or not widget.get_mapped():
        return [0, 0, 0, 0]
    _, x, y = window.get_origin()
    inside = widget.get_has_window()
    return [x + (0 if inside else at.x), y + (0 if inside else at.y), at.width, at.height]


class App:
    """One window at a time."""

    def __init__(self) -> None:
        self.buffer = b""
        self.window: Any = None
        self.css = Gtk.CssProvider()
        Gtk.StyleContext.add_provider_for_screen(Gdk.Screen.get_default(), self.css, 700)
        os.set_blocking(0, False)
        GLib.io_add_watch(0, GLib.IO_IN | GLib.IO_HUP, self.readable)

    def draw(self, spec: dict[str, Any]) -> None:
        if self.window is not None:
            self.window.destroy()
        self.spec = spec
        self.log: list[str] = []
        self.finished = False
        Gtk.Settings.get_default().set_property("gtk-theme-name", spec["theme"])
        Gtk.Settings.get_default().set_property("gtk-font-name", f"{spec['font']} {spec['size']}")
        self.css.load_from_data(spec["sheet"].encode())
        self.window = window = Gtk.Window(title=spec["title"])
        self.box = Gtk.Box(orientation=Gtk.Orientation.VERTICAL, spacing=spec["pad"])
        self.box.set_border_width(spec["pad"] * 2)
        outer = Gtk.Box(orientation=Gtk.Orientation.VERTICAL)
        window.add(outer)
        self.grid = Gtk.Grid(row_spacing=spec["pad"], column_spacing=spec["pad"] * 2)
        self.rows = 0
        self.heads: list[tuple[str, Any, list[tuple[str, Any]]]] = []
        if spec["menu"]:
            outer.add(self.menu_bar(spec["menu"]))
        outer.add(self.box)
        self.box.add(self.grid)
        self.parts = [getattr(self, "draw_" + part["kind"])(part) for part in spec["parts"]]
        keys = Gtk.AccelGroup()
        for chord in spec["chords"]:
            if chord != "enter":
                key, modifiers = Gtk.accelerator_parse(chord.replace("ctrl+", "<Control>").replace("enter", "Return"))
                keys.connect(key, modifiers, 0, lambda *_, chord=chord: self.note("key " + chord) or True)
        window.add_accel_group(keys)
        window.move(spec["x"], spec["y"])
        window.show_all()
        window.present()

    def note(self, what: str) -> None:
        self.log.append(what)
        if what != self.spec["last"]:
            return
        self.finished = True
        after = self.spec["after"]
        if after == "replace":
            for child in self.box.get_children():
                child.destroy()
        if after in ("replace", "add"):
            self.box.add(Gtk.Label(label=self.spec["said"]))
            self.window.show_all()
        elif after == "title":
            self.window.set_title(self.spec["said"])

    # What a window is made of. Each returns how its state is told.

    def row(self, label: str, widget: Any) -> None:
        if label:
            self.grid.attach(Gtk.Label(label=label, xalign=0), 0, self.rows, 1, 1)
        self.grid.attach(widget, 1 if label else 0, self.rows, 1 if label else 2, 1)
        self.rows += 1

    def draw_note(self, part: dict[str, Any]) -> Any:
        self.row("", Gtk.Label(label=part["text"], xalign=0))
        return dict

    def draw_field(self, part: dict[str, Any]) -> Any:
        made = Gtk.Entry(text=part["value"], width_chars=part["width"])
        self.row(part["label"], made)

        def told() -> dict[str, Any]:
            bounds = made.get_selection_bounds()
            return {
                "box": box_of(made),
                "value": made.get_text(),
                "focus": made.has_focus(),
                "whole": bool(bounds) and bounds[1] - bounds[0] == len(made.get_text()),
            }

        return told

    def draw_area(self, part: dict[str, Any]) -> Any:
        made = Gtk.TextView(wrap_mode=Gtk.WrapMode.WORD, monospace=part["terminal"])
        made.set_size_request(part["width"] * 8, part["height"] * 20)
        buffer, prompt = made.get_buffer(), part["value"]
        buffer.set_text(prompt)
        self.box.add(made)
        if part["focus"]:
            made.grab_focus()

        def text() -> str:
            return str(buffer.get_text(buffer.get_start_iter(), buffer.get_end_iter(), False))

        def pressed(_widget: Any, event: Any) -> bool:
            if not part["terminal"] or event.keyval not in (Gdk.KEY_Return, Gdk.KEY_KP_Enter):
                return False
            buffer.insert(buffer.get_end_iter(), "\n" + prompt)
            buffer.place_cursor(buffer.get_end_iter())
            self.note("key enter")
            return True

        made.connect("key-press-event", pressed)
        return lambda: {
            "box": box_of(made),
            "value": text().rsplit(prompt, 1)[-1] if prompt else text(),
            "focus": made.has_focus(),
            "whole": False,
        }

    def draw_check(self, part: dict[str, Any]) -> Any:
        made = Gtk.CheckButton(label=part["name"], active=part["on"], halign=Gtk.Align.START)
        self.row(" " if part["right"] else "", made)
        return lambda: {"box": box_of(made), "on": made.get_active()}

    def draw_radio(self, part: dict[str, Any]) -> Any:
        across = part["side"] == "left"
        holder = Gtk.Box(orientation=Gtk.Orientation.HORIZONTAL if across else Gtk.Orientation.VERTICAL, spacing=6)
        made: dict[str, Any] = {}
        for name in part["names"]:
            first = next(iter(made.values()), None)
            made[name] = Gtk.RadioButton.new_with_label_from_widget(first, name)
            made[name].set_active(name == part["value"])
            holder.add(made[name])
        self.row(part["label"], holder)
        return lambda: {
            "items": {name: box_of(one) for name, one in made.items()},
            "value": next((name for name, one in made.items() if one.get_active()), ""),
        }

    def draw_list(self, part: dict[str, Any]) -> Any:
        made, scrolled = Gtk.ListBox(), Gtk.ScrolledWindow(hscrollbar_policy=Gtk.PolicyType.NEVER)
        scrolled.set_overlay_scrolling(False)
        labels = {}
        for name in part["names"]:
            labels[name] = Gtk.Label(label=name, xalign=0)
            made.add(labels[name])
        made.unselect_all()
        scrolled.add(made)
        scrolled.set_size_request(part["width"] * 9, part["height"] * 22)
        self.box.add(scrolled)

        def told() -> dict[str, Any]:
            x, y, w, h = box_of(scrolled)
            items = {}
            for name, label in labels.items():
                left, top, wide, high = box_of(label.get_parent())
                if top >= y - 2 and top + high <= y + h + 2 and high:
                    items[name] = [left, top, min(wide, x + w - left - 16), high]
            chosen = made.get_selected_row()
            return {
                "box": [x, y, w, h],
                "items": items,
                "value": chosen.get_child().get_text() if chosen else "",
                "names": part["names"],
            }

        return told

    def draw_keys(self, part: dict[str, Any]) -> Any:
        shown, grid = Gtk.Entry(editable=False, xalign=1.0, can_focus=False), Gtk.Grid()
        grid.set_row_spacing(part["gap"] * 2)
        grid.set_column_spacing(part["gap"] * 2)
        made = {}
        for across, names in enumerate(part["rows"]):
            for down, name in enumerate(names):
                made[name] = Gtk.Button(label=name, hexpand=True)
                made[name].connect(
                    "clicked",
                    lambda *_, name=name: (shown.set_text((shown.get_text() + name)[-14:]), self.note("press " + name)),
                )
                grid.attach(made[name], down, across, 1, 1)
        self.box.add(shown)
        self.box.add(grid)
        return lambda: {"items": {name: box_of(one) for name, one in made.items()}}

    def draw_buttons(self, part: dict[str, Any]) -> Any:
        row, made = Gtk.Box(spacing=self.spec["pad"]), {}
        row.set_halign(Gtk.Align.END if part["side"] == "e" else Gtk.Align.START)
        for name in part["names"]:
            made[name] = Gtk.Button(label=name)
            made[name].connect("clicked", lambda *_, name=name: self.note("press " + name))
            row.add(made[name])
        self.box.add(row)
        return lambda: {"items": {name: box_of(one) for name, one in made.items()}}

    def menu_bar(self, tops: list[tuple[str, list[str]]]) -> Any:
        bar = Gtk.MenuBar()
        for title, names in tops:
            head, menu, items = Gtk.MenuItem(label=title), Gtk.Menu(), []
            for name in names:
                item = Gtk.MenuItem(label=name)
                item.connect("activate", lambda *_, name=name: self.note("menu " + name))
                menu.append(item)
                items.append((name, item))
            head.set_submenu(menu)
            bar.append(head)
            self.heads.append((title, head, items))
        return bar

    def menus(self) -> dict[str, Any]:
        told = {}
        for title, head, items in self.heads:
            is_open = head.get_submenu().get_mapped()
            told[title] = {
                "box": box_of(head),
                "items": {name: box_of(item) for name, item in items} if is_open else {},
            }
        return told

    def readable(self, *_: Any) -> bool:
        data = os.read(0, 1 << 16)
        if not data:
            sys.exit(0)
        self.buffer += data
        while b"\n" in self.buffer:
            line, self.buffer = self.buffer.split(b"\n", 1)
            self.answer(json.loads(line))
        return True

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


if __name__ == "__main__":
    app = App()
    Gtk.main()
