"""The daemon, its workers, the desktop connector and the command line. Stands on `kernels` and `firmware_bridge`."""
