"""The units under a real systemd with a real vcan, in user-mode Linux."""
