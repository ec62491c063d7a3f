"""A form in Qt 5: `python3 qt_form.py RESULT` writes what was saved to RESULT as JSON. Needs PyQt5."""

from __future__ import annotations

import json
import sys


def main(result: str) -> int:
    from PyQt5 import QtWidgets as qt

    application = qt.QApplication(sys.argv)
    window = qt.QWidget()
    window.setWindowTitle("Order")
    layout, form = qt.QVBoxLayout(window), qt.QFormLayout()
    product, quantity, express = qt.QLineEdit(), qt.QLineEdit(), qt.QCheckBox("Express delivery")
    form.addRow("Product", product)
    form.addRow("Quantity", quantity)
    form.addRow("", express)
    layout.addLayout(form)
    button = qt.QPushButton("Order now")
    layout.addWidget(button)

    def order() -> None:
        told = {"Product": product.text(), "Quantity": quantity.text(), "Express delivery": express.isChecked()}
        with open(result, "w", encoding="utf-8") as file:
            json.dump(told, file)
        button.setEnabled(False)
        layout.addWidget(qt.QLabel("Thank you for your order."))

    button.clicked.connect(order)
    window.resize(380, 200)
    window.show()
    code: int = application.exec_()
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
