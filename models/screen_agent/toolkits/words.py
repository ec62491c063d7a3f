"""Words for the windows: names, labels, options, menus, commands, and the looks that a toolkit has."""

from __future__ import annotations

import random

FONTS = (
    "DejaVu Sans", "Liberation Sans", "Noto Sans", "Cantarell", "Open Sans", "Roboto", "Lato", "FreeSans",
)  # fmt: skip
THEMES = {
    "tk": ("clam", "alt", "default", "classic"),
    "qt": ("Fusion", "Windows", "Fusion"),
    "gtk": ("Adwaita", "Adwaita", "Adwaita-dark", "Raleigh", "HighContrast"),
}
FIRST = (
    "Adam", "Bea", "Carl", "Dora", "Erik", "Fay", "Gus", "Hana", "Ivan", "Jana", "Kai", "Lena", "Max", "Nina",
    "Otto", "Pia", "Rolf", "Sara", "Tom", "Uta", "Vito", "Wanda",
)  # fmt: skip
LAST = (
    "Albrecht", "Brown", "Conti", "Dubois", "Eriksson", "Ferrari", "Gruber", "Horvat", "Ivanova", "Jansen",
    "Kowalski", "Lindgren", "Moreau", "Nagy",
)  # fmt: skip
PLACES = (
    "Aarhus", "Bergen", "Cork", "Dresden", "Exeter", "Ghent", "Haifa", "Izmir", "Jena", "Kassel", "Leeds", "Malmo",
    "Nantes", "Porto", "Riga", "Turin",
)  # fmt: skip
THINGS = (
    "chair", "desk", "shelf", "pencil", "kettle", "ladder", "carpet", "mirror", "candle", "basket", "hammer",
    "bucket", "pillow", "jacket", "helmet",
)  # fmt: skip
MODES = (
    "red", "green", "grey", "small", "large", "heavy", "light", "round", "square", "wooden", "plain", "striped",
    "spare", "second",
)  # fmt: skip
LABELS = (
    "Name", "First name", "Family name", "City", "Town", "Street", "E-mail", "Telephone", "Company", "Item",
    "Article", "Amount", "Number", "Price", "Code", "Reference", "Title", "Subject", "Room", "Floor", "Country",
    "Guest", "Owner", "Note", "Key", "User", "Host", "Port", "Path", "Project", "Count", "Weight",
)  # fmt: skip
OPTIONS = (
    "Gift wrap", "Send a copy", "Remember me", "Invoice", "Insurance", "Reminder", "Private", "Urgent", "Archive",
    "Use a proxy", "Large print", "Window seat", "Dinner", "Parking", "Late arrival", "Sort by date", "Backup",
    "Read only", "Notify the owner", "Keep it open", "Show details", "Show grid", "Autosave", "Sound",
)  # fmt: skip
CHOICES = (
    "Low", "Medium", "High", "Morning", "Noon", "Evening", "Cash", "Card", "Transfer", "Monday", "Tuesday", "Friday",
    "Small", "Wide", "Metric", "Imperial", "Manual", "Automatic", "Single", "Double", "Suite", "By air",
)  # fmt: skip
GROUPS = (
    "Size", "Time", "Payment", "Day", "Units", "Mode", "Room type", "Shipping", "Priority", "Quality",
)  # fmt: skip
FINISH = (
    "OK", "Save", "Apply", "Send", "Submit", "Done", "Add", "Create", "Update", "Register", "Order", "Continue",
    "Accept",
)  # fmt: skip
LEAVE = (
    "Cancel", "Close", "Reset", "Help", "Back", "Discard", "Clear",
)  # fmt: skip
TITLES = (
    "New entry", "Settings", "Reservation", "Customer", "Registration", "Details", "Options", "Properties", "Tool",
)  # fmt: skip
MENUS = {
    "File": ("New", "Open...", "Save", "Save as...", "Print...", "Quit"),
    "Edit": ("Undo", "Redo", "Cut", "Copy", "Paste"),
    "View": ("Zoom in", "Zoom out", "Full screen", "Toolbar"),
    "Tools": ("Check spelling", "Word count", "Options..."),
    "Help": ("Contents", "About"),
    "Insert": ("Picture...", "Table...", "Link..."),
    "Window": ("Next", "Previous", "Tile"),
}
COMMANDS = (
    "ls -l", "date", "cat notes.txt", "echo hello", "cd src", "make clean", "git status", "uname -a", "whoami",
    "mkdir photos", "cp a.txt b.txt", "rm old.log", "touch list.txt", "sort names.txt", "df -h", "pwd",
)  # fmt: skip
SAID = (
    "Done.", "Thank you.", "It was saved.", "The entry was added.", "Ready", "Everything is set.", "Sent.",
)  # fmt: skip


def value(label: str, rng: random.Random) -> str:
    """Returns something that would be entered as `label`."""
    if label in ("Amount", "Number", "Price", "Room", "Floor", "Port", "Count", "Weight", "Telephone", "Code"):
        return str(rng.randrange(2, rng.choice((20, 999, 99999))))
    if label in ("City", "Town", "Country"):
        return rng.choice(PLACES)
    if label in ("First name", "User", "Owner"):
        return rng.choice(FIRST)
    if label in ("Name", "Guest", "Family name"):
        return rng.choice(LAST) if label == "Family name" else f"{rng.choice(FIRST)} {rng.choice(LAST)}"
    if label == "E-mail":
        host, end = rng.choice(("post", "web", "mail")), rng.choice(("org", "net", "com"))
        return f"{rng.choice(FIRST).lower()}@{host}.{end}"
    return rng.choice(THINGS) if rng.random() < 0.4 else f"{rng.choice(MODES)} {rng.choice(THINGS)}"


def sentence(rng: random.Random) -> str:
    """Returns a few words in a row."""
    picked = [rng.choice((*THINGS, *MODES, "the", "at", "for", "with", "is", "a")) for _ in range(rng.randrange(2, 6))]
    return " ".join(picked)
