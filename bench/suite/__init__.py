"""pytest-benchmark suites: single kernels, every variant that runs here.

    .venv/bin/python -m pytest bench/suite [-k NAME] [--benchmark-compare]

For one kernel before and after a change; what engines are worth beside each other is `python -m bench engines`.
"""
