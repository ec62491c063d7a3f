"""Draws what it is told in Qt 5 and tells where its widgets are: `python3 qt_app.py`, a JSON object a line, both ways.

    {"draw": spec} ─► {}        {"look": true} ─► {"parts": [...], "menu": ..., "log": [...], "finished": ...}

Boxes are pixels of the screen. Needs PyQt5 of the system's Python.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from PyQt5 import QtCore, QtGui
from PyQt5 import QtWidgets as qt

Box = list[int]


def box_of(widget: Any, rect: Any = None) -> Box:
    rect = widget.rect() if rect is None else rect
    corner = widget.mapToGlobal(rect.topLeft())
    return [corner.x(), corner.y(), rect.width(), rect.height()]


class Area(qt.QPlainTextEdit):
    """A text area; where `entered` is set, as in a terminal, Return calls it."""

    entered: Any = None

    def keyPressEvent(self, event: Any) -> None:
        if self.entered is not None and event.key() in (QtCore.Qt.Key_Return, QtCore.Qt.Key_Enter):
            self.entered()
        else:
            super().keyPressEvent(event)


class App:
    """One window at a time."""

    def __init__(self) -> None:
        self.application = qt.QApplication(sys.argv)
        self.application.setQuitOnLastWindowClosed(False)
        self.buffer = b""
        self.window: Any = None
        os.set_blocking(0, False)
        self.notifier = QtCore.QSocketNotifier(0, QtCore.QSocketNotifier.Read)
        self.notifier.activated.connect(lambda *_: self.readable())

    def draw(self, spec: dict[str, Any]) -> None:
        if self.window is not None:
            self.window.close()
            self.window.deleteLater()
        self.spec = spec
        self.log: list[str] = []
        self.finished = False
        self.application.setStyle(spec["theme"])
        self.application.setFont(QtGui.QFont(spec["font"], spec["size"]))
        self.application.setStyleSheet(spec["sheet"])
        self.window = qt.QMainWindow()
        self.window.setWindowTitle(spec["title"])
        body = qt.QWidget()
        self.window.setCentralWidget(body)
        self.layout = qt.QVBoxLayout(body)
        self.form = qt.QFormLayout()
        self.layout.addLayout(self.form)
        self.heads: list[tuple[str, Any, list[tuple[str, Any]]]] = []
        for title, items in spec["menu"]:
            menu = self.window.menuBar().addMenu(title)
            actions = []
            for item in items:
                action = menu.addAction(item)
                action.triggered.connect(lambda _on=False, item=item: self.note("menu " + item))
                actions.append((item, action))
            self.heads.append((title, menu, actions))
        self.parts = [getattr(self, "draw_" + part["kind"])(part) for part in spec["parts"]]
        for chord in spec["chords"]:
            if chord != "enter":
                shortcut = qt.QShortcut(QtGui.QKeySequence(chord.replace("enter", "return")), self.window)
                shortcut.activated.connect(lambda chord=chord: self.note("key " + chord))
        self.window.move(spec["x"], spec["y"])
        self.window.show()
        self.window.activateWindow()

    def note(self, what: str) -> None:
        self.log.append(what)
        if what != self.spec["last"]:
            return
        self.finished = True
        after = self.spec["after"]
        if after == "replace":
            self.window.setCentralWidget(qt.QLabel(self.spec["said"]))
        elif after == "add":
            self.layout.addWidget(qt.QLabel(self.spec["said"]))
        elif after == "title":
            self.window.setWindowTitle(self.spec["said"])

    # What a window is made of. Each returns how its state is told.

    def draw_note(self, part: dict[str, Any]) -> Any:
        self.form.addRow(qt.QLabel(part["text"]))
        return dict

    def draw_field(self, part: dict[str, Any]) -> Any:
        made = qt.QLineEdit(part["value"])
        made.setMinimumWidth(part["width"] * 8)
        if part["variant"] == "hint":
            made.setPlaceholderText(part["label"])
        self.form.addRow(part["label"], made)
        return lambda: {
            "box": box_of(made),
            "value": made.text(),
            "focus": made.hasFocus(),
            "whole": made.selectedText() == made.text(),
        }

    def draw_area(self, part: dict[str, Any]) -> Any:
        made = Area(part["value"])
        made.setMinimumSize(part["width"] * 8, part["height"] * 20)
        self.layout.addWidget(made)
        made.moveCursor(QtGui.QTextCursor.End)
        if part["focus"]:
            made.setFocus()
        prompt = part["value"]
        if part["terminal"]:
            made.entered = lambda: (made.appendPlainText(prompt), self.note("key enter"))

        def told() -> dict[str, Any]:
            text = made.toPlainText()
            return {
                "box": box_of(made),
                "value": text.rsplit(prompt, 1)[-1] if prompt else text,
                "focus": made.hasFocus(),
                "whole": False,
            }

        return told

    def draw_check(self, part: dict[str, Any]) -> Any:
        made = qt.QCheckBox(part["name"])
        made.setChecked(part["on"])
        self.form.addRow("", made) if part["right"] else self.form.addRow(made)

        def told() -> dict[str, Any]:
            option = qt.QStyleOptionButton()
            made.initStyleOption(option)
            hit = made.style().subElementRect(qt.QStyle.SE_CheckBoxClickRect, option, made)
            return {"box": box_of(made, hit), "on": made.isChecked()}

        return told

    def draw_radio(self, part: dict[str, Any]) -> Any:
        holder = qt.QWidget()
        layout: Any = qt.QHBoxLayout(holder) if part["side"] == "left" else qt.QVBoxLayout(holder)
        made = {name: qt.QRadioButton(name) for name in part["names"]}
        for name, button in made.items():
            button.setChecked(name == part["value"])
            layout.addWidget(button)
        self.form.addRow(part["label"], holder)

        def hit(button: Any) -> Box:
            option = qt.QStyleOptionButton()
            button.initStyleOption(option)
            return box_of(button, button.style().subElementRect(qt.QStyle.SE_RadioButtonClickRect, option, button))

        return lambda: {
            "items": {name: hit(one) for name, one in made.items()},
            "value": next((name for name, one in made.items() if one.isChecked()), ""),
        }

    def draw_combo(self, part: dict[str, Any]) -> Any:
        made = qt.QComboBox()
        made.addItems(part["names"])
        made.setCurrentText(part["value"])
        self.form.addRow(part["label"], made)

        def told() -> dict[str, Any]:
            view, items = made.view(), {}
            if view.isVisible():
                inside = view.viewport().rect()
                for place, name in enumerate(part["names"]):
                    rect = view.visualRect(made.model().index(place, made.modelColumn()))
                    if inside.contains(rect.center()):
                        items[name] = box_of(view.viewport(), rect.intersected(inside))
            return {"box": box_of(made), "value": made.currentText(), "items": items}

        return told

    def draw_list(self, part: dict[str, Any]) -> Any:
        made = qt.QListWidget()
        made.addItems(part["names"])
        made.setFixedSize(part["width"] * 9, part["height"] * 22)
        self.layout.addWidget(made)

        def told() -> dict[str, Any]:
            inside, items = made.viewport().rect(), {}
            for place, name in enumerate(part["names"]):
                rect = made.visualItemRect(made.item(place))
                if inside.contains(rect.center()) and inside.bottom() >= rect.bottom() - 2:
                    items[name] = box_of(made.viewport(), rect.intersected(inside))
            chosen = made.selectedItems()
            return {
                "box": box_of(made),
                "items": items,
                "value": chosen[0].text() if chosen else "",
                "names": part["names"],
            }

        return told

    def draw_table(self, part: dict[str, Any]) -> Any:
        rows = part["rows"]
        made = qt.QTableWidget(len(rows), len(rows[0]))
        if part["heads"]:
            made.setHorizontalHeaderLabels(part["heads"])
        for down, cells in enumerate(rows):
            for across, text in enumerate(cells):
                made.setItem(down, across, qt.QTableWidgetItem(text))
        made.setFixedSize(min(120 * len(rows[0]) + 40, 640), min(32 * len(rows) + 40, 400))
        self.layout.addWidget(made)

        def told() -> dict[str, Any]:
            inside, items = made.viewport().rect(), {}
            for down in range(len(rows)):
                for across in range(len(rows[0])):
                    rect = made.visualItemRect(made.item(down, across))
                    if inside.contains(rect.center()):
                        items[f"{down},{across}"] = box_of(made.viewport(), rect.intersected(inside))
            editor = made.findChild(qt.QLineEdit)
            return {
                "items": items,
                "cells": [[made.item(d, a).text() for a in range(len(rows[0]))] for d in range(len(rows))],
                "at": f"{made.currentRow()},{made.currentColumn()}",
                "editing": editor.text() if editor is not None and editor.isVisible() else None,
            }

        return told

    def draw_keys(self, part: dict[str, Any]) -> Any:
        shown, grid, made = qt.QLineEdit(), qt.QGridLayout(), {}
        shown.setReadOnly(True)
        shown.setAlignment(QtCore.Qt.AlignRight)
        self.layout.addWidget(shown)
        for across, names in enumerate(part["rows"]):
            for down, name in enumerate(names):
                made[name] = qt.QPushButton(name)
                made[name].clicked.connect(
                    lambda _on=False, name=name: (
                        shown.setText((shown.text() + name)[-14:]),
                        self.note("press " + name),
                    )
                )
                grid.addWidget(made[name], across, down)
        grid.setSpacing(part["gap"] * 2)
        self.layout.addLayout(grid)
        return lambda: {"items": {name: box_of(one) for name, one in made.items()}}

    def draw_buttons(self, part: dict[str, Any]) -> Any:
        row, made = qt.QHBoxLayout(), {}
        if part["side"] == "e":
            row.addStretch()
        for name in part["names"]:
            made[name] = qt.QPushButton(name)
            made[name].clicked.connect(lambda _on=False, name=name: self.note("press " + name))
            row.addWidget(made[name])
        if part["side"] == "w":
            row.addStretch()
        self.layout.addLayout(row)
        return lambda: {"items": {name: box_of(one) for name, one in made.items()}}

    def menus(self) -> dict[str, Any]:
        told, bar = {}, self.window.menuBar()
        for title, menu, actions in self.heads:
            items = {}
            if menu.isVisible():
                items = {item: box_of(menu, menu.actionGeometry(action)) for item, action in actions}
            told[title] = {"box": box_of(bar, bar.actionGeometry(menu.menuAction())), "items": items}
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


if __name__ == "__main__":
    app = App()
    sys.exit(app.application.exec_())
