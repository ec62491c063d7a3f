"""A form in Tk: `python3 tk_form.py RESULT` writes what was saved to RESULT as JSON. Needs only Python and Tk."""

from __future__ import annotations

import json
import sys


def main(result: str) -> None:
    import tkinter as tk

    root = tk.Tk()
    root.title("New contact")
    root.geometry("360x220+40+40")
    texts = {}
    for row, name in enumerate(("Name", "City")):
        tk.Label(root, text=name).grid(row=row, column=0, padx=12, pady=8, sticky="w")
        texts[name] = tk.Entry(root, width=24)
        texts[name].grid(row=row, column=1)
    news = tk.BooleanVar()
    tk.Checkbutton(root, text="Newsletter", variable=news).grid(row=2, column=1, sticky="w", pady=6)

    def save() -> None:
        with open(result, "w", encoding="utf-8") as file:
            json.dump({**{name: entry.get() for name, entry in texts.items()}, "Newsletter": news.get()}, file)
        for child in root.winfo_children():
            child.destroy()
        tk.Label(root, text="Saved.").pack(pady=40)

    buttons = tk.Frame(root)
    buttons.grid(row=3, column=1, sticky="e", pady=12)
    tk.Button(buttons, text="Cancel", command=root.destroy).pack(side="left", padx=6)
    tk.Button(buttons, text="Save", command=save).pack(side="left")
    root.mainloop()


if __name__ == "__main__":
    main(sys.argv[1])
